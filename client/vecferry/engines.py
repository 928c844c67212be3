"""Operations of several requests: searches of many vectors, texts in batches, reading and deleting by many ids."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecferry.errors import NotReady, TooLarge, Unavailable, VecferryError
from vecferry.names import given, path_to
from vecferry.results import UploadResult
from vecferry.structs import (
    Deleted,
    Embedded,
    Found,
    InputType,
    ManySimilars,
    MapMethod,
    ProjectMap,
    SchemaCheck,
    SchemaFailure,
    Similar,
    Similars,
    Stored,
    Trustworthiness,
    Usage,
)
from vecferry.transport import Transport, decoded

VECTORS = 1000  # of a search
SEARCHES = 4  # in parallel
IDS = 1000  # of a request
FAILURES = 100  # of a schema, that are listed
TEXTS = 200  # of a request
TEXTS_BYTES = 1024 * 1024
RECORDS = 500  # of an asynchronous iterator, handed over to the thread together


class _RawEmbedded(msgspec.Struct):
    model: str
    dimensions: int
    vectors: list[bytes]
    usage: Usage


class _Many(msgspec.Struct):
    results: list[list[Similar]]


class _Checked(SchemaCheck, frozen=True):
    next_after: str | None = None


class _Map(msgspec.Struct):
    state: str
    method: MapMethod
    rows: int
    sampled: bool
    error: str | None = None
    changes: int | None = None
    computed_at: datetime | None = None
    trustworthiness: Trustworthiness | None = None
    positions: bytes = b""
    ids: list[str] = []
    field: list[Any] | None = None


async def embed(transport: Transport, instance: str, texts: Sequence[str], input_type: InputType) -> Embedded:
    """Texts as vectors. Not repeated after a broken connection: it may cost money."""
    body = {"input": list(texts), "input_type": input_type, "encoding": "f4"}
    path = path_to("llm-instances", instance, "embed")
    raw = await transport.send("POST", path, _RawEmbedded, body=body, repeat=False)
    numbers = np.frombuffer(b"".join(raw.vectors), dtype="<f4").reshape(len(raw.vectors), raw.dimensions)
    return Embedded(raw.model, raw.dimensions, numbers, raw.usage)


def halves(vectors: Any, dimensions: int) -> NDArray[np.float16]:
    """Vectors to search with as float16. Raises ValueError for those that have no direction there."""
    array = np.asarray(vectors)
    if array.ndim != dimensions or not np.issubdtype(array.dtype, np.number):
        shape = "(n, dimensions)" if dimensions == 2 else "(dimensions,)"
        raise ValueError(f"Numbers of the shape {shape} are needed, not {array.dtype} of the shape {array.shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.atleast_2d(array).astype("<f2")
    wrong = np.flatnonzero(~(np.isfinite(numbers).all(axis=1) & numbers.any(axis=1)))
    if len(wrong):
        raise ValueError(
            f"Vector {wrong[0]} cannot be searched with: it has NaN or a number beyond half precision (65,504), or is "
            "all zero there."
        )
    return numbers


def _packed(body: dict[str, Any]) -> bytes | dict[str, Any]:
    """A body as MessagePack; as it is, to be sent as JSON, when its filter has an integer beyond 64 bits."""
    try:
        return msgspec.msgpack.encode(body)
    except OverflowError:
        return body


async def search(
    transport: Transport, project: str, like: dict[str, Any], query: dict[str, Any], more: dict[str, Any]
) -> Similars:
    """Texts similar to the one `vector`, `text` or stored `text_id` in `like`."""
    if "vector" in like:
        like = {"vector": halves(like["vector"], 1).tobytes(), "encoding": "f2"}
    body = _packed({**like, **more})
    return await transport.send("POST", path_to("similars", project), Similars, query=query, body=body)


async def search_many(
    transport: Transport, project: str, vectors: Any, query: dict[str, Any], more: dict[str, Any]
) -> ManySimilars:
    """Texts similar to each of many vectors; several requests in parallel."""
    numbers = np.asarray(vectors)
    if numbers.ndim != 2:
        raise ValueError(f"Vectors of the shape (n, dimensions) are needed, not {numbers.shape}.")
    path = path_to("similars", project)
    results: list[list[Similar]] = [[] for _ in range(len(numbers))]
    starts = iter(range(0, len(numbers), VECTORS))

    async def ask(first: int, last: int) -> None:
        rows = [row.tobytes() for row in halves(numbers[first:last], 2)]
        body = _packed({"vectors": rows, "encoding": "f2", **more})
        # A request that takes the service too long is sent in parts.
        never = frozenset({503}) if last - first > 1 else frozenset()
        try:
            answer = await transport.send("POST", path, _Many, query=query, body=body, never_repeat=never)
        except Unavailable as error:
            if last - first == 1:
                raise
            await asyncio.sleep(error.retry_after or 1.0)
            middle = (first + last) // 2
            await ask(first, middle)
            await ask(middle, last)
            return
        results[first:last] = answer.results

    async def work() -> None:
        for first in starts:
            await ask(first, min(first + VECTORS, len(numbers)))

    await _all([work() for _ in range(SEARCHES)])
    return ManySimilars(results, query["limit"])


def check_ids(ids: Iterable[str]) -> None:
    """Raises ValueError for one id, whose letters would be taken for ids."""
    if isinstance(ids, str):
        raise ValueError(f"ids are several, in a list: [{ids!r}].")


async def get_many(transport: Transport, project: str, ids: Iterable[str], include: Sequence[str]) -> Found:
    """Embeddings by their ids."""
    found = Found([], [])
    for some in _batches(ids, IDS):
        body = {"text_ids": some, "include": list(include)}
        part = await transport.send("POST", path_to("embeddings", project, "get"), Found, body=body)
        found.embeddings.extend(part.embeddings)
        found.missing.extend(part.missing)
    return found


async def delete_many(
    transport: Transport,
    project: str,
    ids: Iterable[str],
    filter: Mapping[str, Any] | None,  # noqa: A002
    dry_run: bool,
) -> Deleted:
    """Deletes embeddings by their ids; each thousand is all or nothing."""
    count, gone = 0, []
    for some in _batches(ids, IDS):
        body = given(text_ids=some, filter=filter, dry_run=dry_run)
        part = await transport.send("POST", path_to("embeddings", project, "delete"), Deleted, body=body)
        count += part.deleted
        gone += part.text_ids
    return Deleted(count, gone[:10_000], dry_run)


async def send_texts(transport: Transport, project: str, records: Iterable[Mapping[str, Any]]) -> Stored:
    """Texts to be embedded, batch after batch; a batch is all or nothing."""
    total = UploadResult()
    usage = Usage()

    async def store(some: list[Mapping[str, Any]]) -> None:
        nonlocal usage
        try:
            part = await transport.send("POST", path_to("texts", project), Stored, body={"texts": some})
        except TooLarge:  # of a service that takes less at once
            if len(some) == 1:
                raise
            await store(some[: len(some) // 2])
            await store(some[len(some) // 2 :])
            return
        total.inserted += part.inserted
        total.updated += part.updated
        total.unchanged += part.unchanged
        more = msgspec.structs.asdict(part.usage or Usage())
        usage = Usage(**{name: getattr(usage, name) + number for name, number in more.items()})

    try:
        for some in _text_batches(records):
            await store(some)
    except VecferryError as error:
        error.uploaded = total
        raise
    return Stored(total.inserted, total.updated, total.unchanged, usage)


def in_a_thread(records: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """The records of an asynchronous iterator, for a thread that is not the loop's."""

    async def some() -> list[Any]:
        batch = []
        async for record in records:
            batch.append(record)
            if len(batch) == RECORDS:
                break
        return batch

    while batch := asyncio.run_coroutine_threadsafe(some(), loop).result():
        yield from batch


