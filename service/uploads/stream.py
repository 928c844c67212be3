"""Uploads of any length: records as they come, stored a chunk a transaction, with a line of answer for each.

At most one chunk is being stored while the next is read, and nothing more is read meanwhile: that is the client's
back-pressure. A record waits for others for a second at most, then it is stored with those that came, so that a client
may wait for its line before it goes on. What a line counts is stored.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Literal

import msgspec
from starlette.requests import ClientDisconnect

from service import vectors
from service.admission import Admission
from service.database import errors as database_errors
from service.database.pool import Pool
from service.decoding import Wire
from service.errors import ApiError, BadRequest, Invalid, Problem
from service.metadata.schemas import Fault, Schemas
from service.observability.logs import logger
from service.queries.projects import ProjectAccess
from service.uploads.batch import Batch, breaks_schema
from service.uploads.chunks import Chunks
from service.uploads.framing import Stop
from service.uploads.store import TooMuch, decode_rows, metadata_faults, store_batch

MAX_REASON = 1000  # characters: a line may have to say it of a thousand records


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
        pool: Pool,
        admission: Admission,
        schemas: Schemas,
        draining: asyncio.Event,
        project: ProjectAccess,
        again: Callable[[], Awaitable[ProjectAccess]],
        wire: Wire,
        encoding: vectors.Encoding,
        on_error: Literal["stop", "skip"],
    ) -> None:
        self._again = again
        self._pool, self._admission, self._schemas = pool, admission, schemas
        self._project, self._wire, self._encoding = project, wire, encoding
        self._skips = on_error == "skip"
        self._line = Line(rows=0, inserted=0, updated=0, unchanged=0, rejected=0, errors=[])
        self.counts: dict[str, int] = {}  # what the last line said
        self._chunks = Chunks(wire, admission, draining)
        self._absent_fault: Fault | None = None  # as in the batch that was checked last

    async def lines(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Stores what comes, and yields a line of JSON for each chunk as soon as it is stored, and a last one."""
        fault: Exception | None = None
        chunks = self._chunks.of(body)
        coming = asyncio.ensure_future(anext(chunks, None))
        try:
            while (chunk := await coming) is not None:
                coming = asyncio.ensure_future(anext(chunks, None))  # it is read while this one is stored
                await self._store(chunk)
                if not coming.done() or (coming.exception() is None and coming.result() is not None):
                    yield self._say()  # else the last line says it
                self._chunks.note_said()
        except Exception as error:
            fault = error
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await chunks.aclose()
            self._chunks.leave_room()
        self._line.done, self._line.error = fault is None, _explained(fault) if fault is not None else None
        yield self._say()

    def kept_waiting_until(self) -> float:
        """Until when the client may have waited for a line instead of sending, by the clock of the event loop."""
        return self._chunks.kept_waiting_until()

    def _say(self) -> bytes:
        line = msgspec.json.encode(self._line) + b"\n"
        self.counts |= {name: getattr(self._line, name) for name in ("inserted", "updated", "unchanged", "rejected")}
        self._line.errors = []
        return line

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
            faults = await metadata_faults(self._schemas, checked, patient=True)
        except TooMuch as error:
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
                await decode_rows(alone, [msgspec.Raw(record)])
                alone.check()
            except ApiError as error:
                reasons = "; ".join(map(_reason, error.problems))
                bad[place] = (alone.ids[0] if alone.ids else "", reasons[:MAX_REASON])
        return bad

    async def _decoded(self, records: list[bytes]) -> Batch:
        batch = self._batch()
        await decode_rows(batch, [msgspec.Raw(record) for record in records])
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
            async with self._admission.upload(patient=True):
                stored = await store_batch(self._pool, batch)
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
    known = error if isinstance(error, ApiError) else database_errors.explain(error)
    if known is not None:
        return known.detail
    logger.error("fault", kind=type(error).__name__, where="stream")
    return "Something went wrong in the service; it has been logged."
