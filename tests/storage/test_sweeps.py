"""Polls of the indexer, and what its sweeps remove."""

import asyncio
from collections.abc import Callable

import pytest
import structlog

from service.database.pool import Connection, open_pool
from service.probe import Signs
from service.queries import embeddings
from service.settings import IndexAims
from service.storage import indexer
from service.turns import beside
from tests.support import factories

pytestmark = pytest.mark.slow

AIMS = IndexAims(threshold=100, memory=64 * 1024 * 1024)


async def test_old_deletions_and_those_of_deleted_projects(url: str) -> None:
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


async def test_polls_go_on_after_an_unexpected_error(
    new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "SECONDS_BETWEEN_POLLS", 0.01)
    polls, is_again = 0, asyncio.Event()

    async def poll(connection: Connection) -> None:
        nonlocal polls
        polls += 1
        if polls == 1:
            raise ZeroDivisionError
        assert await connection.fetchval("SELECT 1") == 1
        is_again.set()

    with structlog.testing.capture_logs() as logged:
        async with beside(indexer._polling(new_database(), poll, Signs())), asyncio.timeout(30):
            await is_again.wait()
    # Beside what another service in this process may log.
    assert [one["event"] for one in logged].count("The indexer failed, and retries.") == 1
