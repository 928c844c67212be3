"""Ids that were carried over from an original database are also found by the form in which older clients name them."""

import asyncio
from collections.abc import Callable

import httpx2
import psycopg
import pytest

from service.schema import migrate
from tests.conftest import ADMIN, client_of, settings_for
from tests.support import legacy
from tests.support.catalogue import embeddings, rows

pytestmark = pytest.mark.slow

NewDatabase = Callable[..., str]
BEFORE = migrate.names()[migrate.names().index("0012_mark_carried_ids") - 1]
KEY = {"Authorization": "Bearer key of anna"}
PLACE = "/v1/embeddings/anna/two"
# What is in the original database, as its clients stored it.
CARRIED = ["doc%2F1", "low%2fer", "50%25", "pair/1", "pair%2F1", "a%2520b", "again%2F1", "changed%2F1"]


def taken_over(url: str, version: int) -> None:
    """Makes a database of the original system in which anna/two has the texts, and takes it over."""
    legacy.build(url, version)
    link = {3: "llm_service_id", 4: "instance_id"}[version]
    with psycopg.connect(url) as connection:
        for text_id in CARRIED:
            connection.execute(
                f"INSERT INTO embeddings (text_id, owner, project_id, {link}, text, vector, vector_dim, created_at, "  # type: ignore[arg-type]
                "updated_at) VALUES (%s, 'anna', 1, 1, %s, '[1,2,3]', 3, '2025-01-01', '2025-01-01')",
                [text_id, text_id],
            )
    migrate.upgrade(url, take_over=True)


async def upload(client: httpx2.AsyncClient, text_id: str, text: str) -> None:
    body = {"embeddings": [{"text_id": text_id, "vector": [3, 2, 1], "text": text}]}
    assert (await client.post(PLACE, json=body)).status_code == 201


async def read(client: httpx2.AsyncClient, segment: str) -> str | None:
    """The text_id that a path of this last segment means, asked for in each of the two ways."""
    answer = await client.get(f"{PLACE}/{segment}")
    similar = await client.get(f"{PLACE.replace('embeddings', 'similars')}/{segment}?threshold=-1&limit=200")
    assert answer.status_code == similar.status_code
    if answer.status_code == 404:
        return None
    found: str = answer.json()["text_id"]
    assert found not in [one["id"] for one in similar.json()["results"]]
    return found


async def searched(client: httpx2.AsyncClient, text_id: str) -> list[str] | None:
    """The texts that are similar to what this text_id means in the body of a search."""
    place = f"{PLACE.replace('embeddings', 'similars')}?threshold=-1&limit=200"
    answer = await client.post(place, json={"text_id": text_id})
    return None if answer.status_code == 404 else [one["id"] for one in answer.json()["results"]]


async def delete(client: httpx2.AsyncClient, segment: str) -> int:
    return (await client.delete(f"{PLACE}/{segment}")).status_code


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("by", ["this version", "an earlier version"])
async def test_older_clients_find_what_they_stored_and_nothing_else(copied: NewDatabase, version: int, by: str) -> None:
    url = copied(taken_over, version)
    if by == "an earlier version":  # which left no marks
        migrate.downgrade(url, BEFORE)
        assert rows(url, "SELECT to_regclass('carried_ids')") == [(None,)]
        with psycopg.connect(url) as connection:  # and under which things went on
            connection.execute("DELETE FROM embeddings_1 WHERE text_id = 'again%2F1'")
            connection.execute(
                "INSERT INTO embeddings_1 (project_id, text_id, vector) VALUES "
                "(1, 'again%2F1', '[1,1,1]'), (1, 'new%2F1', '[1,1,1]')"
            )
            connection.execute(
                "UPDATE embeddings_1 SET vector = '[1,1,2]', sequence = nextval('embeddings_sequence'), "
                "updated_at = now() WHERE text_id = 'changed%2F1'"
            )
        migrate.upgrade(url)
    config = settings_for(url, encryption_key=legacy.ENCRYPTION_KEY)
    async with client_of(config, headers=KEY) as anna:
        if by == "this version":
            await upload(anna, "changed%2F1", "changed")
            await upload(anna, "new%2F1", "new")
            assert await delete(anna, "again%2F1") == 204
            await upload(anna, "again%2F1", "again")
        # As older clients write it, and as its id itself is written.
        assert await read(anna, "doc%2F1") == await read(anna, "doc%252F1") == "doc%2F1"
        assert await searched(anna, "doc/1") == await searched(anna, "doc%2F1") is not None
        assert await searched(anna, "new/1") is None
        assert await read(anna, "low%2fer") == "low%2fer"
        assert await read(anna, "50%25") == "50%25"
        assert await read(anna, "a%2520b") == "a%2520b"
        assert await read(anna, "changed%2F1") == "changed%2F1"
        # What has been stored since means itself, also when something of its id was deleted.
        assert await read(anna, "new%2F1") is None
        assert await read(anna, "new%252F1") == "new%2F1"
        assert await read(anna, "again%2F1") is None
        assert await read(anna, "again%252F1") == "again%2F1"

        # A repeated DELETE finds nothing, whatever there is of similar ids.
        assert [await delete(anna, "pair%2F1") for _ in range(3)] == [204, 404, 404]
        assert await read(anna, "pair%252F1") == "pair%2F1"
        await upload(anna, "doc/1", "newer")
        assert await read(anna, "doc%2F1") == "doc/1"
        assert sorted(await asyncio.gather(*(delete(anna, "doc%2F1") for _ in range(5)))) == [204, 404, 404, 404, 404]
        assert await read(anna, "doc%252F1") == "doc%2F1"
        assert [await delete(anna, "50%25") for _ in range(2)] == [204, 404]
        await upload(anna, "50%25", "new")
        assert await read(anna, "50%25") is None

        # The marks go with all embeddings of a project, and with the project.
        assert await read(anna, "low%2fer") == "low%2fer"
        assert (await anna.delete(PLACE)).status_code == 204
        await upload(anna, "low%2fer", "new")
        assert await read(anna, "low%2fer") is None
    assert rows(url, "SELECT count(*) FROM carried_ids WHERE project_id = 1") == [(0,)]


