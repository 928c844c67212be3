"""CORS, OPTIONS and HEAD, on every route."""

import re
from collections.abc import Callable

import httpx2
import pytest

from service.api.routes import endpoints
from tests.conftest import client_of, settings_for
from tests.support.world import Headers, User, problem, project, user

PATHS = sorted({re.sub(r"{\w+}", "start.js", one.path) for one in endpoints if not one.only_debug})
ORIGIN = {"Origin": "https://pages.example.org"}


@pytest.mark.parametrize("path", PATHS)
async def test_options_tells_the_methods(api: httpx2.AsyncClient, path: str) -> None:
    answer = await api.options(path)
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = set(answer.headers["allow"].split(", "))
    assert "OPTIONS" in allowed
    assert ("HEAD" in allowed) is ("GET" in allowed)
    wrong = await api.request("TRACE", path)
    assert wrong.status_code == 405
    assert set(wrong.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", PATHS)
async def test_preflight(api: httpx2.AsyncClient, path: str) -> None:
    sent = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,x-read-from"}
    asked = {**ORIGIN, **sent}
    answer = await api.options(path, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert "x-read-from" in answer.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize("path", ["/healthz", "/v1/users", "/v1/none"])
async def test_answers_and_errors_alike(api: httpx2.AsyncClient, path: str) -> None:
    answer = await api.get(path, headers=ORIGIN)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
    assert answer.headers["x-request-id"]


async def test_head_is_get_without_the_body(api: httpx2.AsyncClient, ada: User) -> None:
    for path, headers in [("/healthz", {}), (ada.path, ada.headers), ("/openapi.json", {}), ("/v1/users", {})]:
        full, head = await api.get(path, headers=headers), await api.head(path, headers=headers)
        assert head.status_code == full.status_code
        assert head.content == b""
        assert head.headers["content-type"] == full.headers["content-type"]
        assert head.headers["content-length"] == full.headers["content-length"]


# What clients of ours, and the libraries and agents around them, send beside what a browser lets pass unasked.
SENT = [
    *("Authorization", "Content-Type", "Content-Encoding", "Accept", "X-Request-ID", "X-Read-From", "Expect"),
    *("traceparent", "tracestate", "baggage", "sentry-trace", "X-Requested-With", "X-Stainless-Lang", "User-Agent"),
    *("Idempotency-Key", "If-None-Match", "Prefer", "Cache-Control"),
]


@pytest.mark.parametrize("name", SENT)
async def test_a_page_may_send_any_header(api: httpx2.AsyncClient, name: str) -> None:
    """No header has a meaning that a page of another origin should not use: only a key opens anything, and it is sent
    by whoever knows it, never by the browser itself."""
    sent = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": f"authorization,{name.lower()}"}
    answer = await api.options("/v1/embeddings/abc/def", headers={**ORIGIN, **sent})
    assert answer.status_code == 200
    allowed = {one.strip() for one in answer.headers["access-control-allow-headers"].lower().split(",")}
    assert {"authorization", name.lower()} <= allowed
    assert "access-control-allow-credentials" not in answer.headers
    assert "access-control-request-headers" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    "asked",
    [
        {"Access-Control-Request-Method": "BREW"},
        {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"},
    ],
)
async def test_a_refused_preflight_is_a_problem(api: httpx2.AsyncClient, asked: dict[str, str]) -> None:
    answer = await api.options("/v1/users", headers={**ORIGIN, **asked})
    assert "Disallowed CORS" in problem(answer, 400)["detail"]
    assert "origin" in answer.headers["vary"].lower()
    assert answer.headers["x-request-id"]


NAMED = "https://app.example.org"


@pytest.mark.slow
async def test_named_origins(new_database: Callable[..., str], admin: Headers) -> None:
    """An answer depends on the origin also when none was sent: a cache must not give it to a page."""
    config = settings_for(
        new_database(), service_cors_origins=f"{NAMED}, http://localhost:3000,", service_indexer=False,
        service_max_body_bytes=2000,
    )  # fmt: skip
    async with client_of(config) as api:
        place = await project(api, await user(api, admin))
        for origin, allowed in [(None, None), (NAMED, NAMED), ("null", None), ("https://evil.example", None)]:
            sent: Headers = {"Origin": origin} if origin else {}
            owner = {**place.owner.headers, **sent}
            answers = [
                await api.get("/healthz", headers=sent),
                await api.get("/v1/none", headers=sent),
                await api.get("/v1/users", headers=sent),
                await api.put("/healthz", headers=sent),
                await api.options("/v1/users", headers=sent),
                await api.get("/docs", headers=sent),
                await api.get(place.path, headers=owner),
                await api.get(place.embeddings, headers={**owner, "Accept": "application/msgpack"}),
                await api.post(place.embeddings, json={"embeddings": "x" * 3000}, headers=owner),
                await api.post(place.embeddings, content=b"{", headers=owner),
                await api.post(f"{place.embeddings}/stream", headers={**owner, "Content-Type": "application/x-ndjson"}),
            ]
            assert [one.status_code for one in answers] == [200, 404, 401, 405, 204, 200, 200, 200, 413, 400, 200]
            for one in answers:
                assert "origin" in [name.strip().lower() for name in one.headers["vary"].split(",")], one.url
                assert one.headers.get("access-control-allow-origin") == allowed, one.url
            assert "accept" in answers[7].headers["vary"].lower()
        ask = {"Access-Control-Request-Method": "GET"}
        refused = await api.options("/v1/users", headers={"Origin": "https://evil.example", **ask})
        assert "origin" in problem(refused, 400)["detail"]
        assert "access-control-allow-origin" not in refused.headers
        taken = await api.options("/v1/users", headers={"Origin": "http://localhost:3000", **ask})
        assert taken.headers["access-control-allow-origin"] == "http://localhost:3000"


@pytest.mark.parametrize("origin", [None, "null", "https://pages.example.org"])
async def test_any_origin(api: httpx2.AsyncClient, origin: str | None) -> None:
    answer = await api.get("/v1/none", headers={"Origin": origin} if origin else {})
    assert answer.headers.get("access-control-allow-origin") == ("*" if origin else None)
    assert "origin" in answer.headers["vary"].lower()
