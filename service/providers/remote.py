"""Models of providers over HTTP: several texts a call, several calls at once, again where that is safe.

A provider that takes fewer texts at once is found by halving, and remembered. So is a text that it refuses: its row is
named. What comes back is checked: as many vectors as texts, in their order, of the right dimensions, finite.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
import numpy as np
import stamina
from numpy.typing import NDArray

from service.number_arrays import decode_json
from service.observability import metrics, tracing
from service.providers import limits
from service.providers.breaker import Breakers
from service.providers.connection import Connection, Headers
from service.providers.dialects import DIALECTS, Asked, Dialect, Purpose, Reply
from service.providers.errors import (
    BadAnswer,
    BadTexts,
    Down,
    Faulty,
    Late,
    ProviderError,
    RateLimited,
    Refused,
    Unreachable,
)
from service.providers.faults import BadInput, TooLarge, fault
from service.providers.spent import Spent
from service.queries.llm_instances import Model
from service.shares import Shares
from service.turns import Turns

stamina.instrumentation.set_on_retry_hooks(())  # calls are counted here, and nothing of them is logged

MAX_KEPT = 10_000  # instances of which the size of a call is remembered


class Job(msgspec.Struct):
    """The texts of one request, their vectors `(n, dimensions) float32` as they come, and texts that were refused."""

    model: Model
    dialect: Dialect
    key: str | None
    purpose: Purpose
    texts: Sequence[str]
    vectors: NDArray[np.float32]
    spent: Spent
    bad: dict[int, str] = {}
    searches: int = limits.SEARCHES_FOR_BAD_TEXT

    def __repr__(self) -> str:
        return f"Job({self.model.instance})"  # it holds a key


class Remote:
    """The providers' models."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._breakers = connection, Breakers()
        part, what = limits.CALLS_OF_INSTANCE, "calls of providers"
        self._calls = Shares(limits.CALLS, part=part, reserve=limits.CALLS // 4, wait=0, what=what)
        self._most_texts: dict[int, int] = {}

    async def embed(
        self, model: Model, key: str | None, texts: Sequence[str], purpose: Purpose, spent: Spent
    ) -> NDArray[np.float32]:
        """The vectors of texts, `(n, dimensions) float32` of unit length, in order; `spent` grows with each call.

        Raises ProviderError, and BadTexts with all that the provider refused.
        """
        made = np.zeros((len(texts), model.dimensions), np.float32)
        job = Job(model, DIALECTS[model.dialect or ""], key, purpose, texts, made, spent, {})
        try:
            async with asyncio.TaskGroup() as group:
                for places in self._batches(job):
                    group.create_task(self._batch(job, places))
        except BaseExceptionGroup as errors:
            error = errors.exceptions[0]
            raise error.told(model.instance) if isinstance(error, ProviderError) else error from None
        if job.bad:
            raise BadTexts(job.bad, made, spent)
        return made

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._connection.aclose()

    def _batches(self, job: Job) -> Iterator[list[int]]:
        """The places of texts that are sent together."""
        most = min(job.dialect.most_texts, self._most_texts.get(job.model.instance_id, job.dialect.most_texts))
        places: list[int] = []
        size = 0
        for place, text in enumerate(job.texts):
            length = len(text.encode())
            if places and (len(places) == most or size + length > job.dialect.most_bytes):
                yield places
                places, size = [], 0
            places.append(place)
            size += length
        if places:
            yield places

    async def _batch(self, job: Job, places: list[int]) -> None:
        """Embeds some of the texts; fewer at once where these are too many."""
        try:
            await self._call(job, places)
        except TooLarge as error:
            if len(places) == 1:
                job.bad[places[0]] = f"is too long for the model: {error}"
                return
            self._take_fewer(job, len(places) // 2)
            for half in _halves(places):
                await self._batch(job, half)
        except BadInput as error:
            if len(places) == 1:
                job.bad[places[0]] = f"was refused by the provider: {error}"
                return
            await self._search(job, places)

    async def _search(self, job: Job, places: list[int]) -> None:
        """Finds the texts that a provider refuses among several, if it does not refuse everything.

        Raises Refused for the latter, and when there are too many to find them all.
        """
        by_length = sorted(places, key=lambda place: len(job.texts[place]))
        tried = list(dict.fromkeys([by_length[len(by_length) // 2], by_length[0], by_length[-1]]))
        refusals = [refusal for place in tried if (refusal := await self._refusal(job, [place])) is not None]
        if len(refusals) == len(tried) < len(places):
            raise Refused(f"refuses the request: {refusals[0]}")
        parts = [half for half in _halves([place for place in places if place not in tried]) if half]
        is_all_taken = not refusals
        while parts:
            if not job.searches and not job.bad:  # none of them is bad alone: it takes one at a time
                self._take_fewer(job, 1)
                parts = [[place] for part in parts for place in part]
                job.searches = len(parts)
            if not job.searches:
                named = "; ".join(f"number {place} {job.bad[place]}" for place in sorted(job.bad)[:3])
                raise Refused(f"refuses many texts, among them {named or 'some that were not found'}")
            job.searches -= 1
            part = parts.pop()
            if await self._refusal(job, part) is not None:
                is_all_taken = False
                parts += _halves(part) if len(part) > 1 else []
        if is_all_taken:
            self._take_fewer(job, len(places) // 2)

    async def _refusal(self, job: Job, places: list[int]) -> BadInput | TooLarge | None:
        """Why the provider refuses some of the texts, None if it does not; of a single text it is remembered."""
        try:
            await self._call(job, places)
        except (BadInput, TooLarge) as error:
            if len(places) == 1:
                job.bad[places[0]] = f"was refused by the provider: {error}"
            return error
        return None

    def _take_fewer(self, job: Job, count: int) -> None:
        if len(self._most_texts) >= MAX_KEPT:
            self._most_texts.clear()
        self._most_texts[job.model.instance_id] = max(1, count)

    async def _call(self, job: Job, places: list[int]) -> None:
        """Makes a call, again after a failure where that is safe: nothing was done then, or nothing is charged."""
        texts = [job.texts[place] for place in places]
        async for attempt in stamina.retry_context(
            on=_pause, attempts=limits.ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=limits.LONGEST_PAUSE
        ):
            with attempt:
                reply = await self._counted(job, texts)
        await _fill(job, places, reply)

    async def _counted(self, job: Job, texts: list[str]) -> Reply:
        """One call, with its cost, its duration, and whether the provider is broken."""
        dialect, instance = job.model.dialect or "", job.model.instance_id
        self._breakers.check(instance)
        await self._calls.acquire(str(instance), patient=True)
        start, outcome, reply = time.perf_counter(), "failed", None
        job.spent.requests += 1
        try:
            with tracing.span(f"embed {dialect}", {"gen_ai.operation.name": "embeddings"}):
                reply = await self._sent(job, texts)
            job.spent.add(texts, reply.tokens)
            outcome = "succeeded"
        except asyncio.CancelledError:
            job.spent.add(texts, None)  # the provider has the texts, and charges for them
            outcome = "cancelled"
            raise
        except Exception as error:
            job.spent.failures += 1
            outcome = "refused" if isinstance(error, (BadInput, TooLarge, Refused, RateLimited)) else outcome
            self._breakers.note(instance, failed=isinstance(error, (Down, Late)))
            raise
        else:
            self._breakers.note(instance, failed=False)
        finally:
            self._calls.release(str(instance))
            metrics.count_provider_call(dialect, outcome, time.perf_counter() - start, reply.tokens if reply else None)
        return reply

    async def _sent(self, job: Job, texts: list[str]) -> Reply:
        model = job.model
        body = job.dialect.body(Asked(model.name or "", model.dimensions, job.purpose, texts))
        url = job.dialect.address(model.endpoint or "", model.name or "")
        url, headers = _with_key(model, job.key, url, body)
        most = len(texts) * model.dimensions * limits.BYTES_OF_COMPONENT + limits.BYTES_BESIDE
        answer = await self._connection.post(url, headers, msgspec.json.encode(body), most)
        if not 200 <= answer.status < 300:
            raise fault(answer, job.key)
        if not answer.is_json:
            raise BadAnswer("does not answer with JSON")
        try:
            return job.dialect.read(answer.body, answer.headers)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadAnswer("does not answer with vectors: it may be of another API standard") from None


def _pause(error: Exception) -> bool | float:
    """Whether a failed call is repeated, or after how many seconds."""
    if isinstance(error, (RateLimited, Faulty)) and error.retry_after is not None:
        return error.retry_after if error.retry_after <= limits.LONGEST_PAUSE else False
    return isinstance(error, (Unreachable, Faulty))


def _with_key(model: Model, key: str | None, url: str, body: dict[str, Any]) -> tuple[str, Headers]:
    """The URL and the headers with the key where the API standard wants it, or the body with it."""
    if not key:
        return url, {}
    name = model.key_field or "Authorization"
    match model.key_method:
        case "body_form":
            body[name] = key
            return url, {}
        case "query_param":
            parts = urlsplit(url)
            query = "&".join(filter(None, (parts.query, f"{quote(name, safe='')}={quote(key, safe='')}")))
            return urlunsplit(parts._replace(query=query)), {}
    if not (key.isascii() and key.isprintable() and name.isascii() and name.replace("-", "").isalnum()):
        raise Refused("cannot be sent the key, which has characters that no header may have")
    return url, {name: f"Bearer {key}" if model.key_method == "auth_bearer" else key}


async def _fill(job: Job, places: list[int], reply: Reply) -> None:
    """Puts the vectors in their places, checked, and made of unit length."""
    count = len(places)
    if len(reply.vectors) != count:
        raise BadAnswer(f"returned {len(reply.vectors)} vectors for {count} texts")
    order = list(range(count)) if reply.places is None else reply.places
    if sorted(order) != list(range(count)):
        raise BadAnswer("returned vectors whose `index` are not those of the texts")
    turns, dimensions = Turns(), job.model.dimensions
    for place, raw in zip(order, reply.vectors, strict=True):
        try:
            sent = await decode_json(bytes(raw))
            numbers = np.frombuffer(sent, "<f4") if isinstance(sent, bytes) else np.array(sent, np.float64)
        except (RecursionError, ValueError):  # of which msgspec's errors are some
            raise BadAnswer("returned a vector that is not an array of numbers") from None
        if len(numbers) != dimensions:
            raise Refused(
                f"returned vectors of {len(numbers):,} dimensions, and the instance has {dimensions:,}: "
                "its owner has to change one or the other"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            length = float(np.linalg.norm(numbers))
        if not 0 < length < np.inf:
            raise BadAnswer("returned a vector that is zero, or not finite")
        job.vectors[places[place]] = numbers / length
        await turns.give()


def _halves(places: list[int]) -> list[list[int]]:
    middle = len(places) // 2
    return [places[:middle], places[middle:]]
