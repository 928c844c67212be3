"""Parameters and properties that are not known are refused, and the nearest known name is told."""

import gzip
import json
from typing import Any

import httpx2
import msgspec
import pytest

from service.api.routes import endpoints
from service.http.auth import any_user
from service.http.endpoint import Endpoint
from tests.support.world import (
    Headers,
    Project,
    User,
    batch,
    fetch,
    problem,
    project,
    refused,
    row,
    snapshot,
    upload,
    user,
)

OURS = [one for one in endpoints if one.path.startswith("/v1/") and not one.only_debug]


def messages(response: httpx2.Response, at: str) -> str:
    """What is said of one place of a request that was refused."""
    return " ".join(one["message"] for one in problem(response, 422)["errors"] if one.get("location") == at)


async def ask(
    api: httpx2.AsyncClient, one: Endpoint, kept: Project, headers: Headers, *, method: str | None = None, **names: str
) -> httpx2.Response:
    """A request whose only fault in path and query is a parameter that no route has."""
    values = {"user": kept.owner.handle, "project": kept.handle, "instance": kept.instance.handle, **names}
    path = one.path
    for name in ("user", "project", "instance", "text_id", "definition", "standard", "other"):
        path = path.replace(f"{{{name}}}", values.get(name, "none"))
    content = b"{}" if method is None and one.method in ("POST", "PUT", "PATCH") else None
    kind = {"Content-Type": one.consumes[0]} if content else {}
    url = (
        f"{path}?treshold=0.9&limit=1"
        if "limit" in str(one.query_type.__annotations__ if one.query_type else "")
        else f"{path}?treshold=0.9"
    )
    return await api.request(method or one.method, url, content=content, headers={**headers, **kind})


@pytest.fixture(scope="module")
async def kept(api: httpx2.AsyncClient, admin: Headers) -> Project:
    """A project that nothing of what is asked of it may change."""
    kept = await project(api, await user(api, admin))
    await upload(api, kept, row("none", [1, 2, 3]))
    return kept


@pytest.fixture(scope="module")
async def stranger(api: httpx2.AsyncClient, admin: Headers) -> User:
    return await user(api, admin)


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.name)
async def test_an_unknown_parameter_is_refused_on_every_route(
    api: httpx2.AsyncClient, admin: Headers, kept: Project, one: Endpoint
) -> None:
    before = await snapshot(api, kept)
    answer = await ask(api, one, kept, admin)
    if one.error_body is None:
        refused(answer, 422, "query.treshold")
    assert answer.status_code == 422
    assert await snapshot(api, kept) == before  # a DELETE has deleted nothing
    if one.method == "GET":
        assert (await ask(api, one, kept, admin, method="HEAD")).status_code == 422
    assert (await ask(api, one, kept, {}, method="OPTIONS")).status_code == 204


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.name)
async def test_access_is_decided_first(
    api: httpx2.AsyncClient, admin: Headers, kept: Project, stranger: User, one: Endpoint
) -> None:
    if not one.path.startswith("/v1/api-standards") or one.method != "GET":
        assert (await ask(api, one, kept, {})).status_code == 401
        is_for_all = one.guard is any_user
        assert (await ask(api, one, kept, stranger.headers)).status_code == (422 if is_for_all else 403)
    missing = await ask(api, one, kept, admin, user="nobody", project="nothing", instance="nothing")
    assert missing.status_code == 422  # what is wrong with a request comes before what is missing


async def test_the_nearest_parameter_is_named(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 2, 3]))
    for path, sent, nearest in (
        (own.similar("a"), "treshold=0.9", "threshold"),
        (own.similar("a"), "LIMIT=5", "limit"),
        (own.similar("a"), "metadata-path=a", "metadata_path"),
        (own.embeddings, "ofset=1", "offset"),
        (own.embeddings, "includes=text", "include"),
        (own.similar("a"), "%6cimits=5", "limit"),
    ):
        answer = await api.get(f"{path}?{sent}", headers=own.owner.headers)
        name = sent.partition("=")[0].replace("%6c", "l")
        assert f"did you mean {nearest!r}" in messages(answer, f"query.{name}")
    answer = await api.get(f"{own.similar('a')}?zzz=1&limit=0", headers=own.owner.headers)
    refused(answer, 422, "query.zzz", "query.limit")
    assert "did you mean" not in messages(answer, "query.zzz")
    answer = await api.post(f"{own.similars}?treshold=1", json={"vector": [1, 2, 3]}, headers=own.owner.headers)
    assert "did you mean 'threshold'" in messages(answer, "query.treshold")
    stream = f"{own.embeddings}/stream?on_eror=skip"
    answer = await api.post(
        stream, content=b"{}\n", headers={**own.owner.headers, "Content-Type": "application/x-ndjson"}
    )
    assert "did you mean 'on_error'" in messages(answer, "query.on_eror")


