"""The coarse index of a large project, until its graph is ready: when it is built, what it finds, by which plan."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from service import vectors
from service.database.pool import Pool, Scan, open_pool, searching
from service.database.statements import read
from service.queries import indexes
from service.queries.projects import ProjectAccess
from service.search import filters
from service.search import nearest as searches
from service.search.nearest import CANDIDATES
from service.settings import IndexAims
from service.storage import builds, indexer
from service.storage.indexer import Growth
from tests.conftest import ADMIN, client_of, settings_for
from tests.support.searches import by_index, by_numpy, clustered, found, known, made, put, question

pytestmark = pytest.mark.slow

ROWS = 6000
LISTS = 60
TAIL = 100
QUERIES = 200  # the standard error of a recall of 0.995 is 0.0016 then
AIMS = IndexAims(threshold=1000, memory=64 * 1024 * 1024)
TOO_LITTLE = IndexAims(threshold=1000, memory=1024 * 1024)


class Filling(Growth):
    """All projects are being filled."""

    def is_under_way(self, project: indexes.ProjectToIndex) -> bool:
        return True


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "COARSE_ROWS", 2000)
    monkeypatch.setattr(builds, "ROWS_A_LIST", ROWS // LISTS)


@pytest.fixture
async def pool(new_database: Callable[..., str]) -> AsyncIterator[tuple[Pool, str]]:
    url = new_database()
    async with await open_pool(url, size=4, statement_timeout=60) as pool:
        yield pool, url


async def poll(url: str, growth: Growth | None) -> list[builds.Built]:
    async with indexer.connecting(url) as connection:
        return await indexer.poll(connection, AIMS, growth=growth)


async def state(pool: Pool, project: ProjectAccess) -> indexes.BuiltIndex:
    built = (await indexes.get_index_states(pool, project_ids=[project.project_id]))[0].built
    assert built is not None
    return built


async def names(pool: Pool, project: ProjectAccess) -> list[str]:
    rows = await pool.fetch(
        "SELECT split_part(indexname, '_', 3) AS kind FROM pg_indexes WHERE tablename = $1 ORDER BY 1",
        f"embeddings_{project.project_id}",
    )
    return [row["kind"] for row in rows]


async def test_while_a_project_is_filled_and_until_its_graph_is_ready(pool: tuple[Pool, str]) -> None:
    db, url = pool
    project, stored = await made(db), clustered(ROWS, 16)
    rows = {f"{row:04}": stored[row] for row in range(ROWS)}
    parts = [dict(list(rows.items())[start : start + 1500]) for start in range(0, ROWS, 1500)]
    built: list[tuple[int, int]] = []
    for part in parts:
        await put(db, project, part)
        assert await poll(url, Filling()) == []
        now = (await indexes.get_index_states(db, project_ids=[project.project_id]))[0].built
        built.append((0, 0) if now is None else (now.indexed_rows, now.lists))
    # The second time there are 2,000 rows in none, the third not as many again as it has.
    assert built == [(0, 0), (3000, 30), (3000, 30), (6000, 60)]
    assert await names(db, project) == ["ivf", "pkey", "tail"]

    async with client_of(settings_for(url, service_indexer=False), headers=ADMIN) as api:
        shown = (await api.get(f"/v1/projects/{project.owner}/proj")).json()
        assert shown["number_of_embeddings"] == ROWS
        assert (shown["index"]["state"], shown["index"]["graph"]) == ("building", "coarse")
        assert (shown["index"]["rows"], shown["index"]["tail"]) == (ROWS, 0)
        assert "ef_search" not in shown["index"]
        check = (await api.get("/v1/admin/sanity-check")).json()
        assert not any("recall" in one for one in check["warnings"])

    (graph,) = await poll(url, None)
    assert graph.indexed_rows == ROWS
    assert (await state(db, project)).lists == 0
    assert await names(db, project) == ["hnsw", "meta", "pkey", "tail", "terms"]
    await put(db, project, {f"new-{row}": stored[row] for row in range(1500)})
    assert await poll(url, Filling()) == []
    assert (await state(db, project)).watermark == graph.watermark  # a few more are read one by one
    await put(db, project, {f"newer-{row}": stored[row % ROWS] for row in range(ROWS)})
    assert await poll(url, Filling()) == []
    assert (await state(db, project)).lists == LISTS * 13_500 // ROWS
    assert await names(db, project) == ["ivf", "pkey", "tail"]


async def coarse(pool: Pool, url: str, metadata: list[Any] | None = None) -> tuple[ProjectAccess, dict[str, Any]]:
    """A project with a coarse index and a tail, whose exact searches count as slow; and its rows."""
    project, stored = await made(pool), clustered(ROWS + TAIL + QUERIES, 16)
    rows = {f"{row:04}": stored[row] for row in range(ROWS + TAIL)}
    indexed = dict(list(rows.items())[:ROWS])
    await put(pool, project, indexed, metadata and metadata[:ROWS])
    await poll(url, Filling())
    await put(pool, project, dict(list(rows.items())[ROWS:]), metadata and metadata[ROWS:])
    return replace(await known(pool, project), exact_seconds=1.0), rows


async def test_finds_what_it_says(pool: tuple[Pool, str]) -> None:
    db, url = pool
    shares = {"most": 0.9, "half": 0.5, "tenth": 0.1, "few": 0.01}
    random = np.random.default_rng(5).random(ROWS + TAIL)
    metadata = [{name: bool(one < share) for name, share in shares.items()} for one in random]
    project, rows = await coarse(db, url, metadata)
    assert (project.lists, len(project.efforts)) == (LISTS, 2)
    queries = clustered(ROWS + TAIL + QUERIES, 16)[-QUERIES:]  # of the same kind, and not stored
    for limit in (1, 10, 50, 200):
        asked = question(max_rows=limit, recall=0.9999, longest_exact=0.0)
        await check(db, project, rows, queries, asked)
    for name in shares:
        passing = {text_id: rows[text_id] for text_id, one in zip(rows, metadata, strict=True) if one[name]}
        asked = question(recall=0.9999, longest_exact=0.0, only=filters.compiled({name: True}))
        await check(db, project, passing, queries, asked)
    exact = await found(db, project, queries[0], question(recall=1.0))
    assert exact == (by_numpy(rows, queries[0], 10), "exact")
    assert (await found(db, project, queries[0], question(max_rows=900, recall=0.5)))[1] == "index"


async def check(db: Pool, project: ProjectAccess, rows: dict[str, Any], queries: Any, asked: Any) -> None:
    """That the recall of searches is no less than the one that they tell."""
    answers = await searches.nearest(db, project, vectors.to_binary(queries), asked)
    names = np.array(sorted(rows))
    stored = np.array([rows[one] for one in names], dtype=np.float64)
    similarities = queries.astype(np.float64) @ (stored / np.linalg.norm(stored, axis=1, keepdims=True)).T
    nearest = names[np.argsort(-similarities, axis=1, kind="stable")[:, : asked.max_rows]]
    shares = [
        len(set(wanted) & set(ids)) / len(wanted)
        for wanted, (ids, _) in zip(nearest.tolist(), answers.nearest, strict=True)
    ]
    assert np.mean(shares) >= answers.recall - 0.005, (asked, answers.method)


async def test_plans_use_the_index(pool: tuple[Pool, str]) -> None:
    db, url = pool
    project, rows = await coarse(db, url)
    stored = np.array(list(rows.values()))
    for probes in (1, 2, 10, 30, 60):
        await check_plans(db, project, stored, probes)


async def check_plans(db: Pool, project: ProjectAccess, stored: Any, probes: int) -> None:
    statement = read("similars")["GetSimilarsByIndex"]
    async with searching(db, Scan(probes, goes_on=True, is_coarse=True)) as connection:
        assert await connection.fetchval("SHOW ivfflat.probes") == str(probes)
        for candidates in CANDIDATES:
            for many, only in ((1, None), (30, None), (1, {"kind": 1}), (30, {"kind": 1})):
                values = by_index(project, stored, many, only, candidates)
                arguments = [values[name] for name in statement.parameters]
                explained = await connection.fetch("EXPLAIN " + statement.render(values), *arguments)
                plan = "\n".join(row[0] for row in explained)
                assert f"Index Scan using embeddings_{project.project_id}_ivf_{project.watermark}" in plan
                assert f"embeddings_{project.project_id}_tail_{project.watermark}" in plan
                assert "Seq Scan on embeddings" not in plan


async def test_an_older_version_takes_it_for_none(pool: tuple[Pool, str]) -> None:
    db, url = pool
    project, _ = await coarse(db, url)
    row = await db.fetchrow("SELECT * FROM project_indexes WHERE project_id = $1", project.project_id)
    assert (row["ef_searches"], row["recalls"], row["lists"]) == ([], [], LISTS)
    assert row["probes"] == project.efforts


async def test_with_too_little_memory_there_is_none(pool: tuple[Pool, str], monkeypatch: pytest.MonkeyPatch) -> None:
    db, url = pool
    monkeypatch.setattr(builds, "ROWS_A_LIST", 5)
    project, stored = await made(db), clustered(3000, 16)
    await put(db, project, {f"{row:04}": stored[row] for row in range(3000)})
    async with indexer.connecting(url) as connection:
        with capture_logs() as logged:
            (built,) = await indexer.poll(connection, TOO_LITTLE)
    assert built.indexed_rows == 3000
    assert [one["event"] for one in logged].count("Too little memory for a coarse index.") == 1
    assert await names(db, project) == ["hnsw", "meta", "pkey", "tail", "terms"]


async def test_a_project_that_is_emptied_loses_it(pool: tuple[Pool, str]) -> None:
    db, url = pool
    project, _ = await coarse(db, url)
    await db.execute("SELECT empty_embeddings_partition($1)", project.project_id)
    assert await poll(url, None) == []
    assert await names(db, project) == ["pkey"]
    now = await known(db, project)
    assert (now.watermark, now.lists) == (None, 0)
