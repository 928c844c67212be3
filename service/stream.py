"""Uploads of any length: records as they come, stored a chunk a transaction, with a line of answer for each.

At most one chunk is being stored while the next is read, and nothing more is read meanwhile: that is the client's
back-pressure. What a line counts is stored.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec
from starlette.requests import ClientDisconnect

from service import decoding, ingest, refusals, vectors
from service.auth import Storage
from service.batch import Batch, breaks_schema
from service.decoding import Wire
from service.errors import ApiError, BadRequest, Invalid, Problem
from service.logs import logger
from service.metadata import Fault
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
    """One stream into one project, whose guard is asked `again` for each chunk: a stream may last for days."""

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
        self._pool, self._gate, self._draining, self._schemas = req.db, req.gate, req.draining, req.schemas
        self._project, self._wire, self._encoding = project, wire, encoding
        self._skips = on_error == "skip"
        self._line = Line(rows=0, inserted=0, updated=0, unchanged=0, rejected=0, errors=[])
        self.counts: dict[str, int] = {}  # what the last line said
        self._absent_fault: Fault | None = None  # as in the batch that was checked last

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
        good = self._good(range(len(records)), bad)
        for run in [good] if batch is not None else await self._runs(records, good):
            places = self._good(run, bad)
            while without := await self._upload([records[place] for place in places], batch):
                bad |= {places[row]: said for row, said in without.items()}
                places, batch = self._good(places, bad), None
        if bad and not self._skips:
            bad = {min(bad): bad[min(bad)]}
        self._line.rows += len(bad)
        self._line.rejected += len(bad)
        self._line.errors += [BadRow(first + place, *bad[place]) for place in sorted(bad)]
        if bad and not self._skips:
            raise Stop(f"Row {first + min(bad)} is not valid: it, and what follows, was not stored.")

    def _good(self, places: Sequence[int], bad: dict[int, tuple[str, str]]) -> list[int]:
        """Those of the records that are to be stored."""
        if self._skips:
            return [place for place in places if place not in bad]
        return [place for place in places if not bad or place < min(bad)]

    async def _check(self, records: list[bytes]) -> tuple[Batch | None, dict[int, tuple[str, str]]]:
        """The batch when all is well with it; else the bad records by their place: text_id, and what is wrong.

        Raises Stop and others when the metadata cannot be checked.
        """
        whole = None
        with contextlib.suppress(BadRequest, Invalid):
            batch = await self._decoded(records)
            batch.check()
            whole = batch
        bad = {} if whole is not None else await self._unreadable(records)
        places = [place for place in range(len(records)) if place not in bad]
        checked = whole or await self._decoded([records[place] for place in places])
        try:
            faults = await ingest.metadata_faults(self._schemas, checked, patient=True)
        except ingest.TooMuch as error:
            first, last = (self._line.rows + places[row] for row in (error.first, error.last))
            raise Stop(
                f"Rows {first} to {last}: {error.reason}. From row {self._line.rows} on nothing was stored."
            ) from None
        self._absent_fault = checked.absent_fault
        bad |= {places[row]: (checked.ids[row], _broken(fault)) for row, fault in faults.items()}
        return None if bad else whole, bad

    async def _unreadable(self, records: list[bytes]) -> dict[int, tuple[str, str]]:
        """The records that are bad in themselves: text_id, and what is wrong."""
        bad: dict[int, tuple[str, str]] = {}
        for place, record in enumerate(records):
            alone = self._batch()
            try:
                await ingest.decode_rows(alone, [msgspec.Raw(record)])
                alone.check()
            except ApiError as error:
                reasons = "; ".join(map(_reason, error.problems))
                bad[place] = (alone.ids[0] if alone.ids else "", reasons[:MAX_REASON])
        return bad

    async def _decoded(self, records: list[bytes]) -> Batch:
        batch = self._batch()
        await ingest.decode_rows(batch, [msgspec.Raw(record) for record in records])
        return batch

    async def _runs(self, records: list[bytes], places: list[int]) -> list[list[int]]:
        """Places in pieces without a repeated text_id, as if their records had come in so many batches."""
        batch = await self._decoded([records[place] for place in places])
        runs: list[list[int]] = []
        seen: set[str] = set()
        for place, text_id in zip(places, batch.ids, strict=True):
            if not runs or text_id in seen:
                runs.append([])
                seen.clear()
            runs[-1].append(place)
            seen.add(text_id)
        return runs

    async def _upload(self, records: list[bytes], batch: Batch | None) -> dict[int, tuple[str, str]]:
        """Stores good records, or none when some are to keep metadata that are not there: says which."""
        if batch is None:
            batch = await self._decoded(records)
            batch.absent_fault = self._absent_fault
            batch.check()
        try:
            async with self._gate.upload(patient=True):
                stored = await ingest.store_batch(self._pool, batch)
        except BadRequest:
            if batch.absent_fault is None:
                raise
            said = _broken(batch.absent_fault)
            return {row: (batch.ids[row], said) for row in batch.contradicting.rows}
        self._line.rows += len(records)
        self._line.inserted += stored.inserted
        self._line.updated += stored.updated
        self._line.unchanged += stored.unchanged
        return {}


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


def _broken(fault: Fault) -> str:
    return f"metadata{fault.path}: {breaks_schema(fault)}"


def _explained(error: Exception) -> str:
    """What an error that ends the stream is called; ours are logged."""
    if isinstance(error, Stop | ClientDisconnect):
        return str(error) or "The connection was lost."
    known = error if isinstance(error, ApiError) else refusals.explain(error)
    if known is not None:
        return known.detail
    logger.error("fault", kind=type(error).__name__, where="stream")
    return "Something went wrong in the service; it has been logged."
