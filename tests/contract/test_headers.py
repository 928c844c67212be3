"""Headers of every answer: nothing is kept by a cache, nothing is taken for what it is not."""

import httpx2
import pytest

from tests.support.world import Headers, User, batch, project, row

KEPT = (
    *("/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/openapi.json", "/openapi.yaml"),
    *("/console/", "/console/app.js"),
)


async def test_no_cache_keeps_an_answer(api: httpx2.AsyncClient, admin: Headers, ada: User) -> None:
    """Least of all one that shows a key; and a read that was allowed must not outlive the permission."""
    place = await project(api, ada)
    body = {"user_handle": f"{ada.handle}-2", "email": f"{ada.handle}-2@example.org"}
    answers = [
        created := await api.put(f"/v1/users/{ada.handle}-2", json=body, headers=admin),
        await api.post("/v1/users", json={**body, "user_handle": f"{ada.handle}-3", "email": "3@x"}, headers=admin),
        renewed := await api.post(f"/v1/users/{ada.handle}-2/key", headers=admin),
        await api.get(f"/v1/users/{ada.handle}", headers=ada.headers),
        await api.post(place.embeddings, json=batch(row("a", [1, 2, 3])), headers=ada.headers),
        await api.post(f"{place.embeddings}/stream", headers={**ada.headers, "Content-Type": "application/x-ndjson"}),
        await api.get(place.embedding("a"), headers=ada.headers),
        await api.head(place.embedding("a"), headers=ada.headers),
        await api.get(place.similar("a"), headers=ada.headers),
        await api.delete(place.embedding("a"), headers=ada.headers),
        await api.get(place.embedding("a"), headers=ada.headers),
        await api.get(place.path),
        await api.get("/v1/api-standards"),
        await api.get("/v1/none"),
        await api.put("/healthz"),
        await api.get("/healthz"),
        await api.get("/readyz"),
        await api.get("/metrics", headers=admin),
    ]
    assert len(created.json()["vdb_key"]) == len(renewed.json()["vdb_key"]) == 64
    for one in answers:
        assert one.headers.get_list("cache-control") == ["no-store"], (one.request.method, one.url)
        assert one.headers.get_list("x-content-type-options") == ["nosniff"], one.url


@pytest.mark.parametrize("path", KEPT)
async def test_what_is_the_same_for_all_is_asked_for_again(api: httpx2.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.headers.get_list("cache-control") == ["no-cache"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    if path in {"/docs", "/console/"}:
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"


HARMLESS = {
    "TE": ["gzip, chunked", "trailers", "trailers, deflate;q=0.5", "", "chunked"],
    "Connection": ["TE", "keep-alive, TE", "close, TE"],
    "Accept-Encoding": ["*", "gzip;q=0", "identity"],
    "Accept": ["*/*", "text/html, */*;q=0.1", ""],
    "Expect": ["100-continue"],
    "Upgrade": ["h2c", "websocket, foo"],
    "Upgrade-Insecure-Requests": ["1"],
    "Via": ["1.1 proxy"],
    "Max-Forwards": ["0"],
    "Range": ["bytes=0-1"],
    "If-Match": ["*"],
    "If-None-Match": ["*"],
    "Keep-Alive": ["timeout=5"],
    "Proxy-Connection": ["keep-alive"],
    "Content-Length": ["0"],
    "Content-Type": ["", "text/plain"],
    "Cookie": ["a=b; c=d"],
    "X-Forwarded-For": ["1.2.3.4, [::1]:80, unknown"],
    "X-Custom": ["\u00fc", "a,b", "x" * 8000],
    "X_Under": ["score"],
    "Transfer-Encoding": ["chunked", "Chunked"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HARMLESS.items() for value in values])
async def test_a_harmless_header_is_let_be(api: httpx2.AsyncClient, name: str, value: str) -> None:
    headers = [(name.encode(), value.encode())]
    if name == "TE":
        headers.append((b"Connection", b"TE"))
    if name == "Upgrade":
        headers.append((b"Connection", b"upgrade"))
    content = iter([]) if name == "Transfer-Encoding" else None

    async def nothing() -> object:
        for piece in content or ():
            yield piece

    answer = (
        await api.get("/healthz", headers=headers)
        if content is None
        else await api.request(
            "GET",
            "/healthz",
            headers=headers,
            content=nothing(),  # type: ignore[arg-type]
        )
    )
    assert answer.status_code == 200, answer.text
