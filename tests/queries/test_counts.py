"""Statements of sql/counts.sql."""

import asyncpg
import pytest

from service.database.pool import Connection, Pool
from service.queries import counts, embeddings
from tests.support import factories


class TestFoldCounts:
    async def test_adds_what_statements_did(self, connection: Connection) -> None:
        number, other = await factories.filled(connection), await factories.filled(connection)
        await factories.upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
        await factories.upsert(connection, number, {"a": [3, 2, 1], "b": [1, 2, 3], "c": [1, 2, 3]})
        await factories.upsert(connection, number, {"a": [3, 2, 1]})
        await embeddings.delete_embedding(connection, project_id=number, text_ids=["b"])
        await embeddings.delete_embedding(connection, project_id=number, text_ids=["none"])
        assert await factories.counted(connection, number) == (0, 0, False)
        assert await factories.count(connection, number) == 2
        for _ in range(2):
            await counts.fold_counts(connection, threshold=2)
            assert await factories.counted(connection, number) == (2, 5, True)
            assert await factories.count(connection, number) == 2
        assert await factories.counted(connection, other) == (0, 0, False)
        assert await factories.count(connection, other) == 0

    async def test_small_projects_are_not_looked_at(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {"a": [1, 2, 3]})
        await counts.fold_counts(connection, threshold=2)
        assert await factories.counted(connection, number) == (1, 1, False)

    async def test_emptying_begins_anew(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {"a": [1, 2, 3]})
        await counts.fold_counts(connection, threshold=1)
        await factories.upsert(connection, number, {"b": [1, 2, 3]})
        await embeddings.delete_embeddings_by_project(connection, project_id=number)
        await factories.upsert(connection, number, {"c": [1, 2, 3]})
        assert await factories.count(connection, number) == 1
        await counts.fold_counts(connection, threshold=1)
        assert await factories.counted(connection, number) == (1, 4, True)

    async def test_does_not_wait_for_one_that_is_locked(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, _ = filled
        async with pool.acquire() as other, other.transaction():
            await counts.lock_count(other, project_id=number)
            await counts.fold_counts(pool, threshold=1)
            assert await factories.counted(pool, number) == (0, 0, False)
            assert await factories.count(pool, number) == 40  # type: ignore[arg-type]
        await counts.fold_counts(pool, threshold=1)
        assert await factories.counted(pool, number) == (40, 40, True)

    @pytest.mark.parametrize("way", ["INSERT", "UPDATE", "DELETE", "TRUNCATE"])
    async def test_what_others_write_is_not_miscounted(self, connection: Connection, number: int, way: str) -> None:
        await factories.upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
        await counts.fold_counts(connection, threshold=20)
        table, expected = f"embeddings_{number}", {"INSERT": 3, "UPDATE": 2, "DELETE": 1, "TRUNCATE": 0}[way]
        await connection.execute("SET LOCAL embedding_service.counts = ''")  # as in a session of an older version
        await connection.execute(
            {
                "INSERT": f"INSERT INTO {table} (project_id, text_id, vector) VALUES ({number}, 'z', '[1,2,3]')",
                "UPDATE": f"UPDATE {table} SET sequence = 0",
                "DELETE": f"DELETE FROM {table} WHERE text_id = 'a'",
                "TRUNCATE": f"TRUNCATE {table}",
            }[way]
        )
        await connection.execute("SET LOCAL embedding_service.counts = 'on'")
        assert await factories.count(connection, number) == expected
        await factories.upsert(connection, number, {"y": [1, 2, 3]})
        assert await factories.count(connection, number) == expected + 1
        await counts.fold_counts(connection, threshold=20)
        assert await factories.counted(connection, number) == (None, 4, True)
        assert await factories.count(connection, number) == expected + 1


class TestGetUncounted:
    async def test_those_that_an_older_version_made(self, connection: Connection) -> None:
        one, _ = await factories.filled(connection), await factories.filled(connection)
        assert await counts.get_uncounted(connection) == []
        await connection.execute(
            "UPDATE embedding_counts SET embeddings = NULL, to_index = true WHERE project_id = $1", one
        )
        assert await counts.get_uncounted(connection) == [one]


class TestLockEmbeddings:
    async def test_an_emptying_waits(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, _ = filled
        async with pool.acquire() as other, other.transaction():
            await counts.lock_embeddings(other, project_id=number)
            async with pool.acquire() as emptying, emptying.transaction():
                await emptying.execute("SET LOCAL lock_timeout = '50ms'")
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await emptying.execute(f"TRUNCATE embeddings_{number}")
            assert await factories.count(pool, number) == 40  # type: ignore[arg-type]


class TestLockCount:
    async def test_is_none_for_a_deleted_project(self, connection: Connection, number: int) -> None:
        assert await counts.lock_count(connection, project_id=number) == number
        assert await counts.lock_count(connection, project_id=2_000_000_000) is None

    async def test_does_not_wait(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, _ = filled
        async with pool.acquire() as one, pool.acquire() as other, one.transaction(), other.transaction():
            assert await counts.lock_count(one, project_id=number) == number
            assert await counts.lock_count(other, project_id=number) is None


class TestRecount:
    async def test_counts_each_row_once(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
        await connection.execute(
            "UPDATE embedding_counts SET embeddings = NULL, to_index = true WHERE project_id = $1", number
        )
        await counts.lock_count(connection, project_id=number)
        await counts.recount(connection, project_id=number)
        assert await factories.counted(connection, number) == (2, 2, True)
        await factories.upsert(connection, number, {"c": [1, 2, 3]})
        assert await factories.count(connection, number) == 3
        await counts.fold_counts(connection, threshold=20)
        assert await factories.counted(connection, number) == (3, 3, False)


class TestDropStrayDeltas:
    async def test_drops_those_of_deleted_projects(self, connection: Connection) -> None:
        gone, stays = await factories.filled(connection), await factories.filled(connection)
        for number in (gone, stays):
            await factories.upsert(connection, number, {"a": [1, 2, 3]})
        await connection.execute("DELETE FROM projects WHERE project_id = $1", gone)
        await counts.drop_stray_deltas(connection)
        left = await connection.fetch("SELECT project_id FROM embedding_count_deltas ORDER BY project_id")
        assert gone not in [row[0] for row in left]
        assert await factories.count(connection, stays) == 1
