"""API standards (contract section 3)."""

import httpx2
import pytest

from tests.support.world import Headers, fetch, instance, problem, refused, standard, unique, user

BUILT_IN = {
    "openai": ("auth_bearer", "Authorization"),
    "cohere": ("auth_bearer", "Authorization"),
    "gemini": ("custom_header", "x-goog-api-key"),
}


async def test_the_built_in_ones_need_no_key(api: httpx2.AsyncClient) -> None:
    page = await fetch(api, "/v1/api-standards", {})
    listed = {one["api_standard_handle"]: (one["key_method"], one["key_field"]) for one in page["api_standards"]}
    assert BUILT_IN.items() <= listed.items()
    assert list(listed) == sorted(listed)
    for handle, (method, field) in BUILT_IN.items():
        one = await fetch(api, f"/v1/api-standards/{handle}", {})
        assert (one["key_method"], one["key_field"]) == (method, field)
    problem(await api.get("/v1/api-standards/none"), 404)


@pytest.mark.parametrize("way", ["PUT", "POST"])
async def test_made_and_replaced_by_the_admin(api: httpx2.AsyncClient, admin: Headers, way: str) -> None:
    handle = unique("s")
    path = "/v1/api-standards" + (f"/{handle}" if way == "PUT" else "")
    for method in ("body_form", "query_param"):
        body = {"api_standard_handle": handle, "description": "d", "key_method": method, "key_field": "k"}
        answer = await api.request(way, path, json=body, headers=admin)
        assert (answer.status_code, answer.json()) == (201, body)
    assert (await fetch(api, f"/v1/api-standards/{handle}", {}))["key_method"] == "query_param"


async def test_refusals(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, handle = await user(api, admin), unique("s")
    path = f"/v1/api-standards/{handle}"
    body = {"api_standard_handle": handle, "description": "d", "key_method": "query_param", "key_field": "k"}
    problem(await api.put(path, json=body, headers=ada.headers), 403)
    refused(await api.put(path, json={**body, "key_method": "by_pigeon"}, headers=admin), 422, "body.key_method")
    refused(await api.put(path, json={**body, "api_standard_handle": "other"}, headers=admin), 400)
    for name in body:
        refused(await api.put(path, json={**body, name: None}, headers=admin), 422, f"body.{name}")
    problem(await api.get(path), 404)


async def test_one_in_use_cannot_be_deleted(api: httpx2.AsyncClient, admin: Headers) -> None:
    path = await standard(api, admin)
    ada = await user(api, admin)
    model = await instance(api, ada, api_standard=path.rpartition("/")[2])
    problem(await api.delete(path, headers=admin), 409)
    await api.delete(model.path, headers=ada.headers)
    assert (await api.delete(path, headers=admin)).status_code == 204
    problem(await api.delete(path, headers=admin), 404)
