"""The recall of an index as it is measured, beside what numpy says."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from service import vectors
from service.database.pool import Pool, Scan, ServiceConnection, open_pool
from service.queries import embeddings, indexes
from service.settings import IndexAims
from service.storage import builds, calibration, indexer
from service.storage.calibration import Calibration, ExactScan
from tests.conftest import ADMIN, QUERIES, client_of, settings_for
from tests.support import factories
from tests.support.searches import clustered

pytestmark = pytest.mark.slow

DIMENSIONS, ROWS, HELD_OUT, REBUILDS = 64, 6000, 1000, 3


def nearest_by_numpy(stored: Any, queries: Any) -> Any:
    """Row numbers and cosine distances of the ten nearest."""
    wide = stored.astype(np.float64) / np.linalg.norm(stored.astype(np.float64), axis=1, keepdims=True)
    asked = queries.astype(np.float64) / np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    distances = 1 - asked @ wide.T
    rows = np.argsort(distances, axis=1)[:, :10]
    return rows, np.take_along_axis(distances, rows, axis=1)


async def stored_project(pool: Pool, stored: Any) -> int:
    owner = await factories.user(pool)
    await factories.instance(pool, owner, "inst", dimensions=stored.shape[1])
    number = await factories.project(pool, owner, "inst")
    for start in range(0, len(stored), 5000):
        some = stored[start : start + 5000]
        ids = [f"{row:06}" for row in range(start, start + len(some))]
        await embeddings.upsert_embeddings(
            pool,
            project_id=number,
            text_ids=ids,
            vectors=vectors.to_binary(some),
            texts=[None] * len(ids),
            metadata=[None] * len(ids),
            keep_text=[],
            keep_metadata=[],
        )
    await pool.execute(f"ANALYZE embeddings_{number}")
    await pool.execute("SELECT pg_stat_force_next_flush()")
    return number


@pytest.mark.parametrize(("rows", "dimensions"), [(10, 1), (11, 3), (5000, 64), (3000, 1536)])
@pytest.mark.parametrize("piece", [7, 1000, 10**9])
async def test_the_exact_scan_finds_what_numpy_finds(
    new_database: Callable[..., str], rows: int, dimensions: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its input is cut into pieces."""
    if rows * dimensions > 100_000 and piece < 1000:
        piece = 1000  # as millions of pieces take long
    monkeypatch.setattr(calibration, "PIECE_BYTES", 100_000)
    stored, queries = clustered(rows, dimensions), clustered(50, dimensions, seed=2).astype(np.float16)
    scan = ExactScan(queries, dimensions)
    head = np.zeros(rows, dtype=scan._row)
    head["vector"], head["block"], head["row"] = stored, np.arange(rows) // 7, np.arange(rows) % 7
    copied = b"PGCOPY\n\xff\r\n\0" + bytes(8) + head.tobytes() + b"\xff\xff"
    for start in range(0, len(copied), piece):
        await scan.take(copied[start : start + piece])
    _, distances = nearest_by_numpy(stored, queries)
    assert np.abs(scan.tenth_distances() - distances[:, 9]).max() < 1e-5
    found = stored[(scan.places >> 16) * 7 + (scan.places & 0xFFFF)].astype(np.float64)  # (queries, 10, dimensions)
    found /= np.linalg.norm(found, axis=2, keepdims=True)
    asked = queries / np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    of_places = np.sort(1 - np.einsum("qnd,qd->qn", found, asked), axis=1)
    assert np.abs(of_places - distances).max() < 1e-5


@pytest.mark.parametrize("dimensions", [1, 3, 384])
async def test_the_exact_scan_takes_little_memory(dimensions: int) -> None:
    rows = 300_000 // dimensions + 10_000
    scan = ExactScan(clustered(1000, dimensions, seed=2).astype(np.float16), dimensions)
    head = np.ones(rows, dtype=scan._row)
    copied = bytes(19) + head.tobytes()
    tracemalloc.start()
    try:
        for start in range(0, len(copied), 65_536):
            await scan.take(copied[start : start + 65_536])
        scan.tenth_distances()
        assert tracemalloc.get_traced_memory()[1] < 100 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module", autouse=True)
