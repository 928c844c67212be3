"""CORS, OPTIONS and HEAD, on every route."""

import re

import httpx2
import pytest

from service.api import endpoints

from .world import Headers, user

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
    asked = {**ORIGIN, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
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


async def test_head_is_get_without_the_body(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(api, admin)
    for path, headers in [("/healthz", {}), (ada.path, ada.headers), ("/openapi.json", {}), ("/v1/users", {})]:
        full, head = await api.get(path, headers=headers), await api.head(path, headers=headers)
        assert head.status_code == full.status_code
        assert head.content == b""
        assert head.headers["content-type"] == full.headers["content-type"]
        assert head.headers["content-length"] == full.headers["content-length"]
