"""The five built-in LLM service definitions, as a list and one by one (contract, section 4)."""

from urllib.parse import urlencode

import httpx2
import pytest

from tests.support.world import UNKNOWN_KEY, Headers, User, fetch, pages, problem, refused, unique, user

BUILT_IN = {
    "openai-large": ("openai", "text-embedding-3-large", 3072, 8192),
    "openai-small": ("openai", "text-embedding-3-small", 1536, 8191),
    "cohere-multilingual-v3": ("cohere", "embed-multilingual-v3.0", 1024, 512),
    "cohere-v4": ("cohere", "embed-v4.0", 1536, 128000),
    "gemini-embedding-001": ("gemini", "gemini-embedding-001", 768, 2048),
    "local-small": ("local", "l2-supercat-256", 256, None),
}
SYSTEM = "/v1/llm-definitions/_system"


@pytest.mark.parametrize("handle", BUILT_IN)
@pytest.mark.parametrize("by", ["user", "admin"])
async def test_any_user_reads_a_built_in_definition(
    api: httpx2.AsyncClient, admin: Headers, handle: str, by: str
) -> None:
    headers = admin if by == "admin" else (await user(api, admin)).headers
    found = await fetch(api, f"{SYSTEM}/{handle}", headers)
    standard, model, dimensions, context_limit = BUILT_IN[handle]
    assert isinstance(found["definition_id"], int)
    assert found["definition_handle"] == handle
    assert found["owner"] == "_system"
    assert found["is_public"] is True
    assert found["api_standard"] == standard
    assert (found["model"], found["dimensions"], found.get("context_limit")) == (model, dimensions, context_limit)


async def test_a_users_list_holds_the_built_in_ones_once_each(api: httpx2.AsyncClient, ada: User) -> None:
    body = await fetch(api, f"/v1/llm-definitions/{ada.handle}", ada.headers, limit=200)
    assert set(body) == {"definitions"}
    found = [(entry["owner"], entry["definition_handle"]) for entry in body["definitions"]]
    assert sorted(found) == sorted(("_system", handle) for handle in BUILT_IN)
    assert all(entry["is_public"] is True for entry in body["definitions"])
    assert len({entry["definition_id"] for entry in body["definitions"]}) == len(BUILT_IN)


async def test_the_admin_reads_a_users_list(api: httpx2.AsyncClient, admin: Headers, ada: User) -> None:
    path = f"/v1/llm-definitions/{ada.handle}"
    assert await fetch(api, path, admin) == await fetch(api, path, ada.headers)


@pytest.mark.parametrize("limit", [1, 2, 200])
async def test_the_pages_of_the_list_are_the_list(api: httpx2.AsyncClient, ada: User, limit: int) -> None:
    path = f"/v1/llm-definitions/{ada.handle}"
    whole = (await fetch(api, path, ada.headers, limit=200))["definitions"]
    assert await pages(api, path, ada.headers, field="definitions", limit=limit) == whole
    assert (await fetch(api, path, ada.headers, offset=1000)) == {"definitions": []}


async def test_a_missing_definition_is_404_for_the_admin(api: httpx2.AsyncClient, admin: Headers) -> None:
    problem(await api.get(f"{SYSTEM}/{unique('d')}", headers=admin), 404)


async def test_a_missing_definition_is_404_for_its_would_be_owner(api: httpx2.AsyncClient, ada: User) -> None:
    problem(await api.get(f"/v1/llm-definitions/{ada.handle}/{unique('d')}", headers=ada.headers), 404)


async def test_a_missing_definition_of_another_is_403(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, eve, nobody = await user(api, admin), await user(api, admin), unique("u")
    there = await api.get(f"/v1/llm-definitions/{ada.handle}/something", headers=eve.headers)
    not_there = await api.get(f"/v1/llm-definitions/{nobody}/something", headers=eve.headers)
    problem(there, 403)
    problem(not_there, 403)
    assert there.text.replace(ada.handle, "X") == not_there.text.replace(nobody, "X")


async def test_the_list_of_another_user_is_403(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, eve = await user(api, admin), await user(api, admin)
    problem(await api.get(f"/v1/llm-definitions/{ada.handle}", headers=eve.headers), 403)
    problem(await api.get(f"/v1/llm-definitions/{unique('u')}", headers=eve.headers), 403)


async def test_the_list_of_a_missing_user_is_404_for_the_admin(api: httpx2.AsyncClient, admin: Headers) -> None:
    problem(await api.get(f"/v1/llm-definitions/{unique('u')}", headers=admin), 404)


@pytest.mark.parametrize("headers", [{}, UNKNOWN_KEY], ids=["no-key", "unknown-key"])
@pytest.mark.parametrize("path", [SYSTEM, f"{SYSTEM}/openai-large", f"{SYSTEM}/nothing"])
async def test_public_definitions_still_need_a_key(api: httpx2.AsyncClient, path: str, headers: Headers) -> None:
    problem(await api.get(path, headers=headers), 401)


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=-1", "limit=ten", "offset=-1", "offset=1.5"])
async def test_bad_pages_are_refused(api: httpx2.AsyncClient, ada: User, query: str) -> None:
    response = await api.get(f"/v1/llm-definitions/{ada.handle}?{query}", headers=ada.headers)
    refused(response, 422, f"query.{query.partition('=')[0]}")


async def test_all_that_a_caller_may_use(api: httpx2.AsyncClient, admin: Headers, ada: User, bob: User) -> None:
    for handle, public in (("mine-alone", False), ("for-all", True)):
        body = {"definition_handle": handle, "api_standard": "openai", "is_public": public}
        answer = await api.post(f"/v1/llm-definitions/{ada.handle}", json=body, headers=ada.headers)
        assert answer.status_code == 201

    async def seen(headers: Headers, **query: str) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        path: str | None = f"/v1/llm-definitions?{urlencode({'limit': 50, **query})}"
        while path is not None:
            page = (await api.get(path, headers=headers)).json()
            found |= {(one["owner"], one["definition_handle"]) for one in page["definitions"]}
            path = page.get("next")
        return found

    built_in = {("_system", handle) for handle in BUILT_IN}
    assert await seen(bob.headers, owner="_system") == built_in
    of_ada = {(ada.handle, "mine-alone"), (ada.handle, "for-all")}
    assert built_in | of_ada <= await seen(ada.headers)
    assert built_in | of_ada <= await seen(admin)
    assert built_in | {(ada.handle, "for-all")} <= await seen(bob.headers)
    assert (ada.handle, "mine-alone") not in await seen(bob.headers)
    assert (await api.get("/v1/llm-definitions?owner=somebody", headers=ada.headers)).status_code == 422
