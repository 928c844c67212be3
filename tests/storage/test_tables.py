"""What deleted users leave behind is dropped, whoever else is at it."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest
from structlog.testing import capture_logs

from service.database.pool import Pool, open_pool
from service.queries import projects, users
from service.storage import tables
from tests.support import factories

pytestmark = pytest.mark.slow


async def orphan(pool: Pool) -> int:
    number = await factories.filled(pool)
    owner = await pool.fetchval("SELECT owner FROM projects WHERE project_id = $1", number)
    await users.delete_user(pool, user_handle=owner)
    return number


async def test_several_at_once(new_database: Callable[..., str]) -> None:
    async with await open_pool(new_database(), size=8, statement_timeout=30) as pool:
        for _ in range(20):
            await orphan(pool)
        assert len(await projects.get_orphaned_tables(pool)) == 20
        await asyncio.gather(*(tables.drop_orphans(pool) for _ in range(8)))
        assert await projects.get_orphaned_tables(pool) == []


async def test_one_in_use_is_left_for_later(url: str) -> None:
    async with (
        await open_pool(url, size=1, statement_timeout=30) as patient,
        await open_pool(url, size=2, statement_timeout=0.5) as pool,
    ):
        first, second = await orphan(patient), await orphan(patient)
        reader = await asyncpg.connect(url)
        async with reader.transaction():
            await reader.execute(f"SELECT FROM embeddings_{first}")
            with capture_logs() as logged:
                await tables.drop_orphans(pool)
            assert first in await projects.get_orphaned_tables(pool)
        later = [one for one in logged if one["event"] == "The table of a deleted project will be dropped later."]
        assert ("warning", first) in [(one["log_level"], one["project"]) for one in later]
        assert second not in [one["project"] for one in later]
        await reader.close()
        await tables.drop_orphans(patient)
        assert await projects.get_orphaned_tables(pool) == []
