"""Measures uploads and searches through HTTP, each beside a limit that PostgreSQL sets in the same run.

Starts the service as a process of its own on throw-away data. Figures of shared machines vary; the ratios are
what to look at. It is a measurement, not a test: a line that is not reached is marked, and the exit code is 0.
"""

import os
import tempfile
from pathlib import Path

import click
import httpx2
import msgspec
import uvloop

from benchmarks.data import BATCH, load
from benchmarks.draw import markdown, replaced, svg
from benchmarks.measure import INDEXED_ROWS, NEW_ROWS, Bench, Figure, table
from benchmarks.service import ROOT, database, service

DATA = ROOT.parent / "shared" / "data"
LARGE = 1536


async def run(folder: Path, url: str, admin_key: str, database_url: str) -> tuple[list[Figure], str]:
    """All figures, and how they came about."""
    headers = {"Authorization": f"Bearer {admin_key}"}
    real = load(folder, 20_000, 384)
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=600) as http,
        database(database_url, 8) as pool,
    ):
        large = Bench(http, pool, load(folder, INDEXED_ROWS + NEW_ROWS, LARGE))
        await large.uploads(json=True)
        await large.exact_search()
        await large.uploads_into_an_index()
        small = Bench(http, pool, real)
        await small.uploads(json=False)
        await small.indexed_searches()
        await small.filtered_searches()
        versions = await pool.fetchrow(
            "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'vector')"
        )
    figures = [one for one in large.figures + small.figures if one.needed]
    setup = (
        f"1 KB of text and six metadata keys a row, batches of {BATCH}, {os.cpu_count()} cores for client, service and "
        f"database, one service process; {real.kind} vectors of 384 dimensions; PostgreSQL {versions[0]}, "
        f"pgvector {versions[1]}"
    )
    return figures, setup


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", "folder", type=click.Path(path_type=Path), default=DATA, help="Where the real embeddings are.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
@click.option("--svg", "picture", type=click.Path(path_type=Path), help="Also draw them.")
@click.option("--readme", type=click.Path(path_type=Path, exists=True), help="Also put them into this document.")
def main(folder: Path, target: Path | None, picture: Path | None, readme: Path | None) -> None:
    """Measure uploads and searches beside what PostgreSQL itself does; takes some minutes."""
    with tempfile.TemporaryDirectory() as temporary, service(Path(temporary)) as (url, admin_key, database_url):
        figures, setup = uvloop.run(run(folder, url, admin_key, database_url))
    click.echo(f"{setup}\n\n{table(figures)}")
    if target is not None:
        lines = [{**msgspec.structs.asdict(one), "value": one.value, "is_reached": one.is_reached} for one in figures]
        target.write_bytes(msgspec.json.format(msgspec.json.encode({"setup": setup, "figures": lines})) + b"\n")
    if picture is not None:
        picture.write_text(svg(figures, setup))
    if readme is not None:
        readme.write_text(replaced(readme.read_text(), markdown(figures, setup)))


if __name__ == "__main__":
    main()
