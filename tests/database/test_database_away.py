"""A database that is closed or gone is 503, and the service recovers by itself."""

import os
import re
import signal
import time
from pathlib import Path

import httpx2
import psycopg
import pytest

from tests.conftest import ADMIN, client_of, settings_for, variables_for
from tests.support.processes import served

pytestmark = pytest.mark.slow


async def faults(client: httpx2.AsyncClient) -> float:
    """The failed requests in the metrics, for which there is an alert."""
    metrics = (await client.get("/metrics", headers=ADMIN)).text
    return float(re.findall(r"^embedding_service_faults_total (\S+)$", metrics, re.MULTILINE)[0])


async def test_a_closed_database(url: str, server: str) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    async with client_of(settings_for(url)) as client:
        assert (await client.get("/readyz")).status_code == 200
        before = await faults(client)
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[call-overload]
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            for path in ("/readyz", "/v1/users", "/readyz"):
                answer = await client.get(path, headers=ADMIN)
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"] == "1"
                assert answer.headers["content-type"] == "application/problem+json"
            assert (await client.get("/healthz")).status_code == 200
            metrics = await client.get("/metrics", headers=ADMIN)  # which show it
            assert metrics.status_code == 200
            assert re.search(r'requests_total\{.*route="/v1/users",status="503"\}', metrics.text)
            assert await faults(client) == before + 3
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[call-overload]
        assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("stops_meanwhile", [False, True])
def test_a_worker_is_killed_meanwhile(url: str, server: str, tmp_path: Path, stops_meanwhile: bool) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    values = variables_for(
        url.replace("postgres@", "postgres:a-password-of-the-database@"),
        SERVICE_LOG_FORMAT="json",
        TMPDIR=str(tmp_path),
    )
    assert "a-password-of-the-database" in values["SERVICE_DATABASE_URL"]
    log = tmp_path / "log"

    def await_line(text: str, times: int = 1) -> None:
        deadline = time.monotonic() + 60
        while log.read_text().count(text) < times:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    with (
        served(log, "--workers", "2", cwd=tmp_path, **values) as (process, base),
        psycopg.connect(server, autocommit=True) as connection,
    ):
        await_line("Application startup complete", times=2)
        (killed, *_) = re.findall(r"Started server process \[(\d+)\]", log.read_text())
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[call-overload]
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        os.kill(int(killed), signal.SIGKILL)
        await_line("this worker waits for it")
        await_line("Failed to restore the pool")  # asyncpg logs a traceback
        if not stops_meanwhile:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[call-overload]
            deadline = time.monotonic() + 60
            while log.read_text().count("Application startup complete") < 3:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            while httpx2.get(f"{base}/readyz").status_code != 200:  # the other worker may notice it later
                assert time.monotonic() < deadline
                time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[call-overload]
    assert "a-password-of-the-database" not in log.read_text()
