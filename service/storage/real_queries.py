"""Measures the recall of indexes with real queries: a random sample of recent searches.

The sample exists only in the memory of the process that answered them. The synthetic queries for a new index
(`service.storage.calibration`) are similar to stored vectors; real queries may differ, with a lower recall.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

from service.database.pool import Connection
from service.observability.logs import logger
from service.queries import indexes
from service.storage import indexer
from service.storage.calibration import Calibration
from service.storage.locks import alone

MOST_QUERIES = 1000  # of a project
LEAST_QUERIES = 400
MOST_OF_A_REQUEST = 10
MOST_BYTES = 32 * 1024 * 1024  # of all projects
REPLACED = 1 / 16  # of the queries in a full sample: it then covers the last 16,000
SECONDS_BETWEEN_POLLS = 60.0
VALID = timedelta(hours=1)


class RealQueries:
    """A random sample of recent queries for each project."""

    def __init__(self) -> None:
        self._of: dict[int, list[bytes]] = {}  # by project, in the order of the last searches
        self._bytes = 0

    def note(self, project_id: int, vectors: Sequence[bytes]) -> None:
        """Adds some of the vectors of a search (`service.vectors.to_binary`), without repetitions."""
        kept = self._of.pop(project_id, [])
        if kept and len(kept[0]) != len(vectors[0]):  # the project was emptied, and got other dimensions
            self._bytes -= sum(map(len, kept))
            kept = []
        self._of[project_id] = kept
        for vector in vectors[:MOST_OF_A_REQUEST]:
            if len(kept) < MOST_QUERIES:
                if vector not in kept:
                    kept.append(vector)
                    self._bytes += len(vector)
            elif random.random() < REPLACED and vector not in kept:  # noqa: S311  # not a secret
                place = random.randrange(MOST_QUERIES)  # noqa: S311
                self._bytes += len(vector) - len(kept[place])
                kept[place] = vector
        while self._bytes > MOST_BYTES:
            self._bytes -= sum(map(len, self._of.pop(next(iter(self._of)))))

    def enough(self) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """Yields projects with enough queries, and these as `(n, dimensions) float16` in random order."""
        for project_id, kept in list(self._of.items()):
            if len(kept) >= LEAST_QUERIES:
                some = kept.copy()
                random.shuffle(some)
                yield project_id, np.array([HalfVector.from_binary(vector).to_numpy() for vector in some])


async def measuring(url: str, aim: float, real: RealQueries) -> None:
    """Measures projects with enough queries, each once an hour, until it is cancelled."""
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_POLLS)
        for project_id, queries in real.enough():
            try:
                async with indexer.connecting(url) as connection:
                    await measure(connection, project_id, queries, aim)
            except Exception as error:  # also unexpected ones: the next measurement may succeed
                logger.warning("An index was not measured.", project=project_id, kind=type(error).__name__)


async def measure(connection: Connection, project_id: int, queries: NDArray[np.float16], aim: float) -> bool:
    """Measures the graph of a project, unless that was done recently or an index is being built."""
    async with alone(connection, project_id) as is_alone:
        built = (await indexes.get_index_states(connection, project_ids=[project_id]))[0].built
        if not is_alone or built is None or built.lists:
            return False
        if built.measured_with == "real" and built.measured_at > datetime.now(UTC) - VALID:
            return False
        calibration = Calibration(connection, project_id, built.watermark, queries.shape[1])
        if not await calibration.prepare(built.indexed_rows, queries):
            return False
        measured = await calibration.measure(aim)
        noted = await indexes.note_measurement(
            connection, project_id=project_id, watermark=built.watermark, **msgspec.structs.asdict(measured)
        )
        recalls = dict(zip(measured.efforts, measured.recalls, strict=True))
        logger.info("Measured an index with real queries.", project=project_id, queries=len(queries), recalls=recalls)
        return noted > 0
