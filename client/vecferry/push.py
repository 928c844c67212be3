"""Makes a project as a file is, or anything that can be read twice, and sends only what differs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecferry import remote
from vecferry.digests import BUCKETS, Digested, Ids, Totals, buckets_of, digested
from vecferry.engines import IDS, delete_many
from vecferry.errors import BadRows
from vecferry.names import path_to
from vecferry.progress import shown
from vecferry.reader import in_own_thread
from vecferry.remote import Remote
from vecferry.results import Progress, PushResult
from vecferry.rows import BadRow, NoRows, Rows, SourceError, check_dimensions
from vecferry.state import Memory, Remembered
from vecferry.structs import ProjectInstance
from vecferry.transport import Transport
from vecferry.upload import KEPT_BAD, OnBadRow, Upload

if TYPE_CHECKING:
    from vecferry.sources import Columns, Source

VECTOR, TEXT, METADATA = 0, 1, 2


class Plan(msgspec.Struct, frozen=True):
    """What to compare the source with: embeddings of the buckets that differ; None when the project has none.

    `ours` are the digests of the source when it was read first, and `replaced` its rows that a later one replaces.
    """

    theirs: Remote | None
    differing: NDArray[np.bool_]
    ours: Totals
    replaced: NDArray[np.bool_]


class Push:
    """One push into one project.

    With `delete` embeddings are deleted that the source has not, after `confirm` was asked with their number. But none
    are when rows of the source were bad: the source may have them, but for that.
    """

    def __init__(
        self,
        transport: Transport,
        project: str,
        memory: Memory | None,
        *,
        delete: bool = False,
        dry_run: bool = False,
        confirm: Callable[[int], bool] | None = None,
        on_bad_row: OnBadRow = "report",
        progress: Callable[[Progress], None] | bool | None = None,
    ) -> None:
        self._transport, self._project, self._memory = transport, project, memory
        self._delete, self._confirm = delete, confirm
        self._on_bad_row, self._progress = on_bad_row, progress
        self._began = time.monotonic()
        self._parts: set[int] = {VECTOR}
        self._ids = Ids()
        self._dimensions = 0
        self._is_whole = self._is_over = False
        self.result = PushResult(dry_run=dry_run)

    async def run(self, opened: Callable[[], Source]) -> PushResult:
        """Sends what differs, and with `delete` deletes what the source has not.

        The source is not even opened when it is known that nothing differs.
        """
        before = self._transport.bytes_received
        at = await remote.position(self._transport, self._project)
        if self._memory is None or not self._is_known(self._memory.recall(), at):
            try:
                await self._run(await in_own_thread(opened), at)
            finally:
                self._is_over = True
            self._check_files()
            if self._memory is not None and not self.result.dry_run and not self.result.bad_count:
                await self._remember(self._memory, at)
        self.result.bytes_received = self._transport.bytes_received - before
        self.result.seconds = time.monotonic() - self._began
        return self.result

    def _is_known(self, known: Remembered | None, at: remote.Position) -> bool:
        if known is None or (known.log, known.changes) != (at.log, at.changes):
            return False
        if self._delete and not known.is_whole:
            return False
        self.result.total = self.result.unchanged = known.rows
        return True

    async def _remember(self, memory: Memory, at: remote.Position) -> None:
        now, result = await remote.position(self._transport, self._project), self.result
        changed = result.inserted + result.updated + result.deleted
        if at.changes is None or at.log is None or now.log != at.log or now.changes != at.changes + changed:
            return  # somebody else has changed something meanwhile, who knows what
        memory.remember(Remembered(at.log, now.changes, memory.files, result.total, self._is_whole))

    async def _run(self, source: Source, at: remote.Position) -> None:
        instance = await self._transport.send("GET", path_to("projects", self._project, "instance"), ProjectInstance)
        self._dimensions = instance.dimensions
        plan = Plan(None, np.ones(BUCKETS, np.bool_), Totals(), np.zeros(0, np.bool_))
        if at.number_of_embeddings or self.result.dry_run:
            ours, theirs = await self._both_totals(source)
            replaced = self._ids.replaced()
            self.result.repeated = int(replaced.sum())
            differing = remote.differing(ours, theirs, sorted(self._parts))
            plan = Plan(await remote.remote_rows(self._transport, self._project, differing), differing, ours, replaced)
        if self.result.dry_run:
            await in_own_thread(self._count, source, plan)
        elif plan.differing.any():
            await self._send(source, plan)
        else:
            self.result.unchanged = self.result.total
        self.result.largest_loss = source.loss.largest
        self._check_files()
        if self._delete and plan.theirs is not None and not self.result.total and not self.result.bad_count:
            raise NoRows("The source has no rows: it may be unfinished. To delete all embeddings, delete the project.")
        if self._delete and plan.theirs is not None and not self.result.bad_count:
            await self._delete_rest(plan.theirs, plan.differing)
        self._is_whole = plan.theirs is None or plan.theirs.unseen == self.result.deleted

    async def _both_totals(self, source: Source) -> tuple[Totals, Totals]:
        """The digests of both sides, combined, at the same time. After an error of one side the other ends as well."""
        ours = asyncio.ensure_future(in_own_thread(self._totals, source))
        theirs = asyncio.ensure_future(remote.totals(self._transport, self._project))
        try:
            return await asyncio.gather(ours, theirs)
        finally:
            ours.cancel()
            theirs.cancel()
            await asyncio.gather(ours, theirs, return_exceptions=True)

    def _check_files(self) -> None:
        """Raises SourceError when a file is not the one any more that the push began with."""
        if self._memory is not None and not self._memory.is_current():
            raise SourceError("The file was changed while it was pushed. Push again.")

    def _skip_bad(self, bad: BadRow) -> None:
        self.result.bad_count += 1
        if len(self.result.bad) < KEPT_BAD:
            self.result.bad.append(bad)
        if self._on_bad_row == "stop":
            raise BadRows([bad])

    def _read(self, source: Source, skip_bad: Callable[[BadRow], None]) -> Iterator[Rows]:
        """The rows of the source, until the push has ended: the thread that reads does not know of a cancellation."""
        for rows in source.chunks(skip_bad):
            if self._is_over:
                return
            check_dimensions(rows, self._dimensions)
            yield rows

    def _totals(self, source: Source) -> Totals:
        """The digests of the source, combined."""
        show, end = shown(self._progress, source.total)
        totals = Totals()
        try:
            for rows in self._read(source, self._skip_bad):
                self._parts.update(_parts(rows))
                totals.add(digested(rows))
                self._ids.add(rows.ids)
                self.result.total += len(rows)
                seconds = time.monotonic() - self._began
                show(Progress(self.result.total, self.result.bad_count, source.total, 0, seconds, "comparing"))
        finally:
            end()
        return totals

    def _compared(self, source: Source, plan: Plan) -> Iterator[tuple[Rows, NDArray[np.int8]]]:
        """All rows of the source, and what each is; those of equal buckets are as they are stored.

        Rows that a later one replaces are taken for the same, so that they are not sent. Raises SourceError when they
        are not those of the first time: what is missing now would be deleted.
        """
        again, count = Totals(), 0
        for rows in self._read(source, self._skip_bad if plan.theirs is None else lambda _: None):
            if plan.theirs is None:
                self.result.total += len(rows)
                self._ids.add(rows.ids)
                yield rows, np.full(len(rows), Remote.NEW, np.int8)
                continue
            ours, kinds = digested(rows), np.full(len(rows), Remote.SAME, np.int8)
            again.add(ours)
            replaced = plan.replaced[count : count + len(rows)]
            count += len(replaced)
            if len(replaced) < len(rows):
                break  # more than the first time
            places = np.flatnonzero(plan.differing[buckets_of(ours.ids)] & ~replaced)
            some = Digested(ours.ids[places], ours.parts[:, places])
            kinds[places] = plan.theirs.compare(some, _parts(rows))
            yield rows, kinds
        if plan.theirs is not None and not again.are(plan.ours):
            self._check_files()
            raise SourceError(
                "The data have other rows when they are read a second time, as a cursor of a database: use `upload`."
            )

    def _count(self, source: Source, plan: Plan) -> None:
        for _, kinds in self._compared(source, plan):
            self.result.unchanged += int((kinds == Remote.SAME).sum())
            self.result.updated += int((kinds == Remote.CHANGED).sum())
            self.result.inserted += int((kinds == Remote.NEW).sum())

    async def _send(self, source: Source, plan: Plan) -> None:
        sent = 0

        def changed() -> Iterator[Rows]:
            nonlocal sent
            for rows, kinds in self._compared(source, plan):
                places = np.flatnonzero(kinds != Remote.SAME)
                sent += places.size
                for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                    if run.size:
                        yield rows.part(int(run[0]), int(run[-1]) + 1)

        total = source.total if plan.theirs is None else None
        upload = Upload(
            self._transport, self._project, total=total, on_bad_row=self._on_bad_row, progress=self._progress
        )
        try:
            await upload.run(changed())
        finally:
            result, of = self.result, upload.result
            if plan.theirs is None:  # then all rows were sent, and the last of an id was stored last
                result.repeated = int(self._ids.replaced().sum())
            replaced = min(of.updated, result.repeated) if plan.theirs is None else 0
            result.inserted, result.updated, result.bytes_sent = of.inserted, of.updated - replaced, of.bytes_sent
            result.unchanged = of.unchanged + replaced + result.total - sent
            result.total -= of.bad_count
            result.bad_count += of.bad_count
            result.bad = (result.bad + of.bad)[:KEPT_BAD]

    async def _delete_rest(self, theirs: Remote, differing: NDArray[np.bool_]) -> None:
        count = theirs.unseen
        if self.result.dry_run:
            self.result.deleted = count
        elif count and (self._confirm is None or await in_own_thread(self._confirm, count)):
            ids: list[str] = []
            async for text_id in remote.unseen_ids(self._transport, self._project, differing, theirs):
                ids.append(text_id)
                if len(ids) == IDS:
                    await self._delete_these(ids)
                    ids = []
            await self._delete_these(ids)

    async def _delete_these(self, ids: list[str]) -> None:
        self.result.deleted += (await delete_many(self._transport, self._project, ids, None, dry_run=False)).deleted


def _parts(rows: Rows) -> list[int]:
    return [VECTOR, *([TEXT] if rows.texts is not None else []), *([METADATA] if rows.metadata is not None else [])]


async def push_data(
    transport: Transport,
    project: str,
    data: Any,
    *,
    ids: Any,
    texts: Any,
    metadata: Any,
    columns: Columns | None,
    **options: Any,
) -> PushResult:
    """Pushes what `open_source` understands and can read twice."""
    from vecferry.sources import open_source

    def opened() -> Source:
        source = open_source(data, ids=ids, texts=texts, metadata=metadata, columns=columns)
        if not source.can_be_read_again:
            raise SourceError(
                "A push reads twice, to compare first, and an iterator gives its rows once: use `upload`."
            )
        return source

    given = [one for one in (data, ids, texts, metadata) if one is not None]
    files = [Path(one) for one in given if isinstance(one, (str, os.PathLike))]
    is_of_files = len(files) == len(given) and all(one.is_file() for one in files)
    named = [name for name, one in (("ids", ids), ("texts", texts), ("metadata", metadata)) if one is not None]
    memory = Memory(transport.url, project, files, (named, columns)) if is_of_files else None
    return await Push(transport, project, memory, **options).run(opened)
