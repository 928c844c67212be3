"""Databases as people have them: behind poolers, with URLs of hosts, of other encodings, with settings of their own."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import psycopg
import pytest

from chaos.places import free_port
from service.database import embedded
from service.database.pool import connected, open_pool
from service.database.session import UnsupportedDatabase, check, connect_sync
from service.database.url import BadDatabaseUrl, for_asyncpg, parse
from service.schema import migrate
from tests.conftest import ADMIN, client_of, of_database, settings_for, variables_for
from tests.support import world
from tests.support.processes import ROOT, command, started

pytestmark = pytest.mark.slow

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@asynccontextmanager
async def served(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(settings_for(url)) as api:
        yield api


async def works(api: httpx2.AsyncClient) -> None:
    """A project with an embedding, found again."""
    owner = await world.user(api, ADMIN)
    project = await world.project(api, owner)
    await world.upload(api, project, world.row("Übung 日本", [1, 2, 3], text="日本", metadata={"year": 1781}))
    found = await api.post(
        f"{project.similars}?include=text,metadata", json={"vector": [1, 2, 3]}, headers=owner.headers
    )
    assert [(one["id"], one["text"], one["metadata"]) for one in found.json()["results"]] == [
        ("Übung 日本", "日本", {"year": 1781})
    ]


def name_of(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


@contextmanager
def pooler(folder: Path, server: str, mode: str) -> Iterator[str]:
    """The URL of a pgbouncer with its defaults before the server, but for the mode; without a database's name."""
    with psycopg.connect(server) as connection:
        place = {"host": connection.info.host, "port": connection.info.port, "user": connection.info.user}
    port = free_port()
    lines = [
        "[databases]",
        "* = " + " ".join(f"{name}={value}" for name, value in place.items()),
        "[pgbouncer]",
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}",
    ]
    config = folder / "pgbouncer.ini"
    config.write_text("\n".join(lines) + "\n")
    account = embedded._account() if os.geteuid() == 0 else None  # it refuses to run as root
    config.chmod(0o644)
    for one in (folder, *folder.parents):
        if account is not None and not one.stat().st_mode & 0o001:
            one.chmod(one.stat().st_mode | 0o001)
    process = subprocess.Popen(
        [str(PGBOUNCER), "-q", str(config)],
        stderr=subprocess.DEVNULL,
        **({"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}),
    )
    try:
        url = f"postgresql://{place['user']}@127.0.0.1:{port}/"
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(f"{url}postgres").close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "pgbouncer does not start"
                assert time.monotonic() < deadline, "pgbouncer does not answer"
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.skipif(PGBOUNCER is None, reason="LEFT OUT: poolers; they need pgbouncer")
async def test_a_pooler_of_sessions(server: str, new_database: Callable[..., str], tmp_path: Path) -> None:
    """Without any setting of the pooler; and what a session relies on is in force behind it."""
    name = name_of(new_database(template=None))
    with pooler(tmp_path, server, "session") as base:
        url = base + name
        check(url)
        assert migrate.upgrade(url)
        async with served(url) as api:
            await works(api)
        async with await open_pool(url, size=2, statement_timeout=0.2) as pool:
            assert await pool.fetchval("SHOW jit") == "off"
            with pytest.raises(Exception, match="statement timeout"):
                await pool.fetchval("SELECT pg_sleep(5)")


@pytest.mark.skipif(PGBOUNCER is None, reason="LEFT OUT: poolers; they need pgbouncer")
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_of_transactions_is_refused(
    server: str, new_database: Callable[..., str], tmp_path: Path, mode: str
) -> None:
    name = name_of(new_database(template=None))
    with pooler(tmp_path, server, mode) as base:
        values = variables_for(base + name)
        for arguments in (["serve"], ["migrate"], ["migrate", "--status"], ["index", "--once"], ["keys", "status"]):
            ended = command(*arguments, cwd=tmp_path, PYTHONPATH=str(ROOT), **values)
            assert ended.returncode == 1
            assert ended.stderr.strip().splitlines()[-1].startswith("Error: The pooler of this database pools")
    with psycopg.connect(of_database(server, name)) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


LIBPQ = (
    *("connect_timeout=10", "channel_binding=prefer", "application_name=mine", "keepalives=1&keepalives_idle=5"),
    *("sslmode=disable", "gssencmode=disable", "target_session_attrs=any", "tcp_user_timeout=5000", "sslsni=1"),
    *("options=-cstatement_timeout%3D2000", "client_encoding=LATIN1", "load_balance_hosts=disable", "sslcompression=0"),
    *("fallback_application_name=x", "krbsrvname=postgres", "sslmode=prefer", "sslmode=allow"),
)


@pytest.mark.parametrize("parameters", LIBPQ)
async def test_what_libpq_knows_of_a_url(new_database: Callable[..., str], parameters: str) -> None:
    url = new_database()
    url += ("&" if "?" in url else "?") + parameters
    assert migrate.upgrade(url) == []
    async with connected(url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM users") == 1
        wanted = parse_qs(parameters).get("application_name", ["embedding-service"])[0]
        assert await connection.fetchval("SHOW application_name") == wanted
        assert await connection.fetchval("SHOW client_encoding") == "UTF8"
        assert await connection.fetchval("SHOW statement_timeout") == "0"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmod=require", 'invalid URI query parameter: "sslmod"'),
        ("require_auth=scram-sha-256", "the parameter require_auth is not supported"),
        ("requirepeer=postgres", "the parameter requirepeer is not supported"),
        ("connect_timeout=soon", "connect_timeout must be a whole number of seconds"),
        ("dbname=%ZZ", "it cannot be read"),
    ],
)
def test_a_url_that_cannot_be_used(tmp_path: Path, query: str, said: str) -> None:
    url = f"postgresql://somebody:marked@127.0.0.1:1/name?{query}"
    with pytest.raises(BadDatabaseUrl, match=r"^The URL of the database: ") as raised:
        parse(url)
    assert said in str(raised.value)
    for name in ("SERVICE_DATABASE_URL", "SERVICE_DATABASE_READ_URL"):
        values = variables_for(url, **{name: url})
        ended = command("migrate", cwd=tmp_path, PYTHONPATH=str(ROOT), **values)
        assert (ended.returncode, "marked" in ended.stderr) == (1, False)
        assert said in ended.stderr.strip().splitlines()[-1]


def test_each_driver_gets_what_it_knows() -> None:
    url = "postgresql://us%40er:pass%2F@one,[::1]:7000/na%20me?channel_binding=require&connect_timeout=1&sslmode=prefer"
    given = for_asyncpg(url)
    assert (given["host"], given["port"]) == (["one", "::1"], [5432, 7000])
    assert (given["user"], given["password"], given["database"]) == ("us@er", "pass/", "na me")
    assert given["timeout"] == 2.0
    assert given["dsn"] == "postgresql://?sslmode=require"  # without channel binding TLS at least
    assert parse(url)["channel_binding"] == "require"
    assert for_asyncpg("postgresql://x@/y?host=/run/pg&port=6")["host"] == ["/run/pg"]


@pytest.mark.parametrize("version", ["0.8.0", "0.8.0.google-3", "0.8.1-rc1", "0.10", "1.0.0"])
def test_versions_are_compared_by_their_numbers(version: str) -> None:
    assert migrate.is_new_enough(version)


@pytest.mark.parametrize("version", ["0.7.4", "0.7.4.google-9", "0.4"])
def test_older_versions(version: str) -> None:
    assert not migrate.is_new_enough(version)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1252"])
def test_a_database_must_be_utf8(server: str, tmp_path: Path, encoding: str) -> None:
    name = f"encoding_{os.getpid()}_{encoding.lower()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        )
    try:
        values = variables_for(of_database(server, name))
        for arguments in (["serve"], ["migrate"], ["migrate", "--status"], ["migrate", "--dry-run"]):
            ended = command(*arguments, cwd=tmp_path, PYTHONPATH=str(ROOT), **values)
            assert ended.returncode == 1
            said = ended.stderr.strip().splitlines()[-1]
            assert said.startswith(f"Error: This database has the encoding {encoding}; the service needs UTF8"), said
    finally:
        # It waits for all sessions, also for those of the service in this process, which does not run meanwhile.
        if "TEST_DATABASE_URL" in os.environ:  # else the server goes with its data
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


# What a role or a database may have set for others' sake.
SURPRISES = {
    "statement_timeout": "2s",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "100ms",
    "idle_session_timeout": "300ms",
    "default_transaction_isolation": "serializable",
    "bytea_output": "escape",
    "timezone": "America/St_Johns",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "standard_conforming_strings": "off",
    "enable_indexscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "synchronous_commit": "off",
    "jit": "on",
    "hnsw.ef_search": "1",
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": "1",
}


async def test_settings_of_the_database(new_database: Callable[..., str]) -> None:
    url = new_database(template=None)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        for name, value in SURPRISES.items():
            connection.execute(f"ALTER DATABASE {name_of(url)} SET {name} = '{value}'".encode())
    migrate.upgrade(url)
    with connect_sync(url) as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_session_timeout"):
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == ("0",)
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    async with await open_pool(url, size=2, statement_timeout=30) as pool:
        for name, value in SURPRISES.items():
            assert await pool.fetchval(f"SHOW {name}") != value, name
    async with served(url) as api:
        await works(api)
        time.sleep(0.5)  # noqa: ASYNC251 (idle connections would be cut)
        await works(api)
        assert (await world.fetch(api, "/v1/admin/sanity-check", ADMIN))["issues_count"] == 0


async def test_a_database_that_becomes_read_only(url: str) -> None:
    alter = f"ALTER DATABASE {name_of(url)} SET default_transaction_read_only = "
    async with served(url) as api:
        owner = await world.user(api, ADMIN)
        project = await world.project(api, owner)
        await world.upload(api, project, world.row("a", [1, 2, 3]))

        def altered(value: str) -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SET default_transaction_read_only = off")
                connection.execute((alter + value).encode())
                # The service's sessions are cut, as by a failover that leaves it at the old primary.
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

        altered("on")
        async with asyncio.timeout(30):
            while "read-only" not in (ready := await api.get("/readyz")).text:  # until no session of before is left
                pass
        assert ready.status_code == 503
        batch = {"embeddings": [world.row("b", [1, 2, 3])]}
        for method, path, body in (
            ("POST", project.embeddings, batch),
            ("DELETE", project.embeddings, None),
            ("PUT", project.path, project.body),
            ("POST", f"{owner.path}/key", None),
        ):
            answer = await api.request(method, path, json=body, headers=owner.headers)
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True), (method, path, answer.text)
        assert len((await world.fetch(api, project.embeddings, owner.headers))["embeddings"]) == 1  # reads go on
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute((alter + "off").encode())
        # Without anybody cutting anything: each refusal has its connection dropped.
        async with asyncio.timeout(30):
            while (await api.post(project.embeddings, json=batch, headers=owner.headers)).status_code != 201:
                pass
        assert (await api.get("/readyz")).status_code == 200


