"""What those with access to a project see, and what the others do not; who may do what is in tests/http."""

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
    upload,
    user,
)


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
    method, path, body = {
        "read-project": ("GET", on.path, None),
        "read-embedding": ("GET", on.embedding("a"), None),
        "post-embeddings": ("POST", on.embeddings, batch(row("a", [0, 1, 0]), row("c", [0, 0, 1]))),
        "delete-embedding": ("DELETE", on.embedding("a"), None),
        "similar-to-text": ("GET", on.similar("a"), None),
        "missing-embedding": ("GET", on.embedding("nothing"), None),
        "missing-similar": ("GET", on.similar("nothing"), None),
    }[operation]
    return await api.request(method, path, json=body, headers=headers)


ROLES = {
    "owner": "owner",
    "editor": "editor",
    "reader": "reader",
    "stranger": "public",
    "admin": "admin",
    "no-key": "public",
}


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
async def test_a_project_tells_each_one_who_reads_it_their_role(
    api: httpx2.AsyncClient, people: People, public: bool
) -> None:
    own = await made(api, people, public=public)
    for caller in ROLES if public else ("owner", "editor", "reader", "admin"):
        about = await fetch(api, own.path, people.callers[caller])
        assert about["role"] == ROLES[caller]
        assert ("shared_with" in about) == (caller in {"owner", "admin"})


@pytest.mark.parametrize("operation", ["missing-embedding", "missing-similar"])
@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
async def test_only_readers_are_told_that_a_row_is_missing(
    api: httpx2.AsyncClient, people: People, operation: str, public: bool
) -> None:
    own = await made(api, people, public=public)
    statuses = dict.fromkeys(("owner", "editor", "reader", "admin"), 404) | {"unknown-key": 401}
    statuses |= {"stranger": 404, "no-key": 404} if public else {"stranger": 403, "no-key": 401}
    for caller, expected in statuses.items():
        problem(await attempt(api, operation, own, people.callers[caller]), expected)


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
