"""Builds of a project's indexes: a graph (HNSW), a coarse index (IVFFlat), and those of the tail and the metadata.

`service.storage.indexer` decides when to build. An index is built beside the old one, measured, then activated.
"""

from typing import get_args

import asyncpg
import msgspec
from msgspec.structs import replace

from service.database.pool import Connection
from service.database.statements import Db
from service.observability.logs import logger
from service.queries import indexes
from service.queries.indexes import BuiltIndex, IndexKind, ProjectToIndex
from service.settings import IndexAims
from service.storage.calibration import Calibration, Measurement

MAX_DIMENSIONS = 4000  # of pgvector's indexes of halves
MAX_BUILD_WORKERS = 2
# A coarse index is built for this number of rows without an index: reading 100,000 rows of 384 dimensions takes about
# 50 ms. With more lists, searches read less and the build takes longer: for 1,000,000 rows 10 s with 200 lists, 17 s
# with 400, on two cores.
COARSE_ROWS = 100_000
ROWS_A_LIST = 5000
MOST_LISTS = 400
# Links per row of a graph (`m`).
PLAIN = 16  # pgvector's default
DENSE = 32  # takes 2.3 times as long to build


class Built(msgspec.Struct, frozen=True):
    """A new index of the `indexed_rows` rows up to `watermark`."""

    project_id: int
    watermark: int
    indexed_rows: int


