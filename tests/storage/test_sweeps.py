"""What a sweep of the indexer removes."""

from collections.abc import Callable

import pytest

from service.database.pool import open_pool
from service.queries import embeddings
from service.settings import IndexAims
from service.storage import indexer
from tests.support import factories

pytestmark = pytest.mark.slow

AIMS = IndexAims(threshold=100, memory=64 * 1024 * 1024)


async def test_old_deletions_and_those_of_deleted_projects(new_database: Callable[..., str]) -> None:
    url = new_database()
    async with await open_pool(url, size=2, statement_timeout=30) as pool:
        old, new, deleted = [await factories.filled(pool) for _ in range(3)]
        for number in (old, new, deleted):
            await factories.upsert(pool, number, {"a": [1, 2, 3]})
            await embeddings.delete_embedding(pool, project_id=number, text_ids=["a"])
        await pool.execute(
            "UPDATE embedding_deletions SET deleted_at = now() - interval '31 days' WHERE project_id = $1", old
        )
        await pool.execute("DELETE FROM projects WHERE project_id = $1", deleted)
        left = "SELECT array_agg(project_id ORDER BY project_id) FROM embedding_deletions"
        async with indexer.connecting(url) as connection:
            await indexer.poll(connection, AIMS, is_sweep=False)
            assert await pool.fetchval(left) == [old, new, deleted]
            await indexer.poll(connection, AIMS)
            assert await pool.fetchval(left) == [new]
