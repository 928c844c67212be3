"""A project of a million rows: while it is uploaded, until its first index is ready, and then.

The rows lie around real embeddings: each is one of those with normal noise of a third of its length.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click
import httpx2
import msgspec
import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.bench import DATA
from benchmarks.data import BATCH, LIMIT, QUERIES, load
from benchmarks.measure import Figure, table
from benchmarks.service import Client, database, service
from benchmarks.timing import each

DIMENSIONS = 384
NOISE = 0.3
CLIENTS = 8
FEW = 20_000  # rows of the project to compare with
SHARE = 1000  # one row of this number passes each filter
# And the first row that passes.
FILTERS: dict[str, tuple[dict[str, Any], int]] = {
    "a value": ({"n": 0}, 0),
    "a range": ({"share": {"$gte": 0.25, "$lt": 0.251}}, 250),
    "a range of days": ({"day": {"$gte": "2010-05-11", "$lt": "2010-05-12"}}, 130),
    "a field": ({"seldom": {"$exists": True}}, 0),
}
SECONDS_BETWEEN_PROBES = 0.25
TOLERANCE = 1e-4  # equally near rows are equally good


class Rows(msgspec.Struct):
    """`vectors` (n, 384) float16, `queries` (200, 384) float16 of the same kind that are not stored."""

    vectors: NDArray[np.float16]
    queries: NDArray[np.float16]

    def bodies(self, count: int) -> Iterator[bytes]:
        """The first rows in batches of MessagePack."""
        for start in range(0, count, BATCH):
            rows = [
                {"text_id": f"text-{row}", "vector": self.vectors[row].tobytes(), "metadata": described(row)}
                for row in range(start, min(start + BATCH, count))
            ]
            yield msgspec.msgpack.encode({"encoding": "f2", "embeddings": rows})

    def recall(self, found: list[list[str]], first: int = 0, step: int = 1) -> float:
        """Of the ten nearest rows to each query, or of every `step`th of them from `first` on, what was found."""
        stored = self.vectors[first::step].astype(np.float32)
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
        shares = []
        for query, ids in zip(self.queries.astype(np.float32), found, strict=False):
            similarities = stored @ (query / np.linalg.norm(query))
            least = np.partition(similarities, -LIMIT)[-LIMIT] - TOLERANCE
            shares.append(sum(similarities[(int(one[5:]) - first) // step] >= least for one in ids) / LIMIT)
        return float(np.mean(shares))


def described(row: int) -> dict[str, Any]:
    """The metadata of a row."""
    n = row % SHARE
    seldom = {"seldom": True} if n == 0 else {}
    return {"n": n, "share": (n + 0.5) / SHARE, "day": str(date(2010, 1, 1) + timedelta(days=n)), **seldom}


def generate(folder: Path, count: int) -> Rows:
    """Rows and queries around the real embeddings."""
    random = np.random.default_rng(3)
    centres = load(folder, 20_000, DIMENSIONS).vectors.astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    made = np.empty((count + QUERIES, DIMENSIONS), np.float16)
    for start in range(0, len(made), 50_000):
        some = made[start : start + 50_000]
        noise = random.standard_normal((len(some), DIMENSIONS), np.float32) * (NOISE / np.sqrt(DIMENSIONS))
        some[:] = centres[random.integers(0, len(centres), len(some))] + noise
    return Rows(made[:count], made[count:])


class Probes(msgspec.Struct):
    """Milliseconds of searches, of asking for the project, and of its number of embeddings in the database."""

    before: list[float] = []  # until there is a graph
    after: list[float] = []
    projects: list[float] = []
    counts: list[float] = []


async def probe(client: Client, pool: Any, searches: list[bytes], probes: Probes) -> None:
    """Searches and asks for the number of embeddings, until it is cancelled."""
    number, path = 0, f"/v1/projects/{client.user}/texts"
    project_id = await pool.fetchval("SELECT max(project_id) FROM projects")
    while True:
        begin = time.perf_counter()
        await pool.fetchval("SELECT count_embeddings($1)", project_id)
        probes.counts.append((time.perf_counter() - begin) * 1000)
        begin = time.perf_counter()
        state = msgspec.json.decode((await client.http.get(path)).content)
        probes.projects.append((time.perf_counter() - begin) * 1000)
        begin = time.perf_counter()
        await client.search(searches[number % QUERIES])
        taken = (time.perf_counter() - begin) * 1000
        (probes.after if state["index"].get("graph") in ("plain", "dense") else probes.before).append(taken)
        number += 1
        await asyncio.sleep(SECONDS_BETWEEN_PROBES)


async def fill(client: Client, rows: Rows, count: int) -> float:
    """Uploads the first rows by eight clients; returns the rows a second."""
    waiting = rows.bodies(count)

    async def send() -> None:
        for body in waiting:
            await client.send("POST", f"/v1/embeddings/{client.user}/texts", body, "application/msgpack")

    begin = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(CLIENTS)))
    return count / (time.perf_counter() - begin)


async def measure(url: str, admin_key: str, database_url: str, rows: Rows) -> list[Figure]:
    """All figures."""
    headers, count = {"Authorization": f"Bearer {admin_key}"}, len(rows.vectors)
    searches = [msgspec.msgpack.encode({"vector": one.tobytes(), "encoding": "f2"}) for one in rows.queries]
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=600) as http,
        database(database_url, 1) as pool,
    ):
        few = await Client(http, DIMENSIONS).make_project()
        await fill(few, rows, FEW)
        click.echo(f"  {FEW:,} rows: {await few.wait_for_index()}", err=True)
        small = float(np.median(await each(lambda number: few.search(searches[number]), QUERIES)))

        client, probes = await Client(http, DIMENSIONS).make_project(), Probes()
        probing = asyncio.create_task(probe(client, pool, searches, probes))
        rate = await fill(client, rows, count)
        uploading, asking = float(np.median(probes.counts)), float(np.median(probes.projects))
        begin = time.monotonic()
        click.echo(
            f"  uploaded {count:,} rows, {rate:,.0f} a second; searches meanwhile {show(probes.before)}", err=True
        )
        state = await client.wait_for_index(hours=2)
        while state["recall"] < 0.99 and state["graph"] != "dense":  # it is built next
            await asyncio.sleep(5)
            state = await client.wait_for_index(hours=2)
        probing.cancel()
        click.echo(f"  indexed {time.monotonic() - begin:.0f} s later: {state}", err=True)
        click.echo(
            f"  the project during the upload: p50 {asking:.1f} ms over HTTP, which waits for the uploads", err=True
        )
        click.echo(f"  searches before the first graph {show(probes.before)}, then {show(probes.after)}", err=True)
        path = f"/v1/projects/{client.user}/texts"
        counted = float(np.median(await each(lambda _: http.get(path), 50)))
        assert msgspec.json.decode((await http.get(path)).content)["number_of_embeddings"] == count

        large = float(np.median(await each(lambda number: client.search(searches[number]), QUERIES)))
        answers = [await client.ask(body) for body in searches]
        recall = rows.recall([[one["id"] for one in answer["results"]] for answer in answers])
        told = answers[0]["search"]
        click.echo(f"  recall {recall:.4f}, told {told}", err=True)

        passing = [figure for name in FILTERS for figure in await filtered(client, rows, name)]
    of = f"{count:,} rows"
    return [
        Figure(f"upload of {of} by {CLIENTS} clients", rate, "rows/s", 20_000),
        Figure("number of embeddings meanwhile, in the database", uploading, "ms", 5, at_most=True),
        Figure("search p50 before the first graph", float(np.median(probes.before)), "ms", 300, at_most=True),
        Figure(f"number of embeddings, {of}", counted, "ms", 5, at_most=True),
        Figure(f"search p50, {of}, of {FEW:,}", large, "ms", 3, limit=small, at_most=True),
        Figure(f"recall@{LIMIT}, less what was told", recall - told["recall"], "", -0.005),
        *passing,
    ]


async def filtered(client: Client, rows: Rows, name: str) -> list[Figure]:
    """Latency and recall of searches with a filter."""
    document, first = FILTERS[name]
    sent = [
        msgspec.msgpack.encode({"vector": one.tobytes(), "encoding": "f2", "filter": document})
        for one in rows.queries[: QUERIES // 4]
    ]
    taken = float(np.median(await each(lambda number: client.ask(sent[number]), len(sent))))
    found = [[one["id"] for one in (await client.ask(body))["results"]] for body in sent]
    return [
        Figure(f"search p50, {name} that 1 of {SHARE} has", taken, "ms", 10, at_most=True),
        Figure("its recall", rows.recall(found, first, SHARE), "", 0.99),
    ]


def show(milliseconds: list[float]) -> str:
    """Median and extremes."""
    if not milliseconds:
        return "none"
    return f"p50 {np.median(milliseconds):.1f} ms, p99 {np.percentile(milliseconds, 99):.1f} ms of {len(milliseconds)}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", "folder", type=click.Path(path_type=Path), default=DATA, help="Where the real embeddings are.")
@click.option("--rows", "count", default=1_000_000, show_default=True, help="How many rows.")
def main(folder: Path, count: int) -> None:
    """Measure a large project from its first row to its index; takes from minutes to an hour."""
    rows = generate(folder, count)
    with tempfile.TemporaryDirectory() as temporary, service(Path(temporary)) as (url, admin_key, database_url):
        figures = uvloop.run(measure(url, admin_key, database_url, rows))
    click.echo(table(figures))


if __name__ == "__main__":
    main()
