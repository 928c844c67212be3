"""Builds the vector indexes of projects in the background (design section 4).

A project below a threshold has none: reading all of its rows is fast, and finds everything. Above it, an HNSW index
has the rows up to a watermark of their `sequence`. What is written later has a higher one, so uploads never touch it; a
search reads that tail one by one. When the tail has grown by a fraction of the index, or a quarter of what the index
has was deleted or rewritten, the next index is built beside it, with a higher watermark, and the old one is dropped.

That graph takes minutes for a million rows. So while a large project is being filled, and then until its graph is
ready, it has a coarse index (IVFFlat), which takes seconds. It finds less, or takes longer, but less than all rows.

Nothing but the database says what there is to do, so any number of indexers may run, and be killed: one works on a
project at a time, and what an interrupted build left behind is dropped by the next.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
from msgspec.structs import replace

from service.database.pool import Connection, connected
from service.database.statements import Db
from service.observability.logs import logger
from service.probe import Signs
from service.queries import changes, indexes
from service.queries.indexes import BuiltIndex, ProjectToIndex
from service.settings import IndexAims
from service.storage import builds, maps
from service.storage.changes import KEPT_DAYS
from service.storage.growth import Growth
from service.turns import beside

LOCK = 0x1DE8  # the first key of the advisory locks; the second is the project
SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_BETWEEN_SWEEPS = 600.0  # a sweep looks at the indexes of all projects
TAIL_FRACTION = 0.2  # so that all rebuilds together cost about six times the last one
GONE_FRACTION = 0.25


async def run(url: str, aims: IndexAims, signs: Signs | None = None) -> None:
    """Polls for work every two seconds until it is cancelled. Beside, deltas are added up and maps made."""
    growth, signs = Growth(), signs or Signs()
    swept: tuple[Connection | None, float] = None, 0.0

    async def poll(connection: Connection) -> None:
        nonlocal swept
        is_sweep = swept[0] is not connection or time.monotonic() - swept[1] > SECONDS_BETWEEN_SWEEPS
        if is_sweep:
            swept = connection, time.monotonic()
        await look(connection, aims, signs, growth, is_sweep=is_sweep)

    async def fold(connection: Connection) -> None:
        await indexes.fold_counts(connection, threshold=aims.threshold)

    async def make_maps(connection: Connection) -> None:
        await maps.look(connection)

    async with beside(_polling(url, fold, Signs())), beside(_polling(url, make_maps, Signs())):
        await _polling(url, poll, signs)


async def _polling(url: str, poll: Callable[[Connection], Awaitable[None]], signs: Signs) -> None:
    """Polls until it is cancelled, and reconnects when the database is away."""
    while True:
        try:
            async with connecting(url) as connection:
                while True:
                    await poll(connection)
                    _end_if_cancelled()
                    signs.note_look()
                    await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            _end_if_cancelled()
            logger.warning("The indexer lost the database, and tries again.", kind=type(error).__name__)
            signs.note_look()
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def _end_if_cancelled() -> None:
    """A cancellation may have ended a statement, or the closing of the connection, with another error."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def run_once(url: str, aims: IndexAims) -> list[builds.Built]:
    """Polls once, makes maps, and returns the indexes that were built, also of projects that are being filled."""
    async with connecting(url) as connection:
        built = await look(connection, aims)
        await maps.look(connection)
        return built


