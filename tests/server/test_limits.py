"""How much at once, how long, and how often: what is beyond it is refused quickly, and says when to come again."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.conftest import ADMIN, ADMIN_KEY, client_of, settings_for
from tests.support import world
from tests.support.watched import sockets
from tests.support.world import Project

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
BEGUN = 1_450_000  # bytes of a large body that have come
DAY = 24 * 60 * 60  # budgets are of days: those of a minute change while a test runs, as each minute begins


@asynccontextmanager
async def service(database: str, **settings: object) -> AsyncIterator[httpx2.AsyncClient]:
    config = settings_for(database, service_indexer=False, **settings)
    async with client_of(config, timeout=30) as api:
        yield api


@asynccontextmanager
async def locked(database: str, project: Project, mode: str = "ACCESS EXCLUSIVE") -> AsyncIterator[None]:
    """Nobody can use the project's embeddings meanwhile."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE embeddings_{project.id} IN {mode} MODE")
            yield
    finally:
        await connection.close()


async def waiting(database: str, number: int) -> None:
    """Waits until this number of statements waits for a lock."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    connection = await asyncpg.connect(database)
    async with asyncio.timeout(30):
        while await connection.fetchval(waits) != number:
            await asyncio.sleep(0.05)
    await connection.close()


def busy(answer: httpx2.Response) -> None:
    world.problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1


def upload(api: httpx2.AsyncClient, project: Project, text_id: str, text: str = "") -> Any:
    body = world.batch(world.row(text_id, [1.0, 0.0, 0.0], text=text))
    return api.post(project.embeddings, json=body, headers=project.owner.headers)


class Sender:
    """A client that announces a large body, and sends the beginning."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        self.reader, self.writer, self.body = reader, writer, body

    @classmethod
    async def begin(cls, api: httpx2.AsyncClient, project: Project, size: int, text_id: str) -> "Sender":
        row = world.row(text_id, [1.0, 0.0, 0.0], text="x" * size)
        body = json.dumps(world.batch(row)).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
        authorization = project.owner.headers["Authorization"]
        writer.write(
            f"POST {project.embeddings} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[:BEGUN]
        )
        own = writer.get_extra_info("sockname")[1]
        async with asyncio.timeout(30):  # until the service has taken what was sent
            while writer.transport.get_write_buffer_size() or any(  # type: ignore[attr-defined]
                one.waiting for one in sockets() if own in (one.here, one.there)
            ):
                await asyncio.sleep(0.02)
        return cls(reader, writer, body)

    async def finish(self) -> int:
        """Sends it, and returns the status of the answer."""
        self.writer.write(self.body[BEGUN:])
        status = int((await self.reader.readuntil(b"\r\n")).split()[1])
        await self.close()
        return status

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def test_large_bodies_wait_for_room(new_database: Callable[..., str]) -> None:
    settings = {"service_bodies_bytes": 2 * MIB, "service_wait_seconds": 1.0}
    async with service(new_database(), **settings) as api:
        project = await world.project(api, await world.user(api, ADMIN))
        first = await Sender.begin(api, project, 1_500_000, "first")
        start = time.monotonic()
        busy(await upload(api, project, "second", "x" * 1_500_000))
        assert time.monotonic() - start < 10  # the first goes on for ever
        for number in range(5):
            assert (await upload(api, project, f"small{number}")).status_code == 201
        assert (await upload(api, project, "third", "x" * 400_000)).status_code == 201  # there is room for that
        assert await first.finish() == 201
        assert (await upload(api, project, "second", "x" * 1_500_000)).status_code == 201
        lost = await Sender.begin(api, project, 1_500_000, "lost")
        await lost.close()  # its room is free again
        async with asyncio.timeout(30):
            while (await upload(api, project, "fourth", "x" * 1_500_000)).status_code != 201:
                await asyncio.sleep(0.05)
        listed = (await api.get(f"{project.embeddings}?include=text", headers=project.owner.headers)).json()
        ids = {one["text_id"] for one in listed["embeddings"]}
        assert ids == {"first", "second", "third", "fourth", *(f"small{number}" for number in range(5))}


