"""The ledger of instances, and budgets: tokens are reserved before a call, and the actual cost is entered after it.

PostgreSQL serializes the reservations of an instance, so that concurrent callers in several processes stay within the
limits. The maximum cost of the texts is reserved: one token per byte. A reservation is renewed while its call lasts;
that of a killed process expires after some minutes.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import stamina

from service.database import errors as database_errors
from service.database.pool import Pool, transaction
from service.errors import Forbidden, Invalid, Problem, Unavailable
from service.providers import limits
from service.providers.errors import RateLimited
from service.queries import usage
from service.queries.llm_instances import Model
from service.queries.usage import Reservation
from service.turns import beside

LIMITS = {
    "tokens_per_day": "tokens a day",
    "tokens_per_month": "tokens a month",
    "requests_per_minute": "requests a minute",
}


class Spent(msgspec.Struct):
    """A cost: calls, embedded texts, their tokens, the estimated part of these, and failed calls."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0
    estimated_tokens: int = 0
    failures: int = 0

    def add(self, texts: Sequence[str], tokens: int | None) -> None:
        """Adds a call, with the provider's count of tokens or an estimate."""
        estimate = sum(-(-len(text.encode()) // limits.BYTES_OF_TOKEN) for text in texts)
        self.texts += len(texts)
        self.tokens += estimate if tokens is None else tokens
        self.estimated_tokens += estimate if tokens is None else 0


class OverBudget(RateLimited):
    """The texts may cost more than is left of a budget; perhaps not fewer texts."""


class OverWholeBudget(Invalid):
    """The texts may cost more than a whole budget; perhaps not fewer texts."""


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

        Raises RateLimited when a limit is reached, Invalid for more texts than the limit can ever allow, Forbidden
        after the end of the instance or share, and Unavailable if the reservation could not be renewed.
        """
        reservation_id = await self._reserve(model, spender, texts) if model.is_limited else None
        spent = Spent()
        try:
            async with contextlib.nullcontext() if reservation_id is None else self._renewed(reservation_id):
                yield spent
        finally:
            if spent.requests or reservation_id is not None:
                entering = asyncio.create_task(self._enter(reservation_id, spender, spent))
                self._entering.add(entering)
                entering.add_done_callback(self._entering.discard)
                await asyncio.shield(entering)

    async def aclose(self) -> None:
        """Waits for pending entries, some seconds if the database does not answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.CLOSE_SECONDS):
                await asyncio.gather(*self._entering, return_exceptions=True)

    @asynccontextmanager
    async def _renewed(self, reservation_id: int) -> AsyncIterator[None]:
        """Renews a reservation during the block, and cancels the block before the reservation expires."""
        try:
            async with asyncio.timeout(limits.RESERVED_SECONDS - limits.SETTLE_SECONDS) as end:
                async with beside(self._renew(reservation_id, end)):
                    yield
        except TimeoutError:
            if not end.expired():
                raise
            message = "The call was ended because its part of the budget could not be kept. Try again."
            raise Unavailable(message) from None

    async def _renew(self, reservation_id: int, end: asyncio.Timeout) -> None:
        """Renews a reservation again and again, and moves the `end` accordingly; to now if it has expired."""
        while True:
            await asyncio.sleep(limits.RENEW_SECONDS)
            begun = asyncio.get_running_loop().time()
            try:
                is_kept = await usage.renew_usage(
                    self._pool, reservation_id=reservation_id, seconds=limits.RESERVED_SECONDS
                )
            except Exception as error:
                if not _passes(error):
                    raise
                continue
            if end.expired():
                return
            end.reschedule(begun + limits.RESERVED_SECONDS - limits.SETTLE_SECONDS if is_kept else begun)

    async def _enter(self, reservation_id: int | None, spender: Spender, spent: Spent) -> None:
        """Enters a cost, as soon as the database answers: the provider has been called."""
        async for attempt in stamina.retry_context(on=_passes, attempts=None, timeout=limits.ENTER_SECONDS):
            with attempt:
                await usage.settle_usage(
                    self._pool,
                    reservation_id=reservation_id,
                    instance_id=spender.instance_id,
                    holder=spender.holder,
                    caller=spender.caller,
                    **msgspec.structs.asdict(spent),
                )

    async def _reserve(self, model: Model, spender: Spender, texts: Sequence[str]) -> int:
        most = sum(len(text.encode()) + limits.TOKENS_BESIDE for text in texts)
        until = time.monotonic() + limits.RESERVE_WAIT
        while True:
            async with transaction(self._pool) as tx:
                await usage.lock_usage(tx, instance_id=spender.instance_id)
                made = await usage.reserve_usage(
                    tx,
                    instance_id=spender.instance_id,
                    holder=spender.holder,
                    tokens=most,
                    seconds=limits.RESERVED_SECONDS,
                )
            if made.reservation_id is not None:
                return made.reservation_id
            fits_later = made.reserved and (made.spent or 0) + most <= (made.allowed or 0)
            if not fits_later or time.monotonic() > until:
                raise _refusal(model, made, most, len(texts))
            await asyncio.sleep(limits.RESERVE_PAUSE)  # others may return reserved tokens


def share_ended(instance: str, user: str) -> Forbidden:
    """The error for a user whose access to an instance has ended."""
    return Forbidden(f"The share of {instance} with {user} has ended.")


def _passes(error: Exception) -> bool:
    """Whether the database may answer later."""
    return isinstance(database_errors.explain(error), Unavailable)


def _refusal(model: Model, limit: Reservation, most: int, texts: int) -> RateLimited | Invalid | Forbidden:
    if limit.again_in is None and limit.limit_of:
        return share_ended(model.instance, limit.limit_of)
    if limit.again_in is None:
        return Forbidden(f"The instance {model.instance} has expired.")
    whose = f"{model.instance} for {limit.limit_of}" if limit.limit_of else model.instance
    allowed = f"{limit.allowed or 0:,} {LIMITS[limit.name or '']}"
    of_tokens = limit.name != "requests_per_minute"
    if limit.is_never:
        needs = f"needs up to {most:,} tokens" if of_tokens else "needs a request"
        advice = "" if not limit.allowed else ": send fewer texts" if texts > 1 else ": send a shorter text"
        problem = Problem(f"{needs}, but {whose} is allowed {allowed}", "body")
        return (OverWholeBudget if limit.allowed else Invalid)(f"No text was embedded{advice}.", [problem])
    needs = f", and {'these texts need' if texts > 1 else 'this text needs'} up to {most:,}" if of_tokens else ""
    reserved = f" and {limit.reserved:,} reserved by other calls" if limit.reserved else ""
    detail = f"The budget is exceeded: {whose} is allowed {allowed}: {limit.spent or 0:,} are spent{reserved}{needs}."
    return (OverBudget if of_tokens else RateLimited)(detail, limit.again_in)
