"""Two changes at once: the second waits for the first, and then sees what it has done."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import httpx2
import pytest

from service import indexer
from service.db import Connection
from service.queries import llm_instances, projects
from service.settings import IndexAims
from tests.contract import world
from tests.contract.world import Headers, Instance, Project, User


@pytest.fixture
async def first(service_database: str) -> AsyncIterator[Connection]:
    """A connection in a transaction, which holds what it changes until it commits."""
    connection: Connection = await asyncpg.connect(service_database)
    try:
        yield connection
    finally:
        await connection.close()


async def second(first: Connection, request: Awaitable[httpx2.Response]) -> httpx2.Response:
    """The answer to a request that must wait for the transaction of `first`, which is committed when it does."""
    waiting = asyncio.ensure_future(request)
    blocked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
    async with asyncio.timeout(20):
        while not await first.fetchval(blocked):
            assert not waiting.done(), f"It did not wait: {(await waiting).text}"
            await asyncio.sleep(0.01)
    await first.execute("COMMIT")
    return await waiting


async def shared(api: httpx2.AsyncClient, admin: Headers) -> tuple[User, User, Project]:
    """Two users with access to one instance, and a project of the first on it."""
    alice, bob = await world.user(api, admin), await world.user(api, admin)
    on = await world.instance(api, alice)
    share = {"share_with_handle": bob.handle, "role": "reader"}
    assert (await api.post(f"{on.path}/share", json=share, headers=alice.headers)).status_code == 201
    return alice, bob, await world.project(api, alice, on=on)


async def has_one_role(api: httpx2.AsyncClient, alice: User, bob: User, handle: str) -> None:
    """Bob owns the project, and nobody else has anything to do with it."""
    seen = await world.fetch(api, f"/v1/projects/{bob.handle}/{handle}", bob.headers)
    assert (seen["role"], seen["shared_with"]) == ("owner", [])
    listed = await world.fetch(api, f"/v1/projects/{bob.handle}", bob.headers)
    assert [one["project_handle"] for one in listed["projects"]] == [handle]
    assert await world.status(api, f"/v1/projects/{bob.handle}/{handle}", alice.headers) == 403


async def test_a_share_waits_for_a_transfer(api: httpx2.AsyncClient, admin: Headers, first: Connection) -> None:
    alice, bob, project = await shared(api, admin)
    await first.execute("BEGIN")
    assert await projects.transfer_project(
        first, owner=alice.handle, project_handle=project.handle, new_owner=bob.handle
    )
    share = {"share_with_handle": bob.handle, "role": "editor"}
    answer = await second(first, api.post(f"{project.path}/share", json=share, headers=alice.headers))
    assert answer.status_code == 404, answer.text
    await has_one_role(api, alice, bob, project.handle)


async def test_a_transfer_waits_for_a_share(api: httpx2.AsyncClient, admin: Headers, first: Connection) -> None:
    alice, bob, project = await shared(api, admin)
    await first.execute("BEGIN")
    await projects.share_project(
        first, owner=alice.handle, project_handle=project.handle, user_handle=bob.handle, role="editor"
    )
    transfer = api.post(f"{project.path}/transfer", json={"new_owner": bob.handle}, headers=alice.headers)
    assert (await second(first, transfer)).status_code == 200
    await has_one_role(api, alice, bob, project.handle)


async def moving(api: httpx2.AsyncClient, admin: Headers) -> tuple[Project, Instance]:
    """A project with an embedding of three dimensions, and another instance of as many."""
    alice = await world.user(api, admin)
    project = await world.project(api, alice)
    await world.upload(api, project, world.row("a", [1, 2, 3]))
    return project, await world.instance(api, alice)


async def test_a_project_waits_for_its_instance_to_change(
    api: httpx2.AsyncClient, admin: Headers, first: Connection
) -> None:
    project, other = await moving(api, admin)
    await first.execute("BEGIN")
    await first.execute("UPDATE llm_service_instances SET dimensions = 4 WHERE instance_id = $1", other.id)
    body = {"project_handle": project.handle, "instance_handle": other.handle}
    answer = await second(first, api.put(project.path, json=body, headers=project.owner.headers))
    assert answer.status_code == 409, answer.text
    assert "another number" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_an_instance_waits_for_a_project_to_come(
    api: httpx2.AsyncClient, admin: Headers, first: Connection, method: str
) -> None:
    project, other = await moving(api, admin)
    await first.execute("BEGIN")
    assert await projects.upsert_project(
        first,
        owner=project.owner.handle,
        project_handle=project.handle,
        instance_owner=project.owner.handle,
        instance_handle=other.handle,
        description=None,
        metadata_scheme=None,
        public_read=None,
        change_shares=False,
        share_users=[],
        share_roles=[],
        role="owner",
    )
    body = {"instance_handle": other.handle, "dimensions": 4}
    answer = await second(first, api.request(method, other.path, json=body, headers=project.owner.headers))
    assert answer.status_code == 409, answer.text
    assert await llm_instances.retrieve_llm_instance_role(
        first, owner=project.owner.handle, instance_handle=other.handle, caller=project.owner.handle
    )
    found = await world.fetch(api, project.similar("a"), project.owner.headers)
    assert found["results"] == []


async def test_one_broken_project_does_not_keep_the_indexer_from_others(
    api: httpx2.AsyncClient, admin: Headers, service_database: str, first: Connection
) -> None:
    broken, good = [await world.project(api, await world.user(api, admin)) for _ in range(2)]
    for project in (broken, good):
        await world.upload(api, project, *(world.row(f"{n}", [1, n, 1]) for n in range(200)))
        await first.execute(f"ANALYZE embeddings_{project.id}")
    # As no request can do it: the instance has other dimensions than the embeddings.
    await first.execute("UPDATE llm_service_instances SET dimensions = 4 WHERE instance_id = $1", broken.instance.id)
    seen: dict[int, int] = {}
    connection = await asyncpg.connect(service_database)
    try:
        aims = IndexAims(threshold=100, memory=64 * 2**20)
        built = await indexer.look(connection, aims, seen)
        assert good.id in {one.project_id for one in built}
        assert broken.id in seen  # and not looked at again and again
    finally:
        await connection.close()
    assert (await world.fetch(api, good.path, good.owner.headers))["index"]["state"] == "indexed"


async def streamed(
    api: httpx2.AsyncClient, project: Project, headers: Headers, change: Awaitable[httpx2.Response]
) -> tuple[list[dict[str, Any]], httpx2.Response]:
    """The lines of a stream of three records, and the answer to a change after the first of them was stored."""
    changed = asyncio.Event()

    async def records() -> AsyncIterator[bytes]:
        yield json.dumps(world.row("before", [1, 2, 3])).encode() + b"\n"
        await changed.wait()
        for number in range(2):
            yield json.dumps(world.row(f"after{number}", [1, 2, 3], metadata={"year": 1781})).encode() + b"\n"

    sent = {**headers, "Content-Type": "application/x-ndjson"}
    sending = asyncio.ensure_future(api.post(f"{project.embeddings}/stream", content=records(), headers=sent))
    async with asyncio.timeout(30):
        while not (await world.fetch(api, project.embeddings, project.owner.headers))["embeddings"]:
            await asyncio.sleep(0.05)
        answer = await change
        changed.set()
        response = await sending
    assert response.status_code == 200
    return [json.loads(line) for line in response.text.splitlines()], answer


@pytest.mark.parametrize("change", ["unshared", "deleted", "new key"])
async def test_a_stream_ends_when_its_sender_may_no_longer_send(
    api: httpx2.AsyncClient, admin: Headers, change: str
) -> None:
    alice, bob = await world.user(api, admin), await world.user(api, admin)
    project = await world.project(api, alice)
    share = {"share_with_handle": bob.handle, "role": "editor"}
    assert (await api.post(f"{project.path}/share", json=share, headers=alice.headers)).status_code == 201
    request = {
        "unshared": lambda: api.delete(f"{project.path}/share/{bob.handle}", headers=alice.headers),
        "deleted": lambda: api.delete(bob.path, headers=bob.headers),
        "new key": lambda: api.post(f"{bob.path}/key", headers=bob.headers),
    }[change]()
    lines, answer = await streamed(api, project, bob.headers, request)
    assert answer.is_success, answer.text
    assert lines[0] == {"rows": 1, "inserted": 1, "updated": 0, "unchanged": 0, "rejected": 0, "errors": []}
    assert lines[-1]["rows"] == 1
    assert "permission" in lines[-1]["error"] or "key" in lines[-1]["error"]
    stored = await world.fetch(api, project.embeddings, alice.headers)
    assert [one["text_id"] for one in stored["embeddings"]] == ["before"]


async def test_a_stream_heeds_a_new_schema(api: httpx2.AsyncClient, admin: Headers) -> None:
    project = await world.project(api, await world.user(api, admin))
    schema = {"metadataScheme": {"type": "object", "required": ["author"]}}
    change = api.patch(project.path, json=schema, headers=project.owner.headers)
    lines, answer = await streamed(api, project, project.owner.headers, change)
    assert answer.is_success, answer.text
    assert (lines[-1]["rows"], lines[-1]["inserted"]) == (2, 1)
    assert [(bad["row"], bad["text_id"]) for bad in lines[-1]["errors"]] == [(1, "after0")]


async def test_a_stream_does_not_go_on_in_another_project(api: httpx2.AsyncClient, admin: Headers) -> None:
    project = await world.project(api, await world.user(api, admin))

    async def exchange() -> httpx2.Response:
        assert (await api.delete(project.path, headers=project.owner.headers)).status_code == 204
        return await api.put(project.path, json=project.body, headers=project.owner.headers)

    lines, answer = await streamed(api, project, project.owner.headers, exchange())
    assert answer.status_code == 201, answer.text
    assert "another project" in lines[-1]["error"]
    assert (await world.fetch(api, project.embeddings, project.owner.headers))["embeddings"] == []
