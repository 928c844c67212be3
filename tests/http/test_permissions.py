"""Who may do what: every route, asked by every kind of caller, for private and for public things.

The callers are those of the contract: nobody, an unknown key, a stranger, a reader, an editor, the owner and
the admin. `{user}` is the owner; the project, the instance and the definition are shared with the reader and
the editor. A second row of statuses is for a public project or definition; without one they are the same. The older
`/v1/llm-services` have no rows: each has the very guard of the route that it stands for.
"""

import asyncio
from typing import Any

import httpx2
import pytest

from service.api.routes import endpoints
from tests.support.world import Headers, problem, unique, user

CALLERS = ("nobody", "unknown", "stranger", "reader", "editor", "owner", "admin")

MATRIX = """
                                                            nobody unknown stranger reader editor owner admin
GET    /v1/whoami                                              401     401      200    200    200   200   200
GET    /v1/users                                               401     401      403    403    403   403   200
POST   /v1/users                                               401     401      403    403    403   403   201
GET    /v1/users/{user}                                        401     401      403    403    403   200   200
PUT    /v1/users/{user}                                        401     401      403    403    403   403   201
PATCH  /v1/users/{user}                                        401     401      403    403    403   403   200
DELETE /v1/users/{user}                                        401     401      403    403    403   204   204
POST   /v1/users/{user}/key                                    401     401      403    403    403   201   201
GET    /v1/api-standards                                       200     200      200    200    200   200   200
POST   /v1/api-standards                                       401     401      403    403    403   403   201
GET    /v1/api-standards/{standard}                            200     200      200    200    200   200   200
PUT    /v1/api-standards/{standard}                            401     401      403    403    403   403   201
PATCH  /v1/api-standards/{standard}                            401     401      403    403    403   403   200
DELETE /v1/api-standards/{standard}                            401     401      403    403    403   403   204
GET    /v1/llm-definitions                                     401     401      200    200    200   200   200
GET    /v1/llm-definitions/{user}                              401     401      403    403    403   200   200
POST   /v1/llm-definitions/{user}                              401     401      403    403    403   201   201
GET    /v1/llm-definitions/{user}/{definition}                 401     401      403    200    200   200   200
                                              public:          401     401      200    200    200   200   200
PUT    /v1/llm-definitions/{user}/{definition}                 401     401      403    403    403   201   201
PATCH  /v1/llm-definitions/{user}/{definition}                 401     401      403    403    403   200   200
DELETE /v1/llm-definitions/{user}/{definition}                 401     401      403    403    403   204   204
POST   /v1/llm-definitions/{user}/{definition}/share           401     401      403    403    403   201   201
DELETE /v1/llm-definitions/{user}/{definition}/share/{other}   401     401      403    403    403   204   204
GET    /v1/llm-definitions/{user}/{definition}/shared-with     401     401      403    403    403   200   200
GET    /v1/llm-instances/{user}                                401     401      403    403    403   200   200
POST   /v1/llm-instances/{user}                                401     401      403    403    403   201   201
POST   /v1/llm-instances/{user}/from-definition                401     401      403    403    403   200   200
GET    /v1/llm-instances/{user}/{instance}                     401     401      403    200    200   200   200
PUT    /v1/llm-instances/{user}/{instance}                     401     401      403    403    403   201   201
PATCH  /v1/llm-instances/{user}/{instance}                     401     401      403    403    403   200   200
DELETE /v1/llm-instances/{user}/{instance}                     401     401      403    403    403   409   409
POST   /v1/llm-instances/{user}/{instance}/embed               401     401      403    409    409   409   409
POST   /v1/openai/{user}/{instance}/embeddings                 401     401      403    409    409   409   409
GET    /v1/llm-instances/{user}/{instance}/usage               401     401      403    200    200   200   200
PATCH  /v1/llm-instances/{user}/{instance}/share/{other}       401     401      403    403    403   200   200
POST   /v1/llm-instances/{user}/{instance}/share               401     401      403    403    403   201   201
DELETE /v1/llm-instances/{user}/{instance}/share/{other}       401     401      403    403    403   204   204
GET    /v1/llm-instances/{user}/{instance}/shared-with         401     401      403    403    403   200   200
GET    /v1/projects                                            401     401      403    403    403   403   200
GET    /v1/projects/{user}                                     401     401      403    403    403   200   200
POST   /v1/projects/{user}                                     401     401      403    403    403   201   201
GET    /v1/projects/{user}/{project}                           401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
PUT    /v1/projects/{user}/{project}                           401     401      403    403    403   201   201
PATCH  /v1/projects/{user}/{project}                           401     401      403    403    403   200   200
DELETE /v1/projects/{user}/{project}                           401     401      403    403    403   204   204
POST   /v1/projects/{user}/{project}/share                     401     401      403    403    403   201   201
DELETE /v1/projects/{user}/{project}/share/{other}             401     401      403    403    403   204   204
GET    /v1/projects/{user}/{project}/shared-with               401     401      403    403    403   200   200
GET    /v1/projects/{user}/{project}/instance                  401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
GET    /v1/projects/{user}/{project}/map                       401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
POST   /v1/projects/{user}/{project}/transfer                  401     401      403    403    403   200   200
POST   /v1/projects/{user}/{project}/schema-check              401     401      403    403    403   200   200
POST   /v1/embeddings/{user}/{project}                         401     401      403    403    201   201   201
POST   /v1/embeddings/{user}/{project}/stream                  401     401      403    403    200   200   200
POST   /v1/embeddings/{user}/{project}/get                     401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
POST   /v1/embeddings/{user}/{project}/delete                  401     401      403    403    200   200   200
GET    /v1/embeddings/{user}/{project}                         401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
GET    /v1/embeddings/{user}/{project}/changes                 401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
GET    /v1/embeddings/{user}/{project}/digests                 401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
GET    /v1/embeddings/{user}/{project}/digests/buckets         401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
DELETE /v1/embeddings/{user}/{project}                         401     401      403    403    204   204   204
GET    /v1/embeddings/{user}/{project}/{text_id}               401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
DELETE /v1/embeddings/{user}/{project}/{text_id}               401     401      403    403    204   204   204
GET    /v1/similars/{user}/{project}/{text_id}                 401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
POST   /v1/texts/{user}/{project}/stream                       401     401      403    403    200   200   200
POST   /v1/texts/{user}/{project}                              401     401      403    403    409   409   409
POST   /v1/similars/{user}/{project}                           401     401      403    200    200   200   200
                                              public:          200     401      200    200    200   200   200
GET    /v1/admin/sanity-check                                  401     401      403    403    403   403   200
GET    /v1/admin/status                                        401     401      403    403    403   403   200
GET    /v1/admin/slow-searches                                 401     401      403    403    403   403   200
POST   /v1/admin/reset                                         401     401      403    403    403   403   422
GET    /v1/admin/footgun                                       404     404      404    404    404   404   404
GET    /                                                       200     200      200    200    200   200   200
GET    /healthz                                                200     200      200    200    200   200   200
GET    /readyz                                                 200     200      200    200    200   200   200
GET    /metrics                                                401     401      403    403    403   403   200
GET    /openapi.json                                           200     200      200    200    200   200   200
GET    /openapi.yaml                                           200     200      200    200    200   200   200
GET    /docs                                                   200     200      200    200    200   200   200
GET    /docs/{asset}                                           200     200      200    200    200   200   200
GET    /console                                                307     307      307    307    307   307   307
GET    /console/                                               200     200      200    200    200   200   200
GET    /console/{file}                                         200     200      200    200    200   200   200
GET    /console/{folder}/{file}                                200     200      200    200    200   200   200
"""
# The admin's reset is asked with the wrong words, so that it is allowed and does nothing; the footgun is there
# in debug only.