def _batches(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    following = iter(dict.fromkeys(ids))  # each once, so that it is counted once
    while some := list(islice(following, size)):
        yield some


def _text_batches(records: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    size = 0
    for record in records:
        bytes_of = len(msgspec.json.encode(record))
        if batch and (len(batch) == TEXTS or size + bytes_of > TEXTS_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += bytes_of
    if batch:
        yield batch


async def _all(coroutines: list[Any]) -> None:
    """Runs them together; when one fails, the others are cancelled first."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def check_schema(transport: Transport, project: str, schema: Any) -> SchemaCheck:
    """The stored rows that violate a schema, in as many requests as the service needs."""
    path = path_to("projects", project, "schema-check")
    checked, failing = 0, 0
    failures: list[SchemaFailure] = []
    after: str | None = ""
    while after is not None:
        body = {"metadataScheme": schema, "after": after}
        page = await transport.send("POST", path, _Checked, body=body)
        checked, failing = checked + page.checked, failing + page.failing
        failures += page.failures[: FAILURES - len(failures)]
        after = page.next_after
    return SchemaCheck(checked, failing, failures, page.number_of_embeddings)


async def map_of(
    transport: Transport, project: str, method: MapMethod, limit: int | None, field: str | None, wait: float
) -> ProjectMap:
    """The map of a project, when it is ready."""
    query = {"method": method, "limit": limit, "field": field}
    end = time.monotonic() + wait
    while True:
        answer = await transport.answer("GET", path_to("projects", project, "map"), query=query)
        found = decoded(answer.content, _Map)
        if found.state == "ready":
            break
        if found.state == "failed":
            raise VecferryError(f"The map of {project} could not be made: {found.error}")
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise NotReady(f"The map of {project} is not ready after {wait:g} s. Ask again later.")
        await asyncio.sleep(min(float(answer.headers.get("Retry-After", 2)), remaining))
    known = {name: getattr(found, name) for name in ProjectMap.__struct_fields__}
    return ProjectMap(**{**known, "positions": np.frombuffer(found.positions, dtype="<f4").reshape(-1, 2)})
