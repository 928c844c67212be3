"""Rules for every route: one shape of errors, one order of checks, bodies that cannot be read (contract, section 1)."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
import pytest_asyncio

from tests.support.world import (
    JSON_TYPE,
    MAX_BODY,
    UNKNOWN_KEY,
    Headers,
    Json,
    Project,
    User,
    batch,
    fetch,
    problem,
    project,
    refused,
    refused_property,
    row,
    segment,
    snapshot,
    status,
    unique,
    upload,
    user,
)


@dataclass(frozen=True, slots=True)
class World:
    """One project that no test of this file may change."""

    own: Project
    stranger: User

    def path(self, template: str) -> str:
        own = self.own
        names = {"{user}": own.owner.handle, "{project}": own.handle, "{instance}": own.instance.handle, "{id}": "a"}
        for name, value in names.items():
            template = template.replace(name, value)
        return template


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(api: httpx2.AsyncClient, admin: Headers) -> World:
    own = await project(api, await user(api, admin))
    await upload(api, own, row("a", [1, 0, 0], text="kept"))
    return World(own, await user(api, admin))


ROUTES: list[tuple[str, str]] = [
    ("GET", "/v1/users"),
    ("POST", "/v1/users"),
    ("GET", "/v1/users/{user}"),
    ("PUT", "/v1/users/{user}"),
    ("DELETE", "/v1/users/{user}"),
    ("POST", "/v1/users/{user}/key"),
    ("GET", "/v1/llm-definitions/{user}"),
    ("GET", "/v1/llm-definitions/_system/openai-large"),
    ("GET", "/v1/llm-instances/{user}"),
    ("POST", "/v1/llm-instances/{user}"),
    ("POST", "/v1/llm-instances/{user}/from-definition"),
    ("GET", "/v1/llm-instances/{user}/{instance}"),
    ("PUT", "/v1/llm-instances/{user}/{instance}"),
    ("DELETE", "/v1/llm-instances/{user}/{instance}"),
    ("GET", "/v1/projects/{user}"),
    ("POST", "/v1/projects/{user}"),
    ("GET", "/v1/projects/{user}/{project}"),
    ("PUT", "/v1/projects/{user}/{project}"),
    ("DELETE", "/v1/projects/{user}/{project}"),
    ("GET", "/v1/embeddings/{user}/{project}"),
    ("POST", "/v1/embeddings/{user}/{project}"),
    ("DELETE", "/v1/embeddings/{user}/{project}"),
    ("GET", "/v1/embeddings/{user}/{project}/{id}"),
    ("DELETE", "/v1/embeddings/{user}/{project}/{id}"),
    ("GET", "/v1/similars/{user}/{project}/{id}"),
    ("POST", "/v1/similars/{user}/{project}"),
]
WRITING = [(method, path) for method, path in ROUTES if method in {"PUT", "POST"} and not path.endswith("/key")]
OWNED = [(method, path) for method, path in ROUTES if "{user}" in path]
# Bodies are read in three ways: most as a whole, uploads row by row, searches without their vectors first.
READING = [
    ("POST", "/v1/users"),
    ("POST", "/v1/embeddings/{user}/{project}"),
    ("POST", "/v1/similars/{user}/{project}"),
]
ALIKE = [route for route in WRITING if route not in READING]


async def send(
    api: httpx2.AsyncClient, world: World, method: str, path: str, content: bytes | str, headers: Headers
) -> httpx2.Response:
    return await api.request(method, world.path(path), content=content, headers={**JSON_TYPE, **headers})


# Order of checks: route, key, permission, then path, query and body, then the resource


@pytest.mark.parametrize("headers", [{}, UNKNOWN_KEY], ids=["no-key", "unknown-key"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/nonsense",
        "/v1",
        "/nonsense",
        "/v1/users/abc/nonsense",
        "/v1/similars",
        "/v1/projects/abc/def/ghi/jkl",
        "/v2/users",
    ],
)
async def test_the_route_comes_before_the_key(api: httpx2.AsyncClient, path: str, headers: Headers) -> None:
    problem(await api.get(path, headers=headers), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/users", {"GET", "HEAD", "POST"}),
        ("POST", "/v1/users/{user}", {"GET", "HEAD", "PUT", "DELETE"}),
        ("GET", "/v1/users/{user}/key", {"POST"}),
        ("PUT", "/v1/projects/{user}", {"GET", "HEAD", "POST"}),
        ("POST", "/v1/projects/{user}/{project}", {"GET", "HEAD", "PUT", "DELETE"}),
        ("PUT", "/v1/llm-instances/{user}", {"GET", "HEAD", "POST"}),
        ("POST", "/v1/llm-instances/{user}/{instance}", {"GET", "HEAD", "PUT", "DELETE"}),
        ("PUT", "/v1/embeddings/{user}/{project}", {"GET", "HEAD", "POST", "DELETE"}),
        ("PUT", "/v1/embeddings/{user}/{project}/{id}", {"GET", "HEAD", "DELETE"}),
        ("GET", "/v1/similars/{user}/{project}", {"POST"}),
        ("DELETE", "/v1/similars/{user}/{project}/{id}", {"GET", "HEAD"}),
    ],
)
async def test_the_method_comes_before_the_key(
    api: httpx2.AsyncClient, admin: Headers, world: World, method: str, path: str, allowed: set[str]
) -> None:
    for headers in ({}, UNKNOWN_KEY, admin):
        response = await api.request(method, world.path(path), headers=headers)
        problem(response, 405)
        named = {name.strip() for name in response.headers["allow"].split(",")}
        assert allowed <= named
        assert method not in named


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_the_key_comes_before_the_body(api: httpx2.AsyncClient, world: World, method: str, path: str) -> None:
    before = await snapshot(api, world.own)
    for headers in ({}, UNKNOWN_KEY):
        response = await send(api, world, method, path, "{broken", headers)
        problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert await snapshot(api, world.own) == before


@pytest.mark.parametrize(("method", "path"), [route for route in OWNED if route in WRITING])
async def test_permission_comes_before_the_body(api: httpx2.AsyncClient, world: World, method: str, path: str) -> None:
    before = await snapshot(api, world.own)
    for content, kind in (("{broken", "application/json"), ("x", "text/plain"), ("{}", "application/json")):
        headers = {**world.stranger.headers, "Content-Type": kind}
        problem(await send(api, world, method, path, content, headers), 403)
    assert await snapshot(api, world.own) == before


@pytest.mark.parametrize(
    "path",
    [
        "/v1/projects/{user}",
        "/v1/llm-instances/{user}",
        "/v1/embeddings/{user}/{project}",
        "/v1/similars/{user}/{project}/{id}",
    ],
)
async def test_permission_comes_before_the_query(api: httpx2.AsyncClient, world: World, path: str) -> None:
    problem(await api.get(f"{world.path(path)}?limit=0", headers=world.stranger.headers), 403)


@pytest.mark.parametrize(
    ("method", "path", "content", "expected"),
    [
        ("POST", "/v1/embeddings/{user}/nothing", "{broken", 400),
        ("POST", "/v1/embeddings/{user}/nothing", '{"nonsense": 1}', 422),
        ("POST", "/v1/similars/{user}/nothing", "{broken", 400),
        ("POST", "/v1/similars/{user}/nothing", '{"vector": "x", "nonsense": 1}', 422),
        ("GET", "/v1/embeddings/{user}/nothing?limit=0", "", 422),
        ("GET", "/v1/similars/{user}/nothing/a?limit=0", "", 422),
    ],
)
async def test_the_request_comes_before_the_resource(
    api: httpx2.AsyncClient, world: World, method: str, path: str, content: str, expected: int
) -> None:
    problem(await send(api, world, method, path, content, world.own.owner.headers), expected)


@pytest.mark.parametrize(("method", "path"), OWNED)
async def test_403_is_the_same_whether_or_not_the_thing_exists(
    api: httpx2.AsyncClient, world: World, method: str, path: str
) -> None:
    nobody = unique("u")
    there = await api.request(method, world.path(path), headers=world.stranger.headers)
    not_there = await api.request(method, world.path(path.replace("{user}", nobody)), headers=world.stranger.headers)
    problem(there, 403)
    problem(not_there, 403)
    assert there.text.replace(world.own.owner.handle, "X") == not_there.text.replace(nobody, "X")
    assert set(there.headers) == set(not_there.headers)


# Keys


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Basic YWxpY2U6c2VjcmV0",
        "Bearer nonsense",
        "nonsense",
        "Bearer " + "f" * 64,
        "Token abc",
        "Bearer " + "x" * 5000,
    ],
)
async def test_a_key_that_is_none_is_401(api: httpx2.AsyncClient, world: World, value: str) -> None:
    response = await api.get(world.own.path, headers={"Authorization": value})
    problem(response, 401)
    assert response.headers["www-authenticate"].startswith("Bearer")
    if len(value) > 20:
        assert value.removeprefix("Bearer ") not in response.text


@pytest.mark.parametrize("value", ["Bearer {key}", "{key}", "bearer {key}"])
async def test_a_key_is_taken_with_and_without_bearer(api: httpx2.AsyncClient, world: World, value: str) -> None:
    headers = {"Authorization": value.replace("{key}", world.own.owner.key)}
    assert await status(api, world.own.path, headers) == 200


@pytest.mark.parametrize("value", ["Bearer {key}x", "Bearer x{key}", "Bearer {key}{key}", "Bearer {KEY}"])
async def test_a_key_is_compared_as_a_whole(api: httpx2.AsyncClient, world: World, value: str) -> None:
    key = world.own.owner.key
    headers = {"Authorization": value.replace("{key}", key).replace("{KEY}", key.swapcase())}
    problem(await api.get(world.own.path, headers=headers), 401)


async def test_the_key_is_not_taken_from_the_query(api: httpx2.AsyncClient, world: World) -> None:
    for name in ("key", "api_key", "token", "vdb_key"):
        problem(await api.get(world.own.path, params={name: world.own.owner.key}), 401)


# Bodies that cannot be read


BROKEN = {
    "truncated": b'{"user_handle": "abc", ',
    "truncated string": b'{"user_handle": "ab',
    "empty": b"",
    "space": b"  \n",
    "trailing comma": b'{"user_handle": "abc",}',
    "two documents": b"{} {}",
    "single quotes": b"{'user_handle': 'abc'}",
    "comment": b'{} // "abc"',
    "not UTF-8": b'{"user_handle": "\xff\xfe"}',
    "overlong UTF-8": b'{"user_handle": "\xc0\x80"}',
    "surrogate in UTF-8": b'{"user_handle": "\xed\xa0\x80"}',
    "Latin-1": '{"user_handle": "Käse"}'.encode("latin-1"),
    "UTF-16": '{"user_handle": "abc"}'.encode("utf-16"),
    "raw control character": b'{"user_handle": "a\x01b"}',
    "bad escape": b'{"user_handle": "\\x41"}',
    "NaN": b'{"user_handle": NaN}',
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        *((*route, content) for route in READING for content in BROKEN.values()),
        *((*route, BROKEN["truncated"]) for route in ALIKE),
    ],
    ids=[
        *(f"{path}-{kind}" for _, path in READING for kind in BROKEN),
        *(f"{method}-{path}" for method, path in ALIKE),
    ],
)
async def test_unreadable_json_is_400(
    api: httpx2.AsyncClient, admin: Headers, world: World, method: str, path: str, content: bytes
) -> None:
    problem(await send(api, world, method, path, content, admin), 400)


NO_OBJECTS = [b"[]", b"5", b'"text"', b"null", b"true", b"[{}]"]


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        *((*route, content) for route in READING for content in NO_OBJECTS),
        *((*route, NO_OBJECTS[0]) for route in ALIKE),
    ],
)
async def test_a_body_that_is_no_object_is_422(
    api: httpx2.AsyncClient, admin: Headers, world: World, method: str, path: str, content: bytes
) -> None:
    refused(await send(api, world, method, path, content, admin), 422, "body")


OTHER_TYPES = [
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "image/png",
    "nonsense",
]


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [*((*READING[0], kind) for kind in OTHER_TYPES), *((*route, OTHER_TYPES[0]) for route in WRITING[1:])],
)
async def test_another_content_type_is_415(
    api: httpx2.AsyncClient, admin: Headers, world: World, method: str, path: str, kind: str
) -> None:
    problem(await send(api, world, method, path, "{}", {**admin, "Content-Type": kind}), 415)


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"'],
)
async def test_json_is_taken_however_its_type_is_written(api: httpx2.AsyncClient, own: Project, kind: str) -> None:
    headers = {**own.owner.headers, "Content-Type": kind}
    content = json.dumps(batch(row("a", [1, 0, 0])))
    assert (await api.post(own.embeddings, content=content, headers=headers)).status_code == 201


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
async def test_deep_nesting_is_refused(api: httpx2.AsyncClient, world: World, opening: str) -> None:
    before = await snapshot(api, world.own)
    closing = {"[": "]", '{"a":': "}"}[opening]
    deep = f'{{"x": {opening * 100_000}1{closing * 100_000}}}'
    content = f'{{"embeddings": [{{"text_id": "deep", "vector": [1, 0, 0], "metadata": {deep}}}]}}'
    response = await send(api, world, "POST", "/v1/embeddings/{user}/{project}", content, world.own.owner.headers)
    # no limit is named: JSON that the service cannot read (400), or a value it does not take (422)
    assert response.status_code in {400, 422}
    problem(response, response.status_code)
    assert await snapshot(api, world.own) == before


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
@pytest.mark.parametrize(("method", "path"), READING)
async def test_a_body_that_is_only_nesting_is_refused(
    api: httpx2.AsyncClient, admin: Headers, world: World, method: str, path: str, opening: str
) -> None:
    response = await send(api, world, method, path, opening * 100_000, admin)
    # truncated (400), and wrong from its first character on (422)
    assert response.status_code in {400, 422}
    problem(response, response.status_code)


async def test_a_lone_surrogate_is_refused(api: httpx2.AsyncClient, world: World) -> None:
    before = await snapshot(api, world.own)
    content = r'{"embeddings": [{"text_id": "s", "vector": [1, 0, 0], "text": "\ud800"}]}'
    response = await send(api, world, "POST", "/v1/embeddings/{user}/{project}", content, world.own.owner.headers)
    # good by the grammar, and no text: unreadable (400) or invalid (422)
    assert response.status_code in {400, 422}
    problem(response, response.status_code)
    assert await snapshot(api, world.own) == before


# Size


async def pieces(size: int, start: bytes = b"", end: bytes = b"") -> AsyncIterator[bytes]:
    """A body of this size, most of it white space, that is sent in chunks without a Content-Length."""
    yield start
    left = size - len(start) - len(end)
    while left > 0:
        yield b" " * min(left, 1 << 20)
        left -= 1 << 20
    yield end


async def test_an_oversized_body_without_length_is_413(api: httpx2.AsyncClient, world: World) -> None:
    before = await snapshot(api, world.own)
    body = pieces(MAX_BODY + (1 << 20), b'{"embeddings": [{"text_id": "big", "vector": [1, 0, 0]}]', b"}")
    request = api.build_request(
        "POST", world.own.embeddings, content=body, headers={**world.own.owner.headers, **JSON_TYPE}
    )
    assert "content-length" not in request.headers
    problem(await api.send(request), 413)
    assert await snapshot(api, world.own) == before


async def test_an_oversized_body_with_length_is_413(api: httpx2.AsyncClient, world: World) -> None:
    before = await snapshot(api, world.own)
    content = b'{"embeddings": []' + b" " * MAX_BODY + b"}"
    response = await api.post(world.own.embeddings, content=content, headers={**world.own.owner.headers, **JSON_TYPE})
    problem(response, 413)
    assert await snapshot(api, world.own) == before


@pytest.mark.parametrize("length", ["sent", "left-out"])
async def test_a_body_below_the_limit_is_taken(api: httpx2.AsyncClient, own: Project, length: str) -> None:
    start, end = b'{"embeddings": [{"text_id": "big", "vector": [1, 0, 0]}]', b"}"
    size = MAX_BODY - (1 << 20)
    headers = {**own.owner.headers, **JSON_TYPE, **({"Content-Length": str(size)} if length == "sent" else {})}
    response = await api.post(own.embeddings, content=pieces(size, start, end), headers=headers)
    assert response.status_code == 201, response.text


async def test_a_chunked_body_is_a_body(api: httpx2.AsyncClient, own: Project) -> None:

    async def letters() -> AsyncIterator[bytes]:
        for byte in json.dumps(batch(row("a", [1, 0, 0], text="ü🎉"))).encode():
            yield bytes([byte])

    response = await api.post(own.embeddings, content=letters(), headers={**own.owner.headers, **JSON_TYPE})
    assert response.status_code == 201
    assert (await fetch(api, own.embedding("a"), own.owner.headers))["text"] == "ü🎉"


# What an error says


async def test_the_location_of_a_value_is_its_path(api: httpx2.AsyncClient, world: World) -> None:
    rows = [row(f"id-{n}", [1, 0, 0]) for n in range(5)]
    rows[3]["vector"] = 5
    response = await api.post(world.own.embeddings, json=batch(*rows), headers=world.own.owner.headers)
    body = refused(response, 422, "body.embeddings[3].vector")
    assert [error["location"] for error in body["errors"]] == ["body.embeddings[3].vector"]
    assert body["errors"][0].get("value", 5) == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text_id", "x" * 5000),
        ("text_id", "🎉" * 5000),
        ("text", ["y" * 5000]),
        ("vector", {"z" * 300: "z" * 300}),
        ("user_handle", "q" * 5000),
    ],
    ids=["text_id", "unicode", "list", "object", "handle"],
)
async def test_a_value_is_cut_at_two_hundred(api: httpx2.AsyncClient, world: World, field: str, value: object) -> None:
    before = await snapshot(api, world.own)
    bad = {**row("id", [1, 0, 0]), field: value}
    response = await api.post(world.own.embeddings, json=batch(bad), headers=world.own.owner.headers)
    # world.check_error looks at the length of every value of every problem
    body = problem(response, 400 if field == "user_handle" else 422)
    assert len(json.dumps(body, ensure_ascii=False)) < 2000
    assert await snapshot(api, world.own) == before


async def test_a_value_is_alone_and_without_its_neighbours(api: httpx2.AsyncClient, admin: Headers) -> None:
    body: Json = {"user_handle": unique("u"), "email": 5, "name": "NEIGHBOUR"}
    response = await api.post("/v1/users", json=body, headers=admin)
    found = refused(response, 422, "body.email")
    assert [error["value"] for error in found["errors"] if error["location"] == "body.email"] == [5]
    assert "NEIGHBOUR" not in response.text


async def test_a_missing_property_shows_nothing_of_the_others(api: httpx2.AsyncClient, admin: Headers) -> None:
    response = await api.post("/v1/users", json={"user_handle": unique("u"), "name": "NEIGHBOUR"}, headers=admin)
    refused_property(response, "body", "email")
    assert "NEIGHBOUR" not in response.text


async def test_an_error_carries_the_callers_request_id(api: httpx2.AsyncClient, world: World) -> None:
    for path, headers in ((world.own.path, {}), ("/v1/nonsense", {}), (world.own.path, world.stranger.headers)):
        request_id = unique("request")
        response = await api.get(path, headers={**headers, "X-Request-ID": request_id})
        assert response.headers["x-request-id"] == request_id


@pytest.mark.parametrize("path", ["/v1/projects/{user}/{project}", "/v1/embeddings/{user}/{project}/{id}"])
@pytest.mark.parametrize("attack", ["'; DROP TABLE users; --", "%", "_", "\\", "' OR '1'='1"])
async def test_a_path_is_never_part_of_a_statement(
    api: httpx2.AsyncClient, world: World, path: str, attack: str
) -> None:
    before = await snapshot(api, world.own)
    name = "{id}" if "{id}" in path else "{project}"
    attacked = world.path(path.replace(name, segment(attack)))
    problem(await api.get(attacked, headers=world.own.owner.headers), 404)
    assert await snapshot(api, world.own) == before


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/users/a%00b", 422),
        ("/v1/users/%FF%FE", 400),
        ("/v1/llm-instances/a%00b/x", 422),
        ("/v1/projects/%FF%FE/poems", 400),
        ("/v1/embeddings/a%00b/poems", 422),
    ],
)
async def test_key_and_permission_come_before_an_unreadable_path(
    api: httpx2.AsyncClient, admin: Headers, world: World, path: str, expected: int
) -> None:
    problem(await api.get(path), 401)
    problem(await api.get(path, headers={"Authorization": "Bearer unknown"}), 401)
    problem(await api.get(path, headers=world.stranger.headers), 403)
    problem(await api.get(path, headers=admin), expected)
