"""Who asks for as much as he can does not keep others from what they need: a few milliseconds, now and then."""

import asyncio
import contextlib
import gc
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest

from service.admission import Shares
from service.errors import Busy
from tests.conftest import ADMIN, ADMIN_KEY, client_of, settings_for
from tests.support import world
from tests.support.world import Project

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
SOON = 2.0  # seconds, beside as much as others can ask for, on two cores
MANY = [5] * 450_000
# As costly as a filter may be: no value is found.
COSTLY = {"$and": [{"a": {"$in": [number, *range(1000, 1199)]}} for number in range(10)]}

Ask = Callable[[], Awaitable[httpx2.Response]]


@asynccontextmanager
async def service(database: str, **settings: object) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=200)
    async with client_of(settings_for(database, service_indexer=False, **settings), limits=limits) as api:
        yield api


async def longest(seconds: float, *asks: Ask) -> float:
    """Asks again and again for so long; all are answered with 200 or 201. Returns the longest that one took."""
    end = time.monotonic() + seconds
    worst = 0.0
    while time.monotonic() < end:
        for ask in asks:
            start = time.monotonic()
            answer = await ask()
            worst = max(worst, time.monotonic() - start)
            assert answer.status_code in (200, 201), answer.text
        await asyncio.sleep(0.02)
    return worst


@asynccontextmanager
async def going_on(*coming: Awaitable[Any]) -> AsyncIterator[list["asyncio.Future[Any]"]]:
    tasks = [asyncio.ensure_future(one) for one in coming]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Raw:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def begin(cls, api: httpx2.AsyncClient, path: str, *headers: str, method: str = "POST") -> "Raw":
        raw = cls(*await asyncio.open_connection("127.0.0.1", api.base_url.port))
        raw.send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode())
        return raw

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def status(self) -> int:
        async with asyncio.timeout(30):
            return int((await self.reader.readuntil(b"\r\n")).split()[1])

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def holding(*clients: Raw) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for client in clients:
            client.close()


async def running(database: str, like: str) -> int:
    connection = await asyncpg.connect(database)
    try:
        return await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
            " AND datname = current_database() AND query LIKE $1",
            like,
        )
    finally:
        await connection.close()


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    start = time.monotonic()
    while not await holds():
        assert time.monotonic() - start < seconds
        await asyncio.sleep(0.05)


async def costly(api: httpx2.AsyncClient) -> tuple[Project, Ask]:
    place = await world.project(api, await world.user(api, ADMIN))
    await world.upload(api, place, world.row("a", [1, 0, 0], metadata={"a": MANY}))

    async def search() -> httpx2.Response:
        body = {"vector": [1.0, 0.0, 0.0], "filter": COSTLY}
        return await api.post(place.similars, json=body, headers=place.owner.headers)

    return place, search


@pytest.mark.alone
async def test_costly_searches_leave_others_alone(new_database: Callable[..., str]) -> None:
    async with service(new_database(), service_search_timeout=4) as api:
        _, search = await costly(api)
        other = await world.project(api, await world.user(api, ADMIN))
        async with going_on(*[search() for _ in range(20)]) as searches:
            await asyncio.sleep(0.3)
            worst = await longest(
                3,
                lambda: api.get("/healthz"),
                lambda: api.get("/readyz"),
                lambda: api.get(other.path, headers=other.owner.headers),
            )
            assert worst < SOON
            answers = await asyncio.gather(*searches)
        assert {answer.status_code for answer in answers} == {503}
        details = {world.problem(answer, 503)["detail"] for answer in answers}
        assert (
            "Too many requests in the database: a caller may have at most 5. The request was not executed; retry later."
            in details
        )
        assert "The search timed out after 4 s: ask for a simpler filter." in details


@pytest.mark.alone
async def test_a_search_is_given_up_in_the_database_too(url: str) -> None:
    async with service(url, service_search_timeout=0.5) as api:
        _, search = await costly(api)
        start = time.monotonic()
        answer = await search()
        assert time.monotonic() - start < 10  # a statement may take 30
        assert "0.5 s" in world.problem(answer, 503)["detail"]

        async def is_over() -> bool:
            return await running(url, "%jsonb_path_match%") == 0

        await until(is_over, 10)


