"""Makes the maps of projects in the background: their embeddings as points in the plane, for those who have asked.

A map has the embeddings that come first in the order of samples (`embedding_order`), 100,000 at most. It is computed by
a process of its own (`service.maps.worker`) with a limit of memory, which this one gives the rows as they come from the
database. Two methods: a projection (PCA), which is stored first, and a layout that keeps neighbours beside each other,
if its extra is installed.

Both are kept while less than a fifth of the project has changed. Until then later rows get places by the same
projection, and beside their neighbours. All state is in the database; one indexer of an installation makes maps at a
time, and one after the other, so the memory is that of one.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

import asyncpg
import msgspec

from service.database.pool import Connection
from service.maps import worker
from service.maps.messages import LENGTH_BYTES, Answer, Failed, Layout, Part, Progress, Start, framed
from service.observability.logs import logger
from service.queries import indexes, maps
from service.queries.maps import AskedMap

LOCK = 0x1DE9  # of the advisory lock
WHOLE_INSTALLATION = 0  # in place of a project
CHANGED_FRACTION = 0.2
STUCK_SECONDS = 1800.0  # without a sign, after which the process is killed
LAST = 2**63 - 1  # in the order of samples
# Threads that wait in a loop took ten times as long on a machine with other work.
THREADS = {"OMP_WAIT_POLICY": "PASSIVE"} | dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(os.cpu_count() or 1)
)
ENDED = "The process that computes it was ended, perhaps for lack of memory."
DATABASE = "The database could not do it."


async def look(connection: Connection) -> int:
    """Makes all maps that were asked for, and returns how many; none while another indexer does."""
    made = 0
    if not await indexes.lock_project_index(connection, lock=LOCK, project_id=WHOLE_INSTALLATION):
        return made
    try:
        while asked := await maps.retrieve_asked_map(connection):
            error = await _make(connection, asked)
            await maps.end_map(connection, project_id=asked.project_id, error=error)
            made += error is None
    finally:
        await indexes.unlock_project_index(connection, lock=LOCK, project_id=WHOLE_INSTALLATION)
    return made


async def _make(connection: Connection, asked: AskedMap) -> str | None:
    """Makes a map, and returns what has gone wrong, if anything has."""
    try:
        error = await _compute(connection, asked)
    except asyncpg.UndefinedTableError:  # the project has been deleted
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
    async with _Process.running() as process:
        await process.send(msgspec.msgpack.encode(start))
        for rows in (worker.basis_rows(asked.dimensions), worker.MOST_POINTS):
            last = await maps.retrieve_sample_end(connection, project_id=project_id, rows=rows)
            await maps.copy_sample(
                connection, project_id=project_id, last=LAST if last is None else last, output=process.send
            )
            await process.send(b"")
        async for answer in process.answers():
            if isinstance(answer, Failed):
                return answer.why
            if isinstance(answer, Progress):
                there = await maps.note_map_progress(
                    connection, project_id=project_id, stage=answer.stage, progress=answer.done
                )
            else:
                layouts_left -= 1
                # A layout by neighbours that was only kept follows anew. Its base stays until then, so that another
                # indexer renews it if this one does not come so far.
                is_renewed = is_outdated and not (layouts_left and answer.has_neighbours)
                there = await _store(connection, asked, answer, process, is_renewed=is_renewed)
            if not there:
                logger.info("A map was abandoned: its project was emptied or deleted.", project=project_id)
                return None
    logger.info("Made a map.", project=project_id)
    return None


async def _store(
    connection: Connection, asked: AskedMap, layout: Layout, process: "_Process", *, is_renewed: bool
) -> bool:
    """Stores a layout, whose parts come next; False when its project is not there any more."""
    base_changes = asked.changes if is_renewed or asked.base_changes is None else asked.base_changes
    base_rows = asked.rows if is_renewed or asked.base_rows is None else asked.base_rows
    parts = [await process.part() for _ in range(layout.parts)]
    async with connection.transaction():
        stored = await maps.store_map(
            connection,
            project_id=asked.project_id,
            log=asked.log,
            changes=asked.changes,
            base_changes=base_changes,
            base_rows=base_rows,
            basis=layout.basis,
            has_neighbours=layout.has_neighbours,
            explained=layout.explained,
            trust_sample=layout.trust_sample,
            trust_of_pca=layout.trust_of_pca,
            trust_of_neighbours=layout.trust_of_neighbours,
        )
        if not stored:
            return False
        await maps.forget_map_parts(connection, project_id=asked.project_id)
        for number, part in enumerate(parts):
            await maps.store_map_part(
                connection, project_id=asked.project_id, part=number, **msgspec.structs.asdict(part)
            )
    return True


class _Process:
    """The process that computes a map, which ends with the block that runs it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None  # noqa: S101 (both are pipes)
        assert process.stdout is not None  # noqa: S101
        self._process, self._input, self._output = process, process.stdin, process.stdout

    @staticmethod
    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator["_Process"]:
        """Starts a new Python, which knows where this one found its packages, and nothing else of the environment."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            worker.__file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(sys.path), **THREADS},
        )
        try:
            yield _Process(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def send(self, content: bytes) -> None:
        """Sends a message, or a piece of a sample; waits until the process has read most of it."""
        self._input.write(framed(content))
        await self._input.drain()

    async def answers(self) -> AsyncIterator[Layout | Progress | Failed]:
        """All answers but parts, until the process has ended. Raises EOFError when it was ended from outside."""
        while (answer := await self._next()) is not None:
            if isinstance(answer, Part):
                raise EOFError
            yield answer
        if await self._process.wait():
            raise EOFError

    async def part(self) -> Part:
        """The next answer, which must be a part."""
        answer = await self._next()
        if not isinstance(answer, Part):
            raise EOFError
        return answer

    async def _next(self) -> Answer | None:
        async with asyncio.timeout(STUCK_SECONDS):
            try:
                head = await self._output.readexactly(LENGTH_BYTES)
            except asyncio.IncompleteReadError:
                return None
            content = await self._output.readexactly(int.from_bytes(head))
        answer: Answer = msgspec.msgpack.decode(content, type=Answer)
        return answer
