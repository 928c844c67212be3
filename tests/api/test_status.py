"""The state of the service and its slow searches, each on a service of its own."""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx2
import pytest

from service import __version__
from service.search import slow
from tests.conftest import ADMIN, ENCRYPTION_KEY, client_of, settings_for
from tests.support.world import Project, fetch, instance, problem, project, row, upload, user

pytestmark = pytest.mark.slow

STATUS, SLOW = "/v1/admin/status", "/v1/admin/slow-searches"
Own = tuple[httpx2.AsyncClient, asyncpg.Connection]


@pytest.fixture
async def database(new_database: Callable[..., str]) -> str:
    return new_database()


@pytest.fixture
async def own(database: str) -> AsyncIterator[Own]:
    """A client of a service of its own, and a connection to its database."""
    config = settings_for(database, service_indexer=False, service_search_timeout=0.5)
    connection = await asyncpg.connect(database)
    async with client_of(config) as client:
        yield client, connection
    await connection.close()


async def test_a_new_service(own: Own) -> None:
    api, connection = own
    found = await fetch(api, STATUS, ADMIN)
    assert (found["version"], found["python"], found["process"]) == (
        __version__, platform.python_version(), os.getpid(),
    )  # fmt: skip
    assert found["postgresql"] == await connection.fetchval("SHOW server_version")
    assert found["pgvector"].startswith("0.")
    assert found["database_bytes"] > 1_000_000
    assert (found["users"], found["projects"], found["instances"], found["embeddings"]) == (0, 0, 0, 0)
    assert (found["largest_projects"], found["builds"]) == ([], [])
    assert found["indexes"] == {"projects": 0, "rows": 0, "below_recall": 0}
    assert found["schema"]["version"][:4].isdigit()
    assert (found["schema"]["pending"], found["schema"]["unknown"]) == ([], [])
    assert found["encryption_keys"] == {"sealed": [], "plaintext": 0, "is_done": True}


async def test_projects_with_their_indexes_and_sizes(own: Own) -> None:
    api, connection = own
    ada = await user(api, ADMIN)
    small, large = await project(api, ada), await project(api, ada)
    await upload(api, large, *(row(f"t{n}", [1, 2, n]) for n in range(500)))
    await connection.execute(
        "INSERT INTO project_indexes (project_id, watermark, indexed_rows, ef_searches, recalls) "
        "VALUES ($1, 7, 400, '{10,20}', '{0.5,0.9}')",
        large.id,
    )
    found = await fetch(api, STATUS, ADMIN)
    first, second = found["largest_projects"]
    assert (found["projects"], found["embeddings"]) == (2, 500)
    assert (first["project_handle"], second["project_handle"]) == (large.handle, small.handle)
    assert first["bytes"] > second["bytes"] > 0
    assert first["number_of_embeddings"] == 500
    assert first["index"]["state"] == "indexed"
    assert (first["index"]["recall"], first["index"]["rows"], first["index"]["tail"]) == (0.9, 400, 100)
    assert second["index"] == {"state": "exact", "rows": 0, "tail": 0}
    assert found["indexes"] == {"projects": 1, "rows": 400, "below_recall": 1}


async def test_only_the_largest_are_listed(own: Own) -> None:
    api, connection = own
    ada = await user(api, ADMIN)
    on = await instance(api, ada)
    made = [await project(api, ada, on=on) for _ in range(22)]
    for number, one in enumerate(made):
        await connection.execute("UPDATE embedding_counts SET embeddings = $2 WHERE project_id = $1", one.id, number)
    found = await fetch(api, STATUS, ADMIN)
    assert found["projects"] == 22
    assert [one["number_of_embeddings"] for one in found["largest_projects"]] == list(range(21, 1, -1))


async def test_a_build_that_is_under_way(own: Own, database: str) -> None:
    api, connection = own
    mine = await project(api, await user(api, ADMIN))
    await upload(api, mine, *(row(f"t{n}", [1, 2, n]) for n in range(100)))
    writer = await asyncpg.connect(database)
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute(f"UPDATE embeddings_{mine.id} SET text = 'a' WHERE text_id = 't1'")
    # It waits for the end of that transaction.
    build = f"CREATE INDEX CONCURRENTLY embeddings_{mine.id}_hnsw_9 ON embeddings_{mine.id} (sequence)"
    building = asyncio.ensure_future(connection.execute(build))
    builds: list[Any] = []
    while not builds and not building.done():
        await asyncio.sleep(0.01)
        builds = (await fetch(api, STATUS, ADMIN))["builds"]
    (listed,) = (await fetch(api, f"/v1/projects/{mine.owner.handle}", mine.owner.headers))["projects"]
    await transaction.rollback()
    await building
    await writer.close()
    (found,) = builds
    assert (found["owner"], found["project_handle"], found["project_id"]) == (mine.owner.handle, mine.handle, mine.id)
    assert (found["kind"], found["progress"]) == ("graph", 0)
    assert listed["index"]["state"] == "building"
    assert (await fetch(api, STATUS, ADMIN))["builds"] == []