@pytest.mark.alone
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_nobody_waits_for_is_given_up(url: str, method: str) -> None:
    async with service(url) as api:
        place, _ = await costly(api)
        key = f"Authorization: {place.owner.headers['Authorization']}"
        lock = await asyncpg.connect(url)
        like = "%embeddings_%"
        async with lock.transaction():
            if method == "GET":
                await lock.execute(f"LOCK TABLE embeddings_{place.id} IN ACCESS EXCLUSIVE MODE")
                client = await Raw.begin(api, place.embeddings, key, method="GET")
            else:
                body = json.dumps({"vector": [1.0, 0.0, 0.0], "filter": COSTLY}).encode()
                client = await Raw.begin(api, place.similars, key, f"Content-Length: {len(body)}")
                client.send(body)

            async def is_running() -> bool:
                return await running(url, like) == 1

            async def is_over() -> bool:
                return await running(url, like) == 0

            await until(is_running)
            client.close()
            await until(is_over, 5)  # a search may take 10
        await lock.close()
        assert (await api.get(place.path, headers=place.owner.headers)).status_code == 200


async def test_an_upload_that_came_whole_is_stored(url: str) -> None:
    async with service(url) as api:
        place = await world.project(api, await world.user(api, ADMIN))
        lock = await asyncpg.connect(url)
        body = json.dumps(world.batch(world.row("a", [1, 0, 0]))).encode()
        async with lock.transaction():
            await lock.execute(f"LOCK TABLE embeddings_{place.id} IN ACCESS EXCLUSIVE MODE")
            key = f"Authorization: {place.owner.headers['Authorization']}"
            client = await Raw.begin(api, place.embeddings, key, f"Content-Length: {len(body)}")
            client.send(body)

            async def is_stored_next() -> bool:
                return await running(url, f"%embeddings_{place.id}%") == 1

            await until(is_stored_next)
            client.close()
            await asyncio.sleep(0.3)
        await lock.close()

        async def is_there() -> bool:
            return (await api.get(place.embedding("a"), headers=place.owner.headers)).status_code == 200

        await until(is_there)


@pytest.mark.alone
async def test_anonymous_searches_leave_users_alone(new_database: Callable[..., str]) -> None:
    async with service(new_database()) as api:
        place = await world.project(api, await world.user(api, ADMIN), public_read=True)
        for start in range(0, 20_000, 5000):
            rows = [world.row(f"{number}", [1, number, 1]) for number in range(start + 1, start + 5001)]
            await world.upload(api, place, *rows)
        other = await world.project(api, await world.user(api, ADMIN))
        body = json.dumps({"vectors": [[1.0, 0.5, 0.0]] * 1000}).encode()

        async def search() -> httpx2.Response:
            return await api.post(f"{place.similars}?exact=true", content=body, headers=world.JSON_TYPE)

        async with going_on(*[search() for _ in range(60)]):
            await asyncio.sleep(1)
            worst = await longest(
                4, lambda: api.get(other.path, headers=other.owner.headers), lambda: api.get("/readyz")
            )
        assert worst < SOON


def upload(api: httpx2.AsyncClient, place: Project, text_id: str) -> Ask:
    body = world.batch(world.row(text_id, [1, 0, 0], text="x" * 100_000))
    return lambda: api.post(place.embeddings, json=body, headers=place.owner.headers)


