"""Filtered searches: which way is chosen, and that each finds what it should, whatever share of the rows passes."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from service import vectors
from service.database.pool import Pool, searching
from service.database.statements import read
from service.queries import embeddings, indexes
from service.queries.indexes import IndexKind
from service.queries.projects import ProjectAccess
from service.search import filters, ways
from service.search.nearest import BY_METADATA, nearest
from service.search.terms import terms_of
from tests.support.searches import DIMENSIONS, by_numpy, clustered, index, known, made, put, question

pytestmark = pytest.mark.slow

ROWS = 12_000
SHARES = (0.9, 0.5, 0.1, 0.01, 0.001, 0.0)
PROJECT = ProjectAccess(
    1, "o", "p", "owner", None, "o", "i", 3, None, 7, [100], [0.99], indexed_rows=100_000, metadata_indexed=True
)


@pytest.mark.parametrize(
    ("passing", "found", "candidates", "way"),
    [
        (0.9, 0.9, 150, "index"),
        (0.1, 0.1, 150, "index"),  # 21,000 beside 50,000
        (0.01, 0.01, 150, "filtered"),
        (0.9, 0.9, None, "exact"),
        (0.01, 0.01, None, "filtered"),
        (0.001, 0.9, 150, "exact"),  # the index of the metadata finds one part of the filter only
        (0.5, None, 150, "index"),
        (0.001, None, 150, "exact"),  # more rows would be visited than a scan of the index does
    ],
)
def test_the_way_with_the_least_costs(passing: float, found: float | None, candidates: int | None, way: str) -> None:
    effort = None if candidates is None else candidates / passing
    assert ways.fastest(PROJECT, ways.Estimate(passing, found), effort) == way


@pytest.fixture(scope="module")
async def filled(pool: Pool, url: str) -> tuple[ProjectAccess, dict[str, Any], dict[str, Any]]:
    """An indexed project with a tail, whose rows were changed and deleted; its vectors and metadata."""
    project = await made(pool)
    stored = clustered(ROWS + 530, DIMENSIONS)
    numbers = np.random.default_rng(4).random(ROWS + 500)
    rows = {f"r{row:05}": stored[row] for row in range(ROWS)}

    def described(row: int) -> dict[str, Any]:
        return {
            **{f"share{share}".replace(".", "_"): bool(numbers[row] < share) for share in SHARES},
            "number": float(numbers[row]),
            "half": row < ROWS // 2,
            "day": str(date(2000, 1, 1) + timedelta(days=row)),
            **({"seldom": None} if row % 1000 == 7 else {}),
        }

    metadata = {f"r{row:05}": described(row) for row in range(ROWS)}
    await put(pool, project, rows, list(metadata.values()))
    await index(pool, url)
    tail = {f"r{row:05}": stored[row] for row in range(ROWS - 100, ROWS + 500)}
    described_tail = {f"r{row:05}": described(row) for row in range(ROWS - 100, ROWS + 500)}
    await put(pool, project, tail, list(described_tail.values()))
    rows, metadata = rows | tail, metadata | described_tail
    for row in range(0, ROWS, 40):
        await embeddings.delete_embedding(pool, project_id=project.project_id, text_ids=[f"r{row:05}"])
        rows.pop(f"r{row:05}")
    project = await known(pool, project)
    assert (project.indexed_rows, project.metadata_indexed, project.terms_indexed) == (ROWS, True, True)
    return project, rows, metadata


def passes(metadata: dict[str, Any], document: dict[str, Any]) -> bool:
    def fits(name: str, wanted: Any) -> bool:
        if not isinstance(wanted, dict):
            return bool(metadata[name] == wanted)
        if "$exists" in wanted:
            return name in metadata
        return bool(wanted.get("$gte", metadata[name]) <= metadata[name] < wanted["$lt"])

    return all(fits(name, wanted) for name, wanted in document.items())


@pytest.mark.parametrize(
    ("document", "methods"),
    [
        ({"share0_9": True}, {"index"}),
        ({"share0_5": True}, {"index"}),
        ({"share0_1": True}, {"filtered", "index"}),
        ({"share0_01": True}, {"filtered"}),
        ({"share0_001": True}, {"filtered"}),
        ({"share0_0": True}, {"filtered"}),
        ({"share0_9": True, "number": {"$lt": 0.001}}, {"filtered"}),
        ({"share0_001": True, "number": {"$lt": 0.9}}, {"filtered"}),
        ({"number": {"$lt": 0.9}}, {"index"}),
        ({"number": {"$lt": 0.5}}, {"index"}),
        ({"number": {"$lt": 0.001}}, {"filtered"}),
        ({"number": {"$gte": 0.4, "$lt": 0.41}}, {"filtered"}),
        ({"day": {"$lt": "2000-03"}}, {"filtered"}),
        ({"day": {"$gte": "2030-12-05", "$lt": "2031-01-02T00:00:00Z"}}, {"filtered"}),
        ({"seldom": {"$exists": True}}, {"filtered"}),
        ({"seldom": {"$exists": True}, "half": True}, {"filtered"}),
        ({"half": True}, {"index"}),
    ],
)
@pytest.mark.parametrize("max_rows", [10, 100])
async def test_each_share_finds_the_nearest(
    pool: Pool, filled: Any, document: dict[str, Any], methods: set[str], max_rows: int
) -> None:
    project, rows, metadata = filled
    among = {one: vector for one, vector in rows.items() if passes(metadata[one], document)}
    queries = clustered(ROWS + 530, DIMENSIONS)[-30:]  # of the same kind, and not stored
    asked = question(max_rows=max_rows, only=filters.compiled(document))
    answer = await nearest(pool, project, vectors.to_binary(queries), asked)
    wanted = [by_numpy(among, one, max_rows) for one in queries] if among else [[]] * 30
    got = [ids for ids, _ in answer.nearest]
    assert answer.method in methods
    if answer.method == "index":
        shares = [len(set(a) & set(b)) / len(a) for a, b in zip(wanted, got, strict=True)]
        assert np.mean(shares) >= answer.recall - 0.005
    else:
        assert answer.recall == 1.0
        assert got == wanted


async def test_a_text_itself_and_older_filters_are_left_out_too(pool: Pool, filled: Any) -> None:
    project, rows, metadata = filled
    document = {"share0_01": True}
    among = {one: vector for one, vector in rows.items() if metadata[one]["share0_01"]}
    first, *_ = among
    asked = question(only=filters.compiled(document), except_id=first)
    (binary,) = vectors.to_binary(np.array([rows[first]]))
    answer = await nearest(pool, project, [binary], asked)
    assert answer.nearest[0][0] == by_numpy(among, rows[first], 11)[1:]
    half = replace(asked, metadata_path="half", metadata_value="true")
    rest = {one: vector for one, vector in among.items() if not metadata[one]["half"]}
    answer = await nearest(pool, project, [binary], half)
    assert answer.nearest[0][0] == [one for one in by_numpy(rest, rows[first], 11) if one != first][:10]
    above = await nearest(pool, project, [binary], replace(asked, threshold=0.5, max_rows=200))
    assert above.nearest[0][0] == [one for one in by_numpy(among, rows[first], 200, threshold=0.5) if one != first]


@pytest.mark.parametrize("kind", ["meta", "terms"])
async def test_the_plan_uses_the_index_of_the_metadata(pool: Pool, filled: Any, kind: str) -> None:
    project, rows, _ = filled
    only = filters.compiled({"share0_01": True, "number": {"$lt": 0.5}})
    statement = read("similars")["GetSimilarsByFilter"]
    values: dict[str, Any] = {
        **dict.fromkeys(statement.parameters),
        "schema": "public",
        "project_id": project.project_id,
        "watermark": project.watermark,
        "vectors": vectors.to_binary(np.array([rows["r00001"]])),
        "only": only.path,
        "by_terms": int(kind == "terms"),
        "indexed": only.indexed,
        "terms": terms_of(only.spans),
        "threshold": -1.0,
        "max_rows": 10,
        "skip": 0,
    }
    arguments = [values[name] for name in statement.parameters]
    async with searching(pool, BY_METADATA) as connection, connection.transaction():
        for free in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            await connection.execute(f"SET LOCAL {free} = 0")
        prepared = await connection.prepare("EXPLAIN " + statement.render(values))
        for _ in range(7):
            plan = "\n".join(row[0] for row in await prepared.fetch(*arguments))
            assert f"Bitmap Index Scan on embeddings_{project.project_id}_{kind}_{project.watermark}" in plan
            assert f"embeddings_{project.project_id}_tail_{project.watermark}" in plan
            assert "Seq Scan on embeddings" not in plan
            assert "Gather" not in plan  # to start processes takes longer than to read the few rows


LACKS = {"metadata": "metadata_indexed = false", "terms": "terms_watermark = NULL"}


@pytest.mark.parametrize("interrupted", [True, False])
@pytest.mark.parametrize("kind", LACKS)
async def test_an_index_of_an_older_version_gets_its_metadata_indexed(
    pool: Pool, url: str, interrupted: bool, kind: str
) -> None:
    project = await made(pool)
    stored = clustered(200, DIMENSIONS)
    await put(pool, project, {f"{row:04}": stored[row] for row in range(200)}, [{"a": 1}] * 200)
    await index(pool, url)
    before = await known(pool, project)
    assert before.watermark is not None
    if not interrupted:
        dropped: IndexKind = "meta" if kind == "metadata" else "terms"
        await indexes.drop_index(pool, project_id=project.project_id, kind=dropped, watermark=before.watermark)
    await pool.execute(f"UPDATE project_indexes SET {LACKS[kind]} WHERE project_id = $1", project.project_id)
    lacking = await known(pool, project)
    assert (lacking.metadata_indexed, lacking.terms_indexed) == (kind == "terms", kind == "metadata")
    assert await index(pool, url) == []  # the index of the vectors is not built again
    after = await known(pool, project)
    assert (after.watermark, after.metadata_indexed, after.terms_indexed) == (before.watermark, True, True)
    await pool.execute("UPDATE project_indexes SET watermark = watermark + 1 WHERE project_id = $1", project.project_id)
    assert not (await known(pool, project)).terms_indexed  # an older version built the vector index anew
