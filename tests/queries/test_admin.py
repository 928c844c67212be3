"""Statements of sql/admin.sql on real rows."""

import asyncio
from typing import Any

import pytest

from service.database.pool import Connection, Pool
from service.queries import admin, api_standards, llm_definitions, projects, users
from tests.support import factories


class TestGetProjectsToCheck:
    async def test_pages_by_number(self, connection: Connection) -> None:
        numbers = [await factories.filled(connection, metadata_scheme="{}") for _ in range(3)]
        before = numbers[0] - 1
        rows = await admin.get_projects_to_check(connection, after=before, max_rows=2)
        assert [row.project_id for row in rows] == numbers[:2]
        assert (rows[0].metadata_scheme, rows[0].dimensions) == ("{}", 3)
        rows = await admin.get_projects_to_check(connection, after=numbers[1], max_rows=2)
        assert [row.project_id for row in rows] == numbers[2:]


class TestCountWrongDimensions:
    async def test_counts(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
        assert await admin.count_wrong_dimensions(connection, project_id=number, dimensions=3) == 0
        assert await admin.count_wrong_dimensions(connection, project_id=number, dimensions=2) == 2


class TestGetMetadataToCheck:
    async def test_pages_by_text_id(self, connection: Connection, number: int) -> None:
        metadata: list[Any] = [{"k": 1}, None, {"k": 3}]
        await factories.upsert(connection, number, {text_id: [1, 2, 3] for text_id in "abc"}, metadata=metadata)

        async def page(after: str, max_rows: int, max_bytes: int) -> list[tuple[str, bytes]]:
            rows = await admin.get_metadata_to_check(
                connection, project_id=number, after=after, max_rows=max_rows, max_bytes=max_bytes
            )
            return [(row.text_id, row.metadata) for row in rows]

        all_rows = [("a", b'{"k": 1}'), ("b", b"{}"), ("c", b'{"k": 3}')]
        assert await page("", 9, 1000) == all_rows
        assert await page("a", 1, 1000) == all_rows[1:2]
        assert await page("", 9, 0) == all_rows[:1]
        assert await page("", 9, 8) == all_rows[:2]
        assert await page("c", 9, 1000) == []


class TestGetInvalidIndexes:
    async def test_an_interrupted_build(self, connection: Connection, number: int) -> None:
        assert await admin.get_invalid_indexes(connection) == []
        await connection.execute(f"CREATE INDEX broken ON embeddings_{number} (sequence)")
        await connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass")
        assert await admin.get_invalid_indexes(connection) == ["broken"]


class TestDescribeDatabase:
    async def test_versions_and_size(self, connection: Connection) -> None:
        found = await admin.describe_database(connection)
        assert int(found.postgresql.partition(".")[0]) >= 15
        assert found.pgvector.startswith("0.")
        assert found.database_bytes > 1_000_000

    async def test_counts(self, connection: Connection) -> None:
        before = await admin.describe_database(connection)
        number = await factories.filled(connection)
        await connection.execute("UPDATE embedding_counts SET embeddings = 7 WHERE project_id = $1", number)
        after = await admin.describe_database(connection)
        assert (after.users, after.projects) == (before.users + 1, before.projects + 1)
        assert after.instances == before.instances + 1
        assert after.embeddings == (before.embeddings or 0) + 7
        await factories.upsert(connection, number, {f"t{n}": [1, 2, 3] for n in range(5)})  # not added up yet
        assert (await admin.describe_database(connection)).embeddings == after.embeddings + 5
        await connection.execute("UPDATE embedding_counts SET embeddings = NULL WHERE project_id = $1", number)
        assert (await admin.describe_database(connection)).embeddings is None


class TestGetTableSizes:
    async def test_in_the_order_of_the_projects(self, connection: Connection) -> None:
        empty, filled = await factories.filled(connection), await factories.filled(connection)
        await factories.upsert(connection, filled, {f"t{n}": [1, 2, 3] for n in range(1000)})
        large, none, small = await admin.get_table_sizes(connection, project_ids=[filled, -1, empty])
        assert large > small > none == 0


class TestGetBuilds:
    @pytest.mark.parametrize(("name", "kind"), [("hnsw", "graph"), ("tail", "tail"), ("terms", "metadata")])
    async def test_what_is_being_built(self, pool: Pool, name: str, kind: str) -> None:
        number = await factories.filled(pool)
        await factories.upsert(pool, number, {f"t{n}": [n + 1, 2, 3] for n in range(100)})
        assert number not in [one.project_id for one in await admin.get_builds(pool, max_rows=9)]
        async with pool.acquire() as writer, pool.acquire() as builder:
            transaction = writer.transaction()
            await transaction.start()
            # A concurrent build waits for those who have written before it.
            await factories.upsert(writer, number, {"t": [1, 2, 3]})
            index = f"embeddings_{number}_{name}_7"
            building = asyncio.ensure_future(
                builder.execute(f"CREATE INDEX CONCURRENTLY {index} ON embeddings_{number} (sequence)")
            )
            found: list[admin.Build] = []
            while not found and not building.done():
                await asyncio.sleep(0.01)
                found = [one for one in await admin.get_builds(pool, max_rows=9) if one.project_id == number]
            await transaction.rollback()
            await building
        await pool.execute(f"DROP INDEX {index}")
        (build,) = found
        assert (build.kind, build.progress) == (kind, 0)
        assert build.seconds >= 0


class TestGetProjectsBelowRecall:
    async def test_by_their_best_recall(self, connection: Connection) -> None:
        low, high = await factories.filled(connection, handle="low"), await factories.filled(connection, handle="high")
        for number, recalls in ((low, [0.5, 0.9]), (high, [0.5, 0.99])):
            await connection.execute(
                "INSERT INTO project_indexes (project_id, watermark, indexed_rows, ef_searches, recalls) "
                "VALUES ($1, 1, 1, '{1,2}', $2)",
                number,
                recalls,
            )
        owner = await connection.fetchval("SELECT owner FROM projects WHERE project_id = $1", low)
        assert f"{owner}/low" in await admin.get_projects_below_recall(connection, recall=0.99)
        assert all(
            not name.endswith("/high") for name in await admin.get_projects_below_recall(connection, recall=0.99)
        )


class TestCountUnmigratedEmbeddings:
    async def test_counts_by_project_and_reason_and_goes_with_the_project(
        self, connection: Connection, number: int
    ) -> None:
        assert await admin.count_unmigrated_embeddings(connection) == []
        for obstacle in (None, "no text_id", "no text_id"):
            await connection.execute(
                "INSERT INTO embeddings_unmigrated (owner, project_id, instance_id, vector, vector_dim, obstacle) "
                "VALUES ('anna', $1, 1, '[1]', 1, $2)",
                number,
                obstacle,
            )
        found = await admin.count_unmigrated_embeddings(connection)
        assert [(one.obstacle, one.embeddings) for one in found] == [("no text_id", 2), (None, 1)]
        await connection.execute("DELETE FROM projects WHERE project_id = $1", number)
        assert await connection.fetchval("SELECT count(*) FROM embeddings_unmigrated") == 0


class TestLockAll:
    async def test_reading_goes_on(self, connection: Connection) -> None:
        await admin.lock_all(connection)
        held = "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = ANY ($1::regclass[]::oid[])"
        tables = ["users", "projects", "llm_service_instances", "llm_service_definitions"]
        assert await connection.fetchval(held, tables) == 4


class TestDeleteAll:
    async def test_all_but_the_system(self, connection: Connection, number: int) -> None:
        await factories.instance(connection, "_system", "used")
        used = await factories.project(connection, "_system", "used")
        await connection.execute("UPDATE projects SET owner = '_system' WHERE project_id = $1", number)
        owned = await factories.filled(connection)
        await admin.delete_all(connection)
        assert await users.get_all_users(connection, search="", max_rows=9, skip=0) == ["_system"]
        left = await admin.describe_database(connection)
        assert (left.users, left.projects, left.instances) == (0, 0, 0)
        assert {number, used, owned} <= set(await projects.get_orphaned_tables(connection))
        built_in = await llm_definitions.get_llm_definitions_by_user(connection, user_handle="x", max_rows=9, skip=0)
        assert len(built_in) == 6


class TestDeleteCustomAPIStandards:
    async def test_the_built_in_ones_stay(self, connection: Connection) -> None:
        await api_standards.upsert_api_standard(
            connection,
            api_standard_handle="mine",
            description="d",
            key_method="query_param",
            key_field="k",
            dialect=None,
        )
        await admin.delete_custom_api_standards(connection)
        rows = await api_standards.get_api_standards(connection, max_rows=99, skip=0)
        assert [row.api_standard_handle for row in rows] == sorted(
            ["azure-openai", "cohere", "gemini", "jina", "local", "mistral", "ollama", "openai", "tei", "voyage"]
        )
