"""The upload engine: bodies are read and encoded in a thread, and sent in parallel."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

from vecferry.bodies import Bodies, Body
from vecferry.engines import in_a_thread
from vecferry.errors import BadRequest, BadRows, Invalid, ServiceError, TooLarge, VecferryError
from vecferry.names import path_to
from vecferry.pace import Pace
from vecferry.progress import shown
from vecferry.reader import Reader, in_own_thread
from vecferry.results import Progress, UploadResult
from vecferry.rows import BadRow, Rows
from vecferry.structs import ProjectInstance, Stored
from vecferry.transport import Transport

KEPT_BAD = 1000
OnBadRow = Literal["report", "stop"]


class Upload:
    """One upload into one project; `result` is its result so far."""

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
        self._transport, self._project = transport, project
        self._total, self._on_bad_row, self._progress = total, on_bad_row, progress
        self._pace = Pace(parallel)
        self._underway: dict[asyncio.Task[None], set[str]] = {}  # the ids of each body that is being sent
        self._stopped_by: BadRow | None = None
        self._began = 0.0
        self._lock = threading.Lock()

    async def run(self, rows: Iterator[Rows]) -> UploadResult:
        """Stores all rows. Raises the error that ended it, with `uploaded` as the result so far.

        Of rows of the same id the last one counts.
        """
        self._began = time.monotonic()
        instance = await self._transport.send("GET", path_to("projects", self._project, "instance"), ProjectInstance)
        self._show, end_show = shown(self._progress, self._total)
        reader = Reader()
        bodies = Bodies(rows, instance.dimensions, self.skip_bad)
        try:
            await self._send_all(reader, bodies)
        except Exception as error:
            await asyncio.gather(*self._underway, return_exceptions=True)  # their rows are counted, too
            if isinstance(error, VecferryError):
                error.uploaded = self.result
            raise
        finally:
            for task in self._underway:
                task.cancel()
            await asyncio.gather(*self._underway, return_exceptions=True)
            reader.end(bodies.close)
            self.result.seconds = time.monotonic() - self._began
            end_show()
        return self.result

    async def _send_all(self, reader: Reader, bodies: Bodies) -> None:
        following = reader.call(bodies.next, self._pace.size)
        try:
            while (body := await following) is not None and self._stopped_by is None:
                following = reader.call(bodies.next, self._pace.size)
                ids = set(body.ids)
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
        """Waits for bodies, and raises their first error."""
        if not self._underway:
            return
        done, _ = await asyncio.wait(self._underway, return_when=until)
        for task in done:
            del self._underway[task]
        for task in done:
            task.result()

    async def _store(self, body: Body) -> None:
        """Stores a body: in parts if it is too large for the service, and without the rows that it refuses."""
        waiting = [body]
        while waiting and self._stopped_by is None:
            body = waiting.pop()
            if len(body.content) > self._pace.largest and len(body) > 1:
                waiting += reversed(body.parts(self._pace.largest))
                continue
            began = time.monotonic()
            try:
                stored = await self._transport.send(
                    "POST", path_to("embeddings", self._project), Stored, body=body.content, refused=self._pace.refused
                )
            except TooLarge as error:
                if len(body) > 1:
                    self._pace.too_large(_limit(error, len(body.content)))
                    waiting.append(body)
                else:
                    self.skip_bad(BadRow(body.places[0], body.ids[0], f"is larger than the service takes: {error}"))
            except (BadRequest, Invalid) as error:
                reasons = _bad_rows(error)
                if not reasons or max(reasons) >= len(body):
                    raise
                for row, reason in sorted(reasons.items()):
                    self.skip_bad(BadRow(body.places[row], body.ids[row], reason))
                if rest := [row for row in range(len(body)) if row not in reasons]:
                    waiting.append(body.take(rest))
            else:
                self._pace.answered(len(body.content), time.monotonic() - began)
                self._count(stored, len(body.content))

    def _count(self, stored: Stored, sent: int) -> None:
        result = self.result
        result.inserted += stored.inserted
        result.updated += stored.updated
        result.unchanged += stored.unchanged
        result.bytes_sent += sent
        seconds = time.monotonic() - self._began
        self._show(Progress(result.stored, result.bad_count, self._total, result.bytes_sent, seconds))

    def skip_bad(self, bad: BadRow) -> None:
        """Records a row that the source or the service cannot store."""
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


def _limit(error: TooLarge, size: int) -> int:
    """The limit of a body in bytes, as the service says; without one (a proxy) half the size of this body."""
    said = re.search(r"at most (\d+)", error.problem.detail)
    return min(int(said[1]), size - 1) if said else size // 2


async def upload_data(
    transport: Transport, project: str, data: Any, *, ids: Any, texts: Any, metadata: Any, columns: Any, **options: Any
) -> UploadResult:
    """Stores anything that `open_source` reads, or an asynchronous iterator of records."""
    from vecferry.sources import open_source

    if hasattr(data, "__aiter__"):
        data = in_a_thread(aiter(data), asyncio.get_running_loop())
    # In a thread, as a file of ids is read, and a query of DuckDB asked.
    source = await in_own_thread(partial(open_source, data, ids=ids, texts=texts, metadata=metadata, columns=columns))
    upload = Upload(transport, project, total=source.total, **options)
    try:
        return await upload.run(source.chunks(upload.skip_bad))
    finally:
        upload.result.largest_loss = source.loss.largest
