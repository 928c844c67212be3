"""Health, and the headers that every answer carries (contract, sections 1 and 9)."""

import httpx2
import pytest

from tests.support.world import UNKNOWN_KEY, Headers, Project, problem, row, unique, upload

HEALTH = ["/healthz", "/readyz"]


@pytest.mark.parametrize("path", HEALTH)
async def test_the_service_is_alive_and_ready_without_a_key(api: httpx2.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 200


@pytest.mark.parametrize("path", HEALTH)
async def test_no_key_is_looked_at(api: httpx2.AsyncClient, path: str) -> None:
    assert (await api.get(path, headers=UNKNOWN_KEY)).status_code == 200


@pytest.mark.parametrize("path", HEALTH)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_health_is_only_read(api: httpx2.AsyncClient, path: str, method: str) -> None:
    response = await api.request(method, path)
    problem(response, 405)
    assert {"GET", "HEAD"} <= {name.strip() for name in response.headers["allow"].split(",")}


@pytest.mark.parametrize("path", ["/v1/healthz", "/v1/readyz"])
async def test_health_is_not_below_the_version(api: httpx2.AsyncClient, path: str) -> None:
    problem(await api.get(path), 404)


@pytest.mark.parametrize("path", HEALTH)
async def test_health_carries_a_request_id(api: httpx2.AsyncClient, path: str) -> None:
    assert (await api.get(path)).headers["x-request-id"]
    request_id = unique("request")
    response = await api.get(path, headers={"X-Request-ID": request_id})
    assert response.headers["x-request-id"] == request_id


async def test_request_ids_differ(api: httpx2.AsyncClient) -> None:
    found = [(await api.get("/healthz")).headers["x-request-id"] for _ in range(5)]
    assert len(set(found)) == 5


@pytest.mark.parametrize(
    "what",
    [
        "/healthz",
        "/readyz",
        "user",
        "users",
        "definitions",
        "definition",
        "instance",
        "instances",
        "project",
        "projects",
        "embeddings",
        "embedding",
        "similar",
    ],
)
async def test_head_is_get_without_a_body(api: httpx2.AsyncClient, admin: Headers, own: Project, what: str) -> None:
    await upload(api, own, row("a", [1, 0, 0]))
    handle = own.owner.handle
    path = {
        "user": own.owner.path,
        "users": "/v1/users",
        "definitions": f"/v1/llm-definitions/{handle}",
        "definition": "/v1/llm-definitions/_system/openai-small",
        "instance": own.instance.path,
        "instances": f"/v1/llm-instances/{handle}",
        "project": own.path,
        "projects": f"/v1/projects/{handle}",
        "embeddings": own.embeddings,
        "embedding": own.embedding("a"),
        "similar": own.similar("a"),
    }.get(what, what)
    headers = admin if what == "users" else own.owner.headers
    full, head = await api.get(path, headers=headers), await api.head(path, headers=headers)
    assert (full.status_code, head.status_code) == (200, 200)
    assert head.content == b""
    assert head.headers["content-type"] == full.headers["content-type"]


async def test_head_of_what_is_not_there_is_404(api: httpx2.AsyncClient, admin: Headers) -> None:
    response = await api.head(f"/v1/users/{unique('u')}", headers=admin)
    assert (response.status_code, response.content) == (404, b"")


ORIGIN = {"Origin": "https://app.example.org"}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/healthz", "GET"),
        ("/v1/users", "POST"),
        ("/v1/users/abc", "PUT"),
        ("/v1/users/abc/key", "POST"),
        ("/v1/llm-definitions/abc", "GET"),
        ("/v1/llm-instances/abc/def", "DELETE"),
        ("/v1/projects/abc/def", "PUT"),
        ("/v1/embeddings/abc/def", "POST"),
        ("/v1/embeddings/abc/def/a%2Fb", "DELETE"),
        ("/v1/similars/abc/def", "POST"),
    ],
)
async def test_browsers_may_ask_first_without_a_key(api: httpx2.AsyncClient, path: str, method: str) -> None:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization, content-type"}
    response = await api.options(path, headers={**ORIGIN, **asked})
    # an answer to OPTIONS may have a body or none
    assert response.status_code in {200, 204}
    assert response.headers["access-control-allow-origin"] == "*"
    assert method in response.headers["access-control-allow-methods"]
    # a browser does not count "*" as Authorization, so both have to be named
    allowed = response.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type"} <= {name.strip() for name in allowed.split(",")}


@pytest.mark.parametrize(("path", "expected"), [("/healthz", 200), ("/v1/users", 401), ("/v1/nonsense", 404)])
async def test_every_answer_may_be_read_by_a_page(api: httpx2.AsyncClient, path: str, expected: int) -> None:
    response = await api.get(path, headers=ORIGIN)
    assert response.status_code == expected
    assert response.headers["access-control-allow-origin"] == "*"