async def look(
    connection: Connection,
    aims: IndexAims,
    signs: Signs | None = None,
    growth: Growth | None = None,
    *,
    is_sweep: bool = True,
) -> list[builds.Built]:
    """Brings the index of each project up to date that has changed; with `is_sweep` of all.

    A sweep also drops the indexes of interrupted builds. A project that is being filled, as its `growth` says, is
    left for later.
    """
    signs = signs or Signs()
    if is_sweep:
        await _drop_strays(connection)
        await indexes.drop_stray_deltas(connection)
        await changes.forget_deletions(connection, days=KEPT_DAYS)
    await _count(connection, aims.threshold)
    done: list[builds.Built] = []
    for project in await indexes.get_projects_to_index(connection, threshold=aims.threshold, look_at_all=is_sweep):
        is_growing = growth is not None and growth.is_under_way(project)
        if is_growing and project.rows < builds.COARSE_ROWS:
            continue
        try:
            async with alone(connection, project.project_id) as is_alone:
                if not is_alone:
                    continue
                with signs.at_work():
                    await builds.index_coarsely(connection, project, aims, is_growing=is_growing)
                    built = None if is_growing else await _bring_up_to_date(connection, project, aims)
                if built:
                    done.append(built)
                    if growth is not None:
                        growth.forget(project.project_id)
                if is_growing:
                    continue
        except (asyncpg.QueryCanceledError, asyncpg.UndefinedTableError, asyncpg.LockNotAvailableError):
            logger.info(
                "The build of an index was abandoned: its project was emptied or deleted.", project=project.project_id
            )
            continue
        except asyncpg.PostgresError as error:
            # Not its message, which may repeat rows. Other projects go on; this one is tried again when it has changed.
            logger.error("An index could not be built.", project=project.project_id, sqlstate=error.sqlstate)
        await indexes.note_looked_at(connection, project_id=project.project_id, changes=project.changes)
    return done


async def _count(connection: Connection, threshold: int) -> None:
    """Brings the projects' numbers of embeddings up to date."""
    await indexes.fold_counts(connection, threshold=threshold)
    for project_id in await indexes.get_uncounted(connection):
        with contextlib.suppress(asyncpg.UndefinedTableError):  # deleted meanwhile
            async with connection.transaction():
                await indexes.lock_embeddings(connection, project_id=project_id)
                if await indexes.lock_count(connection, project_id=project_id) is not None:
                    await indexes.recount(connection, project_id=project_id)


def connecting(url: str) -> contextlib.AbstractAsyncContextManager[Connection]:
    """A connection for builds and measurements."""
    # Without a timeout, as a build may take hours.
    return connected(url, application_name="embedding-service indexer", plan_cache_mode="force_custom_plan")


@contextlib.asynccontextmanager
async def alone(connection: Db, project_id: int) -> AsyncIterator[bool]:
    """Whether no other indexer works on the project during the block."""
    locked = await indexes.lock_project_index(connection, lock=LOCK, project_id=project_id)
    try:
        yield locked
    finally:
        if locked:
            await indexes.unlock_project_index(connection, lock=LOCK, project_id=project_id)


async def _drop_strays(connection: Db) -> None:
    for stray in await indexes.get_stray_indexes(connection):
        async with alone(connection, stray.project_id) as is_alone:
            if is_alone:  # else it is being built
                with contextlib.suppress(asyncpg.UndefinedTableError):
                    await builds.DROP[stray.kind](connection, project_id=stray.project_id, watermark=stray.watermark)


async def _bring_up_to_date(connection: Connection, project: ProjectToIndex, aims: IndexAims) -> builds.Built | None:
    built = (await indexes.retrieve_index_state(connection, project_id=project.project_id)).built
    if built is not None and builds.wants_denser_graph(built, aims):  # the building of one was interrupted
        built = replace(built, m=builds.DENSE.m)
    elif built is not None and not built.lists and not await _is_outdated(connection, project, built):
        if not built.metadata_indexed:  # its building was interrupted, or an older version built the others
            await indexes.sample_more_metadata(connection, project_id=project.project_id)
            await indexes.analyze_rows(connection, project_id=project.project_id)
            await builds.index_metadata(connection, project.project_id, built.watermark)
        return None
    if project.dimensions > builds.MAX_DIMENSIONS:
        return None
    if project.rows < (aims.threshold if built is None else aims.threshold // 2):
        await _forget(connection, project.project_id, built)
        return None
    return await builds.build(connection, project, aims, built)


async def _is_outdated(connection: Db, project: ProjectToIndex, built: BuiltIndex) -> bool:
    project_id, watermark = project.project_id, built.watermark
    long_tail = int(built.indexed_rows * TAIL_FRACTION) + 1
    tail = await indexes.count_tail(connection, project_id=project_id, watermark=watermark, max_rows=long_tail)
    if tail >= long_tail:
        return True
    return project.rows - tail < built.indexed_rows * (1 - GONE_FRACTION)


async def _forget(connection: Db, project_id: int, built: BuiltIndex | None) -> None:
    if built is None:
        return
    await indexes.forget_index(connection, project_id=project_id)
    await builds.drop_all(connection, project_id, built.watermark)
    logger.info("A project is searched without an index again.", project=project_id)