def read_matrix() -> dict[tuple[str, str], dict[str, list[int]]]:
    """The statuses in the order of CALLERS, by method and path, and by `private` and `public`."""
    rows: dict[tuple[str, str], dict[str, list[int]]] = {}
    route = ("", "")
    for line in MATRIX.strip().splitlines()[1:]:
        *words, _, _, _, _, _, _, _ = line.split()
        statuses = [int(word) for word in line.split()[-7:]]
        if words == ["public:"]:
            rows[route]["public"] = statuses
        else:
            route = (words[0], words[1])
            assert route not in rows
            rows[route] = {"private": statuses, "public": statuses}
    return rows


ROWS = read_matrix()


GUARDS = {(one.method, one.path): one.guard for one in endpoints}
OLDER = {(method, path) for method, path in GUARDS if path.startswith("/v1/llm-services/")}


def test_every_route_has_its_row() -> None:
    assert ROWS.keys() == GUARDS.keys() - OLDER


def test_each_older_route_has_the_guard_of_the_newer_one() -> None:
    assert OLDER
    for method, path in OLDER:
        assert GUARDS[method, path] is GUARDS[method, path.replace("llm-services", "llm-instances")]


class World:
    """A fresh owner with an instance, a definition and a project, shared with the reader and the editor."""

    def __init__(self, users: dict[str, str], headers: dict[str, Headers]) -> None:
        self.users = users
        self.headers = headers
        self.names = {
            "user": users["owner"],
            "other": users["reader"],
            "standard": unique("s"),
            "definition": "template",
            "instance": "inst",
            "project": unique("p"),
            "text_id": "rose",
            "asset": "start.js",
            "file": "hooks.js",
            "folder": "vendor",
        }

    def body(self, method: str, path: str) -> Any:
        """A good body for a route."""
        kind = path.split("/")[2] if path.startswith("/v1/") else ""
        if path.endswith("/share"):
            return {"share_with_handle": self.users["stranger"]} | ({} if "definitions" in path else {"role": "reader"})
        if path.endswith("/transfer"):
            return {"new_owner": self.users["editor"]}
        if path.endswith("/from-definition"):
            return {"instance_handle": "made", "definition_owner": "_system", "definition_handle": "openai-small"}
        if path.endswith(("/embed", "/{instance}/embeddings")):  # of an instance that the service cannot call
            return {"input": ["a text"]} | ({"model": "inst"} if "openai" in path else {})
        if path.endswith("/schema-check"):
            return {"metadataScheme": {"required": ["author"]}}
        if path.endswith("/reset"):
            return {"confirm": "not these words"}
        if path.endswith("/key") or method in ("GET", "DELETE"):
            return None
        if path.endswith(("/{project}/get", "/{project}/delete")):
            return {"text_ids": ["rose"]}
        if path.endswith("/share/{other}"):
            return {"role": "editor"}
        if method == "PATCH":
            return {"email": f"{unique('e')}@example.org"} if kind == "users" else {"description": "changed"}
        item = method == "PUT"
        return {
            "users": {
                "user_handle": self.users["owner"] if item else unique("u"),
                "email": f"{unique('e')}@example.org",
            },
            "api-standards": {
                "api_standard_handle": self.names["standard"] if item else unique("s"),
                "description": "d",
                "key_method": "query_param",
                "key_field": "k",
            },
            "llm-definitions": {"definition_handle": "template" if item else "other", "api_standard": "openai"},
            "llm-instances": {"instance_handle": "inst" if item else "other", "dimensions": 3},
            "projects": {"project_handle": self.names["project"] if item else "other", "instance_handle": "inst"},
            "embeddings": {"embeddings": [{"text_id": "new", "vector": [1, 2, 3]}]},
            "texts": {"texts": [{"text_id": "new", "text": "a text"}]},
            "similars": {"vector": [1, 2, 3]},
        }[kind]


