"""Statements of `sql/usage.sql`: the use of instances, and the rest of budgets."""

from datetime import date

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class Reservation(msgspec.Struct, frozen=True):
    """A reservation, or the limit for which there is none.

    The limit called `name` is that of the share with `limit_of`, or of all together. Of the `allowed`
    tokens some are `spent`, others reserved. `is_never`: it would not even be enough if nothing were spent. `again_in`:
    seconds until something is refilled; None for expired ones.
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
    """What was used on a `day` (UTC) or by a user, `admin`, or `public` for callers without a key.

    `requests` are calls of the provider, `failures` those that failed. `estimated_tokens` are those of the `tokens`
    that the provider did not count.
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
    """Waits for other reservations of an instance, until the end of the transaction."""


@query
async def reserve_usage(db: Db, *, instance_id: int, holder: str, tokens: int, seconds: float) -> Reservation:
    """Reserves tokens of an instance for the user with whom it is shared, or its owner. After `lock_usage`."""


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
    """Adds a cost to the ledger, and ends the reservation, if there is one."""


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
    """A page of the use, by day, by user or by both; with a `user_handle` of this user only."""


query.complete()
