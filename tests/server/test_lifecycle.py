"""Starting and stopping: what is going on is finished, streams say how far they came, and the exit code is 0 if
nothing is left undone."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from service.cli import common
from service.probe import Signs
from service.schema import migrate
from tests.conftest import ADMIN, ADMIN_KEY, ENCRYPTION_KEY
from tests.support import world
from tests.support.processes import served, started
from tests.support.world import Project

pytestmark = pytest.mark.slow

SETTINGS = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": ENCRYPTION_KEY}


async def made(url: str) -> Project:
    async with httpx2.AsyncClient(base_url=url) as api:
        return await world.project(api, await world.user(api, ADMIN))


def lets_in(url: str) -> bool:
    """Whether a new client is answered."""
    try:
        return httpx2.get(f"{url}/healthz").status_code == 200
    except httpx2.TransportError:
        return False


async def waiting(connection: psycopg.Connection) -> None:
    """Goes on when a statement waits for a lock that this connection holds."""
    blocked = "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    async with asyncio.timeout(30):
        while not connection.execute(blocked).fetchall():
            await asyncio.sleep(0.05)


async def test_what_is_going_on_is_finished(new_database: Callable[..., str], tmp_path: Path) -> None:
    database = new_database()
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_DATABASE_URL=database, **SETTINGS) as (process, url):
        project = await made(url)
        with psycopg.connect(database) as connection:
            connection.execute(f"LOCK TABLE embeddings_{project.id} IN ACCESS EXCLUSIVE MODE")  # type: ignore[call-overload]
            async with httpx2.AsyncClient(base_url=url, timeout=30) as api:
                body = world.batch(world.row("a", [1.0, 0.0, 0.0]))
                going_on = asyncio.create_task(api.post(project.embeddings, json=body, headers=project.owner.headers))
                await waiting(connection)
                process.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + 30
                while lets_in(url):
                    assert time.monotonic() < deadline
                assert process.poll() is None
                connection.rollback()
                assert (await going_on).status_code == 201
        assert process.wait(20) == 0
        with psycopg.connect(database) as connection:
            found = connection.execute(f"SELECT text_id FROM embeddings_{project.id}").fetchall()  # type: ignore[call-overload]
        assert found == [("a",)]


async def test_what_takes_too_long_is_not_waited_for(new_database: Callable[..., str], tmp_path: Path) -> None:
    database = new_database()
    more = {"SERVICE_SHUTDOWN_SECONDS": "1"}
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_DATABASE_URL=database, **SETTINGS, **more) as (process, url):
        project = await made(url)
        with psycopg.connect(database) as connection:
            connection.execute(f"LOCK TABLE embeddings_{project.id} IN ACCESS EXCLUSIVE MODE")  # type: ignore[call-overload]
            async with httpx2.AsyncClient(base_url=url, timeout=30) as api:
                body = world.batch(world.row("a", [1.0, 0.0, 0.0]))
                going_on = asyncio.create_task(api.post(project.embeddings, json=body, headers=project.owner.headers))
                await waiting(connection)
                start = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 20) == 0
                assert time.monotonic() - start < 10
                with contextlib.suppress(httpx2.TransportError):
                    assert (await going_on).status_code >= 500
    log = (tmp_path / "log").read_text()
    assert "timeout graceful shutdown exceeded" in log
    assert project.owner.headers["Authorization"].split()[1] not in log  # nor any other local variable


@pytest.mark.parametrize("workers", [1, 2])
async def test_it_says_so_before_it_stops(new_database: Callable[..., str], tmp_path: Path, workers: int) -> None:
    more = {"SERVICE_DRAIN_SECONDS": "4", "SERVICE_DATABASE_URL": new_database()}
    with served(tmp_path / "log", "--workers", str(workers), cwd=tmp_path, **SETTINGS, **more) as (process, url):
        assert httpx2.get(f"{url}/readyz").status_code == 200
        if workers > 1:  # as systemd does
            for pid in re.findall(r"Started server process \[(\d+)\]", (tmp_path / "log").read_text()):
                os.kill(int(pid), signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2.5  # so that the service still serves below
        while httpx2.get(f"{url}/readyz").status_code == 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert httpx2.get(f"{url}/readyz").json()["detail"] == "The service is shutting down."
        await asyncio.sleep(0.7)  # until the first process has passed the signal on
        assert httpx2.get(f"{url}/v1/users", headers=ADMIN).status_code == 200  # it still serves
        assert process.wait(20) == 0


async def test_workers_end_with_the_first_process(new_database: Callable[..., str], tmp_path: Path) -> None:
    """Also when it is killed: they would keep the port, and the next start would fail."""
    more = {"SERVICE_DATABASE_URL": new_database()}
    with served(tmp_path / "log", "--workers", "2", cwd=tmp_path, **SETTINGS, **more) as (process, url):
        deadline = time.monotonic() + 40
        while (tmp_path / "log").read_text().count("Application startup complete.") < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        workers = re.findall(r"Started server process \[(\d+)\]", (tmp_path / "log").read_text())
        process.kill()
        for worker in workers:
            while f"Finished server process [{worker}]" not in (tmp_path / "log").read_text():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        assert not lets_in(url)


async def test_a_stream_ends_with_its_last_line(new_database: Callable[..., str], tmp_path: Path) -> None:
    database = new_database()
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_DATABASE_URL=database, **SETTINGS) as (process, url):
        project = await made(url)
        stopped = threading.Event()

        def records() -> Any:
            number = 0
            while not stopped.is_set():
                yield (json.dumps(world.row(f"{number:06}", [1.0, number, 0.0])) + "\n").encode()
                number += 1
                if number % 1000 == 0:
                    time.sleep(0.05)

        def send() -> list[dict[str, Any]]:
            lines: list[dict[str, Any]] = []
            with (
                contextlib.suppress(httpx2.TransportError),
                httpx2.stream(
                    "POST",
                    f"{url}{project.embeddings}/stream",
                    content=records(),
                    headers={**project.owner.headers, "Content-Type": "application/x-ndjson"},
                    timeout=30,
                ) as answer,
            ):
                lines += [json.loads(line) for line in answer.iter_lines()]
            return lines

        sending = asyncio.create_task(asyncio.to_thread(send))
        with psycopg.connect(database, autocommit=True) as connection:
            async with asyncio.timeout(30):
                while not connection.execute(f"SELECT FROM embeddings_{project.id} LIMIT 1").fetchall():  # type: ignore[call-overload]
                    await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
        stopped.set()
        lines = await sending
    with psycopg.connect(database) as connection:
        rows = connection.execute(f"SELECT text_id FROM embeddings_{project.id} ORDER BY text_id")  # type: ignore[call-overload]
        stored = [text_id for (text_id,) in rows]
    if lines:  # a client that only writes may lose the answer to the reset of its connection
        assert lines[-1]["error"].startswith("The service is shutting down;")
        assert lines[-1]["rows"] == lines[-1]["inserted"] == len(stored)
    assert stored
    assert stored == [f"{number:06}" for number in range(len(stored))]  # all up to one row, and none beyond it


@pytest.mark.parametrize("arguments", [["index"]])
def test_other_commands_end_at_once(new_database: Callable[..., str], tmp_path: Path, arguments: list[str]) -> None:
    values = {**SETTINGS, "SERVICE_DATABASE_URL": new_database(), "TMPDIR": str(tmp_path)}
    process = started(*arguments, log=tmp_path / "log", cwd=tmp_path, **values)
    deadline = time.monotonic() + 60
    while not Signs(tmp_path).file.exists():  # it is at work
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "template", "locked"),
    [
        (["migrate"], False, f"SELECT pg_advisory_lock({migrate.LOCK}, 'public'::regnamespace::oid::int)"),
        (["keys", "status"], True, "LOCK TABLE llm_service_instances"),
        (["keys", "rotate"], True, "LOCK TABLE llm_service_instances"),
    ],
)
def test_what_was_not_done_is_no_success(
    new_database: Callable[..., str], tmp_path: Path, arguments: list[str], template: bool, locked: str
) -> None:
    database = new_database() if template else new_database(template=None)
    with psycopg.connect(database) as connection:
        connection.execute(locked)  # type: ignore[call-overload]
        values = {**SETTINGS, "SERVICE_DATABASE_URL": database}
        process = started(*arguments, log=tmp_path / "log", cwd=tmp_path, **values)
        deadline = time.monotonic() + 60
        waits = "SELECT FROM pg_locks JOIN pg_database d ON d.oid = database WHERE datname = %s AND NOT granted"
        while not connection.execute(waits, [connection.info.dbname]).fetchall():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_no_signal_is_lost_in_a_query() -> None:
    """asyncpg returns in a `finally`, so an exception that a signal's handler raises in its send is dropped."""
    answered = False

    async def sends_a_query() -> None:
        nonlocal answered
        with contextlib.suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(5)
        answered = True

    def handler(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(SystemExit) as ended:
            common.run(sends_a_query())
        assert signal.getsignal(signal.SIGTERM) == handler  # the next signal ends what comes after this
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (ended.value.code, answered) == (128 + signal.SIGTERM, False)
