"""Uploads of any length: records as they come, stored a chunk a transaction, with a line of answer for each.

At most one chunk is being stored while the next is read, and nothing more is read meanwhile: that is the client's
back-pressure. A stream takes room for a chunk when it becomes large, and waits for it; one that is idle has none. A
record waits for others for a second at most, then it is stored with those that came, so that a client may wait for its
line before it goes on. What a line counts is stored.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Literal

import msgspec
from starlette.requests import ClientDisconnect

from service import decoding, ingest, refusals, vectors
from service.auth import Storage
from service.batch import Batch
from service.decoding import Wire
from service.errors import ApiError, Problem
from service.logs import logger
from service.records import Lines, Packed, Stop
from service.request import SHORT_BYTES, Req

CHUNK_ROWS = 1000
CHUNK_BYTES = 4 * 1024 * 1024
CHUNK_ROOM = 2 * CHUNK_BYTES  # of a chunk above 64 KiB, as a body that takes as much memory
MAX_REASON = 1000  # characters: a line may have to say it of a thousand records
AGE_SECONDS = 1.0  # the longest that a record waits for others before they are stored together


class BadRow(msgspec.Struct, frozen=True):
    """A record that was not stored: its number, from 0, its text_id as far as it can be read, and why."""

    row: int
    text_id: str
    message: str


class Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Totals so far, all of it stored; `errors` are those since the last line. The last line has `done`, or `error`."""

    rows: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    errors: list[BadRow]
    done: bool = False
    error: str | None = None


