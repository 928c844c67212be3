"""Several installations in one database, each in a schema of its own: none sees, changes or holds up another's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx2
import numpy as np
import psycopg
import pytest

from service.database.session import UnsupportedDatabase, check, connect_sync
from service.schema import migrate
from service.settings import IndexAims
from service.storage import indexer
from service.storage.locks import INDEX_LOCK
from tests.conftest import ADMIN, client_of, settings_for
from tests.support import world
from tests.support.world import Project

pytestmark = pytest.mark.slow

AIMS = IndexAims(threshold=100, memory=64 * 1024 * 1024)
SCHEMAS = ("public", "app", 'My-"Ext" %', "staging")


def in_schema(url: str, *schemas: str) -> str:
    """The URL of a database with a search path."""
    path = ",".join('"' + schema.replace('"', '""') + '"' for schema in schemas)
    escaped = path.replace("\\", "\\\\").replace(" ", "\\ ")
    return f"{url}{'&' if '?' in url else '?'}options={quote('-csearch_path=' + escaped, safe='')}"


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def tables(url: str, schema: str) -> dict[str, int]:
    """Each table of a schema that holds rows of the service, and how many."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(%s)",
            ['"' + schema.replace('"', '""') + '"'],
        ).fetchall()
        quoted = '"' + schema.replace('"', '""') + '"'
        return {
            name: connection.execute(f'SELECT count(*) FROM {quoted}."{name}"'.encode()).fetchone()[0]  # type: ignore[index]
            for (name,) in names
        }


@pytest.fixture
def installations(copied: Callable[..., str]) -> tuple[str, dict[str, str]]:
    """A database with pgvector in `public`, and the URL of each installation in it."""
    url = copied(install)
    return url, installed(url)


def installed(url: str) -> dict[str, str]:
    """The URL of each installation."""
    return {schema: in_schema(url, schema, "public") if schema != "public" else url for schema in SCHEMAS}


