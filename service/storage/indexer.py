"""Builds the vector indexes of projects in the background (design section 4).

A project below a threshold has no index: reading all rows is fast and exact. Above it, an HNSW index has the rows up
to a watermark of their `sequence`. Later rows have higher sequences, so uploads do not change the index; searches read
this tail sequentially. When the tail has grown by a fraction of the index, or a quarter of the indexed rows were
deleted or rewritten, the next index is built with a higher watermark, and the old one is dropped.

The graph takes minutes for a million rows. Until it is ready, and while a large project is growing, there is a coarse
index (IVFFlat), which takes seconds to build. It is slower or less precise, but faster than reading all rows.

All state is in the database, so any number of indexers may run, or be killed: only one works on a project at a time,
and the next one drops the remains of an interrupted build.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import asyncpg
from msgspec.structs import asdict, replace

from service.database.errors import LOST, NOT_MIGRATED
from service.database.pool import Connection, connected
from service.database.statements import Db
from service.observability.logs import logger
from service.probe import Signs
from service.queries import changes, counts, indexes
from service.queries.indexes import BuiltIndex, ProjectToIndex
from service.settings import IndexAims
from service.storage import builds, maps
from service.storage.changes import KEPT_DAYS
from service.storage.locks import alone
from service.turns import beside

SECONDS_BETWEEN_POLLS = 2.0
SECONDS_BETWEEN_CHECKS = 60.0  # whether a long poll waits for the database
SECONDS_BETWEEN_SWEEPS = 600.0  # a sweep checks the indexes of all projects
TAIL_FRACTION = 0.2  # so all rebuilds together cost about six times the last one
GONE_FRACTION = 0.25
GROWTH_FRACTION = 0.01  # of its rows: the growth of a growing project between two polls
# A build waits for the end of an upload at most as long as it would take itself, so waiting in vain costs no more than
# building in vain. On two cores, 1,000,000 rows of 384 dimensions took 10.5 minutes; fewer are faster.
ROWS_BUILT_A_SECOND = 2000
LEAST_SECONDS = 10.0


class Growth:
    """The growth of projects between polls: the index of a growing project would be obsolete before it is ready."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}

    def is_under_way(self, project: ProjectToIndex) -> bool:
        """Whether a project is growing, so that its index should be built later; also true at the first poll."""
        now = time.monotonic()
        changes, since = self._seen.get(project.project_id, (0, now))
        grows = project.changes - changes > GROWTH_FRACTION * project.rows
        self._seen[project.project_id] = (project.changes, since if grows else now)
        return grows and now - since < max(LEAST_SECONDS, project.rows / ROWS_BUILT_A_SECOND)

    def forget(self, project_id: int) -> None:
        """Forgets a project after a build of its index."""
        self._seen.pop(project_id, None)


async def run(url: str, aims: IndexAims, signs: Signs | None = None) -> None:
    """Polls for work every two seconds until it is cancelled; counts embeddings and makes maps in parallel."""
    growth = Growth()
    swept: tuple[Connection | None, float] = None, 0.0
    session = 0

    async def build(connection: Connection) -> None:
        nonlocal swept, session
        if swept[0] is not connection:
            session = await indexes.get_session(connection)
        is_sweep = swept[0] is not connection or time.monotonic() - swept[1] > SECONDS_BETWEEN_SWEEPS
        if is_sweep:
            swept = connection, time.monotonic()
        await poll(connection, aims, growth, is_sweep=is_sweep)

    async with (
        beside(_polling(url, partial(counts.fold_counts, threshold=aims.threshold), Signs())),
        beside(_polling(url, maps.poll, Signs())),
        beside(_checking(url, lambda: session, signs)) if signs is not None else contextlib.nullcontext(),
    ):
        await _polling(url, build, signs or Signs())


async def _checking(url: str, session: Callable[[], int], signs: Signs) -> None:
    """Checks long polls until it is cancelled: one whose statement is executed, or waits for a lock, does not hang."""
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_CHECKS)
        if time.monotonic() - signs.polled < SECONDS_BETWEEN_CHECKS:
            continue
        try:
            async with connecting(url) as connection:
                waits = await indexes.is_executing(connection, session=session())
        except LOST:
            _end_if_cancelled()
            waits = True
        if waits:
            signs.note_poll()


async def _polling(url: str, poll: Callable[[Connection], Awaitable[object]], signs: Signs) -> None:
    """Polls until it is cancelled, also after errors, on a new connection then."""
    while True:
        try:
            async with connecting(url) as connection:
                while True:
                    await poll(connection)
                    _end_if_cancelled()
                    signs.note_poll()
                    await asyncio.sleep(SECONDS_BETWEEN_POLLS)
        except Exception as error:
            _end_if_cancelled()
            if not isinstance(error, LOST):
                logger.exception("The indexer failed, and retries.")
            else:
                problem = "The indexer lost its connection to the database, and retries."
                if isinstance(error, NOT_MIGRATED):
                    problem = "The database does not have this version's schema: run `migrate`. The indexer retries."
                logger.warning(problem, kind=type(error).__name__)
            signs.note_poll()
            await asyncio.sleep(SECONDS_BETWEEN_POLLS)


