"""Makes a file as a project is: all of it, or what has changed since the last pull.

What comes is kept beside the file until it is whole. Then the changes that came meanwhile are fetched, and the new file
takes the place of the old one at once.
"""

from __future__ import annotations

import asyncio
import errno
import glob
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vecferry import remote
from vecferry.errors import Gone, Invalid
from vecferry.names import path_to
from vecferry.progress import shown
from vecferry.results import Progress, PullResult
from vecferry.rows import BadRow, Rows, SourceError
from vecferry.sinks import open_sink
from vecferry.sources import open_source
from vecferry.spool import CHANGES, END, PAGE, Header, Spool
from vecferry.state import Memory, Remembered
from vecferry.structs import ProjectInstance
from vecferry.transport import Transport, decoded

ROWS = 200  # of a page
CHANGED_ROWS = 1000
# A replica may lack what was stored before the sequence from which changes are fetched.
HEADERS = {"Accept": "application/msgpack", "X-Read-From": "primary"}


class _Row(msgspec.Struct):
    text_id: str
    vector: bytes = b""
    text: str | None = None
    metadata: dict[str, Any] | None = None
    sequence: int = 0
    deleted: bool = False


class _Page(msgspec.Struct):
    embeddings: list[_Row]


class _Changes(msgspec.Struct):
    changes: list[_Row]
    log: str | None = None
    sequence: int | None = None


class _Received(msgspec.Struct):
    """How far an interrupted pull came: the last id, the rows, and whether all pages are there."""

    after: str | None = None
    rows: int = 0
    is_whole: bool = False


