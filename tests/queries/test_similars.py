"""Statements of sql/similars.sql on real rows, compared with numpy."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from service.database.pool import Connection
from service.queries import similars
from service.vectors import to_binary
from tests.support import factories


class Similar(msgspec.Struct, frozen=True):
    id: str
    similarity: float


async def search(connection: Connection, number: int, vector: Any, **given: Any) -> list[Similar]:
    values = {
        "except_id": None,
        "threshold": -1.0,
        "metadata_path": None,
        "metadata_value": None,
        "only": None,
        "values": None,
        "max_rows": 10,
        "skip": 0,
        **given,
    }
    sent = to_binary(np.array([vector], dtype=np.float16))
    (row,) = await similars.get_similars_by_vector(connection, project_id=number, vectors=sent, **values)
    return [Similar(*pair) for pair in zip(row.ids or [], row.similarities or [], strict=True)]


class TestGetSimilarsByVector:
    @pytest.mark.parametrize("seed", range(3))
    async def test_equals_numpy(self, connection: Connection, seed: int) -> None:
        random = np.random.default_rng(seed)
        owner = await factories.user(connection)
        await factories.instance(connection, owner, "inst", dimensions=24)
        number = await factories.project(connection, owner, "inst")
        stored = random.normal(size=(300, 24)).astype(np.float16)
        await factories.upsert(connection, number, {f"{row:03}": stored[row].tolist() for row in range(300)})
        query = random.normal(size=24).astype(np.float16)

        exact = stored.astype(np.float64) @ query.astype(np.float64)
        exact /= np.linalg.norm(stored.astype(np.float64), axis=1) * np.linalg.norm(query.astype(np.float64))
        best = np.argsort(-exact)
        found = await search(connection, number, query, max_rows=25)
        assert [one.id for one in found] == [f"{row:03}" for row in best[:25]]
        np.testing.assert_allclose([one.similarity for one in found], exact[best[:25]], atol=1e-5)
        assert [one.id for one in await search(connection, number, query, max_rows=7, skip=4)] == [
            f"{row:03}" for row in best[4:11]
        ]
        above = await search(connection, number, query, max_rows=200, threshold=0.2)
        assert [one.id for one in above] == [f"{row:03}" for row in best if exact[row] >= 0.2]

    async def test_ties_go_by_id(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {text_id: [1, 2, 3] for text_id in "dacb"})
        found = await search(connection, number, [1, 2, 3], max_rows=3)
        assert [(one.id, one.similarity) for one in found] == [("a", 1.0), ("b", 1.0), ("c", 1.0)]

    async def test_leaves_out_one_id(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {text_id: [1, 2, 3] for text_id in "abc"})
        found = await search(connection, number, [1, 2, 3], except_id="b", max_rows=2)
        assert [one.id for one in found] == ["a", "c"]

    async def test_leaves_out_a_metadata_value(self, connection: Connection, number: int) -> None:
        metadata = [{"author": "Kant"}, {"author": " Kant "}, {"author": "Hume"}, {"year": 1781}, None]
        await factories.upsert(connection, number, {text_id: [1, 2, 3] for text_id in "abcde"}, metadata=metadata)
        found = await search(connection, number, [1, 2, 3], metadata_path="author", metadata_value=" Kant")
        assert [one.id for one in found] == ["c", "d", "e"]
        found = await search(connection, number, [1, 2, 3], metadata_path="year", metadata_value="1781")
        assert [one.id for one in found] == ["a", "b", "c", "e"]

    async def test_the_opposite_has_minus_one(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {"a": [-1, -2, -3]})
        assert await search(connection, number, [1, 2, 3]) == [Similar("a", -1.0)]
        assert await search(connection, number, [1, 2, 3], threshold=-0.99) == []

    async def test_a_row_for_each_vector_in_order(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {"x": [1, 0, 0], "y": [0, 1, 0], "z": [0, 0, 1]})
        sent = to_binary(np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1]], dtype=np.float16))
        values: dict[str, Any] = dict.fromkeys(["except_id", "metadata_path", "metadata_value", "only"])
        rows = await similars.get_similars_by_vector(
            connection, project_id=number, vectors=sent, threshold=0.5, max_rows=5, skip=0, **values
        )
        assert [row.ids for row in rows] == [["z"], ["x"], ["z"]]
        assert [row.similarities for row in rows] == [[1.0], [1.0], [1.0]]


class TestGetSimilarsByFilter:
    """That it finds what it should, and by which index: tests/search/test_ways.py."""

    @pytest.mark.parametrize("by_terms", [0, 1])
    async def test_up_to_the_watermark_and_behind_it(self, connection: Connection, number: int, by_terms: int) -> None:
        await factories.upsert(connection, number, {"x": [1, 0, 0], "y": [0, 1, 0], "z": [1, 1, 0]})
        await connection.execute(f"UPDATE embeddings_{number} SET metadata = '{{\"a\": 1}}' WHERE text_id <> 'z'")
        highest = await connection.fetchval(f"SELECT max(sequence) FROM embeddings_{number}")
        for watermark in (0, highest - 1, highest):
            (row,) = await similars.get_similars_by_filter(
                connection,
                project_id=number,
                watermark=watermark,
                vectors=to_binary(np.array([[1, 0.1, 0]], dtype=np.float16)),
                except_id=None,
                threshold=-1,
                metadata_path=None,
                metadata_value=None,
                only='$."a" == 1',
                by_terms=by_terms,
                indexed='$."a" == 1',
                terms=["a\x01"],
                max_rows=10,
                skip=0,
            )
            assert row.ids == ["x", "y"]


class TestEstimatePassingRows:
    async def test_from_the_statistics(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {f"{row:03}": [1, 0, 0] for row in range(200)})
        await connection.execute(f"UPDATE embeddings_{number} SET metadata = jsonb_build_object('a', text_id < '050')")
        await connection.execute(f"ANALYZE embeddings_{number}")
        plan = await similars.estimate_passing_rows(connection, project_id=number, only='$."a" == true')
        assert 45 <= json.loads(plan)[0]["Plan"]["Plan Rows"] <= 55


class TestGetSimilarsByIndex:
    """That it finds what it should, and by which index: tests/search/test_search.py."""

    async def test_without_an_index_it_reads_all_rows_up_to_the_watermark_and_behind_it(
        self, connection: Connection, number: int
    ) -> None:
        await factories.upsert(connection, number, {"x": [1, 0, 0], "y": [0, 1, 0]})
        watermark = await connection.fetchval(f"SELECT max(sequence) FROM embeddings_{number}")
        await factories.upsert(connection, number, {"tail": [1, 0.1, 0]})
        values: dict[str, Any] = dict.fromkeys(["except_id", "metadata_path", "metadata_value", "only"])
        sent = to_binary(np.array([[1, 0, 0]], dtype=np.float16))

        async def found(
            max_rows: int, threshold: float, candidates: int | None = None
        ) -> list[similars.NearestByIndex]:
            return await similars.get_similars_by_index(
                connection,
                candidates=candidates or max_rows,
                at_most=1,
                filtered=0,
                confirms=0,
                key_hash=None,
                is_admin=False,
                owner="",
                project_handle="",
                measured_at=measured_at,
                project_id=number,
                dimensions=3,
                watermark=watermark,
                vectors=sent,
                threshold=threshold,
                max_rows=max_rows,
                skip=0,
                **values,
            )

        measured_at = datetime(2026, 11, 28, tzinfo=UTC)
        assert await found(3, -1) == []  # there is no index, whatever the watermark says
        await connection.execute(
            "INSERT INTO project_indexes (project_id, watermark, indexed_rows, ef_searches, recalls, measured_at)"
            " VALUES ($1, $2, 2, '{}', '{}', $3::timestamptz - interval '1 minute')",
            number,
            watermark,
            measured_at,
        )
        assert await found(3, -1) == []  # it was measured again, or another was measured
        await connection.execute("UPDATE project_indexes SET measured_at = $1", measured_at)
        (everything,) = await found(3, -1)
        assert everything.ids == ["x", "tail", "y"]
        assert everything.complete is False  # the index side gave two of three: there may be more
        assert [row.complete for row in await found(2, -1)] == [True]
        (above,) = await found(3, 0.5)
        assert (above.ids, above.complete) == (["x", "tail"], True)  # what else there is is below the threshold
        assert [row.tied for row in await found(1, -1)] == [True]  # the index side gave no row that is farther
        assert [row.tied for row in await found(1, -1, candidates=2)] == [False]
