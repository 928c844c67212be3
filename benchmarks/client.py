"""The client `vecferry`: uploads beside other clients, repeated pushes, and memory.

All send the same rows to servers on this machine, in turn: a bare client with bodies that were encoded before, the
library, a plain loop of JSON requests as in the README, and Chroma's own client to Chroma's server.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import httpx2
import msgspec
import numpy as np
import vecferry
from numpy.typing import NDArray
from vecferry.sinks import open_sink

from benchmarks.measure import Figure, table
from benchmarks.peer import chroma
from benchmarks.service import ROOT, Client, service

DIMENSIONS = 1536
BATCH = 500
LOOP_ROWS = 5000  # of what is slow
ROUNDS = 3
CHANGED = 100
GIGABYTES = 2
CHROMA = """
import sys, time, numpy, chromadb
port, path, rows = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
vectors = numpy.load(path, mmap_mode="r")[:rows].astype(numpy.float32)
collection = chromadb.HttpClient(port=port).create_collection("texts")
begin = time.perf_counter()
for start in range(0, rows, 500):
    end = min(start + 500, rows)
    collection.add(ids=[f"text-{row:07}" for row in range(start, end)], embeddings=vectors[start:end])
print(time.perf_counter() - begin)
"""


def random_vectors(count: int, seed: int = 0) -> NDArray[np.float16]:
    """`(count, DIMENSIONS) float16`."""
    vectors = np.empty((count, DIMENSIONS), np.float16)
    chance = np.random.default_rng(seed)
    for start in range(0, count, 10_000):
        vectors[start : start + 10_000] = chance.standard_normal(vectors[start : start + 10_000].shape, np.float32)
    return vectors


def bodies(ids: list[str], vectors: NDArray[np.float16]) -> list[bytes]:
    """All rows as MessagePack."""
    return [
        msgspec.msgpack.encode(
            {
                "encoding": "f2",
                "embeddings": [
                    {"text_id": ids[row], "vector": vectors[row].tobytes()}
                    for row in range(start, min(start + BATCH, len(ids)))
                ],
            }
        )
        for start in range(0, len(ids), BATCH)
    ]


class Projects:
    """Projects of one run; the admin fills them."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def make(self) -> str:
        """The name of a new, empty project."""

        async def make() -> str:
            headers = {"Authorization": f"Bearer {self.key}"}
            async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=600) as http:
                return f"{(await Client(http, DIMENSIONS).make_project()).user}/texts"

        return asyncio.run(make())

    def bare(self, packed: list[bytes]) -> float:
        """Seconds of an upload of bodies, by two clients that do nothing else."""

        async def upload() -> float:
            headers = {"Authorization": f"Bearer {self.key}"}
            async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=600) as http:
                client = await Client(http, DIMENSIONS).make_project()
                seconds, _ = await client.upload(packed)
                await client.delete()
                return seconds

        return asyncio.run(upload())

    def library(self, ids: list[str], vectors: NDArray[np.float16]) -> float:
        """Seconds of an upload of arrays by the library."""
        with vecferry.Client(self.url, self.key) as client:
            name = self.make()
            result = client.project(name).upload(vectors, ids=ids, progress=False)
            assert result.inserted == len(ids), result
            client.users.delete(name.partition("/")[0])
            return result.seconds

    def loop(self, ids: list[str], vectors: NDArray[np.float16]) -> float:
        """Seconds of the plain loop: one request after the other, vectors as numbers in JSON."""
        owner, name = self.make().split("/")
        with httpx2.Client(headers={"Authorization": f"Bearer {self.key}"}, timeout=600) as http:
            begin = time.perf_counter()
            for start in range(0, len(ids), 100):
                rows = zip(ids[start : start + 100], vectors[start : start + 100].tolist(), strict=True)
                sent = {"embeddings": [{"text_id": text_id, "vector": vector} for text_id, vector in rows]}
                http.post(f"{self.url}/v1/embeddings/{owner}/{name}", json=sent).raise_for_status()
            return time.perf_counter() - begin


def uploads(projects: Projects, ids: list[str], vectors: NDArray[np.float16], folder: Path) -> Iterator[Figure]:
    """The library beside the others."""
    packed, rows = bodies(ids, vectors), len(ids)
    bare, library = [], []
    for _ in range(ROUNDS):
        bare.append(rows / projects.bare(packed))
        library.append(rows / projects.library(ids, vectors))
        click.echo(f"  bare {bare[-1]:,.0f}, library {library[-1]:,.0f} rows/s", err=True)
    del packed
    middle = float(np.median(library))
    yield Figure("upload by the library, of the bare client", middle, "rows/s", 0.9, float(np.median(bare)))
    some = min(rows, LOOP_ROWS)
    plain = some / projects.loop(ids[:some], vectors[:some])
    yield Figure("upload by the library, of a plain loop of JSON", middle, "rows/s", 1.0, plain)
    np.save(folder / "chroma.npy", vectors[:some])
    with chroma(folder) as port:
        program = str(ROOT / ".venv" / "peer" / "bin" / "python")
        command = [program, "-c", CHROMA, str(port), str(folder / "chroma.npy"), str(some)]
        seconds = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    yield Figure("upload by the library, of Chroma's client", middle, "rows/s", 1.0, some / seconds)