async def test_idle_streams_take_no_room(new_database: Callable[..., str]) -> None:
    async with service(new_database()) as api:
        place = await world.project(api, await world.user(api, ADMIN))
        other = await world.project(api, await world.user(api, ADMIN))
        key = f"Authorization: {place.owner.headers['Authorization']}"
        headers = (key, "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
        streams = [await Raw.begin(api, f"{place.embeddings}/stream", *headers) for _ in range(12)]
        async with holding(*streams):
            for stream in streams:
                stream.send(b"1\r\n\n\r\n")
            await asyncio.sleep(0.3)
            for where in (other, place):
                assert (await upload(api, where, "a")()).status_code == 201


async def test_streams_leave_room_to_others(new_database: Callable[..., str]) -> None:
    """Each has sent the beginning of a record, which takes room for as long as it likes."""
    settings = {"service_bodies_bytes": 32 * MIB, "service_max_body_bytes": MIB, "service_wait_seconds": 1.0}
    async with service(new_database(), **settings) as api:
        place = await world.project(api, await world.user(api, ADMIN))
        other = await world.project(api, await world.user(api, ADMIN))
        key = f"Authorization: {place.owner.headers['Authorization']}"
        headers = (key, "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
        streams = [await Raw.begin(api, f"{place.embeddings}/stream", *headers) for _ in range(12)]
        async with holding(*streams):
            for stream in streams:
                stream.send(b"20000\r\n" + b" " * 0x20000 + b"\r\n")

            async def is_full() -> bool:
                answer = await upload(api, place, "a")()
                return answer.status_code == 503 and "a caller may have at most 16,777,216" in answer.json()["detail"]

            async def is_taken() -> bool:
                return (await upload(api, place, "a")()).status_code == 201

            await until(is_full)
            assert (await upload(api, other, "a")()).status_code == 201
        await until(is_taken)  # all room was given back


@pytest.mark.parametrize("sent", [100_000, 16 * MIB])
async def test_slow_bodies_leave_room_to_others(new_database: Callable[..., str], sent: int) -> None:
    async with service(new_database()) as api:
        place = await world.project(api, await world.user(api, ADMIN), public_read=True)
        other = await world.project(api, await world.user(api, ADMIN))
        headers = ("Content-Type: application/json", f"Content-Length: {64 * MIB}")
        clients = [await Raw.begin(api, place.similars, *headers) for _ in range(6)]
        async with holding(*clients):
            for client in clients:
                client.send(b" " * sent)
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            assert (await upload(api, other, "a")()).status_code == 201
            if sent == 100_000:
                body = json.dumps({"vectors": [[1.0, 0.0, 0.0]] * 1000, "filter": {"a": "x" * 60_000}})
                assert len(body) > 64 * 1024
                assert (await api.post(place.similars, content=body, headers=world.JSON_TYPE)).status_code == 200


async def test_pages_of_vectors_that_nobody_reads_take_room(new_database: Callable[..., str]) -> None:
    limits = {"service_bodies_bytes": 8 * MIB, "service_max_body_bytes": 8 * MIB}
    async with service(new_database(), service_wait_seconds=1.0, **limits) as api:
        owner = await world.user(api, ADMIN)
        place = await world.project(api, owner, on=await world.instance(api, owner, dimensions=4000))
        await world.upload(api, place, *(world.row(f"{number:03}", [0.1234] * 4000) for number in range(150)))
        key = f"Authorization: {owner.headers['Authorization']}"
        one = await Raw.begin(api, place.embeddings, key, method="GET")
        async with holding(one):
            for _ in range(9):  # more than the system's buffers hold
                one.send(f"GET {place.embeddings} HTTP/1.1\r\nHost: x\r\n{key}\r\n\r\n".encode())
            async with asyncio.timeout(20):
                while (await api.get(place.embeddings, headers=owner.headers)).status_code != 503:
                    await asyncio.sleep(0.1)
            for rest in ("?include=text", "?limit=1"):
                assert (await api.get(place.embeddings + rest, headers=owner.headers)).status_code == 200
        async with asyncio.timeout(20):
            while (await api.get(place.embeddings, headers=owner.headers)).status_code != 200:
                await asyncio.sleep(0.1)


async def test_one_uploader_leaves_turns_to_others(url: str) -> None:
    async with service(url, service_wait_seconds=1.0) as api:
        place = await world.project(api, await world.user(api, ADMIN))
        other = await world.project(api, await world.user(api, ADMIN))
        lock = await asyncpg.connect(url)
        async with lock.transaction():
            await lock.execute(f"LOCK TABLE embeddings_{place.id} IN ACCESS EXCLUSIVE MODE")
            stuck = [asyncio.ensure_future(upload(api, place, f"{number}")()) for number in range(8)]

            async def are_refused() -> bool:
                return sum(one.done() for one in stuck) >= 5

            await until(are_refused)
            assert (await upload(api, other, "a")()).status_code == 201
            refused = [one.result() for one in stuck if one.done()]
            assert len(refused) == 5
            for one in refused:
                assert "a caller may have at most 3" in world.problem(one, 503)["detail"]
        await lock.close()
        await asyncio.gather(*stuck)


@pytest.mark.alone
async def test_readiness_does_not_wait_behind_users(url: str) -> None:
    async with service(url, service_pool_size=1, service_caller_share=1) as api:
        place = await world.project(api, await world.user(api, ADMIN))
        lock = await asyncpg.connect(url)
        async with lock.transaction():
            await lock.execute(f"LOCK TABLE embeddings_{place.id} IN ACCESS EXCLUSIVE MODE")
            async with going_on(api.get(place.embeddings, headers=place.owner.headers)):

                async def is_waiting() -> bool:
                    return await running(url, f"%embeddings_{place.id}%") == 1

                await until(is_waiting)
                start = time.monotonic()
                assert (await api.get("/readyz")).status_code == 200
                assert time.monotonic() - start < 5  # the lock is held until the answer
        await lock.close()


async def test_the_cost_of_a_filter_is_bounded(new_database: Callable[..., str]) -> None:
    async with service(new_database()) as api:
        place = await world.project(api, await world.user(api, ADMIN))
        await world.upload(api, place, world.row("a", [1, 0, 0], metadata={"a": 7}))

        async def search(only: Any) -> httpx2.Response:
            body = {"vector": [1.0, 0.0, 0.0], "filter": only}
            return await api.post(place.similars, json=body, headers=place.owner.headers)

        values = list(range(1000))
        most = {"$or": [{"a": {"$in": values}}, {"b": {"$nin": values}}]}
        assert [one["id"] for one in (await search(most)).json()["results"]] == ["a"]
        answer = await search({"$and": [most, {"c": {"$in": [1]}}, {"d": {"$in": values}}]})
        assert "2,000" in world.problem(answer, 422)["errors"][0]["message"]
        world.refused(answer, 422, "body.filter.$and[1].c.$in")
        fourteen = {"$and": [{"a": {"$in": values[:900]}} for _ in range(14)]}
        world.refused(await search(fourteen), 422, "body.filter.$and[2].a.$in")


async def test_a_connection_is_kept_for_a_while(new_database: Callable[..., str]) -> None:
    async with service(new_database()) as api:
        client = await Raw.begin(api, "/healthz", method="GET")
        async with holding(client):
            assert await client.status() == 200
            await asyncio.sleep(6)
            assert not client.reader.at_eof()
            client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.reader.readuntil(b"HTTP/1.1 200 ")
    async with service(new_database(), service_keepalive_seconds=1) as api:
        client = await Raw.begin(api, "/healthz", method="GET")
        async with holding(client), asyncio.timeout(30):  # by default it would be 75
            assert b"200" in await client.reader.read()


async def test_connections_are_limited(new_database: Callable[..., str]) -> None:
    async with service(new_database(), service_max_connections=3) as api:
        first = [await Raw.begin(api, "/v1/users", f"Authorization: Bearer {ADMIN_KEY}", method="GET") for _ in "123"]
        async with holding(*first):
            assert [await one.status() for one in first] == [200, 200, 200]
            refused = await Raw.begin(api, "/v1/users", f"Authorization: Bearer {ADMIN_KEY}", method="GET")
            async with holding(refused), asyncio.timeout(30):
                head, _, body = (await refused.reader.read()).partition(b"\r\n\r\n")  # it is closed
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"connection: close" in head
            assert b"retry-after: 1" in head
            assert "More than 3 connections" in json.loads(body)["detail"]
            for path in ("/healthz", "/metrics", "/metrics?a=b"):
                probe = await Raw.begin(api, path, f"Authorization: Bearer {ADMIN_KEY}", method="GET")
                async with holding(probe), asyncio.timeout(30):
                    assert (await probe.reader.read()).startswith(b"HTTP/1.1 200 ")
            with contextlib.suppress(ConnectionError):
                first[0].send(
                    b"GET /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % ADMIN_KEY.encode()
                )
                await first[0].reader.readuntil(b"HTTP/1.1 200 ")  # those that were there go on

        async def is_let_in() -> bool:
            again = await Raw.begin(api, "/v1/users", f"Authorization: Bearer {ADMIN_KEY}", method="GET")
            async with holding(again):
                return await again.status() == 200

        await until(is_let_in)


@pytest.mark.alone
async def test_shares_add_up_whatever_becomes_of_those_who_wait() -> None:
    shares = Shares(10, part=5, reserve=2, wait=0.1, what="things")
    held: Counter[str] = Counter()
    had: Counter[str] = Counter()
    dice = random.Random(1)

    async def use(who: str) -> None:
        amount = await shares.acquire(who, dice.randint(1, 7))
        try:
            held[who] += amount
            had[who] += 1
            assert held[who] <= 5
            assert held.total() <= 10
            await asyncio.sleep(dice.random() * 0.01)
        finally:
            held[who] -= amount
            shares.release(who, amount)

    tasks = [asyncio.create_task(use(who)) for who in "abcd" * 100]
    for task in dice.sample(tasks, 100):
        await asyncio.sleep(0.001)
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in results} == {type(None), Busy, asyncio.CancelledError}
    assert min(had.values()) * 2 > max(had.values())
    assert [await shares.acquire(who, 5) for who in "ab"] == [5, 5]  # all was given back


def futures() -> int:
    gc.collect()
    return sum(isinstance(one, asyncio.Future) for one in gc.get_objects())


async def test_nothing_is_left_of_those_who_gave_up_behind_one_who_waits() -> None:
    shares = Shares(10, part=10, reserve=0, wait=0, what="things")
    await shares.acquire("a", 10)
    patient = asyncio.create_task(shares.acquire("a", 10, patient=True))
    await asyncio.sleep(0)
    before = futures()
    for _ in range(1000):
        with pytest.raises(Busy):
            await shares.acquire("a")
    assert futures() < before + 100
    shares.release("a", 10)
    assert await patient == 10
