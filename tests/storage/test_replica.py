"""Searches and reads of embeddings from a real streaming replica: it answers, or else the primary does."""

import asyncio
import contextlib
import itertools
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import asyncpg
import httpx2
import msgspec
import numpy as np
import psycopg
import pytest

from chaos.standby import Standby
from service.database import embedded
from service.database.pool import Pool
from service.queries.replica import WalPosition
from service.schema import migrate
from service.settings import IndexAims
from service.storage import indexer
from service.storage.replica import Replica, Unanswered
from tests.conftest import ADMIN, client_of, of_database, settings_for
from tests.support import world
from tests.support.world import Headers, Project

pytestmark = pytest.mark.slow

PRIMARY = {"X-Read-From": "primary"}
LAG_SECONDS = 4.0  # it is measured every second, and may be two on a busy machine
QUERY = {"vector": [1.0, 0.0, 0.0]}
VECTORS = np.random.default_rng(5).normal(size=(300, 3)).astype(np.float16).astype(float).tolist()


@pytest.fixture(scope="module")
def primary() -> Iterator[str]:
    """The URL of a migrated database on a server of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded.running(Path(folder) / "primary", durable=False) as url,
    ):
        migrate.upgrade(url)
        yield url


@pytest.fixture(scope="module")
def standby(primary: str) -> Iterator[Standby]:
    folder = Path(parse_qs(urlsplit(primary).query)["host"][0]).parents[1]
    server = Standby(folder / "standby", primary)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def api(primary: str, standby: Standby) -> AsyncIterator[httpx2.AsyncClient]:
    config = settings_for(
        primary,
        service_database_read_url=standby.url,
        service_read_lag_seconds=LAG_SECONDS,
        service_indexer=False,
        service_pool_size=4,
    )
    async with client_of(config) as client:
        yield client


@pytest.fixture
async def place(api: httpx2.AsyncClient) -> Project:
    """A project that the replica has."""
    made = await world.project(api, await world.user(api, ADMIN))
    await world.upload(api, made, *[world.row(f"{number:03}", vector) for number, vector in enumerate(VECTORS)])
    await until(lambda: counted(api, made), (10, "replica"))
    return made


async def search(api: httpx2.AsyncClient, project: Project, headers: Headers | None = None) -> httpx2.Response:
    headers = {**project.owner.headers, **(headers or {})}
    return await api.post(f"{project.similars}?threshold=-1", json=QUERY, headers=headers)


async def reads(api: httpx2.AsyncClient, project: Project) -> str:
    """Who answers a search: `replica` or `primary`."""
    answer = await search(api, project)
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-read-from", "primary")


async def counted(api: httpx2.AsyncClient, project: Project) -> tuple[int, str]:
    """How many results a search has, and who answers."""
    answer = await search(api, project)
    return len(answer.json()["results"]), answer.headers.get("x-read-from", "primary")


async def index(primary: str, project: Project) -> None:
    """Builds the index of a project, which a search on the primary then uses."""
    with psycopg.connect(primary, autocommit=True) as connection:
        connection.execute(f"ANALYZE embeddings_{project.id}".encode())
        connection.execute("SELECT pg_stat_force_next_flush()")
    await indexer.run_once(primary, IndexAims(threshold=100, memory=64 * 1024 * 1024))


async def until(ask: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if await ask() == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not {wanted!r} in a minute")


async def metric(api: httpx2.AsyncClient, name: str) -> float:
    text = (await api.get("/metrics", headers=ADMIN)).text
    found = re.search(rf"^embedding_service_{name} (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1])


async def test_reads_come_from_it(api: httpx2.AsyncClient, place: Project, standby: Standby) -> None:
    since = standby.ask("SELECT clock_timestamp()")
    asked_there = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'embedding-service' "
        f"AND query LIKE '%embeddings_{place.id}%' AND query_start > '{since}'"
    )
    headers = place.owner.headers
    answers = [
        await search(api, place),
        await api.get(place.embeddings, headers=headers),
        await api.get(place.embedding("003"), headers=headers),
        await api.get(place.similar("003"), params={"include": "text"}, headers=headers),
    ]
    assert [(one.status_code, one.headers.get("x-read-from")) for one in answers] == [(200, "replica")] * 4
    assert standby.ask(asked_there) > 0
    since = standby.ask("SELECT clock_timestamp()")
    asked = [
        await api.post(f"{place.similars}?threshold=-1", json=QUERY, headers={**headers, **PRIMARY}),
        await api.get(place.embeddings, headers={**headers, **PRIMARY}),
        await api.get(place.embedding("003"), headers={**headers, **PRIMARY}),
        await api.get(place.similar("003"), params={"include": "text"}, headers={**headers, **PRIMARY}),
    ]
    assert [one.headers.get("x-read-from") for one in asked] == [None] * 4
    assert [one.json() for one in asked] == [one.json() for one in answers]
    assert standby.ask(asked_there.partition("query_start")[0] + f"query_start > '{since}'") == 0
    assert await metric(api, "replica_used") == 1
    assert await metric(api, "replica_lag_seconds") < LAG_SECONDS


async def test_all_else_is_asked_of_the_primary(api: httpx2.AsyncClient, place: Project) -> None:
    headers = place.owner.headers
    answers = [
        await api.get(place.path, headers=headers),
        await api.get(f"/v1/projects/{place.owner.handle}", headers=headers),
        await api.post(place.embeddings, json=world.batch(world.row("new", [1, 2, 3])), headers=headers),
        await api.delete(place.embedding("new"), headers=headers),
        await api.get("/readyz"),
    ]
    assert [one.headers.get("x-read-from") for one in answers] == [None] * 5
    assert all(one.is_success for one in answers)


async def test_an_index_is_searched_on_it(api: httpx2.AsyncClient, place: Project, primary: str) -> None:
    await index(primary, place)
    await until(lambda: reads(api, place), "replica")  # which has the index then
    for _ in range(2):  # the second time it would be remembered
        answer = await search(api, place)
        assert answer.headers.get("x-read-from") == "replica"
        assert answer.json()["search"]["method"] == "index"
    on_primary = (await search(api, place, PRIMARY)).json()
    assert on_primary["search"]["method"] == "index"
    assert on_primary["results"] == answer.json()["results"]


async def test_an_index_that_it_does_not_have_yet(
    api: httpx2.AsyncClient, place: Project, standby: Standby, primary: str
) -> None:
    with standby.paused():
        await index(primary, place)
        for _ in range(2):
            answer = await search(api, place)
            assert "x-read-from" not in answer.headers
            assert answer.json()["search"]["method"] == "index"
    await until(lambda: reads(api, place), "replica")


async def test_one_that_is_behind(api: httpx2.AsyncClient, place: Project, standby: Standby) -> None:
    new = world.row("new", QUERY["vector"])
    with standby.paused():
        await world.upload(api, place, new)
        late = await search(api, place)
        assert late.headers["x-read-from"] == "replica"
        assert "new" not in [one["id"] for one in late.json()["results"]]
        # Who asks for the primary sees it at once; and what the replica does not know, the primary is asked for.
        fresh = await search(api, place, PRIMARY)
        assert "x-read-from" not in fresh.headers
        assert fresh.json()["results"][0]["id"] == "new"
        for path in (place.embedding("new"), place.similar("new")):
            assert (await api.get(path, headers=place.owner.headers)).status_code == 200
        named = await api.post(place.similars, json={"text_id": "new"}, headers=place.owner.headers)
        assert named.status_code == 200
        await until(lambda: reads(api, place), "primary")
        assert (await search(api, place)).json()["results"][0]["id"] == "new"
        assert await metric(api, "replica_used") == 0
        assert await metric(api, "replica_lag_seconds") > LAG_SECONDS
        assert (await api.get("/readyz")).status_code == 200
    await until(lambda: reads(api, place), "replica")
    assert (await search(api, place)).json()["results"][0]["id"] == "new"


async def test_a_project_that_it_does_not_have_yet(api: httpx2.AsyncClient, place: Project, standby: Standby) -> None:
    with standby.paused():
        new = await world.project(api, place.owner)
        await world.upload(api, new, world.row("a", [1, 2, 3]))
        assert [one["id"] for one in (await search(api, new)).json()["results"]] == ["a"]
        page = await api.get(new.embeddings, headers=new.owner.headers)
        assert [one["text_id"] for one in page.json()["embeddings"]] == ["a"]
        gone = await api.delete(place.path, headers=place.owner.headers)
        assert gone.status_code == 204
        assert (await search(api, place)).status_code == 404


@pytest.mark.parametrize("is_indexed", [True, False])
async def test_access_is_the_primarys(
    api: httpx2.AsyncClient, place: Project, standby: Standby, primary: str, is_indexed: bool
) -> None:
    if is_indexed:  # then the primary is asked for access in the search itself, and the replica must not be
        await index(primary, place)
        for _ in range(2):  # so that it is remembered
            assert (await search(api, place, PRIMARY)).json()["search"]["method"] == "index"
    reader, stranger = await world.user(api, ADMIN), await world.user(api, ADMIN)
    shares = f"{place.path}/share"
    given = {"share_with_handle": reader.handle, "role": "reader"}
    assert (await api.post(shares, json=given, headers=place.owner.headers)).is_success
    shared = f"SELECT count(*) FROM users_projects WHERE user_handle = '{reader.handle}'"  # the last that is done
    while not standby.ask(shared):
        await asyncio.sleep(0.02)
    with standby.paused():
        answer = await search(api, place, reader.headers)
        assert (answer.status_code, answer.headers.get("x-read-from")) == (200, "replica")
        assert (await search(api, place, stranger.headers)).status_code == 403
        withdrawn = await api.delete(f"{shares}/{reader.handle}", headers=place.owner.headers)
        assert withdrawn.status_code == 204
        assert (await search(api, place, reader.headers)).status_code == 403
        assert (await api.get(place.embeddings, headers=reader.headers)).status_code == 403
        given = {"share_with_handle": stranger.handle, "role": "reader"}
        assert (await api.post(shares, json=given, headers=place.owner.headers)).is_success
        answer = await search(api, place, stranger.headers)
        assert (answer.status_code, answer.headers.get("x-read-from")) == (200, "replica")


async def searching(api: httpx2.AsyncClient, place: Project, done: asyncio.Event) -> dict[str, int]:
    """Searches until it is done; how often who answered. All are answered, and well."""
    counts: dict[str, int] = {}
    while not done.is_set():
        answer = await search(api, place)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["results"]) == 10
        source = answer.headers.get("x-read-from", "primary")
        counts[source] = counts.get(source, 0) + 1
    return counts


async def test_it_goes_away_and_comes_back(api: httpx2.AsyncClient, place: Project, standby: Standby) -> None:
    done = asyncio.Event()
    clients = [asyncio.create_task(searching(api, place, done)) for _ in range(6)]
    for noticed in (True, False):  # before it is back
        await asyncio.sleep(0.3)
        await asyncio.to_thread(standby.stop)
        assert await reads(api, place) == "primary"
        if noticed:
            await until(lambda: metric(api, "replica_used"), 0)
        assert (await api.get("/readyz")).status_code == 200
        await asyncio.to_thread(standby.start)
        await until(lambda: reads(api, place), "replica")
    done.set()
    counts = await asyncio.gather(*clients)
    assert all(one["replica"] > 0 and one["primary"] > 0 for one in counts), counts


async def test_it_does_not_answer(api: httpx2.AsyncClient, place: Project, standby: Standby) -> None:
    done = asyncio.Event()
    clients = [asyncio.create_task(searching(api, place, done)) for _ in range(6)]
    await asyncio.sleep(0.3)
    with standby.frozen():
        begin = time.monotonic()
        assert await asyncio.wait_for(reads(api, place), 60) == "primary"
        assert time.monotonic() - begin < 15  # a statement may take 30
        await until(lambda: reads(api, place), "primary")
        assert await metric(api, "replica_used") == 0
    await until(lambda: reads(api, place), "replica")
    done.set()
    await asyncio.gather(*clients)


@asynccontextmanager
async def one_name_for(*servers: Standby) -> AsyncIterator[str]:
    """The URL of a port that leads to these servers in turn, or to the one that is there."""
    turn = itertools.count()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(turn)
        for number in range(len(servers)):
            path = servers[(first + number) % len(servers)].socket / ".s.PGSQL.5432"
            with contextlib.suppress(OSError):
                there = await asyncio.open_unix_connection(path)
                await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
                return
        writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    yield f"postgresql://postgres@127.0.0.1:{server.sockets[0].getsockname()[1]}/postgres"
    server.close()


async def test_several_replicas_behind_one_name(primary: str) -> None:
    """Only the one whose lag is measured is read: another one may be late without anybody knowing."""
    folder = Path(parse_qs(urlsplit(primary).query)["host"][0]).parents[1]
    one, other = Standby(folder / "one", primary), Standby(folder / "other", primary)
    one.start()
    other.start()
    try:
        async with one_name_for(one, other) as name:
            config = settings_for(
                primary,
                service_database_read_url=name,
                service_read_lag_seconds=LAG_SECONDS,
                service_indexer=False,
                service_pool_size=4,
            )
            async with client_of(config) as api:
                made = await world.project(api, await world.user(api, ADMIN))
                await world.upload(api, made, *[world.row(f"{number}", each) for number, each in enumerate(VECTORS)])
                await until(lambda: counted(api, made), (10, "replica"))
                await asyncio.gather(*(search(api, made) for _ in range(40)))
                connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'embedding-service'"
                used, unused = sorted((one, other), key=lambda each: -int(each.ask(connections)))
                assert used.ask(connections) >= 2

                async def of_the_other() -> int:
                    return int(unused.ask(connections))

                await until(of_the_other, 0)  # those that it led to are closed again
                with unused.paused():
                    await world.upload(api, made, world.row("new", QUERY["vector"]))
                    await asyncio.sleep(LAG_SECONDS + 1)
                    for answer in await asyncio.gather(*(search(api, made) for _ in range(40))):
                        assert answer.headers.get("x-read-from") == "replica"
                        assert answer.json()["results"][0]["id"] == "new"
                    await asyncio.to_thread(used.stop)
                    for _ in range(15):  # the other one is late
                        answer = await search(api, made)
                        assert "x-read-from" not in answer.headers
                        assert answer.json()["results"][0]["id"] == "new"
                        await asyncio.sleep(0.2)
                await until(lambda: reads(api, made), "replica")
                assert (await search(api, made)).json()["results"][0]["id"] == "new"
                await asyncio.to_thread(used.start)
    finally:
        one.stop()
        other.stop()


async def test_what_replay_is_in_the_way_of(api: httpx2.AsyncClient, primary: str, standby: Standby) -> None:
    with psycopg.connect(primary, autocommit=True) as connection:
        connection.execute("CREATE TABLE conflict AS SELECT 1 AS one")
        replica = Replica(primary, standby.url, bound=60, size=2, statement_timeout=30)
        there = "SELECT count(*) FROM pg_class WHERE relname = 'conflict'"
        while not replica.is_used or not standby.ask(there):
            await replica.poll()

        async def sleepy(pool: Pool) -> Any:
            return await pool.fetchval("SELECT one FROM conflict, pg_sleep(20)")

        asking = asyncio.create_task(replica.ask(sleepy))
        while not standby.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            await asyncio.sleep(0.02)
        connection.execute("DROP TABLE conflict")
        with pytest.raises(Unanswered) as raised:
            await asyncio.wait_for(asking, 15)
        assert isinstance(raised.value.__cause__, asyncpg.SerializationError)
        while standby.ask(there):
            await asyncio.sleep(0.02)
        with pytest.raises(Unanswered) as raised:
            await replica.ask(sleepy)
        assert isinstance(raised.value.__cause__, asyncpg.UndefinedTableError)
        await replica.aclose()


async def test_what_is_no_replica(primary: str, standby: Standby) -> None:
    with psycopg.connect(primary, autocommit=True) as connection:
        connection.execute("CREATE DATABASE another TEMPLATE template0")
    nobody = f"postgresql://postgres@/postgres?{urlencode({'host': str(standby.socket.parent), 'port': 5432})}"
    for read_url, used in ((nobody, 0), (of_database(primary, "another"), 0), (primary, 1)):
        config = settings_for(primary, service_database_read_url=read_url, service_indexer=False)
        async with client_of(config) as client:
            made = await world.project(client, await world.user(client, ADMIN))
            await world.upload(client, made, world.row("a", [1, 2, 3]))
            assert await reads(client, made) == ("replica" if used else "primary")


async def test_a_primary_that_went_back(primary: str, standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby that took over, or a restored database, has not all that was written before."""
    replica = Replica(primary, standby.url, bound=LAG_SECONDS, size=1, statement_timeout=5)
    try:
        await replica.poll()
        position = replica._primary.position

        async def ahead() -> WalPosition:
            now = await position()
            return msgspec.structs.replace(now, position=now.position + 10**9)

        monkeypatch.setattr(replica._primary, "position", ahead)
        await replica.poll()
        monkeypatch.setattr(replica._primary, "position", position)
        end = time.monotonic() + LAG_SECONDS + 1
        while time.monotonic() < end:
            await asyncio.sleep(0.2)
            await replica.poll()
        assert replica.is_used, f"a lag of {replica.lag:.1f} s"
    finally:
        await replica.aclose()
