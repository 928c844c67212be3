"""Statements of sql/similars.sql on real rows, compared with numpy."""

from typing import Any

import numpy as np
import pytest

from service.db import Connection
from service.queries import similars
from service.vectors import to_binary
from tests.queries import factories


async def search(connection: Connection, number: int, vector: Any, **given: Any) -> list[similars.Similar]:
    values = {
        "except_id": None,
        "threshold": -1.0,
        "metadata_path": None,
        "metadata_value": None,
        "max_rows": 10,
        "skip": 0,
        **given,
    }
    (binary,) = to_binary(np.array([vector], dtype=np.float16))
    return await similars.get_similars_by_vector(connection, project_id=number, vector=binary, **values)


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

    async def test_ties_go_by_id(self, connection: Connection) -> None:
        number = await factories.filled(connection)
        await factories.upsert(connection, number, {text_id: [1, 2, 3] for text_id in "dacb"})
        found = await search(connection, number, [1, 2, 3], max_rows=3)
        assert [(one.id, one.similarity) for one in found] == [("a", 1.0), ("b", 1.0), ("c", 1.0)]

    async def test_leaves_out_one_id(self, connection: Connection) -> None:
        number = await factories.filled(connection)
        await factories.upsert(connection, number, {text_id: [1, 2, 3] for text_id in "abc"})
        found = await search(connection, number, [1, 2, 3], except_id="b", max_rows=2)
        assert [one.id for one in found] == ["a", "c"]

    async def test_leaves_out_a_metadata_value(self, connection: Connection) -> None:
        number = await factories.filled(connection)
        metadata = [{"author": "Kant"}, {"author": " Kant "}, {"author": "Hume"}, {"year": 1781}, None]
        await factories.upsert(connection, number, {text_id: [1, 2, 3] for text_id in "abcde"}, metadata=metadata)
        found = await search(connection, number, [1, 2, 3], metadata_path="author", metadata_value=" Kant")
        assert [one.id for one in found] == ["c", "d", "e"]
        found = await search(connection, number, [1, 2, 3], metadata_path="year", metadata_value="1781")
        assert [one.id for one in found] == ["a", "b", "c", "e"]

    async def test_the_opposite_has_minus_one(self, connection: Connection) -> None:
        number = await factories.filled(connection)
        await factories.upsert(connection, number, {"a": [-1, -2, -3]})
        assert await search(connection, number, [1, 2, 3]) == [similars.Similar("a", -1.0)]
        assert await search(connection, number, [1, 2, 3], threshold=-0.99) == []
