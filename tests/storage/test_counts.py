"""The number of embeddings, told without counting: right at any moment, whoever writes meanwhile."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from service.database.pool import Pool, open_pool
from service.queries import counts, embeddings, users
from service.settings import IndexAims
from service.storage import builds, indexer, tables
from service.turns import beside
from tests.support import factories

pytestmark = pytest.mark.slow

AIMS = IndexAims(threshold=100, memory=64 * 1024 * 1024)
BOTH = "SELECT count_embeddings({0}), (SELECT count(*) FROM embeddings_{0})"  # of one snapshot


@pytest.fixture
async def place(new_database: Callable[..., str]) -> AsyncIterator[tuple[Pool, str]]:
    url = new_database()
    async with await open_pool(url, size=12, statement_timeout=30) as pool:
        yield pool, url


async def write(pool: Pool, url: str, number: int, seed: int) -> None:
    """Uploads, changes, deletes and empties, as clients do; and writes by hand, as nobody should."""
    chance = random.Random(seed)
    older = await asyncpg.connect(url)
    for _ in range(40):
        ids = sorted({f"{chance.randrange(300):03}" for _ in range(20)})
        what = chance.random()
        if what < 0.6:
            await factories.upsert(pool, number, {one: [1, 2, chance.randrange(1, 9)] for one in ids})
        elif what < 0.85:
            await embeddings.delete_embedding(pool, project_id=number, text_ids=ids[:1])
        elif what < 0.95:
            await older.execute(f"DELETE FROM embeddings_{number} WHERE text_id = $1", ids[0])
        else:
            await embeddings.delete_embeddings_by_project(pool, project_id=number)
    await older.close()


async def test_at_any_moment(place: tuple[Pool, str], monkeypatch: pytest.MonkeyPatch) -> None:
    pool, url = place
    monkeypatch.setattr(indexer, "SECONDS_BETWEEN_POLLS", 0.01)
    numbers = [await factories.filled(pool) for _ in range(2)]
    looks = 0
    async with beside(indexer.run(url, AIMS)), beside(indexer.run(url, AIMS)):
        while looks <= 50:  # on a loaded machine there is less time to look in
            seeds = enumerate(numbers * 3, start=looks)
            writing = asyncio.gather(*(write(pool, url, number, seed) for seed, number in seeds))
            while not writing.done():
                for number in numbers:
                    told, there = await pool.fetchrow(BOTH.format(number))
                    assert told == there
                    looks += 1
            await writing
    async with indexer.connecting(url) as connection:
        await indexer.poll(connection, AIMS)
        assert await connection.fetchval("SELECT count(*) FROM embedding_count_deltas") == 0
        for number in numbers:
            folded = "SELECT embeddings FROM embedding_counts WHERE project_id = $1"
            there = await connection.fetchval(f"SELECT count(*) FROM embeddings_{number}")
            assert await connection.fetchval(folded, number) == there == await factories.count(connection, number)


async def test_deltas_are_added_up_during_a_long_build(
    place: tuple[Pool, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, url = place
    monkeypatch.setattr(indexer, "SECONDS_BETWEEN_POLLS", 0.05)
    building, other = await factories.filled(pool), await factories.filled(pool)
    begun = asyncio.Event()

    async def build(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(builds, "build", build)
    async with beside(indexer.run(url, AIMS)):
        await factories.upsert(pool, building, {f"{row}": [1, 2, row + 1] for row in range(200)})
        async with asyncio.timeout(20):
            await begun.wait()
            await factories.upsert(pool, other, {"a": [1, 2, 3]})
            while await pool.fetchval("SELECT count(*) FROM embedding_count_deltas"):
                await asyncio.sleep(0.05)
    assert await factories.count(pool, other) == 1


async def test_users_are_deleted_while_deltas_are_added_up(place: tuple[Pool, str]) -> None:
    """Neither waits for locks of the other in a circle."""
    pool, url = place
    owner = await factories.user(pool)
    await factories.instance(pool, owner, "inst")
    numbers = [await factories.project(pool, owner, "inst", f"p{place}") for place in range(30)]
    done = asyncio.Event()

    async def fold() -> None:
        async with indexer.connecting(url) as connection:
            while not done.is_set():
                await counts.fold_counts(connection, threshold=1)

    async def upload(number: int) -> None:
        for row in range(50):
            try:
                await factories.upsert(pool, number, {f"{row}": [1, 2, 3]})
            except asyncpg.UndefinedTableError:
                return

    folding = [asyncio.create_task(fold()) for _ in range(2)]
    uploading = asyncio.gather(*(upload(number) for number in numbers[:6]))
    await asyncio.sleep(0.1)
    await users.delete_user(pool, user_handle=owner)
    await tables.drop_orphans(pool)
    await uploading
    done.set()
    await asyncio.gather(*folding)
    assert await pool.fetchval("SELECT count(*) FROM embedding_counts WHERE project_id = ANY ($1)", numbers) == 0
    await counts.drop_stray_deltas(pool)
    assert await pool.fetchval("SELECT count(*) FROM embedding_count_deltas") == 0