def _end_if_cancelled() -> None:
    """Raises CancelledError after a cancellation that appeared as another error."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def run_once(url: str, aims: IndexAims) -> list[builds.Built]:
    """Polls once, makes maps, and returns the new indexes, also those of growing projects."""
    async with connecting(url) as connection:
        built = await poll(connection, aims)
        await maps.poll(connection)
        return built


async def poll(
    connection: Connection,
    aims: IndexAims,
    growth: Growth | None = None,
    *,
    is_sweep: bool = True,
) -> list[builds.Built]:
    """Updates the indexes of changed projects, with `is_sweep` those of all projects.

    A sweep also drops the remains of interrupted builds. Growing projects (`growth`) are postponed.
    """
    if is_sweep:
        await _drop_strays(connection)
        await counts.drop_stray_deltas(connection)
        await changes.forget_deletions(connection, days=KEPT_DAYS)
        await changes.forget_logs(connection, project_ids=await changes.get_deleted_projects_in_logs(connection))
    await _count(connection, aims.threshold)
    done: list[builds.Built] = []
    for project_id in await indexes.get_projects_to_index(connection, threshold=aims.threshold, all_projects=is_sweep):
        # As it is now, perhaps hours after the first.
        project = await indexes.retrieve_project_to_index(connection, project_id=project_id)
        if project is None:
            continue
        is_growing = growth is not None and growth.is_under_way(project)
        if is_growing and project.rows < builds.COARSE_ROWS:
            continue
        try:
            async with alone(connection, project.project_id) as is_alone:
                if not is_alone:
                    continue
                await builds.index_coarsely(connection, project, aims, is_growing=is_growing)
                built = None if is_growing else await _bring_up_to_date(connection, project, aims)
                if built:
                    done.append(built)
                    if growth is not None:
                        growth.forget(project.project_id)
                if is_growing:
                    continue
        except (asyncpg.QueryCanceledError, asyncpg.UndefinedTableError, asyncpg.LockNotAvailableError):
            logger.info("A build was abandoned: its project was emptied or deleted.", project=project.project_id)
            continue
        except asyncpg.PostgresError as error:
            # Without the message, which may contain rows. This project is retried after its next change.
            logger.error("An index could not be built.", project=project.project_id, sqlstate=error.sqlstate)
            await _drop_strays(connection)  # else each retry leaves another index, perhaps on a full disk
        await indexes.note_checked(connection, project_id=project.project_id, changes=project.changes)
    await indexes.note_round(connection)
    return done


async def _count(connection: Connection, threshold: int) -> None:
    """Updates the projects' numbers of embeddings."""
    await counts.fold_counts(connection, threshold=threshold)
    for project_id in await counts.get_uncounted(connection):
        with contextlib.suppress(asyncpg.UndefinedTableError):  # deleted meanwhile
            async with connection.transaction():
                await counts.lock_embeddings(connection, project_id=project_id)
                if await counts.lock_count(connection, project_id=project_id) is not None:
                    await counts.recount(connection, project_id=project_id)


@contextlib.asynccontextmanager
async def connecting(url: str) -> AsyncIterator[Connection]:
    """A connection for builds and measurements, without a timeout, because a build may take hours."""
    settings = {"application_name": "embedding-service indexer", "plan_cache_mode": "force_custom_plan"}
    async with connected(url, **settings) as connection:
        with contextlib.suppress(asyncpg.InvalidParameterValueError):  # on a Windows server
            # Ends the session soon after this process was killed.
            await indexes.set_for_session(connection, name="client_connection_check_interval", value="10s")
        yield connection


async def _drop_strays(connection: Db) -> None:
    for stray in await indexes.get_stray_indexes(connection):
        async with alone(connection, stray.project_id) as is_alone:
            # Otherwise it is being built, or was activated since it was listed.
            if is_alone and stray in await indexes.get_stray_indexes(connection):
                with contextlib.suppress(asyncpg.UndefinedTableError):
                    await indexes.drop_index(connection, **asdict(stray))


async def _bring_up_to_date(connection: Connection, project: ProjectToIndex, aims: IndexAims) -> builds.Built | None:
    built = (await indexes.get_index_states(connection, project_ids=[project.project_id]))[0].built
    if built is not None and builds.wants_denser_graph(built, aims):  # after an interrupted build
        built = replace(built, m=builds.DENSE)
    elif built is not None and not built.lists and not await _is_outdated(connection, project, built):
        if not (built.metadata_indexed and built.terms_indexed):  # after an interrupted build, or from an older version
            await indexes.sample_more_metadata(connection, project_id=project.project_id)
            await indexes.analyze_rows(connection, project_id=project.project_id)
            await builds.index_metadata(connection, project.project_id, built)
        return None
    if project.dimensions > builds.MAX_DIMENSIONS:
        return None
    if project.rows < (aims.threshold if built is None else aims.threshold // 2):
        if built is not None:
            await indexes.forget_index(connection, project_id=project.project_id)
            await builds.drop_all(connection, project.project_id, built.watermark)
            logger.info("Dropped the index of a small project.", project=project.project_id)
        return None
    return await builds.build(connection, project, aims, built)


async def _is_outdated(connection: Db, project: ProjectToIndex, built: BuiltIndex) -> bool:
    project_id, watermark = project.project_id, built.watermark
    long_tail = int(built.indexed_rows * TAIL_FRACTION) + 1
    tail = await indexes.count_tail(connection, project_id=project_id, watermark=watermark, max_rows=long_tail)
    if tail >= long_tail:
        return True
    return project.rows - tail < built.indexed_rows * (1 - GONE_FRACTION)
