"""Measurement of the recall of a project's vector index: the share of the ten nearest rows that a search finds.

Queries are real ones (`service.storage.real_queries`), or synthetic: stored vectors with normal noise of the length of
the distance to the fifth nearest row, similar to new texts. 2,000 held-out texts (18,200 embeddings of 384 dimensions
stored, five graphs) missed as many of the nearest rows at a recall of 0.995, 1.1 times as many at 0.993, 1.2 at 0.987,
1.4 at 0.978, 1.7 at 0.96, 2 at 0.93; of 6,000 rows, about the same. For clustered rows, and rows around texts, noise
is the harder test. Noise in the directions between stored vectors is far harder: a recall of 0.96 to 0.98 where the
texts have 0.991. (Stored vectors themselves are found too easily, by their own links.)

The nearest rows of all queries are computed exactly in one pass over the rows. Then the index is searched with
different efforts: a graph with numbers of candidates (`hnsw.ef_search`) chosen by bisection; a coarse index, which is
soon replaced, with two numbers of lists (`ivfflat.probes`).
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from service import vectors
from service.database.pool import Connection, Scan, ServiceConnection
from service.queries import indexes, similars

NEIGHBOURS = 10
QUERIES = 1000  # with a standard error of 0.0007 at a recall of 0.995
LEAST_QUERIES = 200
COMPARISONS = 400_000_000  # of queries with rows, at most: about ten seconds at 384 dimensions on two cores
FEW = 200  # queries, if the recall is far from the aim
QUERIES_AT_ONCE = 200  # per statement
PIECE_BYTES = 4 * 1024 * 1024  # of rows, before a comparison
ROWS_AT_ONCE = 2000  # compared with all queries: 8 MB of similarities
NOISE_AS_FAR_AS = 5
NO_NOISE = 0.01  # of a chord: rounding errors of halves and distances
USUAL_EF_SEARCH = 100
LEAST_EF_SEARCH, MOST_EF_SEARCH = 20, 1000  # pgvector's limit is 1,000
RECALLS = (0.9, 0.95, 0.97)  # possible requests of clients, besides the service's aim
FULL_RECALL = 0.9995
PRECISION = 1.1  # of the chosen ef_search, relative to the smallest that reaches a recall
TOLERANCE = 1e-5  # for sums of float32 in another order
# Misses of texts for one of a synthetic query: see above. 200 other texts, as few as users check with, had 0.9 to 1.9
# times as many in six graphs. At low recalls, measured with FEW queries, the standard errors cover the rest: where 0.9
# to 0.97 was measured, 200 texts had 0.017 to 0.021 more.
MORE_MISSES = 1.6

# Of the lists of a coarse index. A sixth of 1,000,000 rows of 384 dimensions took 85 ms to read, on two idle cores.
COARSE_EFFORTS = (1 / 24, 1 / 6)
COARSE_QUERIES = 50


class Measurement(msgspec.Struct, frozen=True):
    """Efforts and their recalls, both ascending.

    A recall is as low as it may be for texts: minus two standard errors, with MORE_MISSES. `queries` is the number of
    queries, `recall_error` the standard error at the aim, `exact_seconds` the time of an exact search.
    """

    efforts: list[int] = []
    recalls: list[float] = []
    queries: int = 0
    recall_error: float = 0.0
    exact_seconds: float | None = None


class _Recall(msgspec.Struct, frozen=True):
    """The mean recall of some queries, and its standard error."""

    queries: int
    mean: float
    error: float


class Calibration:
    """The index of a project, coarse if it has `lists`, and queries with known exact answers."""

    def __init__(
        self, connection: Connection, project_id: int, watermark: int, dimensions: int, lists: int = 0
    ) -> None:
        self._lists = lists
        self._connection = connection
        self._index = {"project_id": project_id, "watermark": watermark}
        self._dimensions = dimensions
        self._queries: list[bytes] = []
        self._distances: list[float] = []  # of the tenth nearest row of each
        self._places = np.empty((0, NEIGHBOURS), dtype=np.int64)  # of the ten nearest
        self._found: dict[int, _Recall] = {}  # by effort
        self._misses = MORE_MISSES

    async def prepare(self, rows: int, real: NDArray[np.float16] | None = None) -> bool:
        """Makes queries, or uses some of the `real` ones, and finds their exact answers among `rows` rows.

        False if there are too few rows.
        """
        if rows < NEIGHBOURS:
            return False
        count = COARSE_QUERIES if self._lists else min(QUERIES, max(LEAST_QUERIES, COMPARISONS // max(rows, 1)))
        if real is not None:
            queries, self._misses = real[:count], 1.0
        else:
            queries = await self._synthetic(count)
        if not len(queries):
            return False
        scan = ExactScan(queries, self._dimensions)
        await indexes.copy_vectors(self._connection, **self._index, output=scan.take)
        self._distances = [float(one) + TOLERANCE for one in scan.tenth_distances()]
        self._places = scan.places
        self._queries = vectors.to_binary(queries)
        return True

    async def _synthetic(self, count: int) -> NDArray[np.float16]:
        stored = await indexes.sample_vectors(self._connection, **self._index, max_rows=count)
        distances: list[float] = []
        async with self._scanning(max(1, self._lists // 6) if self._lists else USUAL_EF_SEARCH):
            for start in range(0, len(stored), QUERIES_AT_ONCE):
                some = [one.to_binary() for one in stored[start : start + QUERIES_AT_ONCE]]
                # The first neighbour of a stored vector is the vector itself.
                distances += [max(near, default=0.0) for near in await self._nearest(some, NOISE_AS_FAR_AS + 1)]
        return await asyncio.to_thread(_with_noise, [one.to_numpy() for one in stored], distances)

    @contextlib.asynccontextmanager
    async def _scanning(self, effort: int) -> AsyncIterator[None]:
        """Sets the scan of the session during the block."""
        connection = cast("ServiceConnection", self._connection)
        await connection.use(Scan(effort, goes_on=False, is_coarse=bool(self._lists)))
        try:
            yield
        finally:
            await connection.use(None)

    async def _nearest(self, queries: list[bytes], max_rows: int) -> list[list[float]]:
        return await indexes.get_distances_of_neighbours(
            self._connection, **self._index, dimensions=self._dimensions, vectors=queries, max_rows=max_rows
        )

    async def measure(self, aim: float) -> Measurement:
        """Measures recalls. For a graph, finds the smallest number of candidates for each of RECALLS and for `aim`."""
        if self._lists:
            for part in COARSE_EFFORTS:
                await self._recall(max(1, round(self._lists * part)), COARSE_QUERIES)
        else:
            ef_search = LEAST_EF_SEARCH
            while await self._recall(ef_search, FEW) < FULL_RECALL and ef_search < MOST_EF_SEARCH:
                ef_search = min(2 * ef_search, MOST_EF_SEARCH)
            for recall in (*(one for one in RECALLS if one < aim), aim):
                await self._bisect(recall, FEW if recall < aim else len(self._queries))
        certain = {one: self._certain(one) for one in sorted(self._found)}
        # Without those of which few queries say less than many say of a lower effort.
        most = max(one.queries for one in self._found.values())
        full = {one for one in certain if self._found[one].queries == most}
        efforts = [
            one for one in certain if one in full or all(certain[one] >= certain[less] for less in full if less < one)
        ]
        recalls = [certain[one] for one in efforts]
        # Because of noise, a higher effort may have a lower recall, which then counts for both.
        lower = np.minimum.accumulate(recalls[::-1])[::-1]
        reaching = next((one for one in efforts if certain[one] >= aim), efforts[-1])
        return Measurement(
            efforts,
            [round(max(float(one), 0.0), 4) for one in lower],
            len(self._queries),
            round(self._found[reaching].error, 5),
            await self._exact_seconds(),
        )

    async def _exact_seconds(self) -> float:
        """The median of three exact searches."""
        taken: list[float] = []
        for query in self._queries[:3]:
            start = time.perf_counter()
            await similars.get_similars_by_vector(
                self._connection,
                project_id=self._index["project_id"],
                vectors=[query],
                except_id=None,
                threshold=-1.0,
                metadata_path=None,
                metadata_value=None,
                only=None,
                max_rows=NEIGHBOURS,
                skip=0,
            )
            taken.append(time.perf_counter() - start)
        return sorted(taken)[len(taken) // 2]

    async def _bisect(self, recall: float, count: int) -> None:
        """Finds the smallest number of candidates with this recall of `count` queries within PRECISION.

        It is narrowed down with FEW queries, with the error that `count` would have.
        """
        count = min(count, len(self._queries))
        while reaching := [one for one in sorted(self._found) if self._certain(one, count) >= recall]:
            most = reaching[0]
            least = max((one for one in self._found if one < most), default=most)
            middle = round(math.sqrt(least * most))
            if most > least * PRECISION and middle not in (least, most):
                await self._recall(middle, FEW)
            elif rough := [one for one in (most, least) if self._found[one].queries < count]:
                await self._recall(rough[0], count)
            else:
                return

    def _certain(self, effort: int, queries: int = 0) -> float:
        """The recall of an effort, as low as it may be for texts; with the standard error of at least `queries`."""
        one = self._found[effort]
        queries = max(queries, one.queries)
        missed = self._misses * (1 - one.mean + 2 * one.error * math.sqrt(one.queries / queries))
        # If none is missed, 3 of as many others may be (rule of three, 95 %: Hanley and Lippman-Hand 1983).
        return 1 - max(missed, 3 / (NEIGHBOURS * queries))

    async def _recall(self, effort: int, count: int) -> float:
        found: list[int] = []
        left: list[int] = []
        async with self._scanning(effort):
            for start in range(0, min(count, len(self._queries)), QUERIES_AT_ONCE):
                some = slice(start, start + QUERIES_AT_ONCE)
                nearest = await self._nearest(self._queries[some], NEIGHBOURS)
                # Equally near rows are equally good.
                pairs = zip(nearest, self._distances[some], strict=True)
                found += [sum(distance <= limit for distance in near) for near, limit in pairs]
                # Without rows that were changed or deleted since the exact scan, which no search can find.
                left += await indexes.count_neighbours_left(
                    self._connection, **self._index, places=self._places[some].ravel().tolist()
                )
        some_left = np.array(left) > 0
        shares = (np.minimum(found, left) / np.maximum(left, 1))[some_left] if some_left.any() else np.zeros(1)
        mean, error = float(shares.mean()), float(shares.std() / math.sqrt(len(found)))
        self._found[effort] = _Recall(len(found), mean, error)
        return mean


class ExactScan:
    """Finds the ten nearest rows of many queries, `(n, dimensions) float16`, in one pass."""

    def __init__(self, queries: NDArray[np.float16], dimensions: int) -> None:
        self._queries = queries.astype(np.float32)
        self._queries /= np.linalg.norm(self._queries, axis=1, keepdims=True)
        place = [("place_bytes", ">i4"), ("block", ">u4"), ("row", ">u2")]
        head = [("bytes", ">i4"), ("dimensions", ">i2"), ("unused", ">i2")]
        self._row = np.dtype([("fields", ">i2"), *place, *head, ("vector", ">f2", (dimensions,))])
        self._rest = bytearray()
        self._is_header = True
        self._best = np.full((len(queries), NEIGHBOURS), -np.inf, dtype=np.float32)
        self.places = np.zeros((len(queries), NEIGHBOURS), dtype=np.int64)  # of those rows in the table

    async def take(self, piece: bytes) -> None:
        """Reads rows of a place and a vector in the binary format of COPY (PostgreSQL's documentation of COPY)."""
        self._rest += piece
        if self._is_header and len(self._rest) >= 19:
            del self._rest[:19]
            self._is_header = False
        if len(self._rest) > min(PIECE_BYTES, ROWS_AT_ONCE * self._row.itemsize):
            await asyncio.to_thread(self._compare)

    def tenth_distances(self) -> NDArray[np.float32]:
        """The cosine distance of each query's tenth nearest row, or of the farthest of fewer rows."""
        self._compare()
        found = np.where(np.isinf(self._best), np.float32(np.inf), self._best)
        return np.asarray(1 - found.min(axis=1), dtype=np.float32)

    def _compare(self) -> None:
        count = len(self._rest) // self._row.itemsize
        if not count:
            return
        read = np.frombuffer(self._rest, dtype=self._row, count=count)
        stored, places = read["vector"], read["block"].astype(np.int64) << 16 | read["row"]
        for start in range(0, count, ROWS_AT_ONCE):
            rows = stored[start : start + ROWS_AT_ONCE].astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            similarities = self._queries @ rows.T
            closer = (similarities > self._best.min(axis=1, keepdims=True)).any(axis=1)
            both = np.concatenate([self._best[closer], similarities[closer]], axis=1)
            best = np.argpartition(both, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
            before = np.take_along_axis(self.places[closer], np.minimum(best, NEIGHBOURS - 1), axis=1)
            now = places[start : start + ROWS_AT_ONCE][np.maximum(best - NEIGHBOURS, 0)]
            self.places[closer] = np.where(best < NEIGHBOURS, before, now)
            self._best[closer] = np.take_along_axis(both, best, axis=1)
        self._rest = self._rest[count * self._row.itemsize :]


def _with_noise(stored: list[NDArray[np.float16]], distances: list[float]) -> NDArray[np.float16]:
    """Normalized vectors with normal noise of the length of a chord of these cosine distances."""
    if not stored:
        return np.empty((0, 0), dtype=np.float16)
    numbers = np.array(stored, dtype=np.float32)
    numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    noise = np.random.default_rng().standard_normal(numbers.shape, dtype=np.float32)
    chords = np.sqrt(2 * np.maximum(distances, 0), dtype=np.float32)
    apart = chords > NO_NOISE
    if 2 * np.count_nonzero(apart) < len(chords):
        noise = np.roll(numbers, 1, axis=0)  # for copies: sums of two vectors, which are harder to find
    else:
        chords[~apart] = np.median(chords[apart])
        noise *= chords[:, None] / np.linalg.norm(noise, axis=1, keepdims=True)
    queries = (numbers + noise).astype(np.float16)
    return queries[queries.any(axis=1)]
