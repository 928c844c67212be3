"""A mixed load for a long time: memory stays flat, nothing fails, and nothing is lost."""

import asyncio
import tempfile
from pathlib import Path

import httpx2
import msgspec
import numpy as np

from chaos.ledger import Outcome
from chaos.places import Process
from chaos.stage import Stage, database

MIB = 1024 * 1024
MAX_GROWTH_MIB = 64
KINDS = {"upload": 6, "stream": 2, "search": 6}


class Load(msgspec.Struct):
    """What was seen: requests a second, milliseconds by kind, answers by status, and MiB of the process."""

    seconds: float
    requests_per_second: float
    milliseconds: dict[str, dict[str, float]]
    statuses: dict[str, int]
    memory: dict[str, float]
    outcome: Outcome

    @property
    def is_right(self) -> bool:
        """Whether nothing failed or was lost, and the memory stayed where it was."""
        failed = any(
            status.split()[-1].startswith("5") or not status.split()[-1].isdecimal() for status in self.statuses
        )
        grown = self.memory["at the end"] - self.memory["after a tenth"]
        return self.outcome.is_right and not failed and grown < MAX_GROWTH_MIB


async def run(seconds: float) -> Load:
    """Has clients at work at the highest rate that holds: each asks again as soon as it is answered."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), seconds)
        async with database(stage) as base:
            service = await Process(stage.folder, base.url, stage.admin_key, "serve").ready()
            memory = {"at the start": service.memory / MIB}
            clients = await stage.clients(service.url)
            clients.may_stop.set()
            running = asyncio.create_task(clients.run(seconds, KINDS))
            await asyncio.sleep(seconds / 10)
            memory["after a tenth"] = service.memory / MIB
            await running
            memory["at the end"] = service.memory / MIB

            headers = {"Authorization": f"Bearer {clients.key}"}
            async with httpx2.AsyncClient(base_url=service.url, headers=headers, timeout=60) as api:
                outcome = await clients.ledger.compare(api, clients.project)
            await asyncio.to_thread(service.terminate)
    return Load(
        seconds,
        sum(clients.statuses.values()) / seconds,
        {
            kind: {f"p{share}": float(np.percentile(taken, share)) * 1000 for share in (50, 99)}
            for kind, taken in clients.seconds.items()
        },
        {f"{kind} {status}": count for (kind, status), count in sorted(clients.statuses.items(), key=str)},
        memory,
        outcome,
    )