async def test_encryption_keys_before_during_and_after_a_rotation(own: Own, database: str) -> None:
    api, connection = own
    ada = await user(api, ADMIN)
    for _ in range(2):
        await instance(api, ada, api_key="a provider's key")
    before = await api.get(STATUS, headers=ADMIN)
    keys = before.json()["encryption_keys"]
    (sealed,) = keys["sealed"]
    assert (sealed["known_as"], sealed["sealed"], keys["is_done"]) == ("current", 2, True)
    assert "provider's key" not in before.text
    assert ENCRYPTION_KEY not in before.text

    config = settings_for(database, encryption_key="new", encryption_key_previous=ENCRYPTION_KEY, service_indexer=False)
    async with client_of(config) as later:
        await instance(later, ada, api_key="another")
        keys = (await fetch(later, STATUS, ADMIN))["encryption_keys"]
        found = {one["known_as"]: one["sealed"] for one in keys["sealed"]}
        assert (found, keys["is_done"]) == ({"current": 1, "previous": 2}, False)
    await connection.execute("UPDATE llm_service_instances SET api_key_sealed_by = NULL, api_key = 'clear'")
    keys = (await fetch(api, STATUS, ADMIN))["encryption_keys"]
    assert keys == {
        "sealed": [{"key_id": None, "known_as": "original", "sealed": 3}], "plaintext": 3, "is_done": False,
    }  # fmt: skip


async def test_a_schema_of_another_version(own: Own) -> None:
    api, connection = own
    last = (await fetch(api, STATUS, ADMIN))["schema"]["version"]
    await connection.execute("UPDATE _yoyo_migration SET migration_id = '9999_later' WHERE migration_id = $1", last)
    found = (await fetch(api, STATUS, ADMIN))["schema"]
    assert found == {"version": "9999_later", "pending": [last], "unknown": ["9999_later"]}


async def search(api: httpx2.AsyncClient, of: Project, **body: Any) -> httpx2.Response:
    return await api.post(f"{of.similars}?limit=7&offset=1", json=body, headers=of.owner.headers)


async def held_up(
    api: httpx2.AsyncClient, by: asyncpg.Connection, of: Project, seconds: float | None, **body: Any
) -> int:
    """The status of a search that waits so long for a lock on the rows; None: until it is answered."""
    transaction = by.transaction()
    await transaction.start()
    await by.execute(f"LOCK TABLE embeddings_{of.id} IN ACCESS EXCLUSIVE MODE")
    searching = asyncio.ensure_future(search(api, of, **body))
    await asyncio.wait([searching], timeout=seconds)
    await transaction.rollback()
    return (await searching).status_code


@pytest.mark.alone
async def test_slow_searches_are_kept(own: Own) -> None:
    api, connection = own
    mine = await project(api, await user(api, ADMIN))
    await upload(api, mine, row("rose", [1, 2, 3], text="secret words", metadata={"author": "hidden"}))
    assert (await search(api, mine, vector=[1, 2, 3])).status_code == 200
    found = await fetch(api, SLOW, ADMIN)
    assert (found["slow"], found["slowest"], found["latest"]) == (0, [], [])
    assert (found["process"], found["threshold_seconds"]) == (os.getpid(), 0.1)

    assert await held_up(api, connection, mine, 0.3, vectors=[[1, 2, 3], [2, 3, 4]]) == 200
    assert await held_up(api, connection, mine, 0.15, vector=[1, 2, 3], filter={"author": "hidden"}) == 200
    assert await held_up(api, connection, mine, None, vector=[1, 2, 3]) == 503  # longer than a search may take
    answer = await api.get(SLOW, headers=ADMIN)
    found = answer.json()
    assert found["slow"] == 3
    assert [one["outcome"] for one in found["latest"]] == ["failed", "answered", "answered"]
    failed, filtered, several = found["latest"]
    assert found["slowest"] == [failed, several, filtered]
    assert "method" not in failed
    assert 0.5 <= failed["seconds"] < 5  # a statement may take 30
    assert {**several, "at": "", "seconds": 0} == {
        "at": "",
        "owner": mine.owner.handle,
        "project_handle": mine.handle,
        "seconds": 0,
        "outcome": "answered",
        "limit": 7,
        "offset": 1,
        "vectors": 2,
        "is_filtered": False,
        "method": "exact",
        "recall": 1.0,
    }
    assert filtered["is_filtered"]
    for hidden in ("hidden", "secret", "rose", "author", "[1"):
        assert hidden not in answer.text


async def test_a_bounded_number_is_kept(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    api, _ = own
    mine = await project(api, await user(api, ADMIN))
    await upload(api, mine, row("rose", [1, 2, 3]))
    monkeypatch.setattr(slow, "SLOW_SECONDS", 0)
    for _ in range(60):
        assert (await search(api, mine, vector=[1, 2, 3])).status_code == 200
    found = await fetch(api, SLOW, ADMIN)
    assert found["slow"] == 60
    assert len(found["latest"]) == len(found["slowest"]) == 50
    seconds = [one["seconds"] for one in found["slowest"]]
    assert seconds == sorted(seconds, reverse=True)
    assert [one["at"] for one in found["latest"]] == sorted((one["at"] for one in found["latest"]), reverse=True)


async def test_only_the_admin_may(own: Own) -> None:
    api, _ = own
    ada = await user(api, ADMIN)
    for path in (STATUS, SLOW):
        problem(await api.get(path, headers=ada.headers), 403)
        problem(await api.get(path), 401)
