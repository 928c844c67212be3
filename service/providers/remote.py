"""Models of providers over HTTP: calls with several texts, concurrent, and repeated if that is safe.

If a provider accepts fewer texts in a call, the number is found by halving, and cached for some minutes. Refused texts
are found in the same way. Answers are checked: one vector per text, in order, with the right dimensions, finite.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
import numpy as np
import stamina
from numpy.typing import NDArray

from service.admission import Shares
from service.grouping import grouped
from service.number_arrays import decode_json
from service.observability import metrics, tracing
from service.providers import limits
from service.providers.breaker import Breakers
from service.providers.connection import Connection, Headers
from service.providers.dialects import DIALECTS, Asked, Dialect, Purpose, Reply
from service.providers.errors import (
    MAY_CHARGE,
    BadAnswer,
    Down,
    Faulty,
    Late,
    ProviderError,
    RateLimited,
    Refused,
    Unreachable,
)
from service.providers.faults import BadInput, TooLarge, fault
from service.providers.ledger import Spent
from service.queries.llm_instances import Model
from service.turns import Turns

stamina.instrumentation.set_on_retry_hooks(())  # calls are counted here, and not logged

MAX_KEPT = 10_000  # instances with a cached size of calls


class Job(msgspec.Struct):
    """The texts of a request, their vectors `(n, dimensions) float32` received so far, and refused texts."""

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
        return f"Job({self.model.instance})"  # without the key


class Remote:
    """The providers' models."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._breakers = connection, Breakers()
        self._calls = _shares(limits.CALLS, limits.CALLS_OF_INSTANCE, "calls of providers")
        self._answers = _shares(limits.ANSWERS_BYTES, limits.ANSWERS_BYTES_OF_INSTANCE, "bytes of providers' answers")
        self._most_texts: dict[int, tuple[int, float]] = {}  # and until when, by instance

    async def embed(
        self, model: Model, key: str | None, texts: Sequence[str], purpose: Purpose, spent: Spent
    ) -> tuple[NDArray[np.float32], dict[int, str]]:
        """The vectors of texts, `(n, dimensions) float32` of unit length, in order, and why some texts are refused.

        Adds the cost to `spent`. Raises ProviderError.
        """
        made = np.zeros((len(texts), model.dimensions), np.float32)
        job = Job(model, DIALECTS[model.dialect or ""], key, purpose, texts, made, spent)
        most_bytes, most_texts = job.dialect.most_bytes, self._most_in_call(job)
        parts = grouped(range(len(texts)), lambda place: len(texts[place].encode()), most_bytes, most_texts)
        try:
            async with asyncio.TaskGroup() as group:
                for places in parts:
                    group.create_task(self._batch(job, places))
        except BaseExceptionGroup as errors:
            error = errors.exceptions[0]
            raise error.of_instance(model.instance) if isinstance(error, ProviderError) else error from None
        return made, job.bad

    def _most_in_call(self, job: Job) -> int:
        count, until = self._most_texts.get(job.model.instance_id, (job.dialect.most_texts, 0.0))
        return count if time.monotonic() < until else job.dialect.most_texts

    async def _batch(self, job: Job, places: list[int]) -> None:
        """Embeds some of the texts, in smaller calls if the provider requires it."""
        refusal = await self._refusal(job, places)
        if refusal is None or len(places) == 1:
            return
        if isinstance(refusal, BadInput):
            await self._search(job, places)
            return
        self._take_fewer(job, len(places) // 2)
        for half in _halves(places):
            await self._batch(job, half)

    async def _search(self, job: Job, places: list[int]) -> None:
        """Finds the refused texts among several. Raises Refused if all are refused, or too many to find them."""
        by_length = sorted(places, key=lambda place: len(job.texts[place]))
        tried = list(dict.fromkeys([by_length[len(by_length) // 2], by_length[0], by_length[-1]]))
        refusals = [refusal for place in tried if (refusal := await self._refusal(job, [place])) is not None]
        if len(refusals) == len(tried) < len(places):
            raise Refused(f"refuses the request: {refusals[0]}")
        parts = [half for half in _halves([place for place in places if place not in tried]) if half]
        is_all_taken = not refusals
        while parts:
            if not job.searches and not job.bad:  # none is refused alone: the provider accepts one text per call
                self._take_fewer(job, 1)
                parts = [[place] for part in parts for place in part]
                job.searches = len(parts)
            if not job.searches:
                named = "; ".join(f"number {place} {job.bad[place]}" for place in sorted(job.bad)[:3])
                raise Refused(f"refuses many texts, including {named or 'some that were not identified'}")
            job.searches -= 1
            part = parts.pop()
            if await self._refusal(job, part) is not None:
                is_all_taken = False
                parts += _halves(part) if len(part) > 1 else []
        if is_all_taken:
            self._take_fewer(job, len(places) // 2)

    async def _refusal(self, job: Job, places: list[int]) -> BadInput | TooLarge | None:
        """Embeds texts, or returns the reason why the provider refuses some of them; records that of a single text."""
        try:
            await self._call(job, places)
        except (BadInput, TooLarge) as error:
            if len(places) == 1:
                why = "was refused by the provider" if isinstance(error, BadInput) else "is too long for the model"
                job.bad[places[0]] = f"{why}: {error}"
            return error
        return None

    def _take_fewer(self, job: Job, count: int) -> None:
        fewer = max(1, min(count, self._most_in_call(job)))  # a concurrent call may have found less
        if len(self._most_texts) >= MAX_KEPT:
            self._most_texts.clear()
        self._most_texts[job.model.instance_id] = (fewer, time.monotonic() + limits.SIZE_SECONDS)

    async def _call(self, job: Job, places: list[int]) -> None:
        """Makes a call, and repeats it after a failure if that costs nothing. Waits for memory for the answer first."""
        texts, instance = [job.texts[place] for place in places], str(job.model.instance_id)
        async with self._answers.held(instance, _most_bytes(job.model, texts), patient=True):
            async for attempt in stamina.retry_context(
                on=_pause, attempts=limits.ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=limits.LONGEST_PAUSE
            ):
                with attempt:
                    reply = await self._counted(job, texts)
            await _fill(job, places, reply)

    async def _counted(self, job: Job, texts: list[str]) -> Reply:
        """Makes a single call, and records its cost, duration and result."""
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
            job.spent.add(texts, None)  # the provider received the texts, and may charge for them
            outcome = "cancelled"
            raise
        except Exception as error:
            job.spent.failures += 1
            if isinstance(error, MAY_CHARGE):
                job.spent.add(texts, None)
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
        sent = msgspec.json.encode(body)
        answer = await self._connection.post(url, headers, sent, _most_bytes(model, texts))
        if not 200 <= answer.status < 300:
            raise fault(answer, job.key)
        if not answer.is_json:
            raise BadAnswer("sent an answer that is not JSON")
        try:
            return job.dialect.read(answer.body, answer.headers)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadAnswer("sent an answer without vectors: the API standard may be wrong") from None


def _most_bytes(model: Model, texts: list[str]) -> int:
    return len(texts) * model.dimensions * limits.BYTES_OF_COMPONENT + limits.BYTES_BESIDE


def _pause(error: Exception) -> bool | float:
    """Whether to repeat a failed call, or the seconds to wait first."""
    if isinstance(error, (RateLimited, Faulty)) and error.retry_after is not None:
        return error.retry_after if error.retry_after <= limits.LONGEST_PAUSE else False
    return isinstance(error, (Unreachable, Faulty))


def _with_key(model: Model, key: str | None, url: str, body: dict[str, Any]) -> tuple[str, Headers]:
    """The URL and headers with the key in the place of the API standard, or with the key added to the body."""
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
    is_value = key.isascii() and key.isprintable() and key == key.strip()
    if not (is_value and name.isascii() and name.replace("-", "").isalnum()):
        raise Refused(
            "cannot receive the key, which contains characters that are invalid in headers, or white space around it"
        )
    return url, {name: f"Bearer {key}" if model.key_method == "auth_bearer" else key}


async def _fill(job: Job, places: list[int], reply: Reply) -> None:
    """Checks and normalizes the vectors, and stores them in their places."""
    count = len(places)
    if len(reply.vectors) != count:
        raise BadAnswer(f"returned {len(reply.vectors)} vectors for {count} texts")
    order = list(range(count)) if reply.places is None else reply.places
    if sorted(order) != list(range(count)):
        raise BadAnswer("returned vectors with an invalid `index`")
    turns, dimensions = Turns(), job.model.dimensions
    for place, raw in zip(order, reply.vectors, strict=True):
        try:
            sent = await decode_json(bytes(raw))
            numbers = np.frombuffer(sent, "<f4") if isinstance(sent, bytes) else np.array(sent, np.float64)
        except (RecursionError, ValueError):  # msgspec's errors are ValueErrors
            raise BadAnswer("returned a vector that is not an array of numbers") from None
        if len(numbers) != dimensions:
            raise Refused(
                f"returned vectors of {len(numbers):,} dimensions, but the instance has {dimensions:,}: "
                "change the model or the dimensions"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            length = float(np.linalg.norm(numbers))
        if not 0 < length < np.inf:
            raise BadAnswer("returned a vector that is zero or not finite")
        job.vectors[places[place]] = numbers / length
        await turns.give()


def _shares(total: int, of_instance: int, what: str) -> Shares:
    return Shares(total, part=of_instance, reserve=total // 4, wait=0, what=what)


def _halves(places: list[int]) -> list[list[int]]:
    middle = len(places) // 2
    return [places[:middle], places[middle:]]
