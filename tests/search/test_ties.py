"""Rows that are equally near come by their ids, on every page, however they are found (contract section 8)."""

from typing import Any

import asyncpg
import httpx2
import numpy as np
import pytest

from service.storage import indexer
from tests.conftest import ADMIN
from tests.support import world
from tests.support.searches import AIMS
from tests.support.world import Project

pytestmark = pytest.mark.slow

DIMENSIONS = 16
EQUAL = [1.0] + [0.0] * (DIMENSIONS - 1)


async def indexed(
    api: httpx2.AsyncClient, url: str, vectors: dict[str, list[float]], tail: dict[str, list[float]]
) -> Project:
    """A project with an index on some rows, and others in its tail."""
    project = await world.project(
        api,
        owner := await world.user(api, ADMIN),
        instance_handle=(await world.instance(api, owner, dimensions=DIMENSIONS)).handle,
    )
    for rows in (vectors, tail):
        names = sorted(rows)
        for start in range(0, len(names), 1000):
            some = names[start : start + 1000]
            await world.upload(
                api, project, *[world.row(one, rows[one], metadata={"even": int(one[-1]) % 2 == 0}) for one in some]
            )
        if rows is vectors:
            connection = await asyncpg.connect(url)
            await connection.execute(f"ANALYZE embeddings_{project.id}; SELECT pg_stat_force_next_flush()")
            await connection.close()
            assert project.id in [one.project_id for one in await indexer.run_once(url, AIMS)]
    return project


def random_rows(count: int, seed: int) -> dict[str, list[float]]:
    numbers = np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float16).astype(float)
    return {f"random{place:05}": row for place, row in enumerate(numbers.tolist())}


@pytest.mark.parametrize("kept_back", [0, 100])
@pytest.mark.parametrize("scale", [1, 3])
async def test_pages_of_equal_distances(api: httpx2.AsyncClient, url: str, kept_back: int, scale: int) -> None:
    """Neither twice nor left out: 600 equal vectors (or multiples of one: as near, and not the same) among others."""
    equal = {f"equal{place:05}": [x * (1 + place % scale) for x in EQUAL] for place in range(600)}
    tail = {name: equal[name] for name in list(equal)[::6][:kept_back]}
    project = await indexed(
        api, url, random_rows(1000, 1) | {name: equal[name] for name in equal if name not in tail}, tail
    )
    found: list[str] = []
    for offset in range(0, 600, 20):
        answer = await api.post(
            f"{project.similars}?limit=20&offset={offset}&threshold=-1",
            json={"vector": EQUAL},
            headers=project.owner.headers,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["search"]["method"] == "index"
        found += [one["id"] for one in answer.json()["results"]]
    assert found == sorted(equal)


@pytest.mark.parametrize("copies", [2, 30, 300])
async def test_a_page_that_ends_among_equals(api: httpx2.AsyncClient, url: str, copies: int) -> None:
    """Each vector several times: wherever a page ends, the next begins with the next id; filtered, and for several."""
    rows = {
        f"{name}-{copy:03}": vector for name, vector in random_rows(3000 // copies, 2).items() for copy in range(copies)
    }
    project = await indexed(api, url, rows, {})
    query = next(iter(rows.values()))
    distances = {
        name: 1 - float(np.dot(v, query) / np.linalg.norm(v) / np.linalg.norm(query)) for name, v in rows.items()
    }
    for only in (None, {"even": True}):
        passing = [name for name in rows if only is None or int(name[-1]) % 2 == 0]
        expected = sorted(passing, key=lambda name: (round(distances[name], 9), name))
        body: dict[str, Any] = {"vectors": [query, query]} | ({"filter": only} if only else {})
        for limit, offset in ((1, 0), (1, 1), (7, 0), (7, 7), (10, 25), (50, 100), (3, 197)):
            answer = await api.post(
                f"{project.similars}?limit={limit}&offset={offset}&threshold=-1",
                json=body,
                headers=project.owner.headers,
            )
            for results in answer.json()["results"]:
                got = [one["id"] for one in results]
                assert got == expected[offset : offset + limit], (only, limit, offset)
