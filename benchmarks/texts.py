"""Texts through a provider that takes 200 ms a call; texts that are stored already; searches while a provider hangs."""

import asyncio
import multiprocessing
import os
import re
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import httpx2
import msgspec
import numpy as np
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.bench import DATA
from benchmarks.data import Data, load
from benchmarks.measure import Figure, table
from benchmarks.service import Client, service
from benchmarks.timing import each, timed

DIMENSIONS = 384
TEXTS = 10_000
TEXT_BYTES = 1000
CALL_SECONDS = 0.2
HANGING = 100
SEARCHES = 500
ROUNDS = 4
PACKED = "application/msgpack"


def provider(port: Connection) -> None:
    """A provider as a process; sends its port."""
    rows = [",".join(f"{one:.6f}" for one in row) for row in np.random.default_rng(1).normal(size=(128, DIMENSIONS))]

    async def answer(request: Request) -> Response:
        sent = msgspec.json.decode(await request.body())
        await asyncio.sleep(3600 if "hang" in request.url.path else CALL_SECONDS)
        count = len(sent["input"])
        data = ",".join(f'{{"index":{row},"embedding":[{rows[row]}]}}' for row in range(count))
        usage = f'{{"prompt_tokens":{250 * count},"total_tokens":{250 * count}}}'
        return Response(f'{{"data":[{data}],"usage":{usage}}}', media_type="application/json")

    async def run() -> None:
        app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
        server = uvicorn.Server(uvicorn.Config(app, port=0, loop="none", lifespan="off", log_level="critical"))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 (it has no event)
            await asyncio.sleep(0.01)
        port.send(server.servers[0].sockets[0].getsockname()[1])
        await serving

    uvloop.run(run())


async def lent(http: httpx2.AsyncClient, provider_port: int, path: str) -> Client:
    """A project whose instance is at the provider."""
    client = await Client(http, DIMENSIONS).make_project()
    endpoint = f"http://127.0.0.1:{provider_port}/{path}"
    change = {"endpoint": endpoint, "model": "m", "dimensions": DIMENSIONS}
    await client.send("PATCH", f"/v1/llm-instances/{client.user}/minilm", change, "application/merge-patch+json")
    return client


async def stream(client: Client, kind: str, records: list[dict[str, Any]]) -> Any:
    """The last line of the answer to a stream."""
    content = b"".join(msgspec.msgpack.encode(record) for record in records)
    path = (
        f"/v1/{kind}/{client.user}/texts/stream?encoding=f2"
        if kind == "embeddings"
        else f"/v1/{kind}/{client.user}/texts/stream"
    )
    answer = await client.http.post(path, content=content, headers={"Content-Type": PACKED})
    last = msgspec.json.decode(answer.text.splitlines()[-1])
    if not last.get("done"):
        raise click.ClickException(f"The stream ended: {last}")
    return last


async def memory(http: httpx2.AsyncClient, most: list[float]) -> None:
    """Keeps the most memory that the service has had, in MiB."""
    while True:
        found = re.search(r"^process_resident_memory_bytes (\S+)", (await http.get("/metrics")).text, re.MULTILINE)
        most[0] = max(most[0], float(found[1]) / 2**20 if found else 0.0)
        await asyncio.sleep(0.1)


