"""The same rows and the same queries, one after the other in one run: this service and Chroma, over HTTP.

Installs Chroma into a virtual environment of its own (`.venv/peer`), and starts its server. Both get JSON. Chroma is
measured with its defaults, and with the smallest of EFFORTS that finds as much as this service aims at: a search that
finds less is quicker.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import click
import httpx2
import msgspec
import numpy as np
import uvloop

from benchmarks.bench import DATA
from benchmarks.data import BATCH, LIMIT, QUERIES, Data, load
from benchmarks.filters import described
from benchmarks.service import ROOT, Client, free_port, service
from benchmarks.timing import each, per_second, timed
from benchmarks.wire import Wire

VERSION = "1.5.9"
ROUNDS = 3
CLIENTS = 8
FILTER = "passes_3"  # that 1 % of the rows pass
JSON = "application/json"
EFFORTS = (100, 140, 200, 280, 400)  # ef_search of Chroma; the first is its default
AIM = 0.99  # recall, which is this service's default
DATABASE = "/api/v2/tenants/default_tenant/databases/default_database"


class Side(msgspec.Struct):
    """What was measured of one of the two."""

    rows_per_second: float
    recall: float = 0.0
    filtered_recall: float = 0.0
    p50: list[float] = []
    filtered_p50: list[float] = []
    per_second: list[float] = []


Ask = Callable[[int, bool], Awaitable[list[str]]]  # the ids that a query finds, with the filter or without


@contextlib.contextmanager
def chroma(folder: Path) -> Iterator[int]:
    """Chroma's server as a process; yields its port."""
    environment = ROOT / ".venv" / "peer"
    program = environment / "bin" / "chroma"
    if not program.exists():
        click.echo(f"installing chromadb {VERSION} …", err=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        command = [str(environment / "bin" / "pip"), "install", "--quiet", f"chromadb=={VERSION}"]
        subprocess.run(command, check=True)
    port = free_port()
    with (folder / "chroma.log").open("w") as log:
        command = [str(program), "run", "--path", str(folder / "chroma"), "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "ANONYMIZED_TELEMETRY": "False"}
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"http://127.0.0.1:{port}/api/v2/heartbeat").status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"Chroma did not start:\n{(folder / 'chroma.log').read_text()}")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)


async def fill_chroma(port: int, data: Data, effort: int) -> tuple[Side, Ask]:
    """Stores all rows in a collection of Chroma with this ef_search, which a running server does not change later.

    Returns how fast, and how to search.
    """
    wire = Wire(port)
    made = {"name": f"texts-{effort}", "configuration": {"hnsw": {"space": "cosine", "ef_search": effort}}}
    collection = msgspec.json.decode(await wire.post(f"{DATABASE}/collections", msgspec.json.encode(made), JSON))["id"]
    path = f"{DATABASE}/collections/{collection}"
    bodies = [
        msgspec.json.encode(
            {
                "ids": data.ids[start : start + BATCH],
                "embeddings": data.vectors[start : start + BATCH].astype(float).tolist(),
                "metadatas": data.metadata[start : start + BATCH],
                "documents": [data.text(row) for row in range(start, min(start + BATCH, len(data.ids)))],
            }
        )
        for start in range(0, len(data.ids), BATCH)
    ]

    async def upload() -> None:
        for body in bodies:
            await wire.post(f"{path}/add", body, JSON)

    seconds = await timed(upload)
    asked: dict[str, Any] = {"n_results": LIMIT, "include": ["distances"]}
    queries = [{**asked, "query_embeddings": [one.astype(float).tolist()]} for one in data.queries]
    plain = [msgspec.json.encode(one) for one in queries]
    filtered = [msgspec.json.encode({**one, "where": {FILTER: True}}) for one in queries]

    async def ask(number: int, is_filtered: bool) -> list[str]:
        body = (filtered if is_filtered else plain)[number % QUERIES]
        ids: list[str] = msgspec.json.decode(await wire.post(f"{path}/query", body, JSON))["ids"][0]
        return ids

    return Side(len(data.ids) / seconds), ask


