"""Lists say when there is more: a Link and a field `next`, never a wrong one, until all has been shown once."""

import re
from typing import Any

import httpx2
import pytest

from tests.support.world import (
    Headers,
    Json,
    Project,
    fetch,
    instance,
    problem,
    project,
    refused,
    row,
    unique,
    upload,
    user,
)


def link(response: httpx2.Response, relation: str = "next") -> str | None:
    """The reference of this relation among an answer's Links."""
    found = re.findall(r'<([^>]*)>; rel="([^"]*)"', ", ".join(response.headers.get_list("link")))
    matching = [reference for reference, rel in found if rel == relation]
    assert len(matching) <= 1
    return matching[0] if matching else None


async def walk(api: httpx2.AsyncClient, path: str, headers: Headers, field: str | None) -> tuple[list[Any], list[int]]:
    """All that is in a list, and how many each page had, from Link to Link."""
    found, sizes = [], []
    following: str | None = path
    while following is not None:
        answer = await api.get(following, headers=headers)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        page = body if field is None else body[field]
        assert page or following == path, "a Link led to an empty page"
        found += page
        sizes.append(len(page))
        following = link(answer)
        if field is not None:
            assert body.get("next") == following
        head = await api.head(following or path, headers=headers)
        assert head.status_code == 200
    return found, sizes


async def things(api: httpx2.AsyncClient, admin: Headers, kind: str, count: int) -> tuple[str, Headers, str | None]:
    """A list with so many things: its path, who may read it, and the field that has them."""
    owner = await user(api, admin)
    if kind in ("llm-instances", "llm-services"):
        for _ in range(count):
            await instance(api, owner)
        return f"/v1/{kind}/{owner.handle}", owner.headers, "instances"
    on = await instance(api, owner)
    if kind == "projects":
        for _ in range(count):
            await project(api, owner, on=on)
        return f"/v1/projects/{owner.handle}", owner.headers, "projects"
    if kind == "llm-definitions":
        for number in range(count - 6):  # beside the six of _system
            body = {"definition_handle": f"d{number:02}", "api_standard": "openai"}
            path = f"/v1/llm-definitions/{owner.handle}/d{number:02}"
            assert (await api.put(path, json=body, headers=owner.headers)).status_code == 201
        return f"/v1/llm-definitions/{owner.handle}", owner.headers, "definitions"
    own = await project(api, owner, on=on)
    await upload(api, own, *(row(f"{number:02}", [1, 2, 3]) for number in range(count)))
    return own.embeddings, owner.headers, "embeddings"


KINDS = ["llm-instances", "llm-services", "llm-definitions", "projects", "embeddings"]


PAGES = [(7, 3), (6, 6), (6, 3), (6, 7), (7, 6), (6, 1)]


@pytest.mark.parametrize(
    ("kind", "count", "limit"),
    [
        (kind, count, limit)
        for kind in KINDS  # embeddings go on behind an id, all others at an offset
        for count, limit in (PAGES if kind in ("projects", "embeddings") else PAGES[:2])
    ],
)
async def test_every_list_is_shown_whole(
    api: httpx2.AsyncClient, admin: Headers, kind: str, count: int, limit: int
) -> None:
    path, headers, field = await things(api, admin, kind, count)
    whole = (await fetch(api, path, headers))[field]
    assert len(whole) == count
    found, sizes = await walk(api, f"{path}?limit={limit}", headers, field)
    assert found == whole
    assert sizes == [limit] * (count // limit) + [count % limit] * bool(count % limit)
    answer = await api.get(f"{path}?limit={limit}&offset={count}", headers=headers)
    assert (answer.json()[field], link(answer), "next" in answer.json()) == ([], None, False)
    if kind == "llm-services":
        assert link(answer, "successor-version") == path.replace("llm-services", "llm-instances")
        assert link(await api.get(path, headers=headers), "successor-version")


async def test_users_and_api_standards(api: httpx2.AsyncClient, admin: Headers) -> None:
    handles = sorted([(await user(api, admin)).handle for _ in range(3)])
    found, sizes = await walk(api, "/v1/users?limit=200", admin, None)
    assert len(found) == len(set(found)) == sum(sizes)
    assert sorted(set(handles) & set(found)) == handles
    standards = [unique("s") for _ in range(3)]
    for handle in standards:
        body = {"api_standard_handle": handle, "description": "d", "key_method": "query_param", "key_field": "k"}
        assert (await api.put(f"/v1/api-standards/{handle}", json=body, headers=admin)).status_code == 201
    found, sizes = await walk(api, "/v1/api-standards?limit=2", {}, "api_standards")
    assert len({one["api_standard_handle"] for one in found}) == sum(sizes)
    assert set(standards) < {one["api_standard_handle"] for one in found}


ODD = ["a b", "a&after=z", "a+b", "a/b", "a%2Fb", "é", "e\u0301", "漢字🎉", "a>b", 'a"b', "a#b", "a?b=c", "z" * 300]


@pytest.mark.slow
async def test_embeddings_go_on_behind_the_last_whatever_its_id_is(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, *(row(one, [1, 2, 3], text="t", metadata={"a": 1}) for one in ODD))
    for query in ("limit=1&include=text", "include=text,metadata&limit=1", "limit=1&offset=0", "limit=2&after="):
        found, _ = await walk(api, f"{own.embeddings}?{query}", own.owner.headers, "embeddings")
        assert [one["text_id"] for one in found] == sorted(ODD)
        assert all(("text" in one, "vector" in one) == (True, "include" not in query) for one in found)
    answer = await api.get(f"{own.embeddings}?limit=2&offset=3&include=metadata", headers=own.owner.headers)
    assert [name for name, _ in httpx2.URL(link(answer) or "").params.multi_items()] == ["limit", "include", "after"]
    found, _ = await walk(api, str(link(answer)), own.owner.headers, "embeddings")
    assert [one["text_id"] for one in found] == sorted(ODD)[5:]
    packed = {**own.owner.headers, "Accept": "application/msgpack"}
    assert link(await api.get(f"{own.embeddings}?limit=2", headers=packed))


async def test_a_path_stays_as_it_was_sent(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 2, 3]), row("b", [1, 2, 3]))
    path = own.embeddings.replace("-", "%2d")
    assert link(await api.get(f"{path}?limit=1", headers=own.owner.headers)) == f"{path}?limit=1&after=a"


