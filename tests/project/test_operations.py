"""What docs/OPERATIONS.md tells operators to do, and to watch."""

import asyncio
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx2
import numpy as np
import psycopg
import pytest
import yaml

from chaos.standby import postgres_program
from service.queries import indexes
from service.schema import migrate
from service.settings import IndexAims
from service.storage import indexer
from tests.conftest import ADMIN, client_of, serving, settings_for
from tests.support import world
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs" / "OPERATIONS.md").read_text()


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def is_older_than_its_programs(server: str) -> bool:
    told = subprocess.run([postgres_program("pg_restore"), "--version"], capture_output=True, text=True, check=True)
    with psycopg.connect(server) as connection:
        return connection.info.server_version // 10_000 < int(re.findall(r"\d+", told.stdout)[0])


async def test_backup_and_restore(server: str, new_database: Callable[..., str], tmp_path: Path) -> None:
    if is_older_than_its_programs(server):
        pytest.skip("pg_restore must not be newer than the server")
    database, restored = new_database(), new_database(template=None)
    vectors = np.random.default_rng(3).normal(size=(400, 3))
    async with client_of(settings_for(database, service_indexer=False)) as api:
        owner = await world.user(api, ADMIN)
        instance = await world.instance(api, owner, api_key="a-provider-key")
        project = await world.project(api, owner, on=instance)
        rows = [
            world.row(f"{number:03}", one.tolist(), text=f"Text {number}", metadata={"number": number})
            for number, one in enumerate(vectors)
        ]
        await world.upload(api, project, *rows)
        connection = await asyncpg.connect(database)
        await connection.execute(f"ANALYZE embeddings_{project.id}")
        await indexer.run_once(database, IndexAims(threshold=100, memory=64 * 1024 * 1024))
        everything = f"{project.embeddings}?include=vector,text,metadata"
        paths = [everything, f"{project.similars}/007", project.path, instance.path]
        before = [(await api.get(path, headers=owner.headers)).json() for path in paths]
        built = (await indexes.get_index_states(connection, project_ids=[project.id]))[0]
        await connection.close()

    dump = tmp_path / "backup.dump"
    lines = re.findall(r"^    (pg_dump|pg_restore) (.*)$", TEXT, re.MULTILINE)
    assert [program for program, _ in lines] == ["pg_dump", "pg_restore"]
    (new_logs,) = re.findall(r"^    psql --dbname=restored --command='(.*)'$", TEXT, re.MULTILINE)
    for program, arguments in lines:
        told = arguments.replace("backup.dump", str(dump)).replace('"$SERVICE_DATABASE_URL"', database)
        told = told.replace("--dbname=restored", f"--dbname={restored}")
        run([postgres_program(program), *told.split()])
    with psycopg.connect(restored) as changing:
        changing.execute(new_logs.encode())

    async with client_of(settings_for(restored, service_indexer=False)) as api:
        after = [(await api.get(path, headers=owner.headers)).json() for path in paths]
        assert after[2].pop("log") != before[2].pop("log")
        assert after == before
        assert after[1]["search"]["method"] == "index"
        await world.upload(api, project, world.row("new", [1, 2, 3]))
        connection = await asyncpg.connect(restored)
        assert (await indexes.get_index_states(connection, project_ids=[project.id]))[0] == built
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid::regclass::text ~ '_hnsw_'"
        assert await connection.fetchval(valid) is True
        await connection.close()


def test_a_restore_by_a_user_who_is_no_superuser(server: str, new_database: Callable[..., str], tmp_path: Path) -> None:
    """As in production, where a superuser has created the extension."""
    if is_older_than_its_programs(server):
        pytest.skip("pg_restore must not be newer than the server")
    (arguments,) = re.findall(r"^    pg_restore (.*)$", TEXT, re.MULTILINE)
    role, dump = f"no_superuser_{os.getpid()}", tmp_path / "backup.dump"
    databases = [new_database(template=None) for _ in range(2)]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'".encode())
    try:
        for url in databases:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"ALTER DATABASE {connection.info.dbname} OWNER TO {role}".encode())
                connection.execute("CREATE EXTENSION vector")
        parts = [urlsplit(url) for url in databases]
        ours, restored = (
            urlunsplit(one._replace(netloc=f"{role}:{role}@{one.netloc.rpartition('@')[2]}")) for one in parts
        )
        migrate.upgrade(ours)
        run([postgres_program("pg_dump"), "--format=custom", f"--file={dump}", ours])
        told = arguments.replace("backup.dump", str(dump)).replace("--dbname=restored", f"--dbname={restored}")
        run([postgres_program("pg_restore"), *told.split()])
        assert all(one.applied for one in migrate.status(restored))
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            for url in databases:
                connection.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)".encode())
            connection.execute(f"DROP ROLE {role}".encode())


async def test_the_alerts_and_the_table_name_metrics_that_there_are(new_database: Callable[..., str]) -> None:
    async with client_of(settings_for(new_database(), service_indexer=False)) as api:
        project = await world.project(api, await world.user(api, ADMIN))
        await world.upload(api, project, world.row("a", [1, 0, 0]))
        await api.get(f"{project.similars}/a", headers=ADMIN)
        owner, here = project.owner, {"definition_owner": "_system", "definition_handle": "local-small"}
        made = f"/v1/llm-instances/{owner.handle}/from-definition"
        await api.post(made, json={"instance_handle": "here", **here}, headers=owner.headers)
        embed = f"/v1/llm-instances/{owner.handle}/here/embed"
        assert (await api.post(embed, json={"input": ["text"]}, headers=owner.headers)).status_code == 200
        exposed = (await api.get("/metrics", headers=ADMIN)).text
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    rules = yaml.safe_load(block)["groups"][0]["rules"]
    assert len(rules) >= 5
    named = {name for rule in rules for name in re.findall(r"embedding_service_\w+", rule["expr"])}
    named |= set(re.findall(r"^\| `(embedding_service_\w+)`", TEXT, re.MULTILINE))
    assert len(named) >= 8
    for name in named:
        assert re.search(rf"^{name}(_bucket)?[ {{]", exposed, re.MULTILINE), name


async def test_a_service_has_no_more_connections_than_is_told(new_database: Callable[..., str]) -> None:
    told = re.search(r"\(`SERVICE_POOL_SIZE` \+ (\d+)\) . services", TEXT)
    of_indexer = re.search(r"for the indexer \((\d+)", TEXT)
    assert told
    assert of_indexer
    url, size = new_database(), 2
    async with serving(settings_for(url, service_indexer=True, service_pool_size=size)) as base:
        async with httpx2.AsyncClient(base_url=base) as api:
            assert (await api.get("/readyz")).status_code == 200
        connection = await asyncpg.connect(url)
        statement = (
            "SELECT application_name FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name ~ '^embedding-service'"
        )
        async with asyncio.timeout(60):
            while True:
                names = [name for (name,) in await connection.fetch(statement)]
                if names.count("embedding-service indexer") >= int(of_indexer[1]):
                    break
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        names = [name for (name,) in await connection.fetch(statement)]
        await connection.close()
    assert names.count("embedding-service indexer") == int(of_indexer[1])
    # Not open here: measurements of recall, and the primary's position for a replica.
    assert len(names) == size + int(told[1]) - 2