async def make_world(api: httpx2.AsyncClient, admin: Headers, others: dict[str, Any], *, public: bool) -> World:
    owner = await user(api, admin)
    users = {name: one.handle for name, one in others.items()} | {"owner": owner.handle}
    headers: dict[str, Headers] = {name: one.headers for name, one in others.items()}
    headers |= {"owner": owner.headers, "admin": admin, "nobody": {}, "unknown": {"Authorization": "Bearer unknown"}}
    world = World(users, headers)
    share = [{"share_with_handle": users[role], "role": role} for role in ("reader", "editor")]
    definition, instance = f"/v1/llm-definitions/{owner.handle}", f"/v1/llm-instances/{owner.handle}"
    standard = {"api_standard_handle": world.names["standard"], "description": "d"}
    standard |= {"key_method": "query_param", "key_field": "k"}
    project = {"project_handle": world.names["project"], "instance_handle": "inst", "public_read": public}
    project["shared_with"] = [{"user_handle": users[role], "role": role} for role in ("reader", "editor")]
    made = [
        await api.post("/v1/api-standards", json=standard, headers=admin),
        await api.post(
            definition,
            json={"definition_handle": "template", "api_standard": "openai", "is_public": public},
            headers=owner.headers,
        ),
        await api.post(instance, json={"instance_handle": "inst", "dimensions": 3}, headers=owner.headers),
        *[await api.post(f"{instance}/inst/share", json=one, headers=owner.headers) for one in share],
        *[
            await api.post(
                f"{definition}/template/share",
                json={"share_with_handle": one["share_with_handle"]},
                headers=owner.headers,
            )
            for one in share
        ],
        await api.post(f"/v1/projects/{owner.handle}", json=project, headers=owner.headers),
        await api.post(
            f"/v1/embeddings/{owner.handle}/{world.names['project']}",
            json={"embeddings": [{"text_id": "rose", "vector": [1, 2, 3]}]},
            headers=owner.headers,
        ),
    ]
    assert {answer.status_code for answer in made} == {201}
    return world


@pytest.fixture(scope="module")
async def others(api: httpx2.AsyncClient, admin: Headers) -> dict[str, Any]:
    return {name: await user(api, admin) for name in ("stranger", "reader", "editor")}


@pytest.fixture(scope="module")
async def worlds(api: httpx2.AsyncClient, admin: Headers, others: dict[str, Any]) -> dict[str, World]:
    """A private and a public world, which no test changes."""
    return {
        visibility: await make_world(api, admin, others, public=visibility == "public")
        for visibility in ("private", "public")
    }


