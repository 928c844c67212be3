"""Streams that go on while the project, or what their sender may do with it, changes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx2
import pytest

from tests.support import world
from tests.support.world import Headers, Project

pytestmark = pytest.mark.slow


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
    assert "deleted and created again" in lines[-1]["error"]
    assert (await world.fetch(api, project.embeddings, project.owner.headers))["embeddings"] == []
