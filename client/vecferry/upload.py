"""The upload engine: bodies are read and encoded in a thread, and several are on their way at once."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from vecferry.bodies import Bodies, Body, encoded
from vecferry.engines import in_a_thread
from vecferry.errors import BadRequest, BadRows, Invalid, ServiceError, TooLarge, VecferryError
from vecferry.names import owner_and_handle, path_of
from vecferry.pace import Pace
from vecferry.progress import shown
from vecferry.rows import BadRow, Rows
from vecferry.structs import Progress, Stored, UploadResult
from vecferry.transport import Transport

KEPT_BAD = 1000
OnBadRow = Literal["report", "stop"]


class Upload:
    """One upload into one project; `result` is what became of it so far."""

    def __init__(
        self,
        transport: Transport,
        project: str,
        *,
        total: int | None = None,
        on_bad_row: OnBadRow = "report",
        progress: Callable[[Progress], None] | bool | None = None,
        parallel: int | None = None,
    ) -> None:
        self.result = UploadResult()
        self._transport, self._path = transport, path_of("embeddings", *owner_and_handle(project))
        self._total, self._on_bad_row = total, on_bad_row
        self._show, self._end_show = shown(progress, total)
        self._pace = Pace(parallel)
        self._underway: dict[asyncio.Task[None], set[str]] = {}  # the ids of each body that is being sent
        self._stopped_by: BadRow | None = None
        self._began = 0.0
        self._lock = threading.Lock()

    async def run(self, rows: Iterator[Rows]) -> UploadResult:
        """Stores all rows. Raises what ended it, with `uploaded` as the result so far.

        Of rows of the same id the last one counts.
        """
        self._began = time.monotonic()
        reader = ThreadPoolExecutor(1, "vecferry-reader")  # one thread: a generator may want its own
        bodies = Bodies(rows, self.skip_bad)
        try:
            await self._send_all(reader, bodies)
        except VecferryError as error:
            error.uploaded = self.result
            raise
        finally:
            for task in self._underway:
                task.cancel()
            await asyncio.gather(*self._underway, return_exceptions=True)
            reader.submit(bodies.close)
            reader.shutdown(wait=False)
            self.result.seconds = time.monotonic() - self._began
            self._end_show()
        return self.result

    async def _send_all(self, reader: ThreadPoolExecutor, bodies: Bodies) -> None:
        loop = asyncio.get_running_loop()
        following = loop.run_in_executor(reader, bodies.next, self._pace.size)
        try:
            while (body := await following) is not None and self._stopped_by is None:
                following = loop.run_in_executor(reader, bodies.next, self._pace.size)
                ids = set(body.rows.ids)
                while self._must_wait(ids):
                    await self._wait(asyncio.FIRST_COMPLETED)
                self._underway[asyncio.create_task(self._store(body))] = ids
            await self._wait(asyncio.ALL_COMPLETED)
        finally:
            following.cancel()
        if self._stopped_by is not None:
            raise BadRows([self._stopped_by])

    def _must_wait(self, ids: set[str]) -> bool:
        """Whether a body must wait: for its turn, or for an earlier one that has one of its ids."""
        is_full = len(self._underway) >= self._pace.parallel
        return is_full or any(not ids.isdisjoint(others) for others in self._underway.values())

    async def _wait(self, until: str) -> None:
        """Waits for bodies. At an error first for all of them, so that what they stored is counted."""
        if not self._underway:
            return
        done, _ = await asyncio.wait(self._underway, return_when=until)
        errors = [error for task in done if (error := task.exception()) is not None]
        if errors and len(done) < len(self._underway):
            done, _ = await asyncio.wait(self._underway)
        for task in done:
            del self._underway[task]
        if errors:
            raise errors[0]

    async def _store(self, body: Body) -> None:
        """Stores a body: what is too large for the service in parts, and without the rows that it refuses."""
        waiting = [body]
        while waiting and self._stopped_by is None:
            body = waiting.pop()
            began = time.monotonic()
            try:
                stored = await self._transport.send(
                    "POST", self._path, Stored, body=body.content, refused=self._pace.refused
                )
            except TooLarge as error:
                limit = _limit(error, body)
                self._pace.too_large(limit)
                if len(body) == 1:
                    self.skip_bad(
                        BadRow(body.places[0], body.rows.ids[0], f"is larger than the service takes: {error}")
                    )
                else:
                    waiting += reversed(await asyncio.to_thread(self._parts, body, min(limit, len(body.content) // 2)))
                continue
            except (BadRequest, Invalid) as error:
                reasons = _bad_rows(error)
                if not reasons or max(reasons) >= len(body):
                    raise
                for place, reason in sorted(reasons.items()):
                    self.skip_bad(BadRow(body.places[place], body.rows.ids[place], reason))
                rest = [place for place in range(len(body)) if place not in reasons]
                waiting += await asyncio.to_thread(self._rest, body, rest)
                continue
            self._pace.answered(len(body.content), time.monotonic() - began)
            self._count(stored, len(body.content))

    def _parts(self, body: Body, size: int) -> list[Body]:
        """A body in smaller ones."""
        parts, first = [], 0
        while first < len(body):
            part, taken = encoded(body.rows.part(first, len(body)), body.places[first:], size, self.skip_bad)
            first += taken
            parts += [] if part is None else [part]
        return parts

    def _rest(self, body: Body, rest: list[int]) -> list[Body]:
        """A body without some of its rows."""
        if not rest:
            return []
        part, _ = encoded(body.rows.take(rest), [body.places[one] for one in rest], len(body.content), self.skip_bad)
        return [] if part is None else [part]

    def _count(self, stored: Stored, sent: int) -> None:
        result = self.result
        result.inserted += stored.inserted
        result.updated += stored.updated
        result.unchanged += stored.unchanged
        result.bytes_sent += sent
        seconds = time.monotonic() - self._began
        self._show(Progress(result.stored, result.bad_count, self._total, result.bytes_sent, seconds))

    def skip_bad(self, bad: BadRow) -> None:
        """Notes a row that cannot be stored, of the source or of the service."""
        if self._on_bad_row == "stop" and self._stopped_by is None:
            self._stopped_by = bad
        with self._lock:  # the source, which a thread reads, reports too
            self.result.bad_count += 1
            if len(self.result.bad) < KEPT_BAD:
                self.result.bad.append(bad)


_ROW = re.compile(r"body\.embeddings\[(\d+)\](.*)", re.DOTALL)


def _bad_rows(error: ServiceError) -> dict[int, str]:
    """The rows that a refusal names, with the reasons; none when it names anything else too."""
    reasons: dict[int, str] = {}
    for fault in error.problem.problems:
        named = _ROW.fullmatch(fault.where or "")
        if named is None:
            return {}
        reason = f"{named[2].lstrip('.')}: {fault.reason}".removeprefix(": ")
        place = int(named[1])
        reasons[place] = f"{reasons[place]}; {reason}" if place in reasons else reason
    return reasons


def _limit(error: TooLarge, body: Body) -> int:
    """How many bytes a body may have, as the service says; a proxy does not say: half of what this one has."""
    said = re.search(r"at most (\d+)", error.problem.detail)
    return int(said[1]) if said else len(body.content) // 2


async def upload_data(
    transport: Transport, project: str, data: Any, *, ids: Any, texts: Any, metadata: Any, columns: Any, **options: Any
) -> UploadResult:
    """Stores what `open_source` understands, or an asynchronous iterator of records."""
    from vecferry.sources import open_source

    if hasattr(data, "__aiter__"):
        data = in_a_thread(aiter(data), asyncio.get_running_loop())
    source = open_source(data, ids=ids, texts=texts, metadata=metadata, columns=columns)
    upload = Upload(transport, project, total=source.total, **options)
    try:
        return await upload.run(source.chunks(upload.skip_bad))
    finally:
        upload.result.largest_loss = source.loss.largest
