"""How soon fresh uploads are indexed, beside the build of the bare index; and what is chosen for equal rows."""

import tempfile
from pathlib import Path
from typing import Any

import click
import httpx2
import numpy as np
import uvloop

from benchmarks.bench import DATA
from benchmarks.data import Data, load
from benchmarks.large import Rows, generate
from benchmarks.measure import Figure, table
from benchmarks.service import Client, database, service
from benchmarks.timing import timed

UPLOADS = 30
LEAST_ROWS, MOST_ROWS = 12_000, 60_000
REBUILDS = 10
DIMENSIONS = 384
SECONDS_BESIDE = 20.0  # that may pass beside twice the build of the bare index


async def uploads(http: httpx2.AsyncClient, pool: Any, rows: Rows) -> Figure:
    """Uploads projects of different sizes; the figure is how many were indexed in time."""
    in_time = 0
    for count in np.linspace(LEAST_ROWS, MOST_ROWS, UPLOADS, dtype=int):
        client = await Client(http, DIMENSIONS).make_project()
        await client.upload(list(rows.bodies(int(count))))
        taken = await timed(client.wait_for_index)
        bare = await build(pool, client.project_id)
        in_time += taken <= SECONDS_BESIDE + 2 * bare
        click.echo(f"  {count:,} rows: indexed after {taken:.1f} s; the bare index {bare:.1f} s", err=True)
        await client.delete()
    return Figure("fresh uploads indexed in 20 s and twice the build", in_time, "", UPLOADS)


async def build(pool: Any, project_id: int) -> float:
    """The seconds of the build of a bare index of all rows, with as much memory and as many workers."""
    async with pool.acquire() as connection:
        await connection.execute("SET maintenance_work_mem = '2GB'; SET max_parallel_maintenance_workers = 2")
        async with connection.transaction():
            # The service still builds the index of the metadata: waiting for that does not count.
            await connection.execute(f"LOCK TABLE embeddings_{project_id} IN SHARE MODE")
            seconds = await timed(
                lambda: connection.execute(
                    f"CREATE INDEX bare_{project_id} ON embeddings_{project_id} USING hnsw "
                    f"((vector::halfvec({DIMENSIONS})) halfvec_cosine_ops)"
                )
            )
        await connection.execute(f"DROP INDEX bare_{project_id}")
    return seconds


async def rebuilds(http: httpx2.AsyncClient, data: Data) -> Figure:
    """Stores the same rows again and again; the figure is by what factor the chosen ef_search differ."""
    chosen = []
    for _ in range(REBUILDS):
        client = await Client(http, DIMENSIONS).make_project()
        await client.upload(data.as_packed(0, len(data.ids)))
        state = await client.wait_for_index()
        chosen.append(state["ef_search"])
        click.echo(f"  ef_search {state['ef_search']}, recall {state['recall']}", err=True)
        await client.delete()
    return Figure(f"ef_search of {REBUILDS} rebuilds, most of least", max(chosen), "", 1.5, min(chosen), at_most=True)


async def measure(url: str, admin_key: str, database_url: str, folder: Path) -> list[Figure]:
    """Both figures."""
    headers = {"Authorization": f"Bearer {admin_key}"}
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=600) as http,
        database(database_url, 1) as pool,
    ):
        again = await rebuilds(http, load(folder, 20_000, DIMENSIONS))
        return [again, await uploads(http, pool, generate(folder, MOST_ROWS))]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", "folder", type=click.Path(path_type=Path), default=DATA, help="Where the real embeddings are.")
def main(folder: Path) -> None:
    """Measure how soon and how evenly projects are indexed; takes a quarter of an hour."""
    with tempfile.TemporaryDirectory() as temporary, service(Path(temporary)) as (url, admin_key, database_url):
        figures = uvloop.run(measure(url, admin_key, database_url, folder))
    click.echo(table(figures))


if __name__ == "__main__":
    main()
