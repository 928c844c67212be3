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
import math
import time
from collections.abc import AsyncIterator

import asyncpg
import msgspec
from msgspec.structs import replace

from service.database.pool import Connection, connected
from service.database.statements import Db
from service.observability.logs import logger
from service.probe import Signs
from service.queries import indexes
from service.queries.indexes import BuiltIndex, ProjectToIndex
from service.settings import IndexAims
from service.storage.calibration import Calibration, Measurement
from service.storage.growth import Growth
from service.storage.memory import for_builds

LOCK = 0x1DE8  # the first key of the advisory locks; the second is the project
MAX_DIMENSIONS = 4000  # of pgvector's HNSW on halves
SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_BETWEEN_SWEEPS = 600.0  # a sweep looks at the indexes of all projects
TAIL_FRACTION = 0.2  # so that all rebuilds together cost about six times the last one
GONE_FRACTION = 0.25
MAX_BUILD_WORKERS = 2
# A coarse index is built where so many rows are in no index, and no fewer than are in one: reading 100,000 rows of 384
# dimensions takes some 50 ms. With more lists a search reads less, and the build takes longer: of 1,000,000 rows 10 s
# with 200 lists, 17 s with 400, on two cores.
COARSE_ROWS = 100_000
ROWS_A_LIST = 5000
MOST_LISTS = 400


class Graph(msgspec.Struct, frozen=True):
    """pgvector's parameters of a graph: links of a row, and candidates for them when it is built."""

    m: int
    ef_construction: int


# By the kinds of indexes.
DROP = {
    "hnsw": indexes.drop_vector_index,
    "ivf": indexes.drop_coarse_index,
    "tail": indexes.drop_tail_index,
    "meta": indexes.drop_metadata_index,
}
PLAIN = Graph(m=16, ef_construction=64)  # pgvector's own
DENSE = Graph(m=32, ef_construction=128)  # takes some four times as long to build


class Built(msgspec.Struct, frozen=True):
    """An index that was built: the rows up to `watermark`, `indexed_rows` of them."""

    project_id: int
    watermark: int
    indexed_rows: int


async def run(url: str, aims: IndexAims, signs: Signs | None = None) -> None:
    """Polls for work every two seconds until it is cancelled; reconnects when the database is away."""
    growth = Growth()
    signs = signs or Signs()
    while True:
        try:
            async with connecting(url) as connection:
                swept = -math.inf
                while True:
                    if is_sweep := time.monotonic() - swept > SECONDS_BETWEEN_SWEEPS:
                        swept = time.monotonic()
                    await look(connection, aims, signs, growth, is_sweep=is_sweep)
                    signs.note_look()
                    await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            logger.warning("The indexer lost the database, and tries again.", kind=type(error).__name__)
            signs.note_look()
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


async def run_once(url: str, aims: IndexAims) -> list[Built]:
    """Polls once, and returns the indexes that were built, also of projects that are being filled."""
    async with connecting(url) as connection:
        return await look(connection, aims)


async def look(
    connection: Connection,
    aims: IndexAims,
    signs: Signs | None = None,
    growth: Growth | None = None,
    *,
    is_sweep: bool = True,
) -> list[Built]:
    """Brings the index of each project up to date that has changed; with `is_sweep` of all.

    A sweep also drops the indexes of interrupted builds. A project that is being filled, as its `growth` says, is
    left for later.
    """
    signs = signs or Signs()
    if is_sweep:
        await _drop_strays(connection)
        await indexes.drop_stray_deltas(connection)
    await _count(connection, aims.threshold)
    done: list[Built] = []
    for project in await indexes.get_projects_to_index(connection, threshold=aims.threshold, look_at_all=is_sweep):
        is_growing = growth is not None and growth.is_under_way(project)
        if is_growing and project.rows < COARSE_ROWS:
            continue
        try:
            async with alone(connection, project.project_id) as is_alone:
                if not is_alone:
                    continue
                with signs.at_work():
                    await _index_coarsely(connection, project, aims)
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
                    await DROP[stray.kind](connection, project_id=stray.project_id, watermark=stray.watermark)


