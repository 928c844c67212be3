"""The older `/v1/llm-services` routes, and the older names in projects."""

import httpx2
import pytest

from service.api import deprecated, instance_sharing, llm_instances
from service.http.endpoint import defined_in
from tests.support.world import Headers, fetch, instance, problem, unique, user


def test_each_newer_route_has_its_older_one() -> None:
    known = defined_in(llm_instances, instance_sharing)
    newer = {(one.method, one.path.replace("llm-instances", "llm-services")) for one in known}
    newer.remove(("PATCH", "/v1/llm-services/{user}/{instance}/share/{other}"))  # which older clients do not know
    assert newer == {(one.method, one.path) for one in deprecated.endpoints}


async def test_a_service_is_an_instance(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob = await user(api, admin), await user(api, admin)
    handle = unique("s")
    older, newer = (f"/v1/{kind}/{ada.handle}/{handle}" for kind in ("llm-services", "llm-instances"))
    body = {"llm_service_handle": handle, "dimensions": 3, "api_key": "secret"}
    made = await api.put(older, json=body, headers=ada.headers)
    assert made.status_code == 201
    number = made.json()["llm_service_id"]
    assert made.json() == {"owner": ada.handle, "llm_service_handle": handle, "llm_service_id": number}
    assert made.headers["deprecation"].startswith("@")
    assert made.headers["link"] == f'<{newer}>; rel="successor-version"'

    now = await fetch(api, newer, ada.headers)
    seen = await fetch(api, older, ada.headers)
    renamed = {"instance_handle": "llm_service_handle", "instance_id": "llm_service_id"}
    assert seen == {renamed.get(name, name): value for name, value in now.items()}
    page = await fetch(api, f"/v1/llm-services/{ada.handle}", ada.headers)
    assert [one["llm_service_handle"] for one in page["instances"]] == [handle]

    changed = await api.patch(older, json={"model": "m", "llm_service_handle": handle}, headers=ada.headers)
    assert (changed.status_code, changed.json()["model"]) == (200, "m")
    shared = await api.post(
        f"{older}/share", json={"share_with_handle": bob.handle, "role": "reader"}, headers=ada.headers
    )
    assert (shared.status_code, shared.json()["llm_service_handle"]) == (201, handle)
    assert (await fetch(api, f"{older}/shared-with", ada.headers)) == shared.json()
    assert (await api.delete(f"{older}/share/{bob.handle}", headers=ada.headers)).status_code == 204
    gone = await api.delete(older, headers=ada.headers)
    assert gone.status_code == 204
    assert "deprecation" in gone.headers
    problem(await api.get(newer, headers=ada.headers), 404)


async def test_from_a_definition(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(api, admin)
    body = {"llm_service_handle": "mine", "definition_owner": "_system", "definition_handle": "openai-small"}
    made = await api.post(f"/v1/llm-services/{ada.handle}/from-definition", json=body, headers=ada.headers)
    assert made.status_code == 200
    assert made.json()["llm_service_handle"] == "mine"


async def test_refusals_use_the_older_names_too(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(api, admin)
    path = f"/v1/llm-services/{ada.handle}/mine"
    for body, status in [
        ({"llm_service_handle": "a b", "dimensions": 3}, 422),
        ({"llm_service_handle": "other", "dimensions": 3}, 400),
        ({"dimensions": 3}, 422),
    ]:
        answer = await api.put(path, json=body, headers=ada.headers)
        found = problem(answer, status)
        assert [one["location"] for one in found["errors"]] == ["body.llm_service_handle"]
        assert "deprecation" in answer.headers
    newer_name = await api.put(path, json={"instance_handle": "mine", "dimensions": 3}, headers=ada.headers)
    problem(newer_name, 422)


@pytest.mark.parametrize("form", ["handle", "object", "owner"])
async def test_older_names_in_a_project(api: httpx2.AsyncClient, admin: Headers, form: str) -> None:
    ada, bob = await user(api, admin), await user(api, admin)
    model = await instance(api, ada)
    service = {
        "handle": model.handle,
        "object": {"llm_service_handle": model.handle, "endpoint": "https://x"},
        "owner": {"llm_service_handle": model.handle, "owner": ada.handle},
    }[form]
    body = {"project_handle": "older", "llmServices": [service], "authorizedReaders": [bob.handle, "*"]}
    path = f"/v1/projects/{ada.handle}/older"
    assert (await api.put(path, json=body, headers=ada.headers)).status_code == 201
    about = await fetch(api, path, ada.headers)
    assert about["instance"]["instance_handle"] == model.handle
    assert about["public_read"] is True
    assert about["shared_with"] == [{"user_handle": bob.handle, "role": "reader"}]