async def index_coarsely(connection: Connection, project: ProjectToIndex, aims: IndexAims, *, is_growing: bool) -> None:
    """Builds a coarse index of a large project with many rows without an index.

    While the project is growing, or if it has a graph, these must be more than the indexed rows.
    """
    old = (await indexes.get_index_states(connection, project_ids=[project.project_id]))[0].built
    indexed = old.indexed_rows if old is not None else 0
    has_graph = old is not None and not old.lists
    least = max(COARSE_ROWS, indexed) if is_growing or has_graph else COARSE_ROWS
    if project.rows - indexed < least or project.dimensions > MAX_DIMENSIONS:
        return
    lists = min(max(project.rows // ROWS_A_LIST, 1), MOST_LISTS)
    watermark = await indexes.get_next_watermark(connection)
    index = {"project_id": project.project_id, "watermark": watermark}
    logger.info("Building a coarse index.", project=project.project_id, rows=project.rows, lists=lists)
    # pgvector clusters fifty rows per list, in single precision.
    await _use_resources(connection, aims, 50 * lists, 2 * project.dimensions, PLAIN)
    try:
        await indexes.build_coarse_index(connection, **index, dimensions=project.dimensions, lists=lists)
    except asyncpg.ProgramLimitExceededError:
        logger.warning("Too little memory for a coarse index.", project=project.project_id, lists=lists)
        await indexes.drop_index(connection, **index, kind="ivf")
        return
    await _finish(connection, project, watermark, PLAIN, aims, old, lists)


async def build(
    connection: Connection, project: ProjectToIndex, aims: IndexAims, old: BuiltIndex | None
) -> Built | None:
    """Builds, measures and activates a graph, then a denser one if it does not reach the recall."""
    project_id, m = project.project_id, old.m if old is not None else PLAIN
    watermark = await indexes.get_next_watermark(connection)
    logger.info("Building an index.", project=project_id, rows=project.rows, dimensions=project.dimensions, m=m)
    await _use_resources(connection, aims, project.rows, project.dimensions, m)
    await _build_vector_index(connection, project, watermark, m)
    await indexes.sample_more_metadata(connection, project_id=project_id)
    if not await _finish(connection, project, watermark, m, aims, old):
        return None
    built = (await indexes.get_index_states(connection, project_ids=[project_id]))[0].built
    if built is None:
        return None
    await index_metadata(connection, project_id, built)
    if wants_denser_graph(built, aims):
        return await build(connection, project, aims, replace(built, m=DENSE))
    return Built(project_id, watermark, built.indexed_rows)


async def _finish(
    connection: Connection,
    project: ProjectToIndex,
    watermark: int,
    m: int,
    aims: IndexAims,
    old: BuiltIndex | None,
    lists: int = 0,
) -> bool:
    """Builds the tail's index, then measures and activates both. False if the project was emptied or deleted."""
    project_id = project.project_id
    await indexes.build_tail_index(connection, project_id=project_id, watermark=watermark)
    await indexes.analyze_rows(connection, project_id=project_id)
    indexed = await indexes.count_rows_up_to(connection, project_id=project_id, watermark=watermark)
    calibration = Calibration(connection, project_id, watermark, project.dimensions, lists)
    measured = await calibration.measure(aims.recall) if await calibration.prepare(indexed) else Measurement()
    switched = await indexes.switch_index(
        connection,
        project_id=project_id,
        log=project.log,
        watermark=watermark,
        indexed_rows=indexed,
        lists=lists,
        m=m,
        **msgspec.structs.asdict(measured),
    )
    if switched is None:
        await drop_all(connection, project_id, watermark)
        return False
    if old is not None:
        await drop_all(connection, project_id, old.watermark)
    recalls = dict(zip(measured.efforts, measured.recalls, strict=True))
    logger.info("Built an index.", project=project_id, m=m, lists=lists, recalls=recalls)
    return True


async def drop_all(connection: Db, project_id: int, watermark: int) -> None:
    """Drops all indexes with a watermark."""
    for kind in get_args(IndexKind):
        await indexes.drop_index(connection, project_id=project_id, kind=kind, watermark=watermark)


async def index_metadata(connection: Db, project_id: int, built: BuiltIndex) -> None:
    """Builds the metadata indexes that an active vector index lacks, after dropping those of interrupted builds."""
    index = {"project_id": project_id, "watermark": built.watermark}
    if not built.metadata_indexed:
        await indexes.drop_index(connection, **index, kind="meta")
        await indexes.build_metadata_index(connection, **index)
        await indexes.note_metadata_index(connection, **index)
    if not built.terms_indexed:
        await indexes.drop_index(connection, **index, kind="terms")
        await indexes.build_terms_index(connection, **index)
        await indexes.omit_terms_from_statistics(connection, **index)
        await indexes.note_terms_index(connection, **index)


def wants_denser_graph(built: BuiltIndex, aims: IndexAims) -> bool:
    """Whether an index is below the desired recall, and a denser one was not tried yet."""
    return not built.lists and built.m < DENSE and bool(built.recalls) and built.recalls[-1] < aims.recall


async def _use_resources(connection: Db, aims: IndexAims, rows: int, dimensions: int, m: int) -> None:
    # A half has two bytes; links and overhead of a row about 400 with m = 16; plus a quarter.
    memory = int(rows * (dimensions * 2 + 25 * m) * 1.25) + 64 * 1024 * 1024
    kibibytes = min(aims.memory, memory) // 1024
    await indexes.set_for_session(connection, name="maintenance_work_mem", value=f"{kibibytes}kB")
    await _use_workers(connection, MAX_BUILD_WORKERS)


async def _use_workers(connection: Db, workers: int) -> None:
    await indexes.set_for_session(connection, name="max_parallel_maintenance_workers", value=str(workers))


async def _build_vector_index(connection: Db, project: ProjectToIndex, watermark: int, m: int) -> None:
    index = {"project_id": project.project_id, "watermark": watermark}
    parameters = {**index, "dimensions": project.dimensions, "m": m}
    try:
        await indexes.build_vector_index(connection, **parameters)
    except (asyncpg.DiskFullError, asyncpg.OutOfMemoryError):
        # In containers, /dev/shm is often too small for parallel workers.
        logger.warning("No shared memory for a parallel build; building alone.", project=project.project_id)
        await indexes.drop_index(connection, **index, kind="hnsw")
        await _use_workers(connection, 0)
        await indexes.build_vector_index(connection, **parameters)
