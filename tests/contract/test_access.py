"""Who may do what with a project, its embeddings and its searches: the contract's letters as two tables."""

from dataclasses import dataclass

import httpx2
import pytest
import pytest_asyncio

from tests.support.world import (
    UNKNOWN_KEY,
    Headers,
    Instance,
    Json,
    Project,
    User,
    batch,
    fetch,
    instance,
    problem,
    project,
    row,
    snapshot,
    unique,
    upload,
    user,
)

PRIVATE = """
                    owner editor reader stranger admin no-key unknown-key
read-project        200   200    200    403      200   401    401
put-project         201   403    403    403      201   401    401
post-project        201   403    403    403      201   401    401
delete-project      204   403    403    403      204   401    401
list-projects       200   403    403    403      200   401    401
list-embeddings     200   200    200    403      200   401    401
read-embedding      200   200    200    403      200   401    401
post-embeddings     201   201    403    403      201   401    401
delete-embedding    204   204    403    403      204   401    401
delete-embeddings   204   204    403    403      204   401    401
similar-to-text     200   200    200    403      200   401    401
similar-to-vector   200   200    200    403      200   401    401
missing-embedding   404   404    404    403      404   401    401
missing-similar     404   404    404    403      404   401    401
"""

PUBLIC = """
                    owner editor reader stranger admin no-key unknown-key
read-project        200   200    200    200      200   200    401
put-project         201   403    403    403      201   401    401
post-project        201   403    403    403      201   401    401
delete-project      204   403    403    403      204   401    401
list-projects       200   403    403    403      200   401    401
list-embeddings     200   200    200    200      200   200    401
read-embedding      200   200    200    200      200   200    401
post-embeddings     201   201    403    403      201   401    401
delete-embedding    204   204    403    403      204   401    401
delete-embeddings   204   204    403    403      204   401    401
similar-to-text     200   200    200    200      200   200    401
similar-to-vector   200   200    200    200      200   200    401
missing-embedding   404   404    404    404      404   404    401
missing-similar     404   404    404    404      404   404    401
"""

# A project that does not exist, in the owner's space: nobody but owner and admin learns that it does not.
MISSING = """
                    owner stranger admin no-key unknown-key
read-project        404   403      404   401    401
delete-project      404   403      404   401    401
list-embeddings     404   403      404   401    401
read-embedding      404   403      404   401    401
post-embeddings     404   403      404   401    401
delete-embedding    404   403      404   401    401
delete-embeddings   404   403      404   401    401
similar-to-text     404   403      404   401    401
similar-to-vector   404   403      404   401    401
"""

ROLES = {
    "owner": "owner",
    "editor": "editor",
    "reader": "reader",
    "stranger": "public",
    "admin": "admin",
    "no-key": "public",
}


