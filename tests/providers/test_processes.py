"""Budgets with processes of their own: several workers on one, and one that is killed during a call."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx2
import psycopg
import pytest

from tests.conftest import variables_for
from tests.providers.conftest import lent
from tests.support.processes import served
from tests.support.provider import Provider
from tests.support.world import Headers, problem

pytestmark = pytest.mark.slow

RUNS = 5
CLIENTS = 50


def settings(database: str, provider: Provider) -> dict[str, str]:
    return variables_for(database, SERVICE_PROVIDER_HOSTS=f"http://127.0.0.1:{provider.port}", SERVICE_INDEXER="false")


async def test_many_clients_of_two_processes_overspend_nothing(
    new_database: Callable[..., str], tmp_path: Path, admin: Headers, provider: Provider
) -> None:
    provider.counts_bytes, provider.seconds = True, 0.01
    values = settings(new_database(), provider)
    with served(tmp_path / "log", "--workers", "2", cwd=tmp_path, **values) as (_, url):
        async with httpx2.AsyncClient(base_url=url, timeout=60) as api:
            for run in range(RUNS):
                one = await lent(api, admin, provider, tokens_per_day=10_000)
                statuses: list[int] = []

                async def spend(number: int, one: object = one, statuses: list[int] = statuses) -> None:
                    async with httpx2.AsyncClient(timeout=60, verify=False) as mine:  # a connection, to either
                        for _ in range(3):
                            sent = {"input": ["x" * (200 + number)]}
                            answer = await mine.post(f"{url}{one.instance}/embed", json=sent, headers=one.owner.headers)  # type: ignore[attr-defined]
                            statuses.append(answer.status_code)

                await asyncio.gather(*(spend(number) for number in range(CLIENTS)))
                (row,) = await one.used(by="user")
                assert set(statuses) <= {200, 429}
                assert 8_000 < row["tokens"] <= 10_000, (run, row)


async def test_a_process_that_is_killed_leaves_a_reservation_that_ends(
    new_database: Callable[..., str], tmp_path: Path, admin: Headers, provider: Provider
) -> None:
    database = new_database()
    values = settings(database, provider)
    with served(tmp_path / "log", cwd=tmp_path, **values) as (process, url):
        async with httpx2.AsyncClient(base_url=url, timeout=60) as api:
            one = await lent(api, admin, provider, fault="hang", tokens_per_day=100)
            call = asyncio.create_task(one.embed(["x" * 70]))
            while not provider.at_once:
                await asyncio.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            with pytest.raises(httpx2.TransportError):
                await call
    with served(tmp_path / "log", cwd=tmp_path, **values) as (_, url):
        async with httpx2.AsyncClient(base_url=url, timeout=60) as api:
            one.api = api
            change = {"endpoint": provider.url("/v1")}
            answer = await api.patch(one.instance, json=change, headers=one.owner.headers)
            assert answer.status_code == 200
            body = problem(await one.embed(["x" * 70]), 429)
            assert "0 are spent and 86 reserved by other calls" in body["detail"]
            with psycopg.connect(database, autocommit=True) as db:
                (left,) = db.execute("SELECT extract(epoch FROM expires_at - now()) FROM usage_reservations").fetchone()
                assert 200 < left <= 300
                db.execute("UPDATE usage_reservations SET expires_at = now()")  # five minutes later
            assert (await one.embed(["x" * 70])).status_code == 200
            assert (await one.used(by="user"))[0]["requests"] == 1
