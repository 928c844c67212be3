"""The probe of a container: what runs in it is found out, and whether it is well."""

import asyncio
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest

from service import probe
from service.database.pool import open_pool
from service.database.url import parse
from service.probe import POLL_SECONDS, SILENT_SECONDS, Signs
from service.settings import IndexAims
from service.storage import indexer
from service.turns import beside
from tests.conftest import ADMIN_KEY, ENCRYPTION_KEY
from tests.support import factories
from tests.support.prepared import Prepared
from tests.support.processes import ROOT, environment, served, started

pytestmark = pytest.mark.slow

SECRETS = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": ENCRYPTION_KEY}
AWAY = "postgresql://nobody@127.0.0.1:1/none"


def probed(folder: Path, **values: str) -> tuple[int, str]:
    """The exit code and the words of the probe, as Docker or Kubernetes runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "service.probe"],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), TMPDIR=str(folder), **{**SECRETS, **values}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@contextmanager
def indexing(folder: Path, url: str) -> Iterator[Prepared]:
    """`index`, from its first sign on."""
    process = started("index", log=folder / "log", cwd=folder, TMPDIR=str(folder), SERVICE_DATABASE_URL=url, **SECRETS)
    deadline = time.monotonic() + 60
    while not Signs(folder).file.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def test_an_indexer_that_looks_is_well(new_database: Callable[..., str], tmp_path: Path) -> None:
    with indexing(tmp_path, new_database()) as process:
        assert probed(tmp_path) == (0, "")
        first = json.loads(Signs(tmp_path).file.read_text())
        deadline = time.monotonic() + 6 * probe.BEAT_SECONDS
        while (later := json.loads(Signs(tmp_path).file.read_text())) == first or later["polled"] == first["polled"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert later["polled"] > first["polled"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    code, words = probed(tmp_path, SERVICE_PORT="1")
    assert (code, words.startswith("The service does not answer")) == (1, True)  # no sign is left of it


def test_an_indexer_without_a_database_is_well(tmp_path: Path) -> None:
    """It goes on by itself when the database is back; to start it anew would mend nothing."""
    with indexing(tmp_path, AWAY):
        time.sleep(probe.BEAT_SECONDS * 1.5)
        said = json.loads(Signs(tmp_path).file.read_text())
        assert said["at"] - said["polled"] < probe.BEAT_SECONDS
        assert probed(tmp_path) == (0, "")


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_an_indexer_that_is_silent_is_not_well(
    new_database: Callable[..., str], tmp_path: Path, how: signal.Signals
) -> None:
    with indexing(tmp_path, new_database()) as process:
        process.send_signal(how)
        assert Signs(tmp_path).fault(time.monotonic()) is None
        assert "has not reported" in (Signs(tmp_path).fault(time.monotonic() + SILENT_SECONDS + 1) or "")


@pytest.mark.parametrize(
    ("ago", "polled", "code", "says"),
    [
        (0, 0, 0, ""),
        (0, POLL_SECONDS - 60, 0, ""),
        (0, POLL_SECONDS + 60, 1, "has waited for more than"),
        (SILENT_SECONDS + 1, 0, 1, "has not reported"),
        (-1000, -1000, 1, "has not reported"),  # left from before the machine was started
    ],
)
def test_what_the_signs_say(tmp_path: Path, ago: float, polled: float, code: int, says: str) -> None:
    now = time.monotonic()
    Signs(tmp_path).file.write_text(json.dumps({"at": now - ago, "polled": now - polled}))
    found = probed(tmp_path)
    assert (found[0], says in found[1]) == (code, True), found


def since_look(signs: Signs) -> float:
    """The seconds after which the probe finds fault are counted from here."""
    signs.write()
    said = json.loads(signs.file.read_text())
    return float(said["at"] - said["polled"])


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "SECONDS_BETWEEN_CHECKS", 0.2)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("holds", ["projects", "backup"])
async def test_a_wait_for_a_lock_is_no_fault(new_database: Callable[..., str], tmp_path: Path, holds: str) -> None:
    """As for a backup of hours, whose end the removal of an index waits for."""
    url, signs = new_database(), Signs(tmp_path)
    async with await open_pool(url, size=1, statement_timeout=30) as pool:
        number = await factories.filled(pool)
        await pool.execute(f"CREATE INDEX embeddings_{number}_tail_1 ON embeddings_{number} (sequence)")
    blocker = await asyncpg.connect(url)
    if holds == "projects":
        await blocker.execute("BEGIN; LOCK TABLE projects")
    else:
        await blocker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await blocker.execute(f"LOCK TABLE embeddings_{number} IN ACCESS SHARE MODE")
    async with beside(indexer.run(url, IndexAims(threshold=100, memory=2**26), signs)):
        async with asyncio.timeout(60):
            while not await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.1)
        for _ in range(20):
            await asyncio.sleep(0.2)
            assert since_look(signs) < 2 * indexer.SECONDS_BETWEEN_POLLS
        assert await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
        await blocker.close()


@asynccontextmanager
async def losing(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """The URL of a port before the database, and a function after which nothing passes on connections of before."""
    opened = asyncio.Event()  # of the present connections
    opened.set()
    given = parse(url)

    running: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event) -> None:
        try:
            while data := await reader.read(65536):
                await passes.wait()
                writer.write(data)
        finally:
            writer.transport.abort()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passes = opened
        host, port = given["host"], given["port"]
        there = await (
            asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else asyncio.open_connection(host, port)
        )
        running.add(asyncio.create_task(pipe(reader, there[1], passes)))
        running.add(asyncio.create_task(pipe(there[0], writer, passes)))

    def lose() -> None:
        nonlocal opened
        opened.clear()
        opened = asyncio.Event()
        opened.set()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    user = f"{given['user']}:{given.get('password', '')}"
    yield f"postgresql://{user}@127.0.0.1:{server.sockets[0].getsockname()[1]}/{given['dbname']}", lose
    server.close()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.usefixtures("often")
async def test_a_lost_connection_is_a_fault(new_database: Callable[..., str], tmp_path: Path) -> None:
    """The indexer waits for an answer that does not come, while the database answers others."""
    signs = Signs(tmp_path)
    aims = IndexAims(threshold=100, memory=2**26)
    async with losing(new_database()) as (url, lose), beside(indexer.run(url, aims, signs)):
        for _ in range(2):
            before = signs.polled
            async with asyncio.timeout(30):
                while signs.polled == before:
                    await asyncio.sleep(0.05)
        lose()
        await asyncio.sleep(indexer.SECONDS_BETWEEN_POLLS * 2.5)
        assert since_look(signs) > indexer.SECONDS_BETWEEN_POLLS


@pytest.mark.parametrize("arguments", [["index"], ["serve"]])
def test_a_container_that_can_write_nothing_serves(
    new_database: Callable[..., str], tmp_path: Path, arguments: list[str]
) -> None:
    """As one with a read-only file system and no /tmp; here no file may have more than no bytes."""
    says = "running on" if arguments == ["serve"] else "The probe's file cannot be written"
    process = subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT), SERVICE_DATABASE_URL=new_database(), SERVICE_PORT="0", **SECRETS),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        text=True,
    )
    said = ""
    for line in process.stderr or []:
        said += line
        if says in line:
            break
    time.sleep(1 if arguments == ["serve"] else probe.BEAT_SECONDS + 1)  # it goes on, after a second beat too
    assert process.poll() is None, said
    process.send_signal(signal.SIGTERM)
    said += process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert says in said


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_service_is_asked(new_database: Callable[..., str], tmp_path: Path, host: str) -> None:
    values = {**SECRETS, "SERVICE_DATABASE_URL": new_database(), "SERVICE_HOST": host, "SERVICE_INDEXER": "false"}
    with served(tmp_path / "log", cwd=tmp_path, **values) as (process, url):
        here = {"SERVICE_HOST": host, "SERVICE_PORT": url.rpartition(":")[2], "http_proxy": "http://127.0.0.1:1"}
        assert probed(tmp_path, **here) == (0, "")
        process.send_signal(signal.SIGSTOP)
        code, words = probed(tmp_path, **here)
        process.send_signal(signal.SIGCONT)
        assert (code, words.startswith("The service does not answer")) == (1, True)
    assert probed(tmp_path, **here)[0] == 1


@pytest.mark.parametrize(
    ("line", "is_well"),
    [
        (["python", "embedding-service", "migrate"], True),
        (["docker-init", "--", "embedding-service", "keys", "rotate"], True),
        (["sh", "-c", "embedding-service index --once"], True),
        (["python", "embedding-service", "serve"], False),
        (["python", "embedding-service", "index"], False),  # it has given no sign yet
        (["pause"], False),
    ],
)
def test_what_ends_by_itself_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str], is_well: bool
) -> None:
    for name, value in {**SECRETS, "SERVICE_HOST": "127.0.0.1", "SERVICE_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(probe.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "cmdline").write_text("\0".join(line))
    assert (probe.fault(tmp_path / "cmdline") is None) is is_well
