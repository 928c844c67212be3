"""Streams of texts: chunks are embedded concurrently, and stored in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from service.uploads.batch import Batch
from service.uploads.limits import MAX_REASONS, TEXT_CHUNKS_AT_ONCE
from service.uploads.stream import Line, Upload
from service.uploads.texts import Embed, TextBatch, Usage, add_rows, add_vectors_in_groups

T = TypeVar("T")
S = TypeVar("S")


class TextLine(Line, omit_defaults=True, kw_only=True):
    """A line of the answer, with the total cost of embedding, including texts that were not stored."""

    usage: Usage


class TextUpload(Upload):
    """A stream of texts into a project; `embed` makes their vectors."""

    embed: Embed
    _line: TextLine

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # The ids of chunks that were perhaps not yet stored when a later one looked for its stored texts.
        self._recent: deque[set[str]] = deque(maxlen=TEXT_CHUNKS_AT_ONCE)

    def _first_line(self) -> TextLine:
        return TextLine(rows=0, inserted=0, updated=0, unchanged=0, rejected=0, errors=[], usage=Usage(0, 0, 0))

    async def lines(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Embeds and stores texts as they arrive; yields a line of JSON for each stored chunk, and a last line."""
        fault: Exception | None = None
        try:
            async with aclosing(ahead(self.chunks.of(body), self._prepared, TEXT_CHUNKS_AT_ONCE)) as batches:
                async for batch in batches:
                    await self._store(batch)
                    yield self._say()
                    self.chunks.acknowledge()
        except Exception as error:
            fault = error
        finally:
            self.chunks.leave_room()
        yield self._say_last(fault)

    async def _decoded(self, records: list[bytes]) -> Batch:
        batch = TextBatch(self._project, wire=self._wire, max_problems=MAX_REASONS * len(records), repeatable=True)
        await add_rows(batch, [msgspec.Raw(record) for record in records])
        return batch

    async def _prepared(self, records: list[bytes]) -> Batch:
        batch = await super()._prepared(records)
        assert isinstance(batch, TextBatch)  # noqa: S101 (as decoded above)
        self._line.usage.add(await add_vectors_in_groups(self._pool, batch, self._good(batch), self.embed))
        return batch

    def _good(self, batch: Batch) -> list[int]:
        rows = super()._good(batch)
        end = batch.end if isinstance(batch, TextBatch) else None
        return rows if end is None else [row for row in rows if row < end]

    async def _upload(self, batch: Batch, rows: list[int]) -> None:
        same = batch.same if isinstance(batch, TextBatch) else set()
        await super()._upload(batch, [row for row in rows if row not in same])
        unchanged = sum(row in same for row in rows)
        self._line.rows += unchanged
        self._line.unchanged += unchanged

    async def _store(self, batch: Batch) -> None:
        """Stores the good records of a chunk, and reports bad ones. Raises the error of the embedding, if any."""
        assert isinstance(batch, TextBatch)  # noqa: S101 (as in all of this stream)
        again = [row for row in batch.same if any(batch.ids[row] in ids for ids in self._recent)]
        if again:
            batch.same.difference_update(again)
            self._line.usage.add(await add_vectors_in_groups(self._pool, batch, again, self.embed))
            self._line.usage.unchanged -= len(again)
        if batch.end is not None:
            batch.bad = {row: problems for row, problems in batch.bad.items() if row < batch.end}
        await batch.check_model(self._pool)
        await super()._store(batch)
        self._recent.append(set(batch.ids))
        if batch.fault is not None:
            raise batch.fault


async def ahead(
    items: AsyncGenerator[S, None], make: Callable[[S], Awaitable[T]], at_once: int
) -> AsyncGenerator[T, None]:
    """Yields the results of `make` in the order of the items, with at most `at_once` in progress."""
    turn = asyncio.Semaphore(at_once)
    made: asyncio.Queue[asyncio.Task[T] | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async with aclosing(items):
                await turn.acquire()
                async for item in items:
                    made.put_nowait(asyncio.ensure_future(make(item)))
                    await turn.acquire()
        finally:
            made.put_nowait(None)

    reading = asyncio.create_task(read())
    waiting: asyncio.Task[T] | None = None
    try:
        while (waiting := await made.get()) is not None:
            yield await waiting
            turn.release()
        await reading  # raises what ended the items
    finally:
        left = [reading, waiting, *(made.get_nowait() for _ in range(made.qsize()))]
        for task in left:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in left if task is not None), return_exceptions=True)