def _every_query() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "QUERIES", QUERIES)
        yield


@pytest.fixture(scope="module")
async def built(new_database: Callable[..., str]) -> Any:
    """An indexed project of clustered vectors: the pool, its number, watermark, and vectors."""
    url = new_database()
    stored = clustered(ROWS + HELD_OUT, DIMENSIONS)[:ROWS]
    async with await open_pool(url, size=2, statement_timeout=60) as pool:
        number = await stored_project(pool, stored)
        (one,) = await indexer.run_once(url, IndexAims(threshold=1000, memory=256 * 1024 * 1024))
        assert one.project_id == number
        yield url, pool, number, one.watermark, stored


async def recall(pool: Pool, number: int, watermark: int, stored: Any, queries: Any, ef_search: int) -> float:
    """The share of the ten nearest that the index finds."""
    rows, _ = nearest_by_numpy(stored, queries)
    hits = 0
    async with pool.acquire() as connection:
        session = connection._con
        assert isinstance(session, ServiceConnection)
        await session.use(Scan(ef_search, goes_on=False))
        for query, expected in zip(vectors.to_binary(queries), rows, strict=True):
            cast = f"vector::halfvec({DIMENSIONS}) <=> $1::halfvec({DIMENSIONS})"
            found = await connection.fetch(
                f"SELECT text_id FROM embeddings_{number} WHERE sequence <= {watermark} ORDER BY {cast} LIMIT 10", query
            )
            hits += len({int(row[0]) for row in found} & set(map(int, expected)))
        await session.use(None)
    return hits / rows.size


async def test_the_recall_that_is_measured_is_there_for_other_queries(built: Any) -> None:
    _, pool, number, watermark, stored = built
    state = (await indexes.get_index_states(pool, project_ids=[number]))[0].built
    assert state is not None
    assert state.efforts == sorted(state.efforts)
    assert state.recalls == sorted(state.recalls)
    queries = clustered(ROWS + HELD_OUT, DIMENSIONS)[ROWS:]  # of the same kind, and not stored
    aim = next(place for place, one in enumerate(state.recalls) if one >= 0.99)
    for place in (aim, aim - 1, 0):
        there = await recall(pool, number, watermark, stored, queries, state.efforts[place])
        # Where it matters most, it was measured with four times as many queries.
        assert there >= state.recalls[place] - (0.005 if place == aim else 0.02)


async def test_the_ef_search_that_is_chosen_hardly_varies_and_is_hardly_larger_than_needed(built: Any) -> None:
    url, _, number, watermark, _ = built
    chosen = []
    async with indexer.connecting(url) as connection:
        for _ in range(REBUILDS):
            one = Calibration(connection, number, watermark, DIMENSIONS)
            assert await one.prepare(ROWS)
            found = await one.measure(0.95)
            pairs = zip(found.efforts, found.recalls, strict=True)
            chosen.append(next(ef_search for ef_search, share in pairs if share >= 0.95))
        assert max(chosen) <= 1.5 * min(chosen), chosen
        # The session is as it was, for exact scans and builds.
        assert await connection.fetchval("SHOW enable_seqscan") == "on"


async def test_too_few_rows_are_not_measured(built: Any) -> None:
    url, pool, _, _, _ = built
    number = await stored_project(pool, clustered(9, 3))
    async with indexer.connecting(url) as connection:
        assert not await Calibration(connection, number, 10**9, 3).prepare(9)


async def test_a_sample_of_which_nothing_is_missed_does_not_prove_that_nothing_is(built: Any) -> None:
    url, pool, _, _, _ = built
    number = await stored_project(pool, clustered(50, 3))  # without an index all rows are read
    async with indexer.connecting(url) as connection:
        one = Calibration(connection, number, 10**9, 3)
        assert await one.prepare(50)
        assert (await one.measure(0.9)).recalls[-1] < 1