def test_a_start_while_the_database_is_read_only(url: str, tmp_path: Path) -> None:
    values = variables_for(url)
    assert command("keys", "rotate", **values).returncode == 0  # as an earlier start: stores the sentinel
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE embeddings_999999 (LIKE embeddings)")  # of a deleted project
        connection.execute(f"ALTER DATABASE {name_of(url)} SET default_transaction_read_only = on")  # type: ignore[call-overload]
    log = tmp_path / "log"
    process = started("serve", log=log, cwd=tmp_path, **values, SERVICE_PORT="0")
    try:
        deadline = time.monotonic() + 60
        while "running on " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        base = log.read_text().partition("running on ")[2].split()[0]
        assert httpx2.get(f"{base}/v1/users", headers=ADMIN).status_code == 200
        assert "read-only" in httpx2.get(f"{base}/readyz").json()["detail"]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    refused = command("migrate", **values)  # which is asked for changes
    assert refused.returncode == 1
    assert "read-only transaction" in refused.stderr


def test_a_database_that_is_not_there_is_one_line(tmp_path: Path, server: str) -> None:
    values = variables_for(of_database(server, "nowhere"))
    ended = command("migrate", "--status", cwd=tmp_path, PYTHONPATH=str(ROOT), **values)
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].startswith("Error: The database:")
    assert "Traceback" not in ended.stderr
    with pytest.raises((UnsupportedDatabase, psycopg.OperationalError)):
        check(of_database(server, "nowhere"))
