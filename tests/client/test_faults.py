"""Whatever breaks while a file is pushed or pulled: after the same command again both sides are equal, row by row."""

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import numpy as np
import pytest
from vecferry import AsyncClient, Rows, open_source
from vecferry.sinks import open_sink

from chaos.places import ROOT, Database, Process
from tests.client.samples import chunks
from tests.conftest import ADMIN_KEY
from tests.support import prepared
from tests.support.faulty_proxy import NONE, Fault, canned, faulty_proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROWS, DIMENSIONS = 12_000, 128
FIRST_PAGE = b'"method":"GET","route":"/v1/embeddings/{user}/{project}","status":200'
Row = tuple[bytes, str | None, Any]


class Place:
    """A service and its database, which can be killed, a project, and a file of its embeddings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "data")
        self.service = Process(folder, self.database.url, ADMIN_KEY, "serve", SERVICE_INDEXER="off")
        self.file = folder / "rows.parquet"
        self.rows = rows_of(chunks(ROWS, 1000, dimensions=DIMENSIONS))
        with open_sink(self.file) as sink:
            for part in chunks(ROWS, 1000, dimensions=DIMENSIONS):
                sink.write(part)
        os.utime(self.file, (time.time() - 60,) * 2)
        self._count = 0
        self._filled: str | None = None

    async def project(self) -> str:
        """The name of a new project, which is empty."""
        await self.service.ready()
        self._count += 1
        async with AsyncClient(self.service.url, ADMIN_KEY) as client:
            await client.users.put("ferry", email="ferry@example.org")
            await client.instances.put("ferry/inst", dimensions=DIMENSIONS)
            return (await client.projects.put(f"ferry/poems{self._count}", instance="ferry/inst")).name

    async def filled(self) -> str:
        """The name of a project that is as the file. All pulls are of the same one, as they only read."""
        if self._filled is None:
            self._filled = await self.project()
            async with AsyncClient(self.service.url, ADMIN_KEY) as client:
                rows = chunks(ROWS, 1000, dimensions=DIMENSIONS)
                await client.project(self._filled).upload_rows(rows, progress=False)
        await self.service.ready()
        return self._filled

    async def stored(self, name: str) -> dict[str, Row]:
        """All embeddings of a project, out of the database."""
        found = await self._select(name, "text_id, vector::real[]::text, text, metadata::text")
        return {
            row[0]: (
                np.array(msgspec.json.decode("[" + row[1][1:-1] + "]"), np.float16).tobytes(),
                row[2],
                row[3] and msgspec.json.decode(row[3]),
            )
            for row in found
        }

    async def is_under_way(self, way: str, name: str, log_begin: int) -> bool:
        """Whether a push has stored some rows and not all, or a pull has got its first page since `log_begin`."""
        if way == "push":
            return 0 < (await self._select(name, "count(*)"))[0][0] < ROWS
        return FIRST_PAGE in self.service.log.read_bytes()[log_begin:]

    async def _select(self, name: str, columns: str) -> list[Any]:
        connection = await asyncpg.connect(self.database.url)
        try:
            number = await connection.fetchval(
                "SELECT project_id FROM projects WHERE project_handle = $1", name.partition("/")[2]
            )
            return await connection.fetch(f"SELECT {columns} FROM embeddings_{number}")
        finally:
            await connection.close()

    async def run(self, *arguments: str, url: str | None = None, seconds: float = 200) -> tuple[int, str]:
        """Runs `vecferry …` to its end; the exit code, and what it says. After `seconds` it is killed, and -9."""
        try:
            ended = await asyncio.to_thread(
                prepared.run,
                "vecferry",
                arguments,
                cwd=self.folder,
                values=self.environment(url),
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL, ""
        return ended.returncode, ended.stderr

    def environment(self, url: str | None = None) -> dict[str, str]:
        """The variables of a command."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT / "client"),
            "VECFERRY_URL": url or self.service.url,
            "VECFERRY_KEY": ADMIN_KEY,
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def run_with_small_files(self, *arguments: str, file_bytes: int) -> tuple[int, str]:
        """Runs `vecferry …` to its end; no file that it writes may have more than `file_bytes`."""
        done = subprocess.run(
            [sys.executable, "-m", "vecferry", *arguments],
            env=self.environment(),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes)),
        )
        return done.returncode, done.stderr


def rows_of(parts: Any) -> dict[str, Row]:
    """By their ids."""
    return {
        text_id: (part.vectors[place].tobytes(), (part.texts or [])[place], (part.metadata or [])[place])
        for part in parts
        for place, text_id in enumerate(part.ids)
    }


def rows_in(file: Path) -> dict[str, Row]:
    return rows_of(open_source(file).chunks(lambda bad: pytest.fail(str(bad))))


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    made = Place(tmp_path_factory.mktemp("faults"))
    yield made
    if made.service.process.poll() is None:
        made.service.terminate()
    made.database.stop()


Break = Callable[[Place], Any]


