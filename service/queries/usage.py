"""Statements of `sql/usage.sql`: the usage of instances, and budgets."""

from datetime import date

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class Reservation(msgspec.Struct, frozen=True):
    """A reservation, or the limit that prevented it.

    The limit `name` is that of the share with `limit_of`, or of the instance. Of the `allowed` tokens some are `spent`
    or `reserved`. `is_never`: the request exceeds the whole limit. `again_in`: seconds until the limit is reset; None
    after the end of the instance, or of the share with `limit_of`.
    """

    reservation_id: int | None
    name: str | None
    limit_of: str | None
    allowed: int | None
    spent: int | None
    reserved: int | None
    is_never: bool | None
    again_in: float | None


class Used(msgspec.Struct, frozen=True, omit_defaults=True):
    """The usage on a `day` (UTC), or by a user, `admin`, `public` (callers without a key), or `_deleted` users.

    `requests` are calls of the provider, `failures` failed ones. `estimated_tokens` is the part of the `tokens` that
    the provider did not count.
    """

    day: date | None = None
    user_handle: str | None = None
    requests: int = 0
    texts: int = 0
    tokens: int = 0
    estimated_tokens: int = 0
    failures: int = 0


@query
async def lock_usage(db: Db, *, instance_id: int) -> None:
    """Serializes reservations of an instance until the end of the transaction."""


@query
async def reserve_usage(db: Db, *, instance_id: int, holder: str, tokens: int, seconds: float) -> Reservation:
    """Reserves tokens of an instance for its owner or a user with whom it is shared, after `lock_usage`."""


@query
async def renew_usage(db: Db, *, reservation_id: int, seconds: float) -> int:
    """Lets a reservation last for `seconds` from now; 0 if it has expired."""


@query
async def settle_usage(
    db: Db,
    *,
    reservation_id: int | None,
    instance_id: int,
    holder: str,
    caller: str,
    requests: int,
    texts: int,
    tokens: int,
    estimated_tokens: int,
    failures: int,
) -> None:
    """Adds a cost to the ledger, once for a reservation, and ends the reservation, if there is one."""


@query
async def get_usage(
    db: Db,
    *,
    instance_id: int,
    by_day: bool,
    by_user: bool,
    first_day: date,
    last_day: date,
    user_handle: str | None,
    max_rows: int,
    skip: int,
) -> list[Used]:
    """A page of the usage by day, by user or by both, perhaps only of one user."""


@query
async def forget_user_in_usage(db: Db, *, user_handle: str) -> None:
    """Enters the usage of a user for `_deleted`."""
