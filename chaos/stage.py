"""Where a scenario is played: a database, a service, clients with a ledger; and what came of it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import httpx2
import msgspec

from chaos.clients import Clients
from chaos.ledger import DIMENSIONS, Outcome
from chaos.places import Database

KINDS = {"upload": 4, "stream": 2, "search": 2}


class Result(msgspec.Struct):
    """A line of the table. `recovery`: the longest time without a success after it, in seconds."""

    fault: str
    outcome: Outcome
    times: int
    recovery: float
    failed: int


class Stage:
    """Database, service and clients of a scenario, how long these pause, and when something was broken."""

    at_work: Clients

    def __init__(self, folder: Path, seconds: float, pause: float = 0.0) -> None:
        self.folder = folder
        self.seconds = seconds
        self.pause = pause
        self.admin_key = secrets.token_hex(16)
        self.faults: list[float] = []

    def broken(self) -> None:
        """Notes the time: something has just been broken."""
        self.faults.append(time.monotonic())

    async def clients(self, url: str) -> Clients:
        """Makes a user and a project, and clients for it."""
        headers = {"Authorization": f"Bearer {self.admin_key}"}
        user = f"chaos-{secrets.token_hex(4)}"
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api:
            person = {"user_handle": user, "email": f"{user}@example.org"}
            key = (await api.put(f"/v1/users/{user}", json=person)).raise_for_status().json()["vdb_key"]
            instance = {"instance_handle": "any", "dimensions": DIMENSIONS}
            (await api.put(f"/v1/llm-instances/{user}/any", json=instance)).raise_for_status()
            project = {"project_handle": "texts", "instance_handle": "any"}
            (await api.put(f"/v1/projects/{user}/texts", json=project)).raise_for_status()
        return Clients([url], key, f"{user}/texts", self.pause)

    async def play(
        self, fault: str, url: str, breaking: Callable[[], Awaitable[None]], kinds: dict[str, int] | None = None
    ) -> Result:
        """Has clients at work while things break, and compares afterwards."""
        self.at_work = clients = await self.clients(url)
        running = asyncio.create_task(clients.run(self.seconds, kinds or KINDS))
        await asyncio.sleep(self.seconds * 0.2)
        try:
            await breaking()
        finally:
            clients.may_stop.set()
        await running
        headers = {"Authorization": f"Bearer {clients.key}", "X-Read-From": "primary"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as api:
            outcome = await clients.ledger.compare(api, clients.project)
        first = min(self.faults, default=0.0)
        times = [first, *sorted(success for success in clients.successes if success > first)]
        recovery = max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))
        failed = sum(count for (_, status), count in clients.statuses.items() if status not in (200, 201, 204, 404))
        return Result(fault, outcome, len(self.faults), recovery, failed)


@asynccontextmanager
async def database(stage: Stage) -> AsyncIterator[Database]:
    """A database for a scenario."""
    one = await asyncio.to_thread(Database, stage.folder / "data")
    try:
        yield one
    finally:
        await asyncio.to_thread(one.stop)