def cells(table: str) -> list[tuple[str, str, int]]:
    """(operation, caller, status) for each cell."""
    head, *lines = (line.split() for line in table.strip().splitlines())
    return [
        (operation, caller, int(expected))
        for operation, *statuses in lines
        for caller, expected in zip(head, statuses, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class People:
    callers: dict[str, Headers]
    owner: User
    shares: list[Json]
    on: Instance


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def people(api: httpx2.AsyncClient, admin: Headers) -> People:
    users = {name: await user(api, admin) for name in ("owner", "editor", "reader", "stranger")}
    callers = {name: one.headers for name, one in users.items()}
    callers |= {"admin": admin, "no-key": {}, "unknown-key": UNKNOWN_KEY}
    shares = [{"user_handle": users[role].handle, "role": role} for role in ("editor", "reader")]
    return People(callers, users["owner"], shares, await instance(api, users["owner"]))


async def made(api: httpx2.AsyncClient, people: People, *, public: bool) -> Project:
    own = await project(api, people.owner, on=people.on, public_read=public, shared_with=people.shares)
    await upload(api, own, row("a", [1, 0, 0]), row("b", [1, 1, 0]))
    return own


async def attempt(api: httpx2.AsyncClient, operation: str, on: Project, headers: Headers) -> httpx2.Response:
    projects = f"/v1/projects/{on.owner.handle}"
    changed = {**on.body, "description": "changed"}
    method, path, body = {
        "read-project": ("GET", on.path, None),
        "put-project": ("PUT", on.path, changed),
        "post-project": ("POST", projects, changed),
        "delete-project": ("DELETE", on.path, None),
        "list-projects": ("GET", projects, None),
        "list-embeddings": ("GET", on.embeddings, None),
        "read-embedding": ("GET", on.embedding("a"), None),
        "post-embeddings": ("POST", on.embeddings, batch(row("a", [0, 1, 0]), row("c", [0, 0, 1]))),
        "delete-embedding": ("DELETE", on.embedding("a"), None),
        "delete-embeddings": ("DELETE", on.embeddings, None),
        "similar-to-text": ("GET", on.similar("a"), None),
        "similar-to-vector": ("POST", on.similars, {"vector": [1, 0, 0]}),
        "missing-embedding": ("GET", on.embedding("nothing"), None),
        "missing-similar": ("GET", on.similar("nothing"), None),
    }[operation]
    return await api.request(method, path, json=body, headers=headers)


CHANGES = {"put-project", "post-project", "delete-project", "post-embeddings", "delete-embedding", "delete-embeddings"}


async def check_cell(
    api: httpx2.AsyncClient, people: People, on: Project, operation: str, caller: str, expected: int
) -> None:
    before = await snapshot(api, on)
    response = await attempt(api, operation, on, people.callers[caller])
    if expected >= 400:
        problem(response, expected)
    assert response.status_code == expected, response.text
    if operation == "read-project" and expected == 200:
        assert response.json()["role"] == ROLES[caller]
        assert ("shared_with" in response.json()) == (caller in {"owner", "admin"})
    if operation in CHANGES and expected < 300:
        return
    assert await snapshot(api, on) == before


@pytest.mark.parametrize(("operation", "caller", "expected"), cells(PRIVATE))
async def test_a_private_project(
    api: httpx2.AsyncClient, people: People, operation: str, caller: str, expected: int
) -> None:
    own = await made(api, people, public=False)
    await check_cell(api, people, own, operation, caller, expected)


@pytest.mark.parametrize(("operation", "caller", "expected"), cells(PUBLIC))
async def test_a_public_project(
    api: httpx2.AsyncClient, people: People, operation: str, caller: str, expected: int
) -> None:
    own = await made(api, people, public=True)
    await check_cell(api, people, own, operation, caller, expected)


@pytest.mark.parametrize(("operation", "caller", "expected"), cells(MISSING))
async def test_a_missing_project(
    api: httpx2.AsyncClient, people: People, operation: str, caller: str, expected: int
) -> None:
    nothing = Project(people.owner, unique("p"), 0, people.on)
    problem(await attempt(api, operation, nothing, people.callers[caller]), expected)


@pytest.mark.parametrize("operation", [line.split()[0] for line in MISSING.strip().splitlines()[1:]])
@pytest.mark.parametrize("caller", ["stranger", "no-key", "unknown-key"])
async def test_a_refusal_does_not_tell_whether_the_project_exists(
    api: httpx2.AsyncClient, people: People, operation: str, caller: str
) -> None:
    own = await made(api, people, public=False)
    nothing = Project(people.owner, unique("p"), 0, people.on)
    there = await attempt(api, operation, own, people.callers[caller])
    not_there = await attempt(api, operation, nothing, people.callers[caller])
    assert there.status_code == not_there.status_code
    assert there.text.replace(own.handle, "X") == not_there.text.replace(nothing.handle, "X")


@pytest.mark.parametrize("operation", ["read-embedding", "similar-to-text", "delete-embedding"])
async def test_a_refusal_does_not_tell_whether_a_row_exists(
    api: httpx2.AsyncClient, people: People, operation: str
) -> None:
    own = await made(api, people, public=False)
    full = await attempt(api, operation, own, people.callers["stranger"])
    await api.delete(own.embeddings, headers=own.owner.headers)
    empty = await attempt(api, operation, own, people.callers["stranger"])
    assert (full.status_code, full.text) == (empty.status_code, empty.text)


@pytest.mark.parametrize("caller", ["owner", "editor", "admin"])
async def test_what_editors_write_is_stored(api: httpx2.AsyncClient, people: People, caller: str) -> None:
    own = await made(api, people, public=False)
    response = await attempt(api, "post-embeddings", own, people.callers[caller])
    assert response.json() == {"ids": ["a", "c"], "inserted": 1, "updated": 1, "unchanged": 0}
    assert (await attempt(api, "delete-embedding", own, people.callers[caller])).status_code == 204
    _, rows = await snapshot(api, own)
    assert [entry["text_id"] for entry in rows] == ["b", "c"]


@pytest.mark.parametrize("caller", ["editor", "reader"])
async def test_shares_of_one_project_open_no_other(api: httpx2.AsyncClient, people: People, caller: str) -> None:
    other = await project(api, people.owner, on=people.on)
    problem(await attempt(api, "read-project", other, people.callers[caller]), 403)
    problem(await attempt(api, "post-embeddings", other, people.callers[caller]), 403)
    assert (await fetch(api, other.path, people.owner.headers))["number_of_embeddings"] == 0


async def test_the_admin_reads_what_the_owner_reads(api: httpx2.AsyncClient, people: People) -> None:
    own = await made(api, people, public=False)
    mine = await fetch(api, own.path, people.owner.headers)
    theirs = await fetch(api, own.path, people.callers["admin"])
    for about in (mine, theirs):
        about.pop("role")
        about["instance"].pop("access_role", None)
    assert mine == theirs