async def test_a_page_that_is_just_full_is_not_refused_for_what_comes_next(
    api: httpx2.AsyncClient, own: Project
) -> None:
    for name in ("a", "b", "c"):
        await upload(api, own, row(name, [1, 2, 3], text=name * 1_900_000))
    found, sizes = await walk(api, f"{own.embeddings}?limit=2&include=text", own.owner.headers, "embeddings")
    assert ([one["text_id"] for one in found], sizes) == (["a", "b", "c"], [2, 1])
    problem(await api.get(f"{own.embeddings}?limit=3&include=text", headers=own.owner.headers), 422)


@pytest.mark.parametrize("kind", ["projects", "llm-instances", "llm-services", "llm-definitions"])
async def test_whom_something_is_shared_with(api: httpx2.AsyncClient, admin: Headers, kind: str) -> None:
    own = await project(api, owner := await user(api, admin))
    path = {"projects": own.path, "llm-definitions": f"/v1/llm-definitions/{owner.handle}/own"}.get(
        kind, own.instance.path.replace("llm-instances", kind)
    )
    if kind == "llm-definitions":
        body = {"definition_handle": "own", "api_standard": "openai"}
        assert (await api.put(path, json=body, headers=owner.headers)).status_code == 201
    others = sorted([(await user(api, admin)).handle for _ in range(5)])
    for other in others:
        share = {"share_with_handle": other} | ({} if kind == "llm-definitions" else {"role": "reader"})
        assert (await api.post(f"{path}/share", json=share, headers=owner.headers)).status_code == 201
    field = None if kind == "llm-definitions" else "shared_with"
    for query, sizes in (("", [5]), ("?limit=2", [2, 2, 1]), ("?limit=5", [5]), ("?offset=3", [2]), ("?offset=9", [0])):
        found, seen = await walk(api, f"{path}/shared-with{query}", owner.headers, field)
        handles = [one if field is None else one["user_handle"] for one in found]
        assert (handles, seen) == (others[len(others) - sum(sizes) :], sizes)
    refused(await api.get(f"{path}/shared-with?limit=0", headers=owner.headers), 422, "query.limit")


@pytest.mark.slow
async def test_what_is_shared_with_many_is_shown_whole(api: httpx2.AsyncClient, admin: Headers) -> None:
    own: Project = await project(api, owner := await user(api, admin))
    others = sorted([(await user(api, admin)).handle for _ in range(205)])
    body: Json = {**own.body, "shared_with": others}
    assert (await api.put(own.path, json=body, headers=owner.headers)).status_code == 201
    answer = await api.get(f"{own.path}/shared-with", headers=owner.headers)
    assert [one["user_handle"] for one in answer.json()["shared_with"]] == others
    assert link(answer) is None


async def test_an_answer_of_more_than_a_page_shows_a_browser_its_link(api: httpx2.AsyncClient, admin: Headers) -> None:
    await user(api, admin)
    await user(api, admin)
    answer = await api.get("/v1/users?limit=1", headers={**admin, "Origin": "https://page.example.org"})
    assert link(answer)
    assert "Link" in answer.headers["access-control-expose-headers"]
