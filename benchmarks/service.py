"""The service as a process of its own, its client, and connections to its database without it."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import click
import httpx2
import msgspec
from pgvector import HalfVector

from benchmarks.data import LIMIT
from benchmarks.timing import timed
from benchmarks.wire import Wire
from service.database import embedded

ROOT = Path(__file__).parents[1]
PACKED = "application/msgpack"


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def service(folder: Path, encryption_key: str | None = None) -> Iterator[tuple[str, str, str]]:
    """The service as a process; yields its URL, the admin's key, and the URL of its database.

    To be started again with the same data it needs the same `encryption_key`.
    """
    port, admin_key = free_port(), secrets.token_hex(16)
    settings = {
        # Empty: a database that only .env names is not to be touched.
        "SERVICE_DATABASE_URL": os.environ.get("SERVICE_DATABASE_URL", ""),
        "SERVICE_DBHOST": "",
        "SERVICE_PORT": str(port),
        "SERVICE_ADMINKEY": admin_key,
        "ENCRYPTION_KEY": encryption_key or secrets.token_hex(16),
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
        self.wire = Wire(http.base_url.port or 80)

    async def send(self, method: str, path: str, body: Any, kind: str = "application/json") -> Any:
        """Sends JSON, or what is encoded already, and returns the JSON of the answer. Raises for a refusal."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        answer = await self.http.request(method, path, content=content, headers={"Content-Type": kind})
        if answer.status_code >= 400:
            raise click.ClickException(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return msgspec.json.decode(answer.content)

    async def make_project(self) -> "Client":
        """A user, an instance and a project, empty."""
        person = {"user_handle": self.user, "email": f"{self.user}@example.org"}
        await self.send("PUT", f"/v1/users/{self.user}", person)
        instance = {"instance_handle": "minilm", "dimensions": self.dimensions}
        await self.send("PUT", f"/v1/llm-instances/{self.user}/minilm", instance)
        project = {"project_handle": "texts", "instance_handle": "minilm"}
        self.project_id = (await self.send("PUT", f"/v1/projects/{self.user}/texts", project))["project_id"]
        return self

    async def delete(self) -> None:
        """Deletes all of it."""
        await self.http.delete(f"/v1/users/{self.user}")

    async def wait_for_index(self, hours: float = 0.05) -> Any:
        """Waits until all of the project is indexed, and returns the state of the index.

        An index that was begun during the upload may leave a tail that is too short for the next build: then an error.
        """
        end = time.monotonic() + hours * 3600
        while time.monotonic() < end:
            state = msgspec.json.decode((await self.http.get(f"/v1/projects/{self.user}/texts")).content)["index"]
            if state["state"] == "indexed" and state["tail"] == 0:
                return state
            await asyncio.sleep(0.5)
        raise click.ClickException(f"The index has a tail of {state['tail']:,} rows: measure again.")

    async def upload(self, bodies: list[bytes], kind: str = PACKED, clients: int = 2) -> tuple[float, dict[str, int]]:
        """Sends all bodies by several clients at once; returns seconds, and the counts of the answers."""
        waiting = iter(bodies)
        counts = {"inserted": 0, "updated": 0, "unchanged": 0}

        async def send() -> None:
            for body in waiting:
                answer = await self.send("POST", f"/v1/embeddings/{self.user}/texts", body, kind)
                for name in counts:
                    counts[name] += answer[name]

        seconds = await timed(lambda: asyncio.gather(*(send() for _ in range(clients))))
        return seconds, counts

    async def ask(self, body: bytes, limit: int = LIMIT, more: str = "", kind: str = PACKED) -> Any:
        """The answer to a search."""
        path = f"/v1/similars/{self.user}/texts?limit={limit}&threshold=-1{more}"
        return msgspec.json.decode(await self.wire.post(path, body, kind, self.http.headers["authorization"]))

    async def search(self, body: bytes, more: str = "") -> list[str]:
        """The ids that are most similar, best first."""
        return [one["id"] for one in (await self.ask(body, more=more))["results"]]


@contextlib.asynccontextmanager
async def database(url: str, size: int) -> AsyncIterator[Any]:
    """Connections without the service, set as the service sets its own."""

    async def init(connection: Any) -> None:
        await connection.set_type_codec("halfvec", format="binary", encoder=bytes, decoder=HalfVector.from_binary)
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", format="binary", encoder=lambda value: b"\x01" + value, decoder=bytes
        )

    settings = {"jit": "off"}

    async def keep(_: Any) -> None:
        """In place of asyncpg's reset: what is set stays set, as with the service's own."""

    async with asyncpg.create_pool(
        url, min_size=size, max_size=size, init=init, reset=keep, server_settings=settings
    ) as pool:
        yield pool