async def test_uploads_leave_connections_to_others(url: str) -> None:
    async with service(url, service_pool_size=4, service_caller_share=1, service_wait_seconds=1.0) as api:
        project = await world.project(api, await world.user(api, ADMIN))
        other = await world.project(api, project.owner)
        async with locked(url, project):
            stuck = [asyncio.create_task(upload(api, project, f"t{number}")) for number in range(2)]
            await waiting(url, 2)
            start = time.monotonic()
            busy(await upload(api, other, "a"))
            assert time.monotonic() - start < 10  # the lock is held until the answer
            assert (await api.get(other.path, headers=other.owner.headers)).status_code == 200
        assert [(await one).status_code for one in stuck] == [201, 201]
        assert (await upload(api, other, "a")).status_code == 201


async def test_nobody_waits_long_for_a_connection(url: str) -> None:
    async with service(url, service_pool_size=2, service_caller_share=1, service_wait_seconds=1.0) as api:
        project = await world.project(api, await world.user(api, ADMIN))
        await upload(api, project, "a")
        async with locked(url, project):
            headers = project.owner.headers
            stuck = [asyncio.create_task(api.get(f"{project.similars}/a", headers=headers)) for _ in range(2)]
            await waiting(url, 2)
            start = time.monotonic()
            busy(await api.get("/v1/users", headers=ADMIN))
            assert time.monotonic() - start < 10  # the lock is held until the answer
            assert (await api.get("/healthz")).status_code == 200
        assert [(await one).status_code for one in stuck] == [200, 200]
        assert (await api.get("/v1/users", headers=ADMIN)).status_code == 200


async def test_a_request_that_takes_too_long_is_given_up(url: str) -> None:
    async with service(url) as api:  # where nothing is given up on a slow machine
        project = await world.project(api, await world.user(api, ADMIN))
    async with service(url, service_request_timeout=1.0) as api:
        async with locked(url, project):
            start = time.monotonic()
            answer = await upload(api, project, "a")
            busy(answer)
            assert "after 1 s" in answer.json()["detail"]
            assert time.monotonic() - start < 10  # a statement may take 30
            await waiting(url, 0)  # the statement was cancelled, too
        async with asyncio.timeout(60):
            while (await upload(api, project, "b")).status_code != 201:  # which takes longer than a second at times
                pass


@pytest.mark.parametrize("part", ["text", "metadata"])
async def test_a_search_shows_no_more_than_a_body_may_have(new_database: Callable[..., str], part: str) -> None:
    async with service(new_database(), service_max_body_bytes=MIB) as api:
        project = await world.project(api, await world.user(api, ADMIN), public_read=True)
        long: Any = "x" * 100_000 if part == "text" else {"long": "x" * 100_000}
        await world.upload(api, project, *[world.row(f"{n}", [1, n, 0], **{part: long}) for n in range(3)])

        async def ask(vectors: int, limit: int, *include: str) -> httpx2.Response:
            body = {"vectors": [[1.0, 0.0, 0.0]] * vectors, "include": include}
            return await api.post(f"{project.similars}?threshold=-1&limit={limit}", json=body)

        for vectors, limit in ((3, 3), (10, 1)):  # a megabyte at most
            answer = (await ask(vectors, limit, part)).json()
            assert [len(each) for each in answer["results"]] == [limit] * vectors
            assert all(one[part] == long for each in answer["results"] for one in each)
        for vectors, limit in ((1000, 1), (4, 3)):
            world.refused(await ask(vectors, limit, "text", "metadata"), 422, "query.limit")
            assert (await ask(vectors, limit)).status_code == 200


