"""A search for what is like a stored text, which the body names."""

import httpx2
import pytest

from tests.support.world import Headers, Project, fetch, problem, project, refused, row, upload, user


@pytest.fixture(scope="module")
async def filled(api: httpx2.AsyncClient, admin: Headers) -> Project:
    own = await project(api, await user(api, admin), public_read=True)
    rows = [row(f"t{n}", [10, n, 0], text=f"text {n}", metadata={"even": n % 2 == 0}) for n in range(6)]
    await upload(api, own, *rows, row("..", [0, 0, 1]), row("a/b?c", [0, 0, 2]))
    return own


async def test_as_the_route_that_has_the_id_in_its_path(api: httpx2.AsyncClient, filled: Project) -> None:
    query = {"limit": 3, "threshold": -1}
    by_path = await fetch(api, filled.similar("t2"), filled.owner.headers, **query)
    answer = await api.post(filled.similars, json={"text_id": "t2"}, headers=filled.owner.headers, params=query)
    assert answer.json() == by_path
    assert "t2" not in [one["id"] for one in by_path["results"]]


async def test_with_a_filter_and_what_is_shown(api: httpx2.AsyncClient, filled: Project) -> None:
    body = {"text_id": "t2", "filter": {"even": True}, "include": ["text"]}
    answer = await api.post(filled.similars, json=body, headers=filled.owner.headers)
    assert [(one["id"], one["text"]) for one in answer.json()["results"]] == [("t4", "text 4"), ("t0", "text 0")]


async def test_ids_that_no_path_takes(api: httpx2.AsyncClient, filled: Project) -> None:
    for one, other in (("..", "a/b?c"), ("a/b?c", "..")):
        found = (await api.post(filled.similars, json={"text_id": one}, headers=filled.owner.headers)).json()
        assert [result["id"] for result in found["results"]] == [other]


async def test_anybody_may_ask_of_a_public_project(api: httpx2.AsyncClient, filled: Project) -> None:
    assert (await api.post(filled.similars, json={"text_id": "t1"})).status_code == 200


async def test_what_is_not_stored(api: httpx2.AsyncClient, filled: Project) -> None:
    answer = await api.post(filled.similars, json={"text_id": "none"}, headers=filled.owner.headers)
    assert "'none'" in problem(answer, 404)["detail"]


async def test_only_one_of_the_ways_to_ask(api: httpx2.AsyncClient, filled: Project) -> None:
    for body in ({"text_id": "t1", "vector": [1, 2, 3]}, {"text_id": "t1", "text": "a text"}, {}):
        refused(await api.post(filled.similars, json=body, headers=filled.owner.headers), 422, "body.vector")
    for wrong in ("", 5, None):
        refused(
            await api.post(filled.similars, json={"text_id": wrong}, headers=filled.owner.headers), 422, "body.text_id"
        )
