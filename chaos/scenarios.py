"""The faults, one a scenario: what is broken, and how, while clients are at work."""

import asyncio
import contextlib
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx2
import numpy as np

from chaos.ledger import DIMENSIONS
from chaos.places import Process, Proxy
from chaos.stage import KINDS, Result, Stage, database
from chaos.standby import Standby


async def service_killed(stage: Stage) -> Result:
    """The service is killed (-9), and started again."""
    async with database(stage) as base:
        service = await Process(stage.folder, base.url, stage.admin_key, "serve").ready()

        async def kill() -> None:
            for _ in range(2):
                stage.broken()
                service.kill()
                service.start()
                await service.ready()
                await asyncio.sleep(stage.seconds * 0.2)

        try:
            return await stage.play("service killed", service.url, kill)
        finally:
            await asyncio.to_thread(service.terminate)


async def postgresql_killed(stage: Stage) -> Result:
    """PostgreSQL is killed (-9), and started again."""
    async with database(stage) as base:
        service = await Process(stage.folder, base.url, stage.admin_key, "serve").ready()

        async def kill() -> None:
            stage.broken()
            await asyncio.to_thread(base.kill)
            await asyncio.to_thread(base.restart)

        try:
            return await stage.play("PostgreSQL killed", service.url, kill)
        finally:
            await asyncio.to_thread(service.terminate)


async def connections_cut(stage: Stage) -> Result:
    """The connections between service and database are cut, or stand still for a while."""
    proxy = Proxy()
    async with database(stage) as base, proxy.listening() as port:
        folder = parse_qs(urlsplit(base.url).query)["host"][0]
        proxy.targets = [f"{folder}/.s.PGSQL.5432"]
        through = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        service = await Process(stage.folder, through, stage.admin_key, "serve").ready()

        async def cut() -> None:
            end = time.monotonic() + stage.seconds * 0.6
            while time.monotonic() < end:
                stage.broken()
                proxy.cut()
                await asyncio.sleep(random.uniform(0.05, 0.6))
            stage.broken()
            await proxy.hold(min(2.0, stage.seconds * 0.2))
            proxy.cut()

        try:
            return await stage.play("connections cut", service.url, cut)
        finally:
            await asyncio.to_thread(service.terminate)


async def disk_full(stage: Stage) -> Result:
    """The file system of PostgreSQL is full for a while (a tmpfs, which only root may mount)."""
    data = stage.folder / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(data)], check=True)
    try:
        async with database(stage) as base:
            service = await Process(stage.folder, base.url, stage.admin_key, "serve").ready()
            ballast = data / "ballast"

            async def fill() -> None:
                stage.broken()
                free = os.statvfs(data)
                with (
                    contextlib.suppress(OSError),
                    ballast.open("wb") as file,
                ):  # PostgreSQL may take some of it meanwhile
                    file.write(bytes(free.f_bavail * free.f_frsize))
                await asyncio.sleep(stage.seconds * 0.3)
                ballast.unlink()
                stage.faults[-1] = time.monotonic()  # from now on it can recover
                await asyncio.to_thread(base.restart)  # does nothing when it is still running

            try:
                return await stage.play("disk full", service.url, fill)
            finally:
                await asyncio.to_thread(service.terminate)
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


async def indexer_killed(stage: Stage) -> Result:
    """The indexer is killed (-9) in the middle of builds; in the end there is an index, and it finds what is there."""
    async with database(stage) as base:
        settings = {"SERVICE_INDEXER": "false", "SERVICE_INDEX_THRESHOLD": "500"}
        service = await Process(stage.folder, base.url, stage.admin_key, "serve", **settings).ready()
        indexer = Process(stage.folder, base.url, stage.admin_key, "index", **settings)

        async def kill() -> None:
            connection = await asyncpg.connect(base.url)
            try:
                end = time.monotonic() + stage.seconds * 0.6
                # Builds are short: until one was caught, clients go on.
                while time.monotonic() < end or (not stage.faults and time.monotonic() < end + 60):
                    if await connection.fetchval("SELECT count(*) FROM pg_stat_progress_create_index"):
                        stage.broken()
                        indexer.kill()
                        indexer.start()
                        await asyncio.sleep(0.5)
                    await asyncio.sleep(0.005)
                await _indexed(connection)
                await _check_index(connection, service.url, stage.admin_key)
            finally:
                await connection.close()

        try:
            return await stage.play("indexer killed", service.url, kill)
        finally:
            indexer.kill()
            await asyncio.to_thread(service.terminate)


