"""Statements of sql/changes.sql on real rows."""

from typing import Any

from service.database.pool import Connection, Pool
from service.queries import changes, embeddings
from service.queries.changes import ChangeRow
from tests.support import digests, factories
from tests.support.factories import upsert

DELETIONS = 20_000
LAST_PROJECT = 2**31 - 1  # is never created


async def changed(connection: Connection, number: int, after: int = 0, **overrides: Any) -> list[ChangeRow]:
    values = {"up_to": 2**62, "max_rows": 100, "max_bytes": 10**6}
    parts = dict.fromkeys(("with_vector", "with_text", "with_metadata"), True)
    return await changes.get_changes(connection, project_id=number, after=after, **{**values, **parts, **overrides})


async def delete(connection: Connection, number: int, *text_ids: str) -> None:
    await embeddings.delete_embeddings(
        connection, project_id=number, by_ids=1, text_ids=text_ids, only=None, is_dry_run=False, max_ids=9
    )


async def add_deletions(connection: Connection, number: int, count: int, *, days_ago: int) -> None:
    await connection.execute(
        "INSERT INTO embedding_deletions (project_id, text_id, deleted_at) "
        "SELECT $1, 'text ' || place, now() - make_interval(days => $3) FROM generate_series(1, $2) AS place",
        number, count, days_ago,
    )  # fmt: skip
    await connection.execute("ANALYZE embedding_deletions")


async def deletions_of(connection: Connection, number: int) -> int:
    count = "SELECT count(*) FROM embedding_deletions WHERE project_id = $1"
    return int(await connection.fetchval(count, number))


async def deletions_read(connection: Connection) -> int:
    """The number of rows of the table that this transaction has read."""
    return int(
        await connection.fetchval(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'embedding_deletions'"
        )
    )


