"""Pages of embeddings whose metadata pass a filter."""

import json
from typing import Any

import httpx2
import pytest

from service.search import passing
from tests.support.world import Headers, Project, fetch, project, refused, row, upload, user

ROWS = 50


@pytest.fixture(scope="module")
async def filled(api: httpx2.AsyncClient, admin: Headers) -> Project:
    """Fifty embeddings; every fifth is by Blake, and one has no metadata."""
    own = await project(api, await user(api, admin))
    rows = [
        row(f"t{n:02}", [1, 2, n], text=f"text {n}", metadata={"author": "Blake" if n % 5 == 0 else "Kant", "n": n})
        for n in range(ROWS - 1)
    ]
    await upload(api, own, *rows, row("t49", [1, 2, 3]))
    return own


async def pages(api: httpx2.AsyncClient, of: Project, only: Any, **query: Any) -> list[list[str]]:
    """The ids of all pages, which are followed to their end."""
    answer = await fetch(api, of.embeddings, of.owner.headers, filter=json.dumps(only), **query)
    found = [[one["text_id"] for one in answer["embeddings"]]]
    while "next" in answer:
        answer = (await api.get(answer["next"], headers=of.owner.headers)).json()
        found.append([one["text_id"] for one in answer["embeddings"]])
    return found


BLAKE = [f"t{n:02}" for n in range(0, 49, 5)]


async def test_only_those_that_pass(api: httpx2.AsyncClient, filled: Project) -> None:
    assert await pages(api, filled, {"author": "Blake"}) == [BLAKE]
    assert await pages(api, filled, {"n": {"$gte": 40}, "author": {"$ne": "Kant"}}) == [["t40", "t45"]]
    assert await pages(api, filled, {"author": {"$exists": False}}) == [["t49"]]
    assert await pages(api, filled, {"author": "Hume"}) == [[]]
    assert len((await pages(api, filled, {}))[0]) == ROWS


async def test_page_by_page(api: httpx2.AsyncClient, filled: Project) -> None:
    assert await pages(api, filled, {"author": "Blake"}, limit=4) == [BLAKE[:4], BLAKE[4:8], BLAKE[8:]]
    assert await pages(api, filled, {"author": "Blake"}, limit=5, after="t05") == [BLAKE[2:7], BLAKE[7:]]


async def test_shows_what_a_page_without_a_filter_shows(api: httpx2.AsyncClient, filled: Project) -> None:
    plain = await fetch(api, filled.embeddings, filled.owner.headers, after="t04", limit=1)
    only = await fetch(api, filled.embeddings, filled.owner.headers, after="t04", limit=1, filter='{"n": 5}')
    assert only["embeddings"] == plain["embeddings"]
    few = await fetch(api, filled.embeddings, filled.owner.headers, include="text", filter='{"n": 5}')
    assert few["embeddings"][0]["text"] == "text 5"
    assert "metadata" not in few["embeddings"][0]


async def test_a_page_ends_when_it_has_looked_long_enough(
    api: httpx2.AsyncClient, filled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing, "MAX_SECONDS", -1)
    monkeypatch.setattr(passing, "FIRST_ROWS", 7)
    found = await pages(api, filled, {"author": "Blake"}, limit=4)
    assert len(found) == 8
    assert [text_id for page in found for text_id in page] == BLAKE
    assert [] in await pages(api, filled, {"n": 48})


@pytest.mark.parametrize(
    ("only", "where"),
    [
        ("", "query.filter"),
        ("{", "query.filter"),
        ("[]", "query.filter"),
        ("null", "query.filter"),
        ('{"a": {"$gt": true}}', "query.filter.a.$gt"),
        ('{"$nor": []}', "query.filter.$nor"),
    ],
)
async def test_what_is_no_filter(api: httpx2.AsyncClient, filled: Project, only: str, where: str) -> None:
    answer = await api.get(filled.embeddings, params={"filter": only}, headers=filled.owner.headers)
    refused(answer, 422, where)


async def test_the_longest_filter(api: httpx2.AsyncClient, filled: Project) -> None:
    for wanted, status in ((4000, 200), (4001, 422)):
        # Each of its characters takes twelve bytes of the path.
        around = len(json.dumps({"author": ""}))
        only = json.dumps({"author": "😀" * (wanted - around)}, ensure_ascii=False)
        answer = await api.get(filled.embeddings, params={"filter": only}, headers=filled.owner.headers)
        assert answer.status_code == status, answer.text


async def test_an_offset_does_not_go_with_it(api: httpx2.AsyncClient, filled: Project) -> None:
    query = {"filter": "{}", "offset": 1}
    refused(await api.get(filled.embeddings, params=query, headers=filled.owner.headers), 422, "query.offset")
