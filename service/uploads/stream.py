"""Streams: uploads of any length, stored in chunks, with a line of the answer for each chunk.

At most one chunk is stored while the next is read; reading then stops, which is the back-pressure for the client. A
record waits at most a second for others in its chunk, so a client may wait for its line. Everything that a line counts
is stored.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import ClassVar, Literal, TypeVar

import msgspec
from starlette.requests import ClientDisconnect

from service import vectors
from service.admission import Shares, caller
from service.database.errors import reported
from service.database.pool import Pool
from service.decoding import Wire
from service.errors import BadRequest, Problem
from service.metadata.schemas import Schemas
from service.queries.projects import ProjectAccess
from service.uploads.batch import Batch
from service.uploads.chunks import Chunks
from service.uploads.framing import Stop
from service.uploads.limits import MAX_REASON_LENGTH, MAX_REASONS
from service.uploads.store import TooMuch, check_metadata, store_batch

T = TypeVar("T")
S = TypeVar("S")


class BadRow(msgspec.Struct, frozen=True):
    """A rejected record: its number, from 0, its text_id, if known, and the reason."""

    row: int
    text_id: str
    message: str


class Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Running totals of stored rows; `errors` since the previous line. The last line has `done` or `error`."""

    rows: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    errors: list[BadRow]
    done: bool = False
    error: str | None = None


class Upload:
    """A stream into a project. Each chunk is authorized `again`, because a stream may last for days."""

    batch_type: ClassVar[type[Batch]] = Batch

    def __init__(
        self,
        pool: Pool,
        memory: Shares,
        uploads: Shares,
        schemas: Schemas,
        draining: asyncio.Event,
        project: ProjectAccess,
        again: Callable[[], Awaitable[ProjectAccess]],
        wire: Wire,
        encoding: vectors.Encoding,
        on_error: Literal["stop", "skip"],
    ) -> None:
        self._again = again
        self._pool, self._uploads, self._schemas = pool, uploads, schemas
        self._project, self._wire, self._encoding = project, wire, encoding
        self._skips = on_error == "skip"
        self._line = Line(rows=0, inserted=0, updated=0, unchanged=0, rejected=0, errors=[])
        self.counts: dict[str, int] = {}  # of the last line
        self.chunks = Chunks(wire, memory, draining)

    async def lines(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Stores records as they arrive; yields a line of JSON for each stored chunk, and a last line."""
        fault: Exception | None = None
        try:
            async with aclosing(self._batches(body)) as batches:
                async for batch in batches:
                    await self._store(batch)
                    if not self.chunks.is_last:  # else it is part of the last line
                        yield self._say()
                    self.chunks.acknowledge()
        except Exception as error:
            fault = error
        finally:
            self.chunks.leave_room()
        yield self._say_last(fault)

    async def _batches(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[Batch, None]:
        """Reads a chunk while the one before is stored; prepares it afterwards: the caller may have one connection."""
        async with aclosing(ahead(self.chunks.of(body), _read, 2)) as chunks:
            async for chunk in chunks:
                yield await self._prepared(chunk)

    def _say(self) -> bytes:
        line = msgspec.json.encode(self._line) + b"\n"
        self.counts |= {name: getattr(self._line, name) for name in ("inserted", "updated", "unchanged", "rejected")}
        self._line.errors = []
        return line

    def _say_last(self, fault: Exception | None) -> bytes:
        """The last line, with the error that ended the stream, if any."""
        if isinstance(fault, TooMuch):
            first, last = (self._line.rows + row for row in (fault.first, fault.last))
            fault = Stop(f"Rows {first} to {last}: {fault.reason}. Rows from {self._line.rows} on were not stored.")
        self._line.done, self._line.error = fault is None, _explained(fault) if fault is not None else None
        return self._say()

    async def _prepared(self, records: list[bytes]) -> Batch:
        """The checked records of a chunk. Raises TooMuch and others if their metadata cannot be checked."""
        project = await self._again()
        if project.project_id != self._project.project_id:
            raise Stop(
                "The project was deleted and created again during the upload; the remaining records were not stored."
            )
        most = MAX_REASONS * len(records)
        batch = self.batch_type(project, self._encoding, self._wire, max_problems=most, repeatable=True)
        await batch.decode([msgspec.Raw(record) for record in records])
        await check_metadata(self._schemas, batch, patient=True)
        return batch

    async def _store(self, batch: Batch) -> None:
        """Stores the good records of a chunk, and reports bad ones. Raises Stop at the first one, unless it skips."""
        first = self._line.rows
        for rows in _runs(batch, self._good(batch)):
            good = set(self._good(batch))  # an earlier run may have found a bad row
            await self._upload(batch, [row for row in rows if row in good])
        bad = [row for row in sorted(batch.bad) if row < batch.end][: None if self._skips else 1]
        self._line.rows += len(bad)
        self._line.rejected += len(bad)
        self._line.errors += [BadRow(first + row, batch.ids[row], _reasons(batch.bad[row])) for row in bad]
        if bad and not self._skips:
            raise Stop(f"Row {first + bad[0]} is not valid; it and the remaining records were not stored.")

    def _good(self, batch: Batch) -> list[int]:
        """The rows to store: all that are not bad, or those before the first bad one."""
        end = batch.end if self._skips else min([batch.end, *batch.bad])
        return [row for row in range(end) if row not in batch.bad]

    async def _upload(self, batch: Batch, rows: list[int]) -> None:
        """Stores good rows, except those that should keep metadata but have none, which become bad rows."""
        new = [row for row in rows if row not in batch.same]
        while new:
            part = batch.only(new)
            try:
                async with self._uploads.held(caller.get(), patient=True):
                    stored = await store_batch(self._pool, part)
            except BadRequest:
                if not part.bad or part.absent_fault is None:
                    raise
                for row in part.bad:
                    batch.add_fault(new[row], part.absent_fault)
                good = set(self._good(batch))
                new = [row for row in new if row in good]
                continue
            self._line.rows += len(new)
            self._line.inserted += stored.inserted
            self._line.updated += stored.updated
            self._line.unchanged += stored.unchanged
            break
        unchanged = sum(row in batch.same for row in rows)
        self._line.rows += unchanged
        self._line.unchanged += unchanged


def _runs(batch: Batch, rows: list[int]) -> Iterator[list[int]]:
    """The rows in parts without a repeated text_id."""
    run: list[int] = []
    seen: set[str] = set()
    for row in rows:
        if batch.ids[row] in seen:
            yield run
            run, seen = [], set()
        run.append(row)
        seen.add(batch.ids[row])
    yield run


def _reasons(problems: list[Problem]) -> str:
    fields = [((one.location or "").lstrip("."), one.message) for one in problems]
    return "; ".join(f"{field}: {message}" if field else message for field, message in fields)[:MAX_REASON_LENGTH]


def _explained(error: Exception) -> str:
    """The message of the error that ended the stream."""
    if isinstance(error, Stop | ClientDisconnect):
        return str(error) or "The connection was lost."
    known = reported(error)
    reasons = "; ".join(problem.message for problem in known.problems)[:MAX_REASON_LENGTH]
    return f"{known.detail.rstrip('.')} ({reasons})." if reasons else known.detail


async def _read(chunk: list[bytes]) -> list[bytes]:
    return chunk


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
