"""Uploads of any length: records as they come, stored a chunk a transaction, with a line of answer for each.

At most one chunk is being stored while the next is read, and nothing more is read meanwhile: that is the client's
back-pressure. What a line counts is stored.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
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
from service.request import Req

CHUNK_ROWS = 1000
CHUNK_BYTES = 4 * 1024 * 1024
MEMORY_BYTES = 4 * CHUNK_BYTES  # as a body that takes as much
MAX_REASON = 1000  # characters: a line may have to say it of a thousand records
IDLE_SECONDS = 1.0  # what has come is stored when nothing more comes for so long


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
        self._batch()

    async def lines(self, body: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        """Stores what comes, and yields a line of JSON for each chunk that is stored, and a last one."""
        storing: asyncio.Task[None] | None = None
        errors: list[str] = []
        chunks = self._chunks(body)
        try:
            async for chunk in chunks:
                if storing is not None:
                    await storing
                    yield self._say()
                storing = asyncio.create_task(self._store(chunk))
        except Exception as error:
            errors.append(_explained(error))
        finally:
            await chunks.aclose()
        if storing is not None:
            try:
                await storing  # what went wrong in it came before anything else
            except Exception as error:
                errors.insert(0, _explained(error))
        self._line.done, self._line.error = not errors, errors[0] if errors else None
        yield self._say()

    def _say(self) -> bytes:
        line = msgspec.json.encode(self._line) + b"\n"
        self.counts |= {name: getattr(self._line, name) for name in ("inserted", "updated", "unchanged", "rejected")}
        self._line.errors = []
        return line

    async def _chunks(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[list[bytes], None]:
        """Records, put together until there are enough, or nothing more comes for a while."""
        split = Lines() if self._wire is decoding.JSON else Packed()
        chunk: list[bytes] = []
        size = 0
        try:
            async for piece in _with_pauses(body, self._draining):
                for record in split.feed(piece) if piece is not None else ():
                    if chunk and (len(chunk) == CHUNK_ROWS or size + len(record) > CHUNK_BYTES):
                        yield chunk
                        chunk, size = [], 0
                    chunk.append(record)
                    size += len(record)
                if chunk and piece is None:
                    yield chunk
                    chunk, size = [], 0
            chunk += split.finish()
        except (Stop, ApiError):
            if chunk:  # what came before is as good as ever
                yield chunk
            raise
        if chunk:
            yield chunk

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


async def _with_pauses(
    body: AsyncGenerator[bytes, None], draining: asyncio.Event
) -> AsyncGenerator[bytes | None, None]:
    """The pieces of a body, and None when nothing has come for a second. Raises Stop when the service is to stop."""
    waiting: asyncio.Future[bytes] | None = None
    stopping: asyncio.Future[Any] = asyncio.ensure_future(draining.wait())
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(body))
            both: list[asyncio.Future[Any]] = [waiting, stopping]
            await asyncio.wait(both, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                raise Stop("The service is stopping. What follows was not stored: send it again.")
            if not waiting.done():
                yield None
                continue
            try:
                piece = waiting.result()
            except StopAsyncIteration:
                return
            finally:
                waiting = None
            yield piece
    finally:
        stopping.cancel()
        if waiting is not None:
            waiting.cancel()


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
