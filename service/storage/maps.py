"""Computes requested maps of projects in the background: their embeddings as points in two dimensions.

A map has up to 100,000 embeddings, the first in the order of samples (`embedding_order`). A separate process
(`service.maps.worker`) with limited memory computes it from rows that are streamed to it. There are two methods: a
projection (PCA), which is stored first, and a layout by neighbours (t-SNE), if its extra is installed.

Both are kept until a fifth of the project has changed; new rows get places by the same projection, and near their
neighbours. All state is in the database. Only one indexer of an installation makes maps, one at a time, which limits
the memory.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

import asyncpg
import msgspec

from service.children import Child
from service.database.pool import Connection
from service.maps import worker
from service.maps.messages import Failed, Layout, Part, Progress, Start
from service.observability.logs import logger
from service.queries import changes, maps
from service.queries.maps import AskedMap
from service.storage.locks import MAPS_LOCK, WHOLE_INSTALLATION, alone

CHANGED_FRACTION = 0.2
SECONDS_BETWEEN_CHECKS = 2.0  # whether the project still has its embeddings, while the process computes
STUCK_SECONDS = 1800.0  # without a message, after which the process is killed
LAST = 2**63 - 1  # in the order of samples
# Busy-waiting threads took ten times as long on a loaded machine.
THREADS = {"OMP_WAIT_POLICY": "PASSIVE"} | dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(os.cpu_count() or 1)
)
ENDED = "The process that computes it was killed, perhaps because of too little memory."
DATABASE = "A statement failed in the database."


async def poll(connection: Connection) -> None:
    """Makes all requested maps, unless another indexer does."""
    async with alone(connection, WHOLE_INSTALLATION, MAPS_LOCK) as is_alone:
        while is_alone and (asked := await maps.retrieve_asked_map(connection)):
            error = await _make(connection, asked)
            await maps.end_map(connection, project_id=asked.project_id, log=asked.log, error=error)


async def _make(connection: Connection, asked: AskedMap) -> str | None:
    """Makes a map; returns the error, if any."""
    try:
        error = await _compute(connection, asked)
    except (_Abandoned, asyncpg.UndefinedTableError):
        logger.info("A map was abandoned: its project was emptied or deleted.", project=asked.project_id)
        return None
    except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
        raise
    except asyncpg.PostgresError as fault:
        logger.error("A map could not be made.", project=asked.project_id, sqlstate=fault.sqlstate)
        return DATABASE
    except (OSError, EOFError, TimeoutError) as fault:
        logger.error("A map could not be made.", project=asked.project_id, kind=type(fault).__name__)
        return ENDED
    if error is not None:
        logger.warning("A map could not be made.", project=asked.project_id, error=error)
    return error


async def _compute(connection: Connection, asked: AskedMap) -> str | None:
    project_id = asked.project_id
    is_outdated = (
        asked.basis is None
        or asked.base_changes is None
        or asked.base_rows is None
        or asked.changes - asked.base_changes > CHANGED_FRACTION * asked.base_rows
    )
    layout = await maps.get_map_layout(connection, project_id=project_id)
    start = Start(
        min(asked.rows, worker.MOST_POINTS),
        asked.dimensions,
        None if is_outdated else asked.basis,
        b"".join(one.sequences for one in layout),
        b"".join(one.positions for one in layout),
        is_outdated or not asked.has_neighbours,
    )
    logger.info("Making a map.", project=project_id, rows=asked.rows, renews=start.renews)
    layouts_left = 1 + start.renews

    async def check() -> None:
        if (await changes.retrieve_log_state(connection, project_id=project_id)).log != asked.log:
            raise _Abandoned

    async with contextlib.aclosing(await Child.start(worker.__file__, THREADS)) as child:
        process = _Process(child, check)
        await process.send(msgspec.msgpack.encode(start))
        for rows in (worker.basis_rows(asked.dimensions), worker.MOST_POINTS):
            last = await maps.retrieve_sample_end(connection, project_id=project_id, rows=rows)
            await maps.copy_sample(
                connection, project_id=project_id, last=LAST if last is None else last, output=process.send
            )
            await process.send(b"")
        while layouts_left:
            answer = msgspec.msgpack.decode(await process.receive(), type=Progress | Layout | Failed)
            if isinstance(answer, Failed):
                return answer.why
            if isinstance(answer, Progress):
                there = await maps.note_map_progress(
                    connection, project_id=project_id, log=asked.log, stage=answer.stage, progress=answer.done
                )
            else:
                layouts_left -= 1
                # If the first layout repeats old neighbours, a new layout follows. Until then the base stays, so that
                # another indexer renews the map if this one is interrupted.
                is_renewed = is_outdated and not (layouts_left and answer.has_neighbours)
                there = await _store(connection, asked, answer, process, is_renewed=is_renewed)
            if not there:
                raise _Abandoned
    logger.info("Made a map.", project=project_id)
    return None


async def _store(
    connection: Connection, asked: AskedMap, layout: Layout, process: "_Process", *, is_renewed: bool
) -> bool:
    """Stores a layout and its parts, which are received next; False if the project was deleted."""
    base_changes = asked.changes if is_renewed or asked.base_changes is None else asked.base_changes
    base_rows = asked.rows if is_renewed or asked.base_rows is None else asked.base_rows
    values = msgspec.structs.asdict(layout)
    parts = [msgspec.msgpack.decode(await process.receive(), type=Part) for _ in range(values.pop("parts"))]
    async with connection.transaction():
        stored = await maps.store_map(
            connection,
            project_id=asked.project_id,
            log=asked.log,
            changes=asked.changes,
            base_changes=base_changes,
            base_rows=base_rows,
            **values,
        )
        if not stored:
            return False
        for number, part in enumerate(parts):
            await maps.store_map_part(
                connection, project_id=asked.project_id, part=number, **msgspec.structs.asdict(part)
            )
    return True


class _Abandoned(Exception):
    """The project was emptied or deleted."""


class _Process:
    """The process that computes a map. Calls `check` every two seconds while it waits for an answer."""

    def __init__(self, child: Child, check: Callable[[], Awaitable[None]]) -> None:
        self._child, self._check = child, check

    async def send(self, content: bytes) -> None:
        """Sends a message or a piece of a sample, with back-pressure. Raises OSError if the process has ended."""
        async with asyncio.timeout(STUCK_SECONDS):
            await self._child.send(content)

    async def receive(self) -> bytes:
        """The next message."""
        coming = asyncio.ensure_future(self._child.receive())
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                while not (await asyncio.wait([coming], timeout=SECONDS_BETWEEN_CHECKS))[0]:
                    await self._check()
        finally:
            coming.cancel()
        return coming.result()