async def ask(api: httpx2.AsyncClient, world: World, caller: str, method: str, path: str) -> int:
    body = world.body(method, path)
    sent: dict[str, Any] = {} if body is None else {"json": body}
    extra = {}
    if path.endswith("/stream"):
        sent = {"content": b'{"text_id": "new", "vector": [1, 2, 3]}\n'}
        extra = {"Content-Type": "application/x-ndjson"}
    answer = await api.request(method, path.format(**world.names), headers={**world.headers[caller], **extra}, **sent)
    while answer.status_code == 202:  # a map is being made
        await asyncio.sleep(0.2)
        answer = await api.get(path.format(**world.names), headers=world.headers[caller])
    return answer.status_code


async def state(api: httpx2.AsyncClient, admin: Headers, world: World) -> list[Any]:
    """All that a refused request might have changed."""
    owner, project, definition = world.names["user"], world.names["project"], world.names["definition"]
    paths = [
        f"/v1/users/{owner}",
        f"/v1/api-standards/{world.names['standard']}",
        f"/v1/llm-definitions/{owner}",
        f"/v1/llm-definitions/{owner}/{definition}",
        f"/v1/llm-definitions/{owner}/{definition}/shared-with",
        f"/v1/llm-instances/{owner}",
        f"/v1/llm-instances/{owner}/inst",
        f"/v1/llm-instances/{owner}/inst/shared-with",
        f"/v1/projects/{owner}",
        f"/v1/projects/{owner}/{project}",
        f"/v1/embeddings/{owner}/{project}",
    ]
    answers = [await api.get(path, headers=admin) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    # The owner's key still opens what it opened.
    answers.append(await api.get(f"/v1/users/{owner}", headers=world.headers["owner"]))
    return [(answer.status_code, answer.json()) for answer in answers]


# Of users, standards, instances and what machines ask, nothing is public or private.
SEEN = ("/v1/projects", "/v1/embeddings", "/v1/texts", "/v1/similars", "/v1/llm-definitions")


@pytest.mark.parametrize(
    ("method", "path", "visibility"),
    [
        pytest.param(method, path, visibility, marks=[pytest.mark.slow] if visibility == "public" else [])
        for method, path in ROWS
        for visibility in (("private", "public") if path.startswith(SEEN) else ("private",))
    ],
)
async def test_each_caller_gets_the_status_that_the_matrix_says(
    api: httpx2.AsyncClient,
    admin: Headers,
    others: dict[str, Any],
    worlds: dict[str, World],
    method: str,
    path: str,
    visibility: str,
) -> None:
    async def fresh() -> World:
        return await make_world(api, admin, others, public=visibility == "public")

    world = worlds[visibility] if method == "GET" else await fresh()
    expected = dict(zip(CALLERS, ROWS[method, path][visibility], strict=True))
    refused = [caller for caller, status in expected.items() if status >= 400]
    before = None if method == "GET" else await state(api, admin, world)
    found = {caller: await ask(api, world, caller, method, path) for caller in refused}
    assert before is None or await state(api, admin, world) == before
    allowed = [caller for caller in expected if caller not in refused]
    for number, caller in enumerate(allowed):
        if number and method != "GET":
            world = await fresh()  # what the one before has changed is not there
        found[caller] = await ask(api, world, caller, method, path)
    assert found == expected


def refused(answer: httpx2.Response, status: int) -> None:
    if "/openai/" in answer.request.url.path:
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
    else:
        problem(answer, status)


ABOUT_THINGS = [
    (method, path)
    for method, path in ROWS
    if any(f"{{{kind}}}" in path for kind in ("definition", "instance", "project"))
]


@pytest.mark.parametrize(("method", "path"), ABOUT_THINGS)
async def test_only_owner_and_admin_are_told_whether_a_thing_exists(
    api: httpx2.AsyncClient, worlds: dict[str, World], method: str, path: str
) -> None:
    world = worlds["private"]
    names = [world.names, {**world.names, "definition": "none", "instance": "none", "project": "none"}]
    names.append({**names[1], "user": unique("nobody")})
    body = world.body(method, path)
    for caller, status in (("stranger", 403), ("nobody", 401), ("unknown", 401)):
        answers = [
            await api.request(method, path.format(**one), headers=world.headers[caller], json=body) for one in names
        ]
        for answer in answers:
            refused(answer, status)
        assert len({answer.text for answer in answers}) == 1
    if method not in ("PUT",):
        for caller in ("owner", "admin"):
            answer = await api.request(method, path.format(**names[1]), headers=world.headers[caller], json=body)
            refused(answer, 404)
