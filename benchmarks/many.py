"""What a project costs where there are many others: to make, to delete, to look after; and searches and restarts then.

The database stays up between the restarts of the service, as it does on a cluster.
"""

import asyncio
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import httpx2
import numpy as np
import uvloop

from benchmarks.bench import DATA
from benchmarks.data import QUERIES, load
from benchmarks.measure import Figure, table
from benchmarks.service import Client, database, service
from benchmarks.timing import each
from service.database import embedded

SOME = 200
A_USER = 1000  # projects of one user
IDLE_SECONDS = 20.0
KEY = secrets.token_hex(16)  # of the provider keys, of which there are none


class Projects:
    """Makes and deletes projects, one after the other."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self.names: list[str] = []

    async def make(self) -> float:
        """One more, and the milliseconds that it took."""
        number = len(self.names)
        user = f"many-{number // A_USER}"
        if number % A_USER == 0:
            client = Client(self.http, 384)
            person = {"user_handle": user, "email": f"{user}@example.org"}
            await client.send("PUT", f"/v1/users/{user}", person)
            await client.send(
                "PUT", f"/v1/llm-instances/{user}/minilm", {"instance_handle": "minilm", "dimensions": 384}
            )
        name = f"/v1/projects/{user}/project-{number}"
        body = {"project_handle": f"project-{number}", "instance_handle": "minilm"}
        begin = time.perf_counter()
        (await self.http.put(name, json=body)).raise_for_status()
        taken = time.perf_counter() - begin
        self.names.append(name)
        return taken * 1000

    async def delete(self, number: int) -> None:
        """The last one."""
        (await self.http.delete(self.names.pop())).raise_for_status()

    async def list(self, number: int) -> None:
        """A page of them."""
        (await self.http.get("/v1/projects/many-0?limit=100")).raise_for_status()


def cpu_seconds(process: int) -> float:
    """What a process has used of a core."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def idle(pool: Any, port: int) -> float:
    """The percentage of a core that the service and its indexer's connection use when nobody asks anything."""
    processes = [
        row[0]
        for row in await pool.fetch("SELECT pid FROM pg_stat_activity WHERE application_name ~ 'embedding-service'")
    ]
    processes.append(listener(port))
    before = sum(map(cpu_seconds, processes))
    await asyncio.sleep(IDLE_SECONDS)
    return 100 * (sum(map(cpu_seconds, processes)) - before) / IDLE_SECONDS


def listener(port: int) -> int:
    """The process that listens on a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inode = next(line[9] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A")
    for folder in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(folder.readlink()) == f"socket:[{inode}]":
                return int(folder.parts[2])
        except OSError:
            continue
    raise click.ClickException("The service is not there.")


async def measure(url: str, admin_key: str, database_url: str, folder: Path, count: int) -> list[Figure]:
    """All figures but that of the restart."""
    headers, figures = {"Authorization": f"Bearer {admin_key}"}, []
    data = load(folder, 20_000, 384)
    searches = data.searches()
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=600) as http,
        database(database_url, 1) as pool,
    ):
        client = await Client(http, 384).make_project()
        await client.upload(data.as_packed(0, len(data.ids)))
        await client.wait_for_index()

        async def search(number: int) -> None:
            await client.search(searches[number % QUERIES])

        projects = Projects(http)
        alone = float(np.median(await each(search, QUERIES)))
        first = [await projects.make() for _ in range(SOME)]
        listing = float(np.median(await each(projects.list, SOME)))
        deleting = float(np.median(await each(projects.delete, SOME // 4, warm_up=0)))
        taken: list[float] = []
        while len(projects.names) < count:
            taken.append(await projects.make())
            if len(projects.names) % A_USER == 0:
                click.echo(f"  {len(projects.names):,} projects: {np.median(taken[-SOME:]):.1f} ms each", err=True)
        last = float(np.median(taken[-SOME:]))
        beside = float(np.median(await each(search, QUERIES)))
        then = float(np.median(await each(projects.list, SOME)))
        gone = float(np.median(await each(projects.delete, SOME, warm_up=0)))
        share = await idle(pool, http.base_url.port or 80)
    of = f"among {count:,} projects"
    figures += [
        Figure(f"making a project {of}, of the first", last, "ms", 1.2, float(np.median(first)), at_most=True),
        Figure(f"making a project {of}", last, "ms", 25, at_most=True),
        Figure(f"deleting a project {of}, of the first", gone, "ms", 1.2, deleting, at_most=True),
        Figure(f"a page of a list {of}, of the first", then, "ms", 1.2, listing, at_most=True),
        Figure(f"search p50 {of}, of alone", beside, "ms", 1.2, alone, at_most=True),
        Figure(f"idle service and indexer {of}", share, "%", 1, at_most=True),
    ]
    return figures


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", "folder", type=click.Path(path_type=Path), default=DATA, help="Where the real embeddings are.")
@click.option("--projects", default=20_000, show_default=True, help="How many projects there are in the end.")
def main(folder: Path, projects: int) -> None:
    """Measure what a project costs among many; takes some minutes."""
    with tempfile.TemporaryDirectory() as temporary, embedded.running(Path(temporary) / "data"):
        with service(Path(temporary), KEY) as (url, admin_key, database_url):
            figures = uvloop.run(measure(url, admin_key, database_url, folder, projects))
        begin = time.monotonic()
        with service(Path(temporary), KEY):
            seconds = time.monotonic() - begin
    figures.append(Figure(f"restart among {projects:,} projects", seconds, "s", 2, at_most=True))
    click.echo(table(figures))


if __name__ == "__main__":
    main()
