"""A client that follows the changes of a project is told whatever it cannot be told one by one."""

import asyncio
from typing import Any

import asyncpg
import httpx2
import msgspec
import pytest

from service.database.pool import connected
from service.queries import changes as statements
from service.queries import embeddings
from tests.contract.test_changes import all_changes, changes, delete
from tests.support.world import Project, row, upload

IDS = [
    'a,b>"; rel="next',
    "é\n",
    " ",
    "%2F",
    "+",
    "&=#?",
    "..",
    "a/b",
    "changes",
    "digests",
    "digests/buckets",
    "\u2028",
    "😀" * 300,
    "e\u0301",
    "\u00e9",
    "\ufffd",
    "\ud7ff",
    "\x7f",
    "<",
    ";",
    "~",
    "\\",
    "\t",
]


async def test_delete_all_while_a_follower_waits_is_told(
    api: httpx2.AsyncClient, own: Project, service_database: str
) -> None:
    await upload(api, own, row("a", [1, 2, 3]))
    _, since = await all_changes(api, own, 0)
    other = await asyncpg.connect(service_database)
    try:
        deleting = other.transaction()
        await deleting.start()
        await other.execute("SELECT empty_embeddings_partition($1)", own.id)
        asked = asyncio.create_task(api.get(f"{own.embeddings}/changes?since={since}", headers=own.owner.headers))
        await asyncio.sleep(0.3)
        await deleting.commit()
        answer = await asked
        if answer.status_code == 200:
            later = await api.get(
                f"{own.embeddings}/changes?since={answer.json()['sequence']}", headers=own.owner.headers
            )
            assert later.status_code == 410, "nobody tells the follower that 'a' is gone"
    finally:
        await other.close()


async def test_an_upload_that_waited_for_a_deletion_is_not_lost(
    api: httpx2.AsyncClient, own: Project, service_database: str
) -> None:
    await upload(api, own, row("a", [1, 2, 3]), row("b", [1, 2, 3]))
    _, since = await all_changes(api, own, 0)
    async with connected(service_database) as other, other.transaction():
        # As DeleteEmbeddings: first the locks, then the deletion, at last its sequence.
        await other.execute(f"SELECT FROM embeddings_{own.id} ORDER BY text_id FOR UPDATE")
        uploading = asyncio.create_task(upload(api, own, row("a", [3, 2, 1])))
        blocked = "pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        while not await other.fetchval(f"SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND {blocked})"):
            await asyncio.sleep(0.01)
        await embeddings.delete_embeddings(
            other, project_id=own.id, by_ids=1, text_ids=["a", "b"], only=None, is_dry_run=False, max_ids=9
        )
    await uploading
    found, later = await all_changes(api, own, since)
    assert [(one["text_id"], one.get("deleted", False)) for one in found] == [("a", False), ("b", True)]
    assert found[0]["vector"] == [3, 2, 1]
    await delete(api, own, "a")
    assert [one["deleted"] for one in (await all_changes(api, own, later))[0]] == [True]


async def test_delete_all_between_two_pages_from_the_beginning_is_told(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, *(row(name, [1, 2, 3]) for name in "abcd"))
    page = await changes(api, own, limit=2)
    have = {one["text_id"] for one in page["changes"]}
    await api.delete(own.embeddings, headers=own.owner.headers)
    await upload(api, own, row("z", [1, 2, 3]))
    answer = await api.get(page["next"], headers=own.owner.headers)
    assert answer.status_code == 410, (have, answer.text)


async def test_a_project_made_again_under_its_name_is_told(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, *(row(name, [1, 2, 3]) for name in "abcd"))
    _, since = await all_changes(api, own, 0)
    await api.delete(own.path, headers=own.owner.headers)
    await api.put(own.path, json=own.body, headers=own.owner.headers)
    await upload(api, own, row("z", [1, 2, 3]))
    answer = await api.get(f"{own.embeddings}/changes?since={since}", headers=own.owner.headers)
    assert answer.status_code == 410, answer.text  # else the follower keeps a, b, c, d


async def test_deletions_forgotten_while_a_follower_waits(
    api: httpx2.AsyncClient, own: Project, service_database: str
) -> None:
    await upload(api, own, *(row(name, [1, 2, 3]) for name in "abcd"))
    _, since = await all_changes(api, own, 0)
    await delete(api, own, "a")
    other = await asyncpg.connect(service_database)
    writer = await asyncpg.connect(service_database)
    try:
        writing = writer.transaction()
        await writing.start()
        await writer.execute(f"UPDATE embeddings_{own.id} SET text = 'x' WHERE text_id = 'b'")
        asked = asyncio.create_task(api.get(f"{own.embeddings}/changes?since={since}", headers=own.owner.headers))
        await asyncio.sleep(0.3)
        await other.execute(
            "UPDATE embedding_deletions SET deleted_at = now() - interval '31 days' WHERE project_id = $1", own.id
        )
        await statements.forget_deletions(other, days=30)
        await writing.commit()
        answer = await asked
        assert answer.status_code == 410 or any(one.get("deleted") for one in answer.json()["changes"])
    finally:
        await other.close()
        await writer.close()


@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
async def test_odd_ids(api: httpx2.AsyncClient, own: Project, accept: str) -> None:
    await upload(api, own, *(row(name, [1, 2, 3]) for name in IDS))
    decode = msgspec.msgpack.decode if accept.endswith("msgpack") else msgspec.json.decode
    headers = {**own.owner.headers, "Accept": accept}
    for route, name in (("digests", "text_ids"), ("changes", "changes")):
        for way in ("next", "link"):
            path: str | None = f"{own.embeddings}/{route}?limit=1"
            found: list[Any] = []
            while path:
                answer = await api.get(path, headers=headers)
                assert answer.status_code == 200, answer.text
                page = decode(answer.content)
                found += page[name]
                path = page.get("next") if way == "next" else answer.links.get("next", {}).get("url")
            ids = [one if isinstance(one, str) else one["text_id"] for one in found]
            assert sorted(ids) == sorted(IDS)
    for one in ("changes", "digests", "digests/buckets"):
        assert (await api.delete(own.embedding(one), headers=own.owner.headers)).status_code == 204, one