async def test_each_user_has_a_budget(new_database: Callable[..., str]) -> None:
    async with service(new_database(), service_rate_limit="10/day") as api:
        # The users are made in another budget: the admin's, of four requests.
        ada, bob = await world.user(api, ADMIN), await world.user(api, ADMIN)
        for left in range(9, -1, -1):
            answer = await api.get(ada.path, headers=ada.headers)
            assert answer.status_code == 200
            assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("10", str(left))
            assert 0 < int(answer.headers["ratelimit-reset"]) <= DAY
        refused = await api.get(ada.path, headers=ada.headers)
        assert world.problem(refused, 429)["status"] == 429
        assert 0 < int(refused.headers["retry-after"]) <= DAY
        assert refused.headers["ratelimit-remaining"] == "0"
        assert (await api.get(bob.path, headers=bob.headers)).status_code == 200
        for _ in range(20):
            assert (await api.get("/healthz")).status_code == 200
            assert (await api.get("/v1/api-standards")).status_code == 200  # nothing is said of those without a key
        new = await api.post(f"{ada.path}/key", headers=ADMIN)
        assert new.status_code == 201
        fresh = {"Authorization": f"Bearer {new.json()['vdb_key']}"}
        assert (await api.get(ada.path, headers=fresh)).status_code == 429  # a new key is no new budget


async def test_who_shows_no_key_or_a_wrong_one_has_a_budget_together(new_database: Callable[..., str]) -> None:
    async with service(new_database(), service_rate_limit_anonymous="5/day") as api:
        ada = await world.user(api, ADMIN)
        assert (await api.get(ada.path, headers=ada.headers)).status_code == 200  # from now on it is known
        for number in range(5):
            headers = {} if number % 2 else {"Authorization": f"Bearer guess{number}"}
            path, status = ("/v1/users", 401) if number < 3 else ("/v1/api-standards", 200)
            assert (await api.get(path, headers=headers)).status_code == status
        for number in range(3):
            headers = {} if number % 2 else {"Authorization": f"Bearer guess{number}"}
            refused = await api.get("/v1/users", headers=headers)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
        for _ in range(20):
            assert (await api.get(ada.path, headers=ada.headers)).status_code == 200


async def test_keys_cannot_be_guessed_where_machines_ask(new_database: Callable[..., str]) -> None:
    async with service(new_database(), service_rate_limit_anonymous="3/day", service_metrics_key="reads") as api:
        statuses = [
            (await api.get("/metrics", headers={"Authorization": f"Bearer guess{n}"})).status_code for n in range(6)
        ]
        assert statuses == [401] * 3 + [429] * 3
        for _ in range(6):
            for key in ("reads", ADMIN_KEY):
                assert (await api.get("/metrics", headers={"Authorization": f"Bearer {key}"})).status_code == 200
            assert (await api.get("/healthz")).status_code == (await api.get("/readyz")).status_code == 200


async def test_whose_an_address_is(new_database: Callable[..., str]) -> None:
    async with service(new_database(), service_rate_limit_anonymous="2/day") as api:

        async def left(address: str) -> int:
            answer = await api.get("/v1/api-standards", headers={"X-Forwarded-For": address})
            assert answer.status_code == 200
            return int(answer.headers["ratelimit-remaining"])

        assert await left("::ffff:192.0.2.1") == 1
        assert await left("::ffff:192.0.2.2") == 1  # another customer, whose proxy writes IPv4 as IPv6
        assert await left("192.0.2.1") == 0  # the first one
        assert await left("2001:db8:1:1::1") == 1
        assert await left("2001:db8:1:1:ffff::2") == 0  # the same /64
        assert await left("2001:db8:1:2::1") == 1


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis of its own, on a socket that nobody else has."""
    socket = tmp_path / "redis"
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    )
    deadline = time.monotonic() + 10
    while not socket.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield f"redis+unix://{socket}", process
    process.kill()
    process.wait()


@pytest.mark.skipif(not shutil.which("redis-server"), reason="LEFT OUT: shared budgets; they need redis-server")
async def test_several_services_share_a_budget(
    new_database: Callable[..., str], redis: tuple[str, subprocess.Popen[bytes]]
) -> None:
    storage, process = redis
    database = new_database()
    settings = {"service_rate_limit": "6/day", "service_rate_limit_storage": storage}
    async with service(database, **settings) as one, service(database, **settings) as other:
        ada = await world.user(one, ADMIN)
        statuses = [(await api.get(ada.path, headers=ada.headers)).status_code for api in (one, other) * 4]
        assert statuses == [200] * 6 + [429] * 2
        process.kill()
        process.wait()
        answer = await one.get(ada.path, headers=ada.headers)  # better without limits than not at all
        assert answer.status_code == 200
        assert "ratelimit-limit" not in answer.headers