async def test_a_parameter_that_is_given_twice_is_refused_unless_it_is_a_list(
    api: httpx2.AsyncClient, own: Project
) -> None:
    await upload(api, own, row("a", [1, 2, 3], text="t"))
    refused(await api.get(f"{own.embeddings}?after=a&after=b", headers=own.owner.headers), 422, "query.after")
    refused(await api.get(f"{own.embeddings}?limit=1&limit=1", headers=own.owner.headers), 422, "query.limit")
    answer = await api.get(f"{own.embeddings}?include=text&include=metadata", headers=own.owner.headers)
    assert answer.json()["embeddings"][0]["text"] == "t"


@pytest.mark.parametrize("query", ["after=%FF", "%FF=1", "after=%C3%28", "include=%FF", "limit=%FF"])
async def test_a_query_that_is_not_utf_8_is_refused(
    api: httpx2.AsyncClient, admin: Headers, own: Project, query: str
) -> None:
    assert "is not UTF-8" in str(problem(await api.get(f"{own.embeddings}?{query}", headers=own.owner.headers), 422))
    for path in (own.owner.path, own.similar("a"), "/v1/users", "/v1/admin/sanity-check", "/v1/api-standards"):
        problem(await api.get(f"{path}?{query}", headers=admin), 422)


async def test_many_and_long_unknown_names_are_told_shortly(api: httpx2.AsyncClient, admin: Headers) -> None:
    query = "&".join(f"{'treshold' * 5}{number}=1" for number in range(900))
    body = problem(await api.get(f"/v1/users?{query}", headers=admin), 422)
    assert len(body["errors"]) == 100
    refused(await api.get(f"/v1/users?{'x' * 5000}=1", headers=admin), 422, "query." + "x" * 64)


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/docs", "/docs/start.js", "/console/", "/openapi.json", "/metrics"]
)
async def test_what_machines_and_browsers_ask_takes_any_parameter(
    api: httpx2.AsyncClient, admin: Headers, path: str
) -> None:
    assert (await api.get(f"{path}?name[]=up&v=1", headers=admin)).status_code == 200


async def test_the_nearest_property_is_named(api: httpx2.AsyncClient, admin: Headers) -> None:
    owner = await user(api, admin)
    own = await project(api, owner)
    packed = {**owner.headers, "Content-Type": "application/msgpack"}

    async def said(method: str, path: str, body: Any, at: str, headers: Headers = owner.headers) -> str:
        return messages(await api.request(method, path, json=body, headers=headers), at)

    assert "did you mean 'email'" in await said("PUT", owner.path, {"e-mail": "a@b"}, "body.e-mail", admin)
    assert "did you mean 'metadataScheme'" in await said(
        "PUT", own.path, {**own.body, "metadataSchema": {}}, "body.metadataSchema"
    )
    assert "did you mean 'public_read'" in await said("PATCH", own.path, {"publicRead": True}, "body.publicRead")
    share = {**own.body, "shared_with": [{"user_handel": "bob", "role": "reader"}]}
    assert "did you mean 'user_handle'" in await said("PUT", own.path, share, "body.shared_with[0].user_handel")
    assert "did you mean 'vectors'" in await said("POST", own.similars, {"vektors": [[1, 2, 3]]}, "body.vektors")
    older = owner.path.replace("users", "llm-services") + "/older"
    service = {"llm_service_handel": "older", "dimensions": 3}
    assert "did you mean 'llm_service_handle'" in await said("PUT", older, service, "body.llm_service_handel")
    patched = own.instance.path.replace("llm-instances", "llm-services")
    assert "known are llm_service_handle" in await said(
        "PATCH", patched, {"llm_service_handel": "x"}, "body.llm_service_handel"
    )

    rows = batch(row("a", [1, 2, 3], metdata={}))
    where = "body.embeddings[0].metdata"
    assert "did you mean 'metadata'" in await said("POST", own.embeddings, rows, where)
    answer = await api.post(own.embeddings, content=msgspec.msgpack.encode(rows), headers=packed)
    assert "did you mean 'metadata'" in messages(answer, where)
    for kind, content in (
        ("application/x-ndjson", json.dumps(rows["embeddings"][0]).encode()),
        ("application/msgpack", msgspec.msgpack.encode(rows["embeddings"][0])),
    ):
        answer = await api.post(
            f"{own.embeddings}/stream", content=content, headers={**owner.headers, "Content-Type": kind}
        )
        assert "did you mean 'metadata'" in answer.text
    large = batch(*[row(f"{number}", [1, 2, 3], text="t" * 1000) for number in range(1500)])
    content = json.dumps({"embedings": large["embeddings"]}).encode()
    answer = await api.post(
        own.embeddings,
        content=gzip.compress(content),
        headers={**owner.headers, "Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert "'embeddings'" in str(problem(answer, 422)["errors"])
    assert (await fetch(api, own.embeddings, owner.headers))["embeddings"] == []
