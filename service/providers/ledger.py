"""The ledger of instances, and budgets: tokens are reserved before a call, and the actual cost is entered after it.

PostgreSQL serializes the reservations of an instance, so that concurrent callers in several processes stay within the
limits. The maximum cost of the texts is reserved: one token per byte. Reservations of killed processes expire after
some minutes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from service.database.pool import Pool, transaction
from service.errors import Forbidden, Invalid, Problem
from service.providers.errors import RateLimited
from service.providers.limits import RESERVE_PAUSE, RESERVE_WAIT, RESERVED_SECONDS, TOKENS_BESIDE
from service.providers.spent import Spent
from service.queries import usage
from service.queries.llm_instances import Model
from service.queries.usage import Reservation

LIMITS = {
    "tokens_per_day": "tokens a day",
    "tokens_per_month": "tokens a month",
    "requests_per_minute": "requests a minute",
}


class Spender(msgspec.Struct, frozen=True):
    """The user of an instance: the caller (or `admin`, `public`), with the access of the holder.

    The holder is the owner of the instance, or a user with whom it is shared; for a project it is the project's owner.
    """

    instance_id: int
    holder: str
    caller: str


class Ledger:
    """Reserves maximum costs, and enters actual ones."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._entering: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def spending(self, model: Model, spender: Spender, texts: Sequence[str]) -> AsyncIterator[Spent]:
        """Embeds texts in the block, and enters the cost, even after an error.

        Raises RateLimited when a limit is reached, and Invalid for more texts than the limit can ever allow.
        """
        reservation_id = await self._reserve(model, spender, texts) if model.is_limited else None
        spent = Spent()
        try:
            yield spent
        finally:
            if spent.requests or reservation_id is not None:
                entering = asyncio.create_task(self._enter(reservation_id, spender, spent))
                self._entering.add(entering)
                entering.add_done_callback(self._entering.discard)
                await asyncio.shield(entering)

    async def aclose(self) -> None:
        """Waits for pending entries."""
        await asyncio.gather(*self._entering, return_exceptions=True)

    async def _enter(self, reservation_id: int | None, spender: Spender, spent: Spent) -> None:
        await usage.settle_usage(
            self._pool,
            reservation_id=reservation_id,
            instance_id=spender.instance_id,
            holder=spender.holder,
            caller=spender.caller,
            **msgspec.structs.asdict(spent),
        )

    async def _reserve(self, model: Model, spender: Spender, texts: Sequence[str]) -> int:
        most = sum(len(text.encode()) + TOKENS_BESIDE for text in texts)
        until = time.monotonic() + RESERVE_WAIT
        while True:
            async with transaction(self._pool) as tx:
                await usage.lock_usage(tx, instance_id=spender.instance_id)
                made = await usage.reserve_usage(
                    tx, instance_id=spender.instance_id, holder=spender.holder, tokens=most, seconds=RESERVED_SECONDS
                )
            if made.reservation_id is not None:
                return made.reservation_id
            fits_later = made.reserved and (made.spent or 0) + most <= (made.allowed or 0)
            if not fits_later or time.monotonic() > until:
                raise _refusal(model, made, most)
            await asyncio.sleep(RESERVE_PAUSE)  # others may return reserved tokens


def _refusal(model: Model, limit: Reservation, most: int) -> RateLimited | Invalid | Forbidden:
    if limit.again_in is None:
        return Forbidden(f"The instance {model.instance} has expired.")
    whose = f"{model.instance} for {limit.limit_of}" if limit.limit_of else model.instance
    allowed = f"{limit.allowed or 0:,} {LIMITS[limit.name or '']}"
    if limit.is_never:
        needs = "needs a request" if limit.name == "requests_per_minute" else f"needs up to {most:,} tokens"
        advice = ": send fewer texts." if limit.allowed else "."
        return Invalid(f"No text was embedded{advice}", [Problem(f"{needs}, but {whose} is allowed {allowed}", "body")])
    needs = f", and this request needs up to {most:,}" if limit.name != "requests_per_minute" else ""
    reserved = f" and {limit.reserved:,} reserved by other calls" if limit.reserved else ""
    detail = f"{whose} is allowed {allowed}: {limit.spent or 0:,} are spent{reserved}{needs}."
    return RateLimited(f"The budget is exceeded: {detail}", limit.again_in)