class TestRetrieveLogState:
    async def test_a_new_project_has_a_log_from_the_beginning(self, connection: Connection, number: int) -> None:
        before = await changes.retrieve_log_state(connection, project_id=number)
        assert before.begins == before.last_sequence
        assert before.log is not None
        await upsert(connection, number, {"a": [1, 2, 3]})
        after = await changes.retrieve_log_state(connection, project_id=number)
        (row,) = await changed(connection, number)
        assert before.last_sequence < row.sequence == after.last_sequence

    async def test_emptying_a_project_begins_the_log_anew(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
        await delete(connection, number, "b")
        before = await changes.retrieve_log_state(connection, project_id=number)
        await embeddings.delete_embeddings_by_project(connection, project_id=number)
        state = await changes.retrieve_log_state(connection, project_id=number)
        assert state.begins == state.last_sequence > before.last_sequence
        assert state.log != before.log
        assert await changed(connection, number) == []


class TestGetWriters:
    async def test_this_transaction_when_it_has_written(self, connection: Connection, number: int) -> None:
        mine = await connection.fetchval("SELECT virtualtransaction FROM pg_locks WHERE pid = pg_backend_pid() LIMIT 1")
        await upsert(connection, number, {"a": [1, 2, 3]})
        assert await changes.get_writers(connection, project_id=number) == [mine]
        assert await changes.get_writers(connection, project_id=number + 1_000_000) == []


class TestMakeSequencesDurable:
    async def test_writes_to_the_log_of_the_database(self, pool: Pool) -> None:
        position = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        before = await pool.fetchval(position)
        await changes.make_sequences_durable(pool)
        assert await pool.fetchval(position) > before


class TestGetChanges:
    async def test_each_with_its_last_change_in_order(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a": [1, 2, 3], "b": [4, 5, 6], "c": [7, 8, 9]}, texts=["x", "y", "z"])
        (last,) = (await changed(connection, number))[-1:]
        await upsert(connection, number, {"a": [3, 2, 1]})
        await delete(connection, number, "b")
        rows = await changed(connection, number)
        assert [(row.text_id, row.deleted) for row in rows] == [("c", False), ("a", False), ("b", True)]
        assert [row.sequence for row in rows] == sorted(row.sequence for row in rows)
        assert [row.text_id for row in await changed(connection, number, after=last.sequence)] == ["a", "b"]
        assert rows[1].vector is not None
        assert rows[1].vector.to_list() == [3, 2, 1]
        assert (rows[1].text, rows[2].vector, rows[2].created_at) == ("x", None, None)

    async def test_between_two_sequences_and_no_more_than_asked(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {name: [1, 2, 3] for name in "abcd"})
        first, second, third, _ = (row.sequence for row in await changed(connection, number))
        assert [row.text_id for row in await changed(connection, number, after=first, up_to=third)] == ["b", "c"]
        assert [row.sequence for row in await changed(connection, number, max_rows=2)] == [first, second]

    async def test_leaves_out_what_was_not_asked_for_or_is_too_much(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a": [1, 2, 3]}, texts=["x" * 100], metadata=[{"k": 1}])
        (row,) = await changed(connection, number, with_vector=False, with_text=False, with_metadata=False)
        assert (row.vector, row.text, row.metadata, row.size) == (None, None, None, 0)
        (row,) = await changed(connection, number, max_bytes=50)
        assert (row.text, row.metadata, row.size) == (None, None, 108)


class TestGetDigests:
    async def test_those_of_the_documentation(self, connection: Connection, number: int) -> None:
        metadata = {"bb": [1.5, True, None], "a": 'ü\n\x1f"\\'}
        await upsert(
            connection, number, {"b": [1, 1, 1], "ä": [0.1, 2, 3]}, texts=[None, "größe"], metadata=[None, metadata]
        )
        page = await changes.get_digests(connection, project_id=number, after=None, buckets=None, max_rows=9)
        written = '{"a": "ü\\n\\u001f\\"\\\\", "bb": [1.5, true, null]}'
        expected = [digests.vector("ä", [0.1, 2, 3]), digests.text("ä", "größe"), digests.metadata("ä", written)]
        assert (page.text_ids, page.texts[0], page.metadata[0]) == (["b", "ä"], None, None)
        assert page.vectors[0] == f"{digests.vector('b', [1, 1, 1]):016x}"
        assert [page.vectors[1], page.texts[1], page.metadata[1]] == [f"{one:016x}" for one in expected]

    async def test_pages_and_buckets(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {name: [1, 2, 3] for name in "abcd"})

        async def ids(after: str | None, buckets: list[int] | None, max_rows: int) -> list[str]:
            page = await changes.get_digests(
                connection, project_id=number, after=after, buckets=buckets, max_rows=max_rows
            )
            return page.text_ids

        assert await ids("a", None, 2) == ["b", "c"]
        assert await ids(None, [digests.bucket("d"), digests.bucket("b")], 9) == ["b", "d"]
        assert await ids("b", [digests.bucket("d"), digests.bucket("b")], 9) == ["d"]
        assert await ids(None, [], 9) == []


class TestGetBucketDigests:
    async def test_the_digests_of_a_bucket_combined(self, connection: Connection, number: int) -> None:
        ids = [f"id-{place}" for place in range(3000)]
        vectors = {text_id: [1, 2, place] for place, text_id in enumerate(ids)}
        await upsert(connection, number, vectors, texts=["t"] * 3000, metadata=[{}] * 3000)
        expected: dict[int, tuple[int, int, int, int]] = {}
        for text_id in ids:
            rows, vector, text, metadata = expected.get(digests.bucket(text_id), (0, 0, 0, 0))
            expected[digests.bucket(text_id)] = (
                rows + 1,
                vector ^ digests.vector(text_id, vectors[text_id]),
                text ^ digests.text(text_id, "t"),
                metadata ^ digests.metadata(text_id, "{}"),
            )
        found = await changes.get_bucket_digests(connection, project_id=number, after=None, max_rows=5000)
        assert {
            row.bucket: (row.rows, int(row.vectors, 16), int(row.texts, 16), int(row.metadata, 16)) for row in found
        } == expected
        assert max(row.last_text_id for row in found) == max(ids)
        some = await changes.get_bucket_digests(connection, project_id=number, after="id-2", max_rows=7)
        assert sum(row.rows for row in some) == 7
        assert max(row.last_text_id for row in some) == sorted(ids)[sorted(ids).index("id-2") + 7]


class TestForgetDeletions:
    async def test_the_log_begins_behind_those_that_are_forgotten(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {name: [1, 2, 3] for name in "abcd"})
        await delete(connection, number, "a")
        await delete(connection, number, "b")
        first, second = (row.sequence for row in (await changed(connection, number))[-2:])
        old = "UPDATE embedding_deletions SET deleted_at = now() - interval '31 days' WHERE sequence = $1"
        await connection.execute(old, first)
        await changes.forget_deletions(connection, days=30)
        assert [row.sequence for row in await changed(connection, number) if row.deleted] == [second]
        assert (await changes.retrieve_log_state(connection, project_id=number)).begins == first

    async def test_only_old_deletions_are_read(self, connection: Connection, number: int) -> None:
        await add_deletions(connection, number, DELETIONS, days_ago=1)
        await add_deletions(connection, number, 10, days_ago=31)
        before = await deletions_read(connection)
        await changes.forget_deletions(connection, days=30)
        assert 10 <= await deletions_read(connection) - before < 100
        assert await deletions_of(connection, number) == DELETIONS


class TestGetDeletedProjectsInLogs:
    async def test_of_deleted_projects(self, connection: Connection) -> None:
        numbers = [await factories.filled(connection) for _ in range(4)]
        for number in numbers:
            await upsert(connection, number, {"a": [1, 2, 3]})
            await delete(connection, number, "a")
        for number in (numbers[0], numbers[2]):
            await connection.execute("DELETE FROM projects WHERE project_id = $1", number)
        assert await changes.get_deleted_projects_in_logs(connection) == [numbers[0], numbers[2]]

    async def test_without_deletions(self, connection: Connection) -> None:
        await connection.execute("DELETE FROM embedding_deletions")
        assert await changes.get_deleted_projects_in_logs(connection) == []

    async def test_not_all_deletions_are_read(self, connection: Connection) -> None:
        await add_deletions(connection, await factories.filled(connection), DELETIONS, days_ago=1)
        await add_deletions(connection, LAST_PROJECT, 10, days_ago=1)
        before = await deletions_read(connection)
        assert await changes.get_deleted_projects_in_logs(connection) == [LAST_PROJECT]
        assert await deletions_read(connection) - before < 100


class TestForgetLogs:
    async def test_only_the_deletions_of_the_projects_are_read(self, connection: Connection, number: int) -> None:
        await add_deletions(connection, number, DELETIONS, days_ago=1)
        await add_deletions(connection, LAST_PROJECT, 10, days_ago=1)
        before = await deletions_read(connection)
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")  # as in the indexer
        await changes.forget_logs(connection, project_ids=[LAST_PROJECT])
        assert 10 <= await deletions_read(connection) - before < 100
        assert [await deletions_of(connection, one) for one in (number, LAST_PROJECT)] == [DELETIONS, 0]