async def _indexed(connection: asyncpg.Connection) -> None:
    """Waits until a project has an index."""
    deadline = time.monotonic() + 60
    while not await connection.fetchval("SELECT count(*) FROM project_indexes"):
        if time.monotonic() > deadline:
            raise AssertionError("no index was built")
        await asyncio.sleep(0.1)


async def _check_index(connection: asyncpg.Connection, url: str, admin_key: str) -> None:
    """Searches through the index find what is there."""
    project = await connection.fetchval("SELECT owner || '/' || project_handle FROM projects")
    headers = {"Authorization": f"Bearer {admin_key}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api:
        for seed in range(5):
            vector = np.random.default_rng(seed).normal(size=DIMENSIONS).tolist()
            path = f"/v1/similars/{project}?threshold=-1"
            answer = (await api.post(path, json={"vector": vector})).raise_for_status().json()
            if len(answer["results"]) != 10:
                raise AssertionError(f"a search found {len(answer['results'])} of 10")


async def restarted_in_turn(stage: Stage) -> Result:
    """Two services behind one address are told to stop (SIGTERM), and started again, one after the other."""
    proxy = Proxy()
    async with database(stage) as base, proxy.listening() as port:
        settings = {"SERVICE_DRAIN_SECONDS": "0.5"}
        services = [Process(stage.folder, base.url, stage.admin_key, "serve", **settings) for _ in range(2)]
        for one in services:
            await one.ready()
        proxy.targets = [one.port for one in services]

        async def restart() -> None:
            for one in services:
                proxy.targets = [other.port for other in services if other is not one]  # as readiness would say
                stage.broken()
                if await asyncio.to_thread(one.terminate) != 0:
                    raise AssertionError("a service that was told to stop did not end well")
                one.start()
                await one.ready()
                proxy.targets = [both.port for both in services]
                await asyncio.sleep(stage.seconds * 0.1)

        try:
            return await stage.play("two services restarted in turn", f"http://127.0.0.1:{port}", restart)
        finally:
            for one in services:
                await asyncio.to_thread(one.terminate)


async def replica_broken(stage: Stage) -> Result:
    """The replica that answers searches and reads is stopped, frozen, and left behind; each time it comes back."""
    async with database(stage) as base:
        standby = await asyncio.to_thread(Standby, stage.folder / "standby", base.url)
        await asyncio.to_thread(standby.start)
        settings = {"SERVICE_DATABASE_READ_URL": standby.url, "SERVICE_READ_LAG_SECONDS": "2"}
        service = await Process(stage.folder, base.url, stage.admin_key, "serve", **settings).ready()

        async def answers(wanted: bool) -> None:
            """Waits until the replica answers, or no more."""
            deadline = time.monotonic() + 30
            while True:
                before = stage.at_work.from_replica
                await asyncio.sleep(0.3)
                if (stage.at_work.from_replica > before) == wanted:
                    return
                if time.monotonic() > deadline:
                    raise AssertionError(f"the replica {'does not answer' if wanted else 'still answers'}")

        async def stop() -> None:
            await asyncio.to_thread(standby.stop)
            await answers(wanted=False)
            await asyncio.sleep(stage.seconds * 0.1)
            await asyncio.to_thread(standby.start)

        async def hold(held: AbstractContextManager[None]) -> None:
            await asyncio.to_thread(held.__enter__)
            try:
                await answers(wanted=False)
                await asyncio.sleep(stage.seconds * 0.1)
            finally:
                await asyncio.to_thread(held.__exit__, None, None, None)

        async def breaks() -> None:
            await answers(wanted=True)
            for fault in (stop, lambda: hold(standby.frozen()), lambda: hold(standby.paused())):
                stage.broken()
                await fault()
                await answers(wanted=True)

        try:
            return await stage.play("replica stopped, frozen, behind", service.url, breaks, {**KINDS, "read": 2})
        finally:
            await asyncio.to_thread(service.terminate)
            await asyncio.to_thread(standby.stop)


SCENARIOS: dict[str, Callable[[Stage], Awaitable[Result]]] = {
    "service-killed": service_killed,
    "postgresql-killed": postgresql_killed,
    "connections-cut": connections_cut,
    "disk-full": disk_full,
    "indexer-killed": indexer_killed,
    "restarted-in-turn": restarted_in_turn,
    "replica-broken": replica_broken,
}


async def run(name: str, seconds: float, pause: float = 0.0) -> Result:
    """Plays a scenario in a folder of its own, with clients that pause for `pause` seconds after each answer."""
    with tempfile.TemporaryDirectory() as folder:
        return await SCENARIOS[name](Stage(Path(folder), seconds, pause))