@pytest.mark.parametrize("way", ["project", "user", "reset"])
async def test_no_mark_is_left_of_what_is_deleted(copied: NewDatabase, way: str) -> None:
    url = copied(taken_over, 3)
    assert len(rows(url, "SELECT text_id FROM carried_ids WHERE project_id = 1")) == 1 + sum(
        "%" in one for one in CARRIED
    )
    config = settings_for(url, encryption_key=legacy.ENCRYPTION_KEY)
    async with client_of(config, headers=ADMIN) as admin:
        if way == "project":
            assert (await admin.delete("/v1/projects/anna/two")).status_code == 204
        elif way == "user":
            assert (await admin.delete("/v1/projects/bert/none")).status_code == 204
            assert (await admin.delete("/v1/users/anna")).status_code == 204
        else:
            assert (await admin.post("/v1/admin/reset", json={"confirm": "delete all data"})).status_code == 204
    assert rows(url, "SELECT text_id FROM carried_ids") == []


def test_both_ways_with_data(copied: NewDatabase) -> None:
    url = copied(taken_over, 4)
    marks = "SELECT project_id, text_id FROM carried_ids ORDER BY 1, 2"
    everything = "project_id, text_id, sequence, text, vector::text, created_at, updated_at"
    before, stored = rows(url, marks), embeddings(url, everything)
    assert (1, "changed%2F1") in before
    assert (1, "pair/1") not in before
    for _ in range(2):
        migrate.downgrade(url, BEFORE)
        assert embeddings(url, everything) == stored
        migrate.upgrade(url)
        assert (rows(url, marks), embeddings(url, everything)) == (before, stored)
        assert rows(url, "SELECT * FROM projects_to_mark") == []
    migrate.downgrade(url, "0003", discard=True)
    assert rows(url, "SELECT count(*) FROM embeddings WHERE text_id = 'doc%2F1'") == [(1,)]
    migrate.upgrade(url, take_over=True)
    assert rows(url, marks) == before


def test_a_database_that_was_always_ours_has_no_marks(url: str) -> None:
    migrate.downgrade(url, BEFORE)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO users (user_handle, email, vdb_key) VALUES ('ada', 'a@x', repeat('a', 64))")
        connection.execute(
            "INSERT INTO llm_service_instances (owner, instance_handle, api_standard, dimensions)"
            " VALUES ('ada', 'i', 'openai', 3)"
        )
        connection.execute(
            "INSERT INTO projects (owner, project_handle, llm_service_instance_id) SELECT 'ada', 'p', instance_id "
            "FROM llm_service_instances"
        )
        connection.execute("SELECT fit_embeddings_partition(project_id, 3) FROM projects")
        connection.execute(
            "INSERT INTO embeddings (project_id, text_id, vector) SELECT project_id, 'doc%2F1', '[1,2,3]' FROM projects"
        )
    migrate.upgrade(url)
    assert rows(url, "SELECT * FROM carried_ids UNION ALL SELECT project_id, '' FROM projects_to_mark") == []