async def _index_coarsely(connection: Connection, project: ProjectToIndex, aims: IndexAims) -> None:
    """Builds a coarse index of a large project most of whose rows are in none."""
    old = (await indexes.retrieve_index_state(connection, project_id=project.project_id)).built
    indexed = old.indexed_rows if old is not None else 0
    if project.rows - indexed < max(COARSE_ROWS, indexed) or project.dimensions > MAX_DIMENSIONS:
        return
    lists = min(max(project.rows // ROWS_A_LIST, 1), MOST_LISTS)
    watermark = await indexes.get_next_watermark(connection)
    index = {"project_id": project.project_id, "watermark": watermark}
    logger.info("Building a coarse index.", project=project.project_id, rows=project.rows, lists=lists)
    # Fifty rows of each list are clustered, in single precision.
    await _use_memory(connection, aims, 50 * lists, 2 * project.dimensions, PLAIN.m)
    await indexes.use_workers(connection, workers=MAX_BUILD_WORKERS)
    try:
        await indexes.build_coarse_index(connection, **index, dimensions=project.dimensions, lists=lists)
    except asyncpg.ProgramLimitExceededError:
        logger.warning("Too little memory for a coarse index.", project=project.project_id, lists=lists)
        await indexes.drop_coarse_index(connection, **index)
        return
    await indexes.build_tail_index(connection, **index)
    await indexes.analyze_rows(connection, project_id=project.project_id)
    await _switch(connection, project, watermark, PLAIN.m, aims, old, lists)


async def _bring_up_to_date(connection: Connection, project: ProjectToIndex, aims: IndexAims) -> Built | None:
    built = (await indexes.retrieve_index_state(connection, project_id=project.project_id)).built
    if built is not None and _wants_denser_graph(built, aims):  # the building of one was interrupted
        built = replace(built, m=DENSE.m)
    elif built is not None and not built.lists and not await _is_outdated(connection, project, built):
        if not built.metadata_indexed:  # its building was interrupted, or an older version built the others
            await indexes.sample_more_metadata(connection, project_id=project.project_id)
            await indexes.analyze_rows(connection, project_id=project.project_id)
            await _index_metadata(connection, project.project_id, built.watermark)
        return None
    if project.dimensions > MAX_DIMENSIONS:
        return None
    if project.rows < (aims.threshold if built is None else aims.threshold // 2):
        await _forget(connection, project.project_id, built)
        return None
    return await _build(connection, project, aims, built)


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
    await _drop_all(connection, project_id, built.watermark)
    logger.info("A project is searched without an index again.", project=project_id)


async def _build(
    connection: Connection, project: ProjectToIndex, aims: IndexAims, old: BuiltIndex | None
) -> Built | None:
    """Builds and measures an index, and switches to it; then a denser one where it does not reach the recall."""
    project_id, m = project.project_id, old.m if old is not None else PLAIN.m
    watermark = await indexes.get_next_watermark(connection)
    logger.info("Building an index.", project=project_id, rows=project.rows, dimensions=project.dimensions, m=m)
    await _use_memory(connection, aims, project.rows, project.dimensions, m)
    await _build_vector_index(connection, project, watermark, DENSE if m == DENSE.m else PLAIN)
    await indexes.build_tail_index(connection, project_id=project_id, watermark=watermark)
    await indexes.sample_more_metadata(connection, project_id=project_id)
    await indexes.analyze_rows(connection, project_id=project_id)
    if not await _switch(connection, project, watermark, m, aims, old):
        return None
    await _index_metadata(connection, project_id, watermark)
    built = (await indexes.retrieve_index_state(connection, project_id=project_id)).built
    if built is not None and _wants_denser_graph(built, aims):
        return await _build(connection, project, aims, replace(built, m=DENSE.m))
    return None if built is None else Built(project_id, watermark, built.indexed_rows)


async def _switch(
    connection: Connection,
    project: ProjectToIndex,
    watermark: int,
    m: int,
    aims: IndexAims,
    old: BuiltIndex | None,
    lists: int = 0,
) -> bool:
    """Measures an index, lets searches use it, and drops the old one. False when the project is gone."""
    project_id = project.project_id
    indexed = await indexes.count_rows_up_to(connection, project_id=project_id, watermark=watermark)
    calibration = Calibration(connection, project_id, watermark, project.dimensions, lists)
    measured = await calibration.measure(aims.recall) if await calibration.prepare(indexed) else Measurement()
    switched = await indexes.switch_index(
        connection,
        project_id=project_id,
        watermark=watermark,
        indexed_rows=indexed,
        lists=lists,
        m=m,
        **msgspec.structs.asdict(measured),
    )
    if switched is None:
        return False
    if old is not None:
        await _drop_all(connection, project_id, old.watermark)
    recalls = dict(zip(measured.efforts, measured.recalls, strict=True))
    logger.info("Built an index.", project=project_id, m=m, lists=lists, recalls=recalls)
    return True


async def _drop_all(connection: Db, project_id: int, watermark: int) -> None:
    for drop in DROP.values():
        await drop(connection, project_id=project_id, watermark=watermark)


async def _index_metadata(connection: Db, project_id: int, watermark: int) -> None:
    """Builds the index of the metadata beside the one of the vectors, which is searched already."""
    await indexes.drop_metadata_index(connection, project_id=project_id, watermark=watermark)  # half of one, if any
    await indexes.build_metadata_index(connection, project_id=project_id, watermark=watermark)
    await indexes.note_metadata_index(connection, project_id=project_id, watermark=watermark)


def _wants_denser_graph(built: BuiltIndex, aims: IndexAims) -> bool:
    """Whether an index does not reach the recall that searches usually want, and a denser one was not tried yet."""
    return not built.lists and built.m < DENSE.m and bool(built.recalls) and built.recalls[-1] < aims.recall


async def _use_memory(connection: Db, aims: IndexAims, rows: int, dimensions: int, m: int) -> None:
    # A half takes two bytes; links and overhead of a row some 400 with m = 16; a quarter to spare.
    memory = int(rows * (dimensions * 2 + 25 * m) * 1.25) + 64 * 1024 * 1024
    most = for_builds(is_embedded=aims.is_embedded) if aims.memory is None else aims.memory
    await indexes.use_memory(connection, kibibytes=min(most, memory) // 1024)


async def _build_vector_index(connection: Db, project: ProjectToIndex, watermark: int, graph: Graph) -> None:
    index: dict[str, int] = {"project_id": project.project_id, "watermark": watermark}
    parameters = {**index, "dimensions": project.dimensions, **msgspec.structs.asdict(graph)}
    await indexes.use_workers(connection, workers=MAX_BUILD_WORKERS)
    try:
        await indexes.build_vector_index(connection, **parameters)
    except (asyncpg.DiskFullError, asyncpg.OutOfMemoryError):
        # In containers /dev/shm, through which the helpers share the index, is often too small.
        logger.warning("No shared memory for a parallel build; building alone.", project=project.project_id)
        await indexes.drop_vector_index(connection, **index)
        await indexes.use_workers(connection, workers=0)
        await indexes.build_vector_index(connection, **parameters)
