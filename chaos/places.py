"""The service, its database and what lies between them, as processes and proxies that can be broken."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx2

from service.database import embedded
from service.settings import Settings

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """A free port, also while who listens there is started anew.

    It is below those that Linux gives to clients, one of which would take it meanwhile. Tests set the seed of `random`.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Database:
    """An embedded PostgreSQL that keeps what it has acknowledged, and can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self.url = self._stack.enter_context(embedded.running(folder))

    def kill(self) -> None:
        """Kills it as a power cut would, but for the disk's own cache."""
        cluster = self.folder / "cluster"
        pid = int((cluster / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        while any(_works_in(process, cluster) for process in Path("/proc").glob("[0-9]*")):
            time.sleep(0.05)
        # Until the dead process is waited for, PostgreSQL takes it for a living one.
        (cluster / "postmaster.pid").unlink()

    def restart(self) -> None:
        """Starts it again, which takes a recovery; its killed processes may have to end first."""
        deadline = time.monotonic() + 60
        while True:
            try:
                self._stack.enter_context(embedded.running(self.folder))
                return
            except embedded.EmbeddedPostgresError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        """Ends it in good order."""
        self._stack.close()


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder.resolve()
    except OSError:
        return False


class Process:
    """`python -m service …` on a database."""

    def __init__(self, folder: Path, database: str, admin_key: str, *arguments: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        names = {field.upper() for field in Settings.__struct_fields__}
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in names},
            "PYTHONPATH": str(ROOT),
            "SERVICE_DATABASE_URL": database,
            "SERVICE_PORT": str(self.port),
            "SERVICE_ADMINKEY": admin_key,
            "ENCRYPTION_KEY": "chaos",
            "SERVICE_LOG_FORMAT": "json",
            **settings,
        }
        self._arguments = arguments
        self._folder = folder
        self.log = folder / f"{secrets.token_hex(4)}.log"
        self.start()

    def start(self) -> None:
        """Starts it, or starts it again."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", *self._arguments],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Kills it."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Tells it to stop, and returns its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    async def ready(self) -> "Process":
        """Waits until it can serve."""
        deadline = time.monotonic() + 60
        async with httpx2.AsyncClient() as http:
            while time.monotonic() < deadline and self.process.poll() is None:
                with contextlib.suppress(httpx2.TransportError):
                    if (await http.get(f"{self.url}/readyz")).status_code == 200:
                        return self
                await asyncio.sleep(0.05)
        raise RuntimeError(f"The service did not start:\n{self.log.read_text()[-3000:]}")

    @property
    def memory(self) -> int:
        """The bytes that it has in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Proxy:
    """A port whose connections go on to the next of its targets, a port or a Unix socket; they can be cut or held."""

    def __init__(self) -> None:
        self.targets: list[int | str] = []
        self._next = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listens in the block, and yields the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """Cuts all connections, without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def hold(self, seconds: float) -> None:
        """Lets nothing through for a while."""
        self._open.clear()
        await asyncio.sleep(seconds)
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            for _ in self.targets:
                self._next += 1
                target = self.targets[self._next % len(self.targets)]
                with contextlib.suppress(OSError):
                    from_far, far = await (
                        asyncio.open_connection("127.0.0.1", target)
                        if isinstance(target, int)
                        else asyncio.open_unix_connection(target)
                    )
                    break
            if far is None:
                return
            self._writers.add(far)
            await asyncio.wait(
                [asyncio.create_task(self._pump(reader, far)), asyncio.create_task(self._pump(from_far, writer))]
            )
        finally:
            for one in (writer, far):
                if one is not None:
                    one.transport.abort()
                    self._writers.discard(one)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