async def kill_service(place: Place) -> None:
    place.service.kill()
    await asyncio.sleep(0.5)
    place.service.start()


async def kill_database(place: Place) -> None:
    await asyncio.to_thread(place.database.kill)
    await asyncio.to_thread(place.database.restart)


@pytest.mark.parametrize("break_it", [kill_service, kill_database])
@pytest.mark.parametrize("way", ["push", "pull"])
async def test_a_push_or_pull_is_completed_after_the_service_or_database_was_killed(
    place: Place, break_it: Break, way: str
) -> None:
    for attempt in range(5):  # a short push may store all its rows between two looks
        name = await (place.project() if way == "push" else place.filled())
        target = place.folder / f"{way}-{break_it.__name__}-{attempt}.parquet"
        arguments = ["push", str(place.file), name] if way == "push" else ["pull", name, str(target)]
        log_begin = place.service.log.stat().st_size
        running = asyncio.create_task(place.run(*arguments))
        while not (is_under_way := await place.is_under_way(way, name, log_begin)) and not running.done():
            await asyncio.sleep(0.01)
        if is_under_way and not running.done():
            break
    assert is_under_way
    assert not running.done()
    await break_it(place)
    await running
    code, said = await place.run(*arguments)
    assert code == 0, said
    assert (await place.stored(name)) == place.rows
    if way == "pull":
        assert rows_in(target) == place.rows


@asynccontextmanager
async def broken(place: Place, kind: str) -> AsyncIterator[str]:
    """The URL of a proxy before the service that breaks every third request, or all after the tenth."""
    chance, count = random.Random(kind), 0

    def fault(head: bytes) -> Fault:
        nonlocal count
        count += 1
        if kind == "401":
            return Fault(answer=canned(401)) if count > 10 else NONE
        if count % 3:
            return NONE
        if kind == "cut":
            return chance.choice(
                [Fault(cut_request=chance.randrange(200_000)), Fault(cut_answer=chance.randrange(2000))]
            )
        return Fault(answer=canned(int(kind), "Retry-After: 0"))

    async with faulty_proxy(place.service.url, fault) as url:
        yield url


@pytest.mark.parametrize("kind", ["cut", "503", "401"])  # test_transport has the other statuses that may pass
@pytest.mark.parametrize("way", ["push", "pull"])
async def test_a_push_or_pull_over_a_network_that_breaks_is_completed(place: Place, kind: str, way: str) -> None:
    name = await (place.project() if way == "push" else place.filled())
    target = place.folder / f"{way}-{kind}.parquet"
    arguments = ["push", str(place.file), name] if way == "push" else ["pull", name, str(target)]
    async with broken(place, kind) as url:
        code, said = await place.run(*arguments, url=url)
        assert code == (3 if kind == "401" else 0), said
        if kind == "401":
            assert not target.exists()
            assert "Log in" in said
    code, said = await place.run(*arguments)
    assert code == 0, said
    assert (await place.stored(name)) == place.rows
    if way == "pull":
        assert rows_in(target) == place.rows


async def test_a_pull_without_room_leaves_the_file_as_it_was(place: Place) -> None:
    name, target = await place.filled(), place.folder / "no-room.parquet"
    target.write_bytes(b"what was there before")
    for limit in (100_000, 2_000_000, 3_300_000):  # while receiving, and while writing
        code, said = await asyncio.to_thread(place.run_with_small_files, "pull", name, str(target), file_bytes=limit)
        assert code == 1, said
        assert "File too large" in said
        assert "Traceback" not in said
        assert target.read_bytes() == b"what was there before"
    code, said = await place.run("pull", name, str(target))
    assert code == 0, said
    assert rows_in(target) == place.rows
    assert [one.name for one in place.folder.glob(".no-room*")] == []


@pytest.mark.parametrize("way", ["push", "pull"])
async def test_a_push_or_pull_that_was_killed_is_completed_by_the_next(place: Place, way: str) -> None:
    chance, killed = random.Random(20), 0
    name, target = await (place.project() if way == "push" else place.filled()), place.folder / "killed.parquet"
    arguments = ["push", str(place.file), name] if way == "push" else ["pull", name, str(target)]
    while killed < 6:  # a fast machine ends some before
        code, said = await place.run(*arguments, seconds=chance.uniform(0, 0.8))
        if code == -signal.SIGKILL:
            killed += 1
            continue
        assert code == 0, said
        if way == "push":
            name = await place.project()
            arguments = ["push", str(place.file), name]
        else:
            target.unlink()
    code, said = await place.run(*arguments)
    assert code == 0, said
    assert (await place.stored(name)) == place.rows
    if way == "pull":
        assert rows_in(target) == place.rows
        # Temporary files of killed processes are beside it; the next pull removes them.
        assert [one.name for one in place.folder.glob(".killed*")] == []


def test_the_sample_has_all_that_may_differ(place: Place) -> None:
    assert len(place.rows) == ROWS
    assert {text is None for _, text, _ in place.rows.values()} == {True, False}
    assert isinstance(next(chunks(1, 1)), Rows)