async def test_an_index_that_does_not_reach_the_recall_is_made_denser_and_used_at_its_best(
    new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here because no more than thirty candidates are tried, and nothing is near anything."""
    monkeypatch.setattr(calibration, "MOST_EF_SEARCH", 30)
    url = new_database()
    *stored, query = np.random.default_rng(3).normal(size=(4001, DIMENSIONS)).astype(np.float16)
    stored = np.array(stored)
    async with await open_pool(url, size=2, statement_timeout=60) as pool:
        number = await stored_project(pool, stored)
        (built,) = await indexer.run_once(url, IndexAims(threshold=1000, memory=256 * 1024 * 1024))
        assert await indexer.run_once(url, IndexAims(threshold=1000, memory=256 * 1024 * 1024)) == []  # it is done
        state = (await indexes.get_index_states(pool, project_ids=[number]))[0].built
        assert state is not None
        assert (state.m, state.watermark) == (builds.DENSE, built.watermark)
        options = await pool.fetchval(
            "SELECT reloptions FROM pg_class WHERE relname = $1", f"embeddings_{number}_hnsw_{built.watermark}"
        )
        assert options == ["m=32", "ef_construction=200"]
        owner, handle = await pool.fetchrow("SELECT owner, project_handle FROM projects WHERE project_id = $1", number)
        left = await pool.fetch("SELECT relname FROM pg_class WHERE relname ~ $1", f"^embeddings_{number}_(hnsw|tail)_")
        assert len(left) == 2

    path, body = f"/v1/similars/{owner}/{handle}", {"vector": query.astype(float).tolist()}
    for seconds, method in ((0.0, "index"), (60.0, "exact")):
        config = settings_for(url, service_indexer=False, service_exact_seconds=seconds)
        async with client_of(config, headers=ADMIN) as api:
            usual = (await api.post(path, json=body)).json()["search"]
            assert usual == {"method": method, "recall": 1.0 if method == "exact" else usual["recall"]}
            asked = (await api.post(f"{path}?recall=0.99", json=body)).json()["search"]
            assert asked == {"method": "exact", "recall": 1.0}
            lower = (await api.post(f"{path}?recall=0.1", json=body)).json()["search"]
            assert lower["method"] == "index"
            shown = (await api.get(f"/v1/projects/{owner}/{handle}")).json()["index"]
            assert (shown["graph"], shown["ef_search"]) == ("dense", state.efforts[-1])
            assert shown["recall"] == state.recalls[-1] < 0.99
            assert shown["measured"]["queries"] == state.queries > 500
            if method == "index":
                assert usual["recall"] == pytest.approx(shown["recall"], abs=0.001)
            report = (await api.get("/v1/admin/sanity-check")).json()
            assert f"project {owner}/{handle}: its vector index does not reach a recall of 0.99" in report["warnings"]
            exposed = (await api.get("/metrics")).text
            assert "embedding_service_index_below_recall 1.0" in exposed


async def test_rows_that_are_rewritten_meanwhile_do_not_count(
    new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is as good as before: no denser one is built."""
    url, stored = new_database(), clustered(4000, 16)
    prepare, times = Calibration.prepare, []

    async def then_rewritten(self: Calibration, *arguments: Any) -> bool:
        is_prepared = await prepare(self, *arguments)
        times.append(await pool.execute(f"UPDATE embeddings_{number} SET sequence = DEFAULT WHERE text_id < '000200'"))
        return is_prepared

    async with await open_pool(url, size=2, statement_timeout=60) as pool:
        number = await stored_project(pool, stored)
        monkeypatch.setattr(Calibration, "prepare", then_rewritten)
        await indexer.run_once(url, IndexAims(threshold=1000, memory=256 * 1024 * 1024))
        recalls = await pool.fetchval("SELECT recalls FROM project_indexes WHERE project_id = $1", number)
    assert times == ["UPDATE 200"]
    assert recalls[-1] > 0.99