def pushes(projects: Projects, ids: list[str], vectors: NDArray[np.float16], folder: Path) -> Iterator[Figure]:
    """A push of a file, again, with a few changes, and where nothing is remembered."""
    path, beside = folder / "push.npy", folder / "ids.txt"

    def write() -> None:
        np.save(path, vectors)
        os.utime(path, (time.time() - 60,) * 2)

    beside.write_text("\n".join(ids))
    os.utime(beside, (time.time() - 60,) * 2)
    write()
    with vecferry.Client(projects.url, projects.key) as client:
        project = client.project(projects.make())
        first = project.push(path, ids=beside, progress=False)
        again = project.push(path, ids=beside, progress=False)
        assert again.unchanged == len(ids), again
        yield Figure("push again unchanged, times as fast", first.seconds / again.seconds, "", 5)
        moved = (again.bytes_sent + again.bytes_received) / first.bytes_sent
        yield Figure("push again unchanged, bytes of all", 100 * moved, "%", 2, at_most=True)
        os.environ["XDG_CACHE_HOME"] = str(folder / "another")  # as on another machine
        compared = project.push(path, ids=beside, progress=False)
        assert compared.unchanged == len(ids), compared
        yield Figure("the same compared by digests, times as fast", first.seconds / compared.seconds, "", 1)
        moved = (compared.bytes_sent + compared.bytes_received) / first.bytes_sent
        yield Figure("the same compared by digests, bytes of all", 100 * moved, "%", 2, at_most=True)
        vectors[:: len(ids) // CHANGED] += np.float16(1)
        write()
        changed = project.push(path, ids=beside, progress=False)
        assert changed.updated == len(vectors[:: len(ids) // CHANGED]), changed
        yield Figure(f"push of {changed.updated} changed rows, times as fast", first.seconds / changed.seconds, "", 1)
        moved = (changed.bytes_sent + changed.bytes_received) / first.bytes_sent
        yield Figure(f"push of {changed.updated} changed rows, bytes of all", 100 * moved, "%", 2, at_most=True)


def memory(projects: Projects, folder: Path, suffix: str) -> Iterator[Figure]:
    """Peak memory of the command while it pushes and pulls 2 GB."""
    source, target, name = folder / f"large{suffix}", folder / f"pulled{suffix}", projects.make()
    count = GIGABYTES * 10**9 // (2 * DIMENSIONS)
    with open_sink(source) as sink:
        for start in range(0, count, 10_000):
            some = min(10_000, count - start)
            ids = [f"text-{row:07}" for row in range(start, start + some)]
            sink.write(vecferry.Rows(start, ids, random_vectors(some, seed=start), None, None))
    for command in (["push", str(source), name], ["pull", name, str(target)]):
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "vecferry", *command],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "client"),
                "VECFERRY_URL": projects.url,
                "VECFERRY_KEY": projects.key,
            },
        )
        peak = 0
        while process.poll() is None:  # what the kernel tells at its end counts its parent too
            with contextlib.suppress(OSError, ValueError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = int(status.partition("VmHWM:")[2].split()[0])
            time.sleep(0.05)
        if process.returncode:
            raise click.ClickException(f"{command[0]} ended with {process.returncode}")
        seconds = time.perf_counter() - begin
        click.echo(f"  {command[0]} {suffix}: {count / seconds:,.0f} rows/s", err=True)
        yield Figure(f"{command[0]} {GIGABYTES} GB, {suffix}, peak memory", peak / 1024, "MiB", 300, at_most=True)
    source.unlink()
    target.unlink()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", default=100_000, show_default=True, help="How many rows of 1,536 dimensions are uploaded.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(["uploads", "pushes", "memory"]), help="Only this part."
)
def main(rows: int, parts: tuple[str, ...]) -> None:
    """Measure the client: uploads, pushes and memory; takes some ten minutes and 8 GB of disk."""
    wanted: dict[str, Callable[[], Iterator[Figure]]]
    with tempfile.TemporaryDirectory() as temporary, service(Path(temporary)) as (url, key, _):
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        projects, folder = Projects(url, key), Path(temporary)
        ids, vectors = [f"text-{row:07}" for row in range(rows)], random_vectors(rows)
        wanted = {
            "uploads": lambda: uploads(projects, ids, vectors, folder),
            "pushes": lambda: pushes(projects, ids, vectors, folder),
            "memory": lambda: (one for suffix in (".parquet", ".npz") for one in memory(projects, folder, suffix)),
        }
        figures = [one for name, part in wanted.items() if not parts or name in parts for one in part()]
    click.echo(table(figures))


if __name__ == "__main__":
    main()