def install(url: str) -> None:
    """Makes the installations."""
    run(url, "CREATE EXTENSION vector")
    for schema, one in installed(url).items():
        quoted = '"' + schema.replace('"', '""') + '"'
        run(url, f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        check(one)
        assert migrate.upgrade(one)
        assert migrate.upgrade(one) == []


@asynccontextmanager
async def served(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(settings_for(url, service_indexer=False)) as api:
        yield api


async def filled(api: httpx2.AsyncClient, schema: str) -> Project:
    """A project with the first number, as every installation has it, and rows that name the schema."""
    owner = await world.user(api, ADMIN)
    project = await world.project(api, owner)
    numbers = np.random.default_rng(len(schema)).normal(size=(300, 3)).astype(np.float16).astype(float)
    rows = [world.row(f"{schema} {place}", vector.tolist(), text=schema) for place, vector in enumerate(numbers)]
    await world.upload(api, project, *rows)
    return project


async def test_none_sees_or_changes_another(installations: tuple[str, dict[str, str]]) -> None:
    url, urls = installations
    projects: dict[str, Project] = {}
    for schema in SCHEMAS:
        async with served(urls[schema]) as api:
            projects[schema] = await filled(api, schema)
    assert {project.id for project in projects.values()} == {1}

    # Each builds its own index, although another builds that of a project of the same number.
    with connect_sync(urls["app"]) as other:
        other.execute("ANALYZE")
        other.execute(
            "SELECT pg_advisory_lock(%s # quote_ident(current_schema())::regnamespace::oid::int, 1)", [INDEX_LOCK]
        )
        for schema in ("public", "staging", SCHEMAS[2]):
            run(urls[schema], "ANALYZE", "SELECT pg_stat_force_next_flush()")
            assert [one.project_id for one in await indexer.run_once(urls[schema], AIMS)] == [1], schema
        assert await indexer.run_once(urls["app"], AIMS) == []  # somebody else works on it

    before = {schema: tables(url, schema) for schema in SCHEMAS}
    for schema in SCHEMAS:
        async with served(urls[schema]) as api:
            project = projects[schema]
            headers = project.owner.headers
            listed = (await world.fetch(api, f"{project.embeddings}?limit=200", headers))["embeddings"]
            assert {one["text"] for one in listed} == {schema}
            found = await api.post(f"{project.similars}?threshold=-1", json={"vector": [1, 0, 0]}, headers=headers)
            assert all(one["id"].startswith(f"{schema} ") for one in found.json()["results"])
            assert found.json()["search"]["method"] == ("exact" if schema == "app" else "index")
            sane = await world.fetch(api, "/v1/admin/sanity-check", ADMIN)
            assert (sane["issues_count"], sane["total_projects"]) == (0, 1)
            # A new project must not take another's partition for its own, nor leave it out.
            second = await world.project(api, project.owner)
            assert second.id == 2
            assert (await world.fetch(api, second.embeddings, headers))["embeddings"] == []
            for gone in (second.embeddings, second.path, project.embeddings):
                assert (await api.delete(gone, headers=headers)).status_code == 204
            assert (await world.fetch(api, project.embeddings, headers))["embeddings"] == []
        for other in SCHEMAS:
            if SCHEMAS.index(other) > SCHEMAS.index(schema):
                assert tables(url, other) == before[other], f"{schema} changed {other}"


async def test_one_goes_and_the_others_stay(installations: tuple[str, dict[str, str]]) -> None:
    url, urls = installations
    for schema in ("app", "staging"):
        async with served(urls[schema]) as api:
            await filled(api, schema)
    run(url, "CREATE TABLE public.db_version (version int)", "INSERT INTO public.db_version VALUES (1)")
    before = {schema: tables(url, schema) for schema in SCHEMAS if schema != "staging"}
    assert migrate.downgrade(urls["staging"], "0000", discard=True)
    assert {schema: tables(url, schema) for schema in before} == before
    assert migrate.upgrade(urls["staging"])
    assert {schema: tables(url, schema) for schema in before} == before


async def test_the_schema_is_missing_for_a_while(installations: tuple[str, dict[str, str]]) -> None:
    url, urls = installations
    async with client_of(settings_for(urls["app"])) as api:
        run(url, "ALTER SCHEMA app RENAME TO away")  # as during a restore
        run(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()",
        )
        for path in ("/v1/users", "/readyz"):
            assert (await api.get(path, headers=ADMIN)).status_code == 503
        await asyncio.sleep(5)  # the indexer looks every two seconds, and connects anew
        run(url, "ALTER SCHEMA away RENAME TO app")
        await filled(api, "app")
        with psycopg.connect(url, autocommit=True) as connection:
            deadline = asyncio.get_running_loop().time() + 60
            while connection.execute("SELECT FROM app.embedding_count_deltas").fetchall():  # it adds them up
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.1)


async def test_migrations_of_two_do_not_wait_for_each_other(installations: tuple[str, dict[str, str]]) -> None:
    _, urls = installations
    with migrate._locked(urls["app"]):
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(migrate.upgrade, urls["staging"]) == []


def test_where_an_installation_is(new_database: Callable[..., str]) -> None:
    url = new_database(template=None)
    with psycopg.connect(url, autocommit=True) as connection:
        (user,) = connection.execute("SELECT current_user").fetchone()  # type: ignore[misc]
        (name,) = connection.execute("SELECT current_database()").fetchone()  # type: ignore[misc]

    def schema_of(one: str) -> str:
        with connect_sync(one) as connection:
            return str(connection.execute("SELECT current_schema()").fetchone()[0])  # type: ignore[index]

    migrate.upgrade(url)
    assert schema_of(url) == "public"
    # A schema that is made later, and is called as the user, does not hide the tables that are there.
    run(url, f'CREATE SCHEMA "{user}"')
    assert schema_of(url) == "public"
    assert migrate.upgrade(url) == []
    # A search path that is asked for is taken at its word.
    with pytest.raises(UnsupportedDatabase, match="The schema 'app'"):
        check(in_schema(url, "app", "public"))
    run(url, "CREATE SCHEMA app")
    assert schema_of(in_schema(url, "app", "public")) == "app"
    run(url, f'ALTER DATABASE "{name}" SET search_path = app, public')
    assert schema_of(url) == "app"
    assert migrate.upgrade(url)
    assert tables(url, "app")["users"] == 1


@pytest.mark.parametrize(("schema", "extension"), [("app", "ext"), ('My-"Ext" %', 'pg "vector" %s')])
async def test_pgvector_is_in_a_schema_that_no_search_path_names(
    new_database: Callable[..., str], schema: str, extension: str
) -> None:
    url = new_database(template=None)
    for name in (schema, extension):
        quoted = '"' + name.replace('"', '""') + '"'
        run(url, f"CREATE SCHEMA {quoted}")
    run(url, f"CREATE EXTENSION vector SCHEMA {quoted}")
    named = in_schema(url, schema)
    migrate.upgrade(named)
    async with served(named) as api:
        project = await filled(api, schema)
        found = await api.post(
            f"{project.similars}?threshold=-1", json={"vector": [1, 0, 0]}, headers=project.owner.headers
        )
        assert len(found.json()["results"]) == 10