async def texts(http: httpx2.AsyncClient, port: int) -> list[Figure]:
    """Texts embedded by a slow provider; and sent again, beside vectors that are sent again."""
    client, first = await lent(http, port, "fast"), await lent(http, port, "fast")
    rows = [{"text_id": f"{row:06}", "text": f"{row} ".ljust(TEXT_BYTES, "x")} for row in range(TEXTS)]
    await stream(first, "texts", rows[:1000])  # the model of memory is that of a service that has worked
    before, most = [0.0], [0.0]
    for kept, seconds in ((before, 0.3), (most, None)):
        watching = asyncio.create_task(memory(http, kept))
        if seconds is not None:
            await asyncio.sleep(seconds)
        else:
            last: Any = None

            async def send() -> None:
                nonlocal last
                last = await stream(client, "texts", rows)

            taken = await timed(send)
        watching.cancel()
    calls = last["usage"]["requests"]
    again, vectors = [], []
    packed = np.random.default_rng(2).normal(size=(TEXTS, DIMENSIONS)).astype(np.float16)
    bare = await Client(http, DIMENSIONS).make_project()
    with_vectors = [{**row, "vector": packed[number].tobytes()} for number, row in enumerate(rows)]
    await stream(bare, "embeddings", with_vectors)
    for _ in range(ROUNDS):
        again.append(await timed(lambda: stream(client, "texts", rows)))
        vectors.append(await timed(lambda: stream(bare, "embeddings", with_vectors)))
    for one in (client, first, bare):
        await one.delete()
    one_by_one = TEXTS / (calls * CALL_SECONDS)
    return [
        Figure("texts, of one call after the other", TEXTS / taken, "1/s", 10, one_by_one),
        Figure("memory while they are embedded, more than before", most[0] - before[0], "MiB", 64, at_most=True),
        Figure(
            "texts that are stored, of vectors that are stored",
            TEXTS / float(np.median(again)), "1/s", 0.7, TEXTS / float(np.median(vectors)),
        ),
    ]  # fmt: skip


async def searches(http: httpx2.AsyncClient, port: int, data: Data) -> Figure:
    """The p99 of a searching client while calls of a provider hang, in turn with none."""
    client = await Client(http, DIMENSIONS).make_project()
    await client.upload(data.as_packed(0, len(data.ids)))
    await client.wait_for_index()
    hanging = await lent(http, port, "hang")
    bodies = [msgspec.msgpack.encode({"vector": one.astype("<f2").tobytes(), "encoding": "f2"}) for one in data.queries]

    async def ask(number: int) -> None:
        await client.search(bodies[number % len(bodies)])

    idle, waiting = [], []
    for _ in range(ROUNDS):
        idle.append(np.percentile(await each(ask, SEARCHES), 99))
        async with httpx2.AsyncClient(
            base_url=http.base_url, headers=http.headers, timeout=600, limits=httpx2.Limits(max_connections=None)
        ) as others:
            path = f"/v1/llm-instances/{hanging.user}/minilm/embed"
            calls = [asyncio.create_task(others.post(path, json={"input": ["a text"]})) for _ in range(HANGING)]
            await asyncio.sleep(0.5)
            waiting.append(np.percentile(await each(ask, SEARCHES), 99))
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    for one in (client, hanging):
        await one.delete()
    return Figure(
        f"search p99 while {HANGING} calls hang, of idle", float(np.median(waiting)), "ms", 1.2,
        float(np.median(idle)), at_most=True,
    )  # fmt: skip


async def measure(url: str, admin_key: str, port: int, folder: Path) -> list[Figure]:
    """All figures."""
    headers = {"Authorization": f"Bearer {admin_key}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=600) as http:
        found = await texts(http, port)
        return [*found, await searches(http, port, load(folder, 20_000, DIMENSIONS))]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", "folder", type=click.Path(path_type=Path), default=DATA, help="Where the real embeddings are.")
def main(folder: Path) -> None:
    """Measure how texts are embedded by a provider that takes 200 ms for a call."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=provider, args=(there,), daemon=True)
    process.start()
    port = here.recv()
    os.environ |= {
        "SERVICE_PROVIDER_HOSTS": f"http://127.0.0.1:{port}",
        "SERVICE_PROVIDER_SECONDS": "600",
        "SERVICE_REQUEST_TIMEOUT": "600",
    }
    try:
        with tempfile.TemporaryDirectory() as temporary, service(Path(temporary)) as (url, admin_key, _):
            figures = uvloop.run(measure(url, admin_key, port, folder))
    finally:
        process.kill()  # some of its calls hang
        process.join()
    click.echo(table(figures))


if __name__ == "__main__":
    main()
