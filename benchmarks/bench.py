"""Measures uploads and searches through HTTP, each beside a limit that PostgreSQL sets in the same run.

Starts the service as a process of its own on throw-away data. The limits: a binary COPY of the same rows, and
the bare SQL statement of the search. Figures of shared machines vary; the ratios are what to look at.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import click
import httpx2
import msgspec
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

from service import embedded
from service.vectors import to_binary

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
QUERIES = 200
LIMIT = 10
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "while", "many", "small", "models", "read"]


class Data(msgspec.Struct):
    """`vectors` (n, dimensions) float16, `queries` (200, dimensions) float16, `neighbours` (200, 10) row numbers."""

    kind: str
    vectors: NDArray[np.float16]
    queries: NDArray[np.float16]
    neighbours: NDArray[np.int64]
    ids: list[str]
    metadata: list[dict[str, Any]]

    def text(self, row: int) -> str:
        """About 1 KB of words, always the same for a row."""
        return " ".join(WORDS[(row * 7 + place * place) % len(WORDS)] for place in range(220))


class Figure(msgspec.Struct):
    """One line of the table: what was measured, the limit in the same run, and their ratio, where there is one."""

    name: str
    measured: float
    unit: str
    limit: float | None = None
    ratio: float | None = None


def load(folder: Path, rows: int, dimensions: int) -> Data:
    """The real embeddings where they are, which have 384 dimensions, else clustered synthetic ones."""
    if dimensions == 384 and (folder / "minilm-384.npz").exists():
        stored = np.load(folder / "minilm-384.npz")
        lines = [json.loads(line) for line in (folder / "minilm-384.jsonl").read_text().splitlines()[:rows]]
        vectors, queries = stored["vectors"][:rows], stored["queries"][:QUERIES]
        ids, metadata, kind = [line["text_id"] for line in lines], [line["metadata"] for line in lines], "real"
        if rows >= len(stored["vectors"]):
            neighbours = stored["neighbours"][:QUERIES, :LIMIT].astype(np.int64)
            return Data(kind, vectors, queries, neighbours, ids, metadata)
    else:
        random = np.random.default_rng(1)
        centres = random.normal(size=(200, dimensions))
        points = centres[random.integers(0, 200, rows + QUERIES)] + random.normal(size=(rows + QUERIES, dimensions))
        halves = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
        vectors, queries, kind = halves[:rows], halves[rows:], "synthetic"
        ids = [f"text-{row}" for row in range(rows)]
        metadata = [{"version": "1.0", "year": 2000 + row % 25, "month": row % 12 + 1} for row in range(rows)]
    unit = vectors.astype(np.float32) / np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    neighbours = np.argsort(-(queries.astype(np.float32) @ unit.T), axis=1)[:, :LIMIT].astype(np.int64)
    return Data(kind, vectors, queries, neighbours, ids, metadata)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def service(folder: Path) -> Iterator[tuple[str, str, str]]:
    """The service as a process; yields its URL, the admin's key, and the URL of its database."""
    port, admin_key = free_port(), secrets.token_hex(16)
    settings = {
        # Empty: a database that only .env names is not to be touched.
        "SERVICE_DATABASE_URL": os.environ.get("SERVICE_DATABASE_URL", ""),
        "SERVICE_DBHOST": "",
        "SERVICE_PORT": str(port),
        "SERVICE_ADMINKEY": admin_key,
        "ENCRYPTION_KEY": secrets.token_hex(16),
        "SERVICE_DATA_DIR": str(folder / "data"),
    }
    log = folder / "service.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "service", "serve"]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{url}/readyz").status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"The service did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield url, admin_key, os.environ.get("SERVICE_DATABASE_URL") or embedded.url(folder / "data")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class Client:
    """The admin's requests to one project, which it makes."""

    def __init__(self, http: httpx2.AsyncClient, dimensions: int) -> None:
        self.http = http
        self.dimensions = dimensions
        self.user = f"bench-{secrets.token_hex(8)}"
        self.project_id = 0
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, method: str, path: str, body: Any, kind: str = "application/json") -> Any:
        """Sends JSON, or what is encoded already, and returns the JSON of the answer. Raises for a refusal."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        answer = await self.http.request(method, path, content=content, headers={"Content-Type": kind})
        if answer.status_code >= 400:
            raise click.ClickException(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return msgspec.json.decode(answer.content)

    async def make_project(self) -> None:
        """A user, an instance and a project."""
        person = {"user_handle": self.user, "email": f"{self.user}@example.org"}
        await self.send("PUT", f"/v1/users/{self.user}", person)
        instance = {"instance_handle": "minilm", "dimensions": self.dimensions}
        await self.send("PUT", f"/v1/llm-instances/{self.user}/minilm", instance)
        project = {"project_handle": "texts", "instance_handle": "minilm"}
        self.project_id = (await self.send("PUT", f"/v1/projects/{self.user}/texts", project))["project_id"]

    async def wait_for_index(self) -> Any:
        """Waits until the project is indexed, and returns what is said of the index."""
        while True:
            state = msgspec.json.decode((await self.http.get(f"/v1/projects/{self.user}/texts")).content)["index"]
            if state["state"] == "indexed":
                return state
            await asyncio.sleep(1)

    async def upload(
        self, bodies: list[bytes], clients: int, kind: str = "application/json"
    ) -> tuple[float, dict[str, int]]:
        """Sends all bodies by so many clients at once; returns seconds, and the counts of the answers."""
        waiting = iter(bodies)
        counts = {"inserted": 0, "updated": 0, "unchanged": 0}

        async def send() -> None:
            for body in waiting:
                answer = await self.send("POST", f"/v1/embeddings/{self.user}/texts", body, kind)
                for name in counts:
                    counts[name] += answer[name]

        seconds = await timed(lambda: asyncio.gather(*(send() for _ in range(clients))))
        return seconds, counts

    async def search(self, body: bytes, more: str = "") -> list[str]:
        """The ids that are most similar, best first. On connections of its own: httpx takes as long as a search."""
        reader, writer = (
            self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.http.base_url.port)
        )
        writer.write(
            f"POST /v1/similars/{self.user}/texts?limit={LIMIT}&threshold=-1{more} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: {self.http.headers['authorization']}\r\nContent-Type: application/msgpack\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # the service has closed what was idle for long
            return await self.search(body, more)
        content = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise click.ClickException(f"A search was refused: {content[:500]!r}")
        self.idle.append((reader, writer))
        return [one["id"] for one in msgspec.json.decode(content)["results"]]


async def timed(run: Callable[[], Awaitable[Any]]) -> float:
    """The seconds that something takes."""
    start = time.perf_counter()
    await run()
    return time.perf_counter() - start


async def each(run: Callable[[int], Awaitable[Any]], count: int, warm_up: int = 20) -> NDArray[np.float64]:
    """The milliseconds of each of `count` runs, one after the other."""
    for number in range(warm_up):
        await run(number % count)
    return np.array([await timed(lambda number=number: run(number)) for number in range(count)]) * 1000  # type: ignore[misc]


async def per_second(run: Callable[[int], Awaitable[Any]], clients: int, seconds: float) -> float:
    """How often a second so many clients at once get something done."""
    end = time.perf_counter() + seconds
    done = 0

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await run(number)
            number += clients
            done += 1

    taken = await timed(lambda: asyncio.gather(*(client(number) for number in range(clients))))
    return done / taken


@contextlib.asynccontextmanager
async def database(url: str, size: int) -> AsyncIterator[Any]:
    """Connections without the service, set as the service sets its own."""

    async def init(connection: Any) -> None:
        await connection.set_type_codec("halfvec", format="binary", encoder=bytes, decoder=HalfVector.from_binary)
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", format="binary", encoder=lambda value: b"\x01" + value, decoder=bytes
        )

    settings = {"plan_cache_mode": "force_custom_plan", "jit": "off"}

    async def keep(_: Any) -> None:
        """In place of asyncpg's reset: what is set stays set, as with the service's own."""

    async with asyncpg.create_pool(
        url, min_size=size, max_size=size, init=init, reset=keep, server_settings=settings
    ) as pool:
        yield pool


async def copy(pool: Any, data: Data, batch: int) -> float:
    """The seconds of a binary COPY of all rows into a table like a partition, a batch a transaction."""
    records = [
        (0, text_id, row + 1, vector, data.text(row), msgspec.json.encode(data.metadata[row]))
        for row, (text_id, vector) in enumerate(zip(data.ids, to_binary(data.vectors), strict=True))
    ]
    columns = ["project_id", "text_id", "sequence", "vector", "text", "metadata"]
    async with pool.acquire() as connection:
        await connection.execute(
            "CREATE SCHEMA bench CREATE TABLE copied (LIKE public.embeddings INCLUDING ALL) "
            "WITH (toast_tuple_target = 8160)"
        )
        try:

            async def run() -> None:
                for start in range(0, len(records), batch):
                    await connection.copy_records_to_table(
                        "copied", schema_name="bench", columns=columns, records=records[start : start + batch]
                    )

            return await timed(run)
        finally:
            await connection.execute("DROP SCHEMA bench CASCADE")


async def measure(
    data: Data, batch: int, clients: int, url: str, admin_key: str, database_url: str
) -> tuple[list[Figure], str]:
    """All figures, and the versions of the database."""
    rows = len(data.ids)
    decimals = [[float(str(half)) for half in vector] for vector in data.vectors]
    records = [
        {"text_id": data.ids[row], "vector": decimals[row], "text": data.text(row), "metadata": data.metadata[row]}
        for row in range(rows)
    ]
    bodies = [msgspec.json.encode({"embeddings": records[start : start + batch]}) for start in range(0, rows, batch)]
    packed = [
        {
            "text_id": data.ids[row],
            "vector": data.vectors[row].astype("<f2").tobytes(),
            "text": data.text(row),
            "metadata": data.metadata[row],
        }
        for row in range(rows)
    ]
    packed_bodies = [
        msgspec.msgpack.encode({"encoding": "f2", "embeddings": packed[start : start + batch]})
        for start in range(0, rows, batch)
    ]
    searches = [
        msgspec.msgpack.encode({"vector": one.astype("<f2").tobytes(), "encoding": "f2"}) for one in data.queries
    ]
    figures: list[Figure] = []

    def add(name: str, measured: float, unit: str, limit: float | None = None) -> None:
        figures.append(Figure(name, measured, unit, limit, None if limit is None else measured / limit))
        click.echo(f"  {name}: {measured:,.4g} {unit}", err=True)

    headers = {"Authorization": f"Bearer {admin_key}"}
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=120) as http,
        database(database_url, 8) as pool,
    ):
        dimensions = data.vectors.shape[1]
        copied = rows / await copy(pool, data, batch)
        for name, sent, kind in (
            ("JSON", bodies, "application/json"),
            ("MessagePack, float16", packed_bodies, "application/msgpack"),
        ):
            client = Client(http, dimensions)
            await client.make_project()
            seconds, counts = await client.upload(sent, clients, kind)
            if counts != {"inserted": rows, "updated": 0, "unchanged": 0}:
                raise click.ClickException(f"The upload was not stored as sent: {counts}")
            add(f"upload, {name}, {clients} clients, of COPY", rows / seconds, "rows/s", copied)
            if kind == "application/json":
                await http.delete(f"/v1/users/{client.user}")
        first = rows / seconds
        seconds, counts = await client.upload(packed_bodies, clients, "application/msgpack")
        if counts["unchanged"] != rows:
            raise click.ClickException(f"Sending again changed something: {counts}")
        add("sending again unchanged, of the first upload", rows / seconds, "rows/s", first)

        statement = (
            f"SELECT text_id, 1 - (vector <=> $1) FROM embeddings_{client.project_id} "
            f"ORDER BY vector <=> $1 LIMIT {LIMIT}"
        )
        exact = [await timed(lambda body=body: client.search(body, "&exact=true")) for body in searches[:50]]  # type: ignore[misc]
        click.echo("  waiting for the index …", err=True)
        index_seconds = time.perf_counter()
        state = await client.wait_for_index()
        click.echo(f"  indexed after {time.perf_counter() - index_seconds:.1f} s: {state}", err=True)
        watermark = await pool.fetchval(
            "SELECT watermark FROM project_indexes WHERE project_id = $1", client.project_id
        )
        indexed = (
            f"SELECT text_id, 1 - (vector::halfvec({dimensions}) <=> $1::halfvec({dimensions})) "
            f"FROM embeddings_{client.project_id} WHERE sequence <= {watermark} "
            f"ORDER BY vector::halfvec({dimensions}) <=> $1::halfvec({dimensions}) LIMIT {LIMIT}"
        )
        connections = [await pool.acquire() for _ in range(8)]
        for connection in connections:
            await connection.execute(f"SET hnsw.ef_search = {state['ef_search']}")
        for connection in connections:
            await pool.release(connection)
        binary = to_binary(data.queries)

        async def through_http(number: int) -> None:
            await client.search(searches[number % QUERIES])

        async def bare(number: int) -> None:
            await pool.fetch(indexed, binary[number % QUERIES])

        async def bare_exact(number: int) -> None:
            await pool.fetch(statement, binary[number % QUERIES])

        limit = await each(bare_exact, 50)
        add("exact search p50, of the bare statement's", float(np.median(exact)) * 1000, "ms", float(np.median(limit)))
        found = [await client.search(body) for body in searches]
        wanted = [{data.ids[row] for row in neighbours} for neighbours in data.neighbours]
        recall = float(np.mean([len(want & set(ids)) / LIMIT for want, ids in zip(wanted, found, strict=True)]))
        limit = await each(bare, QUERIES)
        measured = await each(through_http, QUERIES)
        add(
            "indexed search p50, of the bare statement's",
            float(np.percentile(measured, 50)),
            "ms",
            float(np.percentile(limit, 50)),
        )
        add(
            "indexed search p99, of the bare statement's",
            float(np.percentile(measured, 99)),
            "ms",
            float(np.percentile(limit, 99)),
        )
        add(f"recall@{LIMIT}", recall, "")
        most = await per_second(bare, 8, 5)
        add("searches by 8 clients, of 8 connections'", await per_second(through_http, 8, 5), "1/s", most)
        await http.delete(f"/v1/users/{client.user}")
        versions = await pool.fetchrow(
            "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'vector')"
        )
    return figures, f"PostgreSQL {versions[0]}, pgvector {versions[1]}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dimensions", type=click.IntRange(1, 4000), default=384, show_default=True, help="Of each vector.")
@click.option("--rows", type=click.IntRange(10_000), default=20_000, show_default=True, help="How many rows to upload.")
@click.option("--batch", type=click.IntRange(1), default=500, show_default=True, help="Rows in a request.")
@click.option("--clients", type=click.IntRange(1), default=2, show_default=True, help="Uploading at once.")
@click.option("--data", "folder", type=click.Path(path_type=Path), default=DATA, help="Where the real embeddings are.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def main(dimensions: int, rows: int, batch: int, clients: int, folder: Path, target: Path | None) -> None:
    """Measure uploads and searches beside what PostgreSQL itself does."""
    data = load(folder, rows, dimensions)
    click.echo(f"{len(data.ids):,} {data.kind} rows of {dimensions} dimensions …", err=True)
    with tempfile.TemporaryDirectory() as temporary, service(Path(temporary)) as (url, admin_key, database_url):
        figures, versions = asyncio.run(measure(data, batch, clients, url, admin_key, database_url))
    setup = (
        f"{len(data.ids):,} {data.kind} embeddings of {dimensions} dimensions with 1 KB of text, batches of {batch}; "
        f"{os.cpu_count()} cores for client, service and database; {versions}"
    )
    click.echo(f"{setup}\n\n{'':48}{'measured':>14}{'limit':>12}{'ratio':>8}")
    for one in figures:
        limit, ratio = ("", "") if one.limit is None else (f"{one.limit:,.4g}", f"{one.ratio:.2f}")
        click.echo(f"{one.name:48}{one.measured:>14,.4g}{limit:>12}{ratio:>8} {one.unit}")
    if target is not None:
        target.write_bytes(msgspec.json.format(msgspec.json.encode({"setup": setup, "figures": figures})))


if __name__ == "__main__":
    main()