class Upload:
    """One stream into one project, whose guard is asked `again` for each chunk: a stream may last for days.

    Raises Conflict when the project takes no uploads.
    """

    def __init__(
        self,
        req: Req,
        project: Storage,
        again: Callable[[], Awaitable[Storage]],
        wire: Wire,
        encoding: vectors.Encoding,
        on_error: Literal["stop", "skip"],
    ) -> None:
        self._again = again
        self._pool, self._gate, self._draining = req.db, req.gate, req.draining
        self._project, self._wire, self._encoding = project, wire, encoding
        self._skips = on_error == "skip"
        self._line = Line(rows=0, inserted=0, updated=0, unchanged=0, rejected=0, errors=[])
        self.counts: dict[str, int] = {}  # what the last line said
        self._chunk: list[bytes] = []  # the records that come, and their size
        self._size = 0
        self._due: asyncio.Task[None] | None = None  # ends when they have waited long enough
        self._owed = 0  # chunks of which no line has said anything yet
        self._room = 0  # for the records that come
        self._rooms: deque[int] = deque()  # for the chunks that are owed
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._said_at = 0.0
        self._batch()

    async def lines(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Stores what comes, and yields a line of JSON for each chunk as soon as it is stored, and a last one."""
        fault: Exception | None = None
        chunks = self._chunks(body)
        coming = asyncio.ensure_future(anext(chunks, None))
        try:
            while (chunk := await coming) is not None:
                coming = asyncio.ensure_future(anext(chunks, None))  # it is read while this one is stored
                await self._store(chunk)
                self._gate.leave(self._rooms.popleft())
                if not coming.done() or (coming.exception() is None and coming.result() is not None):
                    yield self._say()  # else the last line says it
                self._note_said()
        except Exception as error:
            fault = error
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await chunks.aclose()
            self._gate.leave(self._room + sum(self._rooms))
        self._line.done, self._line.error = fault is None, _explained(fault) if fault is not None else None
        yield self._say()

    def kept_waiting_until(self) -> float:
        """Until when the client may have waited for a line instead of sending, by the clock of the event loop."""
        return self._said_at if self._due is None and not self._owed else asyncio.get_running_loop().time()

    def _note_said(self) -> None:
        self._owed -= 1
        self._said_at = asyncio.get_running_loop().time()
        if not self._owed:
            self._is_idle.set()

    def _say(self) -> bytes:
        line = msgspec.json.encode(self._line) + b"\n"
        self.counts |= {name: getattr(self._line, name) for name in ("inserted", "updated", "unchanged", "rejected")}
        self._line.errors = []
        return line

    async def _chunks(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[list[bytes], None]:
        """Records, put together until there are enough, or the first of them has waited for long enough."""
        split = Lines() if self._wire is decoding.JSON else Packed()
        try:
            async with aclosing(self._pieces(body)) as pieces:
                async for piece in pieces:
                    if piece is None:
                        yield self._cut()
                        continue
                    if not self._room and self._size + split.waiting + len(piece) > SHORT_BYTES:
                        self._room = await self._gate.enter(CHUNK_ROOM, patient=True)
                    for record in split.feed(piece):
                        if self._chunk and self._size + len(record) > CHUNK_BYTES:
                            yield self._cut()
                        self._chunk.append(record)
                        self._size += len(record)
                        if len(self._chunk) == CHUNK_ROWS:
                            yield self._cut()
                    if self._chunk and self._due is None:
                        self._due = asyncio.create_task(self._wait_until_due())
            self._chunk += split.finish()
        except (Stop, ApiError):
            if self._chunk:  # what came before is as good as ever
                yield self._cut()
            raise
        finally:
            if self._due is not None:
                self._due.cancel()
        if self._chunk:
            yield self._cut()

    def _cut(self) -> list[bytes]:
        """The chunk, to be stored; the next one begins."""
        if self._due is not None:
            self._due.cancel()
        chunk, self._chunk, self._size, self._due = self._chunk, [], 0, None
        self._rooms.append(self._room)
        self._room = 0
        self._owed += 1
        self._is_idle.clear()
        return chunk

    async def _wait_until_due(self) -> None:
        """Waits as long as a record may. While another chunk is being stored, more may join it."""
        await asyncio.sleep(AGE_SECONDS)
        await self._is_idle.wait()

    async def _pieces(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes | None, None]:
        """The pieces of a body, and None when a chunk is due. Raises Stop when the service is to stop."""
        waiting: asyncio.Future[bytes | None] | None = None
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                # It goes on when something else comes first: to cancel it would lose what it brings.
                waiting = waiting or asyncio.ensure_future(anext(body, None))
                any_of = [waiting, stopping, *([self._due] if self._due is not None else ())]
                await asyncio.wait(any_of, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    raise Stop("The service is stopping. What follows was not stored: send it again.")
                if self._due is not None and self._due.done():
                    yield None
                elif waiting.done():
                    arrived, waiting = waiting, None
                    if (piece := arrived.result()) is None:
                        return
                    yield piece
        finally:
            stopping.cancel()
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await body.aclose()

    def _batch(self) -> Batch:
        return Batch(self._project, self._encoding, self._wire)

    async def _store(self, records: list[bytes]) -> None:
        project = await self._again()
        if project.project_id != self._project.project_id:
            raise Stop("There is another project of this name now. What follows was not stored.")
        self._project = project
        first = self._line.rows
        batch, bad = await self._check(records)
        good = [record for place, record in enumerate(records) if place not in bad]
        if bad and not self._skips:
            good = records[: min(bad)]
            bad = {min(bad): bad[min(bad)]}
        for run in [good] if batch is not None else await self._runs(good):
            await self._upload(run, batch)
        self._line.rows += len(bad)
        self._line.rejected += len(bad)
        self._line.errors += [BadRow(first + place, *bad[place]) for place in sorted(bad)]
        if bad and not self._skips:
            raise Stop(f"Row {first + min(bad)} is not valid: it, and what follows, was not stored.")

    async def _check(self, records: list[bytes]) -> tuple[Batch | None, dict[int, tuple[str, str]]]:
        """The batch when all is well with it; else the bad records by their place: text_id, and what is wrong."""
        batch = self._batch()
        with contextlib.suppress(ApiError):
            await ingest.decode_rows(batch, [msgspec.Raw(record) for record in records])
            batch.check()
            return batch, {}
        bad: dict[int, tuple[str, str]] = {}
        for place, record in enumerate(records):
            alone = self._batch()
            try:
                await ingest.decode_rows(alone, [msgspec.Raw(record)])
                alone.check()
            except ApiError as error:
                reasons = "; ".join(map(_reason, error.problems))
                bad[place] = (alone.ids[0] if alone.ids else "", reasons[:MAX_REASON])
        return None, bad

    async def _runs(self, records: list[bytes]) -> list[list[bytes]]:
        """The records in pieces without a repeated text_id, as if they had come in so many batches."""
        batch = self._batch()
        await ingest.decode_rows(batch, [msgspec.Raw(record) for record in records])
        runs: list[list[bytes]] = []
        seen: set[str] = set()
        for record, text_id in zip(records, batch.ids, strict=True):
            if not runs or text_id in seen:
                runs.append([])
                seen.clear()
            runs[-1].append(record)
            seen.add(text_id)
        return runs

    async def _upload(self, records: list[bytes], batch: Batch | None) -> None:
        if batch is None:
            batch = self._batch()
            await ingest.decode_rows(batch, [msgspec.Raw(record) for record in records])
            batch.check()
        async with self._gate.upload(patient=True):
            stored = await ingest.store_batch(self._pool, batch)
        self._line.rows += len(records)
        self._line.inserted += stored.inserted
        self._line.updated += stored.updated
        self._line.unchanged += stored.unchanged


def _reason(problem: Problem) -> str:
    """What is wrong with a record, and where in it."""
    where = (problem.location or "").removeprefix("body.embeddings[0]").removeprefix("body").lstrip(".")
    text = problem.message.partition("': ")[2] if problem.message.startswith("text_id '") else problem.message
    return f"{where}: {text}" if where else text


def _explained(error: Exception) -> str:
    """What an error that ends the stream is called; ours are logged."""
    if isinstance(error, Stop | ClientDisconnect):
        return str(error) or "The connection was lost."
    known = error if isinstance(error, ApiError) else refusals.explain(error)
    if known is not None:
        return known.detail
    logger.error("fault", kind=type(error).__name__, where="stream")
    return "Something went wrong in the service; it has been logged."