class Pull:
    """One pull of a project into a file; with `since` of what has changed since the last one, where that is known."""

    def __init__(
        self,
        transport: Transport,
        project: str,
        path: Path,
        *,
        since: bool = False,
        progress: Callable[[Progress], None] | bool | None = None,
    ) -> None:
        # Where a link leads to: it stays a link.
        self._transport, self._project, self._path = transport, project, path.resolve()
        self._since, self._progress = since, progress
        self._began = time.monotonic()
        self._spool = Spool(self._path)
        self._before: Memory | None = None  # of the file that the changes are added to
        self.result = PullResult()

    async def run(self) -> PullResult:
        """Fetches and writes. What was fetched before an error stays, and the next pull goes on from there."""
        open_sink(self._path)  # says now what is wrong with its name
        if not self._path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(self._path.parent))
        before = self._transport.bytes_received
        at = await remote.position(self._transport, self._project)
        known = self._known(at)
        if known is not None and known.changes == at.changes:
            self.result = PullResult(rows=known.rows, since_last=True)
        else:
            try:
                await self._pull(at, known)
            except Gone:  # all were deleted, the project was made anew, or the last pull is too long ago
                self._spool.remove()
                await self._pull(at, None)
        self.result.bytes_received = self._transport.bytes_received - before
        self.result.seconds = time.monotonic() - self._began
        return self.result

    def _known(self, at: remote.Position) -> Remembered | None:
        """What is remembered of the last pull, if the file is still as it was written then."""
        if not self._since or not self._path.exists():
            return None
        self._before = self._memory()
        known = self._before.recall()
        return known if known is not None and known.log == at.log else None

    def _memory(self) -> Memory:
        return Memory(self._transport.url, self._project, [self._path], "pull")

    async def _pull(self, at: remote.Position, known: Remembered | None) -> None:
        self.result = PullResult(since_last=known is not None)
        instance = await self._transport.send("GET", path_to("projects", self._project, "instance"), ProjectInstance)
        log, sequence = (known.log, known.sequence) if known is not None else await self._now()
        header = Header(self._transport.url, log, instance.dimensions, sequence, known is not None)
        await asyncio.to_thread(self._spool.open, header)
        for unfinished in self._path.parent.glob(f".{glob.escape(self._path.name)}.{'[0-9a-f]' * 8}.part"):
            unfinished.unlink()  # of a pull that was killed
        try:
            if known is None:
                await self._fetch_pages(at.number_of_embeddings)
            reached = await remote.position(self._transport, self._project)
            sequence = await self._fetch_changes()
            await asyncio.to_thread(self._write, instance.dimensions, reached.number_of_embeddings)
            self._spool.remove()
        finally:
            self._spool.close()
        if reached.changes is not None and log is not None and reached.log == log:
            memory, rows = self._memory(), self.result.rows
            now = Remembered(log, reached.changes, memory.files, rows, is_whole=True, sequence=sequence)
            memory.remember(now, is_ours=True)

    async def _now(self) -> tuple[str | None, int]:
        """The log of the project, and its sequence now."""
        path = path_to("embeddings", self._project, "changes")
        found = await self._transport.send("GET", path, _Changes, query={"limit": 0})
        return found.log, found.sequence or 0

    async def _fetch_pages(self, expected: int) -> None:
        """All embeddings in the order of their ids, behind those that are there already."""
        got = await asyncio.to_thread(self._received)
        show, end = shown(self._progress, expected)
        path, limit = path_to("embeddings", self._project), ROWS
        try:
            while not got.is_whole:
                answer, limit = await self._answer(path, {"after": got.after}, limit)
                page = decoded(answer, _Page, msgspec.msgpack.decode).embeddings
                if page:
                    await asyncio.to_thread(self._spool.add, PAGE, answer)
                    got.after, got.rows = page[-1].text_id, got.rows + len(page)
                    show(Progress(got.rows, 0, expected, 0, time.monotonic() - self._began, "receiving"))
                got.is_whole = len(page) < limit
                limit = min(ROWS, 2 * limit)
            self._spool.add(END, b"")
        finally:
            end()

    def _received(self) -> _Received:
        got = _Received()
        for kind, answer, _ in self._spool.answers():
            if kind == PAGE:
                page = msgspec.msgpack.decode(answer, type=_Page).embeddings
                got.after, got.rows = page[-1].text_id, got.rows + len(page)
            got.is_whole = got.is_whole or kind == END
        return got

    async def _fetch_changes(self) -> int:
        """What has changed since the sequence of the spool. Returns where the changes go on."""
        since, log = self._spool.header.sequence, self._spool.header.log
        show, end = shown(self._progress, None)
        path, after, limit, rows = path_to("embeddings", self._project, "changes"), since, CHANGED_ROWS, 0
        try:
            while True:
                answer, limit = await self._answer(path, {"since": since, "after": after, "log": log}, limit)
                found = decoded(answer, _Changes, msgspec.msgpack.decode)
                if found.changes:
                    await asyncio.to_thread(self._spool.add, CHANGES, answer)
                    after, rows = found.changes[-1].sequence, rows + len(found.changes)
                    show(Progress(rows, 0, None, 0, time.monotonic() - self._began, "receiving"))
                if found.sequence is not None:
                    return found.sequence
                limit = min(CHANGED_ROWS, 2 * limit)
        finally:
            end()

    async def _answer(self, path: str, query: dict[str, Any], limit: int) -> tuple[bytes, int]:
        """A page in MessagePack, and its limit: fewer rows where texts and metadata are too much for an answer."""
        while True:
            query = {**query, "limit": limit, "encoding": "f2"}
            try:
                return (await self._transport.answer("GET", path, query=query, more_headers=HEADERS)).content, limit
            except Invalid:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)

    def _write(self, dimensions: int, expected: int) -> None:
        """The file, from the pages or its former self, with the changes in place of what they change."""
        changed: dict[str, int | None] = {}  # where the last change of an id is; None: it is deleted
        for kind, answer, place in self._spool.answers():
            if kind == CHANGES:
                for row in msgspec.msgpack.decode(answer, type=_Changes).changes:
                    changed[row.text_id] = None if row.deleted else place
        self.result.changed = sum(place is not None for place in changed.values())
        show, end = shown(self._progress, expected)
        try:
            with open_sink(self._path) as sink:
                for rows in self._rows(dimensions, changed):
                    sink.write(rows)
                    self.result.rows += len(rows)
                    show(Progress(self.result.rows, 0, expected, 0, time.monotonic() - self._began, "writing"))
                if self.result.since_last and self._before is not None and not self._before.is_current():
                    raise SourceError(f"{self._path} was changed while it was pulled. Pull again.")
        finally:
            end()

    def _rows(self, dimensions: int, changed: dict[str, int | None]) -> Iterator[Rows]:
        if self.result.since_last:
            for rows in open_source(self._path).chunks(self._refuse):
                kept = [row for row, text_id in enumerate(rows.ids) if text_id not in changed]
                self.result.deleted += _deleted(rows.ids, changed)
                yield rows if len(kept) == len(rows) else rows.take(kept)
        for kind, answer, place in self._spool.answers():
            if kind == PAGE:
                page = msgspec.msgpack.decode(answer, type=_Page).embeddings
                self.result.deleted += _deleted([row.text_id for row in page], changed)
                yield _as_rows([row for row in page if row.text_id not in changed], dimensions)
            elif kind == CHANGES:
                page = msgspec.msgpack.decode(answer, type=_Changes).changes
                yield _as_rows([row for row in page if not row.deleted and changed[row.text_id] == place], dimensions)

    def _refuse(self, bad: BadRow) -> None:
        raise SourceError(f"{self._path} is not as it was pulled: row {bad.place}: {bad.reason}. Pull without `since`.")


def _deleted(ids: list[str], changed: dict[str, int | None]) -> int:
    """How many of these are deleted now; others came and went, and were in no file."""
    return sum(text_id in changed and changed[text_id] is None for text_id in ids)


def _as_rows(rows: list[_Row], dimensions: int) -> Rows:
    vectors = np.frombuffer(b"".join([row.vector for row in rows]), "<f2").astype(np.float16)
    return Rows(
        0,
        [row.text_id for row in rows],
        vectors.reshape(len(rows), dimensions),
        [row.text for row in rows],
        [row.metadata for row in rows],
    )


async def pull_to(transport: Transport, project: str, path: Any, **options: Any) -> PullResult:
    """Pulls into a file."""
    return await Pull(transport, project, Path(path), **options).run()
