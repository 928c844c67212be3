"""Recall that is measured with a sample of recent searches."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pgvector import HalfVector

from service import vectors
from service.database.pool import Pool, open_pool
from service.queries import indexes
from service.search.nearest import nearest
from service.settings import IndexAims
from service.storage import indexer, real_queries
from service.storage.real_queries import LEAST_QUERIES, MOST_QUERIES, RealQueries, measure
from tests.conftest import ADMIN, client_of, settings_for
from tests.support.catalogue import rows as rows_of
from tests.support.searches import clustered, known, made, put, question

ROWS = 3000
DIMENSIONS = 16
AIMS = IndexAims(threshold=1000, memory=64 * 1024 * 1024)


def binary(count: int, dimensions: int = 3, seed: int = 1) -> list[bytes]:
    return vectors.to_binary(np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float16))


def kept(real: RealQueries) -> dict[int, Any]:
    return dict(real.enough())


def test_there_must_be_enough() -> None:
    real = RealQueries()
    sent = binary(LEAST_QUERIES)
    for vector in sent[:-1] * 3:  # what is asked again counts once
        real.note(7, [vector])
    assert kept(real) == {}
    real.note(7, sent[-1:])
    found = kept(real)[7]
    assert found.dtype == np.float16
    assert found.shape == (LEAST_QUERIES, 3)
    assert {tuple(one) for one in found} == {tuple(HalfVector.from_binary(one).to_numpy()) for one in sent}


def test_a_sample_is_bounded_and_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = RealQueries()
    for vector in binary(MOST_QUERIES):
        real.note(1, [vector])
    before = {tuple(one) for one in kept(real)[1]}
    for vector in binary(20_000, seed=2):
        real.note(1, [vector])
    after = {tuple(one) for one in kept(real)[1]}
    assert len(after) == MOST_QUERIES
    assert 0.5 < len(after - before) / MOST_QUERIES < 0.9  # 20,000 / 16 of 1,000 were replaced

    monkeypatch.setattr(real_queries, "MOST_BYTES", 5 * MOST_QUERIES * len(binary(1)[0]))
    for project in range(20):
        for start in range(0, MOST_QUERIES, 10):
            real.note(project, binary(10, seed=start))
    assert list(kept(real)) == [15, 16, 17, 18, 19]  # those that were searched last
    assert real._bytes == sum(len(one) for of in real._of.values() for one in of)


def test_a_request_of_many_vectors_is_one_among_others() -> None:
    real = RealQueries()
    real.note(1, binary(1000))
    assert len(real._of[1]) == real_queries.MOST_OF_A_REQUEST


@pytest.mark.parametrize(("before", "after"), [(3, 4), (4, 3)])
def test_queries_of_other_dimensions_do_not_count(before: int, after: int) -> None:
    real = RealQueries()
    for vector in binary(MOST_QUERIES, before) + binary(500, after):
        real.note(1, [vector])
    assert kept(real)[1].shape == (500, after)
    assert real._bytes == 500 * len(binary(1, after)[0])


@pytest.fixture
async def place(new_database: Callable[..., str]) -> Any:
    url = new_database()
    async with await open_pool(url, size=4, statement_timeout=60) as pool:
        yield pool, url


async def state(pool: Pool, number: int) -> indexes.BuiltIndex:
    built = (await indexes.get_index_states(pool, project_ids=[number]))[0].built
    assert built is not None
    return built


@pytest.mark.slow
@pytest.mark.usefixtures("every_query")
async def test_queries_unlike_the_stored_vectors(place: tuple[Pool, str]) -> None:
    """What they find is what is told then; and the number of candidates is chosen by them."""
    pool, url = place
    project, stored = await made(pool), clustered(ROWS, DIMENSIONS)
    await put(pool, project, {f"{row:04}": stored[row] for row in range(ROWS)})
    async with indexer.connecting(url) as connection:
        queries = clustered(600, DIMENSIONS, seed=8)  # other clusters
        assert not await measure(connection, project.project_id, queries, 0.99)  # there is no index yet
        await indexer.poll(connection, AIMS)
        before = await state(pool, project.project_id)
        assert before.measured_with == "synthetic"
        assert await measure(connection, project.project_id, queries[:500], 0.99)
        after = await state(pool, project.project_id)
        assert (after.measured_with, after.queries, after.watermark) == ("real", 500, before.watermark)
        assert after.measured_at > before.measured_at
        assert not await measure(connection, project.project_id, queries, 0.99)  # it was just done
        assert await connection.fetchval("SHOW enable_seqscan") == "on"
    now = await known(pool, project)
    answer = await nearest(pool, now, vectors.to_binary(queries[500:]), question(recall=0.95))
    found = [
        len(set(map(int, ids)) & set(np.argsort(-(stored.astype(float) @ query.astype(float)))[:10])) / 10
        for (ids, _), query in zip(answer.nearest, queries[500:], strict=True)
    ]
    assert np.mean(found) >= answer.recall - 0.01
    await put(pool, project, {f"new-{row}": stored[row] for row in range(ROWS)})
    await indexer.run_once(url, AIMS)
    assert (await state(pool, project.project_id)).measured_with == "synthetic"  # another index


@pytest.mark.slow
async def test_searches_are_sampled_and_stored_nowhere(
    place: tuple[Pool, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pool, url = place
    monkeypatch.setattr(real_queries, "SECONDS_BETWEEN_POLLS", 0.2)
    monkeypatch.setattr(real_queries, "LEAST_QUERIES", 60)
    project, stored = await made(pool), clustered(ROWS, DIMENSIONS)
    await put(pool, project, {f"{row:04}": stored[row] for row in range(ROWS)})
    await indexer.run_once(url, AIMS)
    # A recall that ten results of each of sixty queries never have, so that another one is seen.
    await pool.execute("UPDATE project_indexes SET recalls = array_fill(0.9925::float8, ARRAY[cardinality(recalls)])")
    sent = [[round(float(one), 3) + 0.0001234 for one in query] for query in clustered(60, DIMENSIONS, seed=4)]
    path = f"/v1/similars/{project.owner}/proj"
    config = settings_for(url, service_indexer=False)
    async with client_of(config, headers=ADMIN) as api:
        assert (await api.post(f"{path}?exact=true", json={"vector": sent[0]})).status_code == 200
        first = (await api.post(path, json={"vector": sent[0]})).json()["search"]
        for query in sent:
            assert (await api.post(path, json={"vector": query})).status_code == 200
        measured = {"kind": "synthetic"}
        async with asyncio.timeout(60):
            while measured["kind"] != "real":
                await asyncio.sleep(0.05)
                measured = (await api.get(f"/v1/projects/{project.owner}/proj")).json()["index"]["measured"]
        assert measured["queries"] == 60
        # The next search says what was measured now, though its access was remembered from before.
        told = (await api.post(path, json={"vector": sent[0]})).json()["search"]
        recalls = (await state(pool, project.project_id)).recalls
        assert told["recall"] == next((recall for recall in recalls if recall >= 0.99), recalls[-1])
        assert told["recall"] != first["recall"] == 0.9925
    columns = "SELECT attrelid::regclass::text FROM pg_attribute WHERE atttypid = 'halfvec'::regtype AND attnum > 0"
    of_tables = f"{columns} AND attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r')"
    assert {name for (name,) in rows_of(url, of_tables)} == {
        "embeddings_unmigrated",
        f"embeddings_{project.project_id}",
    }
    assert str(sent[0][0]) not in capfd.readouterr().err