async def fill_service(url: str, admin_key: str, data: Data) -> tuple[Side, Ask]:
    """Stores all rows in this service, and waits for its index; returns how fast, and how to search."""
    headers = {"Authorization": f"Bearer {admin_key}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=600) as http:
        client = await Client(http, data.vectors.shape[1]).make_project()
        seconds, _ = await client.upload(data.as_json(0, len(data.ids)), JSON)
        click.echo(f"  {await client.wait_for_index()}", err=True)
        queries = [{"vector": one.astype(float).tolist()} for one in data.queries]
        plain = [msgspec.json.encode(one) for one in queries]
        filtered = [msgspec.json.encode({**one, "filter": {FILTER: True}}) for one in queries]

    async def ask(number: int, is_filtered: bool) -> list[str]:
        body = (filtered if is_filtered else plain)[number % QUERIES]
        return [one["id"] for one in (await client.ask(body, LIMIT, kind=JSON))["results"]]

    return Side(len(data.ids) / seconds), ask


async def compare(data: Data, url: str, admin_key: str, port: int) -> dict[str, Side]:
    """Measures both in turn, because other work on the machine comes and goes."""
    mask = described(data)[FILTER]
    rows = [row for row, passes in enumerate(mask) if passes]
    unit = data.vectors.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near = np.argsort(-(data.queries.astype(np.float32) @ unit[rows].T), axis=1)[:, :LIMIT]
    wanted = {
        False: [{data.ids[row] for row in one} for one in data.neighbours],
        True: [{data.ids[rows[place]] for place in one} for one in near],
    }

    async def recall(ask: Ask, is_filtered: bool) -> float:
        found = [set(await ask(number, is_filtered)) for number in range(QUERIES)]
        shares = [len(want & ids) / LIMIT for want, ids in zip(wanted[is_filtered], found, strict=True)]
        return float(np.mean(shares))

    async def add(name: str, filled: tuple[Side, Ask]) -> Side:
        side, ask = sides[name] = filled
        side.recall, side.filtered_recall = await recall(ask, False), await recall(ask, True)
        click.echo(f"  {name}: recall {side.recall:.4f}", err=True)
        return side

    sides: dict[str, tuple[Side, Ask]] = {}
    await add("this service", await fill_service(url, admin_key, data))
    for effort in EFFORTS:
        side = await add(f"Chroma, ef {effort}", await fill_chroma(port, data, effort))
        if side.recall >= AIM:
            break
    for effort in EFFORTS[1 : len(sides) - 2]:  # those between its default and the last one
        del sides[f"Chroma, ef {effort}"]
    for _ in range(ROUNDS):
        for side, ask in sides.values():
            side.p50.append(float(np.median(await each(lambda number: ask(number, False), QUERIES))))  # noqa: B023
            side.filtered_p50.append(float(np.median(await each(lambda number: ask(number, True), QUERIES))))  # noqa: B023
            side.per_second.append(await per_second(lambda number: ask(number, False), CLIENTS, 3))  # noqa: B023
    return {name: side for name, (side, _) in sides.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", "folder", type=click.Path(path_type=Path), default=DATA, help="Where the real embeddings are.")
@click.option("--rows", default=20_000, show_default=True, help="How many of them.")
def main(folder: Path, rows: int) -> None:
    """Compare with Chroma: the same rows and queries over HTTP; takes some minutes."""
    data = load(folder, rows, 384)
    with (
        tempfile.TemporaryDirectory() as temporary,
        service(Path(temporary)) as (url, admin_key, _),
        chroma(Path(temporary)) as port,
    ):
        sides = uvloop.run(compare(data, url, admin_key, port))
    click.echo(f"{len(data.ids):,} {data.kind} vectors of 384 dimensions, {os.cpu_count()} cores, Chroma {VERSION}\n")
    click.echo(f"{'':28}" + "".join(f"{name:>16}" for name in sides))
    lines: dict[str, list[str]] = {
        "upload, JSON, rows/s": [f"{side.rows_per_second:,.0f}" for side in sides.values()],
        f"recall@{LIMIT}": [f"{side.recall:.4f}" for side in sides.values()],
        "search p50, ms": [f"{np.median(side.p50):.2f}" for side in sides.values()],
        f"searches/s, {CLIENTS} clients": [f"{np.median(side.per_second):,.0f}" for side in sides.values()],
        "recall, 1 % pass a filter": [f"{side.filtered_recall:.4f}" for side in sides.values()],
        "filtered search p50, ms": [f"{np.median(side.filtered_p50):.2f}" for side in sides.values()],
    }
    for name, values in lines.items():
        click.echo(f"{name:28}" + "".join(f"{one:>16}" for one in values))


if __name__ == "__main__":
    main()
