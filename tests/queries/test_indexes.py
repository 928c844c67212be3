"""Statements of sql/indexes.sql. Those that build and drop indexes cannot run in a transaction, and use the pool."""

import asyncio
import time
from typing import get_args

import asyncpg
import numpy as np
import pytest

from service.database.pool import Connection, Pool
from service.queries import counts, indexes
from service.queries.indexes import IndexKind
from tests.support import factories

LOCK = 5


async def names(pool: Pool, number: int) -> list[str]:
    rows = await pool.fetch(
        "SELECT indexname FROM pg_indexes WHERE tablename = $1 AND indexname !~ 'pkey' ORDER BY 1",
        f"embeddings_{number}",
    )
    return [row[0] for row in rows]


async def built(pool: Pool, number: int, watermark: int) -> None:
    await indexes.build_vector_index(pool, project_id=number, watermark=watermark, dimensions=3, m=16)
    await indexes.build_tail_index(pool, project_id=number, watermark=watermark)


async def log_of(connection: Connection, number: int) -> str:
    log = await connection.fetchval("SELECT log::text FROM embedding_counts WHERE project_id = $1", number)
    return log or "00000000-0000-0000-0000-000000000000"


async def switch(
    connection: Connection, number: int, watermark: int = 7, recall: float = 1.0, lists: int = 0, log: str | None = None
) -> int | None:
    log = log or await log_of(connection, number)
    return await indexes.switch_index(
        connection,
        project_id=number,
        log=log,
        watermark=watermark,
        indexed_rows=40,
        lists=lists,
        efforts=[40, 80],
        recalls=[0.9, recall],
        queries=100,
        recall_error=0.001,
        exact_seconds=0.2,
        m=32,
    )


class TestLockProjectIndex:
    async def test_one_session_at_a_time(self, pool: Pool) -> None:
        async with pool.acquire() as one, pool.acquire() as other:
            assert await indexes.lock_project_index(one, lock=LOCK, project_id=1)
            assert not await indexes.lock_project_index(other, lock=LOCK, project_id=1)
            assert await indexes.lock_project_index(other, lock=LOCK, project_id=2)
            assert await indexes.unlock_project_index(other, lock=LOCK, project_id=2)
            assert await indexes.unlock_project_index(one, lock=LOCK, project_id=1)


class TestUnlockProjectIndex:
    async def test_lets_others(self, pool: Pool) -> None:
        async with pool.acquire() as one, pool.acquire() as other:
            await indexes.lock_project_index(one, lock=LOCK, project_id=3)
            assert await indexes.unlock_project_index(one, lock=LOCK, project_id=3)
            assert await indexes.lock_project_index(other, lock=LOCK, project_id=3)
            assert await indexes.unlock_project_index(other, lock=LOCK, project_id=3)


class TestGetProjectsToIndex:
    async def test_large_ones_and_those_that_have_one(self, connection: Connection) -> None:
        small, large = [await factories.filled(connection) for _ in range(2)]
        for number, count in ((large, 30), (small, 2)):
            vectors = {f"{row}": [1.0, 2.0, 3.0] for row in range(count)}
            await factories.upsert(connection, number, vectors)

        async def found(*, all_projects: bool = False) -> list[int]:
            rows = await indexes.get_projects_to_index(connection, threshold=20, all_projects=all_projects)
            return [one for one in rows if one in (small, large)]

        assert await found() == []
        await counts.fold_counts(connection, threshold=20)
        assert await found() == [large]
        await switch(connection, small)
        assert await found() == [large]
        assert await found(all_projects=True) == [small, large]
        await factories.upsert(connection, small, {"0": [3.0, 2.0, 1.0]})
        await counts.fold_counts(connection, threshold=20)
        assert await found() == [small, large]


class TestRetrieveProjectToIndex:
    async def test_as_it_is_now(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
        await counts.fold_counts(connection, threshold=20)
        found = await indexes.retrieve_project_to_index(connection, project_id=number)
        assert found == indexes.ProjectToIndex(number, 3, 2, 2, await log_of(connection, number))
        await connection.execute("UPDATE embedding_counts SET embeddings = NULL WHERE project_id = $1", number)
        assert await indexes.retrieve_project_to_index(connection, project_id=number) is None


class TestNoteChecked:
    async def test_unless_it_has_changed_since(self, connection: Connection, number: int) -> None:
        for changes in (1, 2):
            await factories.upsert(connection, number, {f"{changes}": [1, 2, 3]})
            await counts.fold_counts(connection, threshold=1)
        await indexes.note_checked(connection, project_id=number, changes=1)
        assert await factories.counted(connection, number) == (2, 2, True)
        await indexes.note_checked(connection, project_id=number, changes=2)
        assert await factories.counted(connection, number) == (2, 2, False)


class TestGetStrayIndexes:
    async def test_all_but_the_current_ones(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        for other in (watermark, watermark - 1):
            await built(pool, number, other)
        await switch(pool, number, watermark)  # type: ignore[arg-type]
        found = [one for one in await indexes.get_stray_indexes(pool) if one.project_id == number]
        assert found == [
            indexes.StrayIndex(number, "hnsw", watermark - 1),
            indexes.StrayIndex(number, "tail", watermark - 1),
        ]


class TestGetNextWatermark:
    async def test_lies_between_what_is_there_and_what_comes(self, connection: Connection, number: int) -> None:
        highest = f"SELECT max(sequence) FROM embeddings_{number}"
        await factories.upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
        before = await connection.fetchval(highest)
        watermark = await indexes.get_next_watermark(connection)
        await factories.upsert(connection, number, {"a": [3, 2, 1]})
        assert before < watermark < await connection.fetchval(highest)


class TestCountRowsUpTo:
    async def test_counts(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        assert await indexes.count_rows_up_to(pool, project_id=number, watermark=watermark) == 40
        assert await indexes.count_rows_up_to(pool, project_id=number, watermark=watermark - 10) == 30


class TestCountTail:
    async def test_counts_up_to_a_limit(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        assert await indexes.count_tail(pool, project_id=number, watermark=watermark, max_rows=99) == 0
        assert await indexes.count_tail(pool, project_id=number, watermark=watermark - 10, max_rows=99) == 10
        assert await indexes.count_tail(pool, project_id=number, watermark=watermark - 10, max_rows=4) == 4


class TestBuildVectorIndex:
    async def test_builds(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await indexes.build_vector_index(pool, project_id=number, watermark=watermark, dimensions=3, m=16)
        assert await names(pool, number) == [f"embeddings_{number}_hnsw_{watermark}"]


class TestBuildTailIndex:
    async def test_builds(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await indexes.build_tail_index(pool, project_id=number, watermark=watermark)
        assert await names(pool, number) == [f"embeddings_{number}_tail_{watermark}"]


class TestDropIndex:
    async def test_drops_one_kind_if_it_is_there(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        index = {"project_id": number, "watermark": watermark}
        await built(pool, number, watermark)
        await indexes.build_coarse_index(pool, **index, dimensions=3, lists=4)
        await indexes.build_metadata_index(pool, **index)
        await indexes.build_terms_index(pool, **index)
        left = {f"embeddings_{number}_{kind}_{watermark}" for kind in get_args(IndexKind)}
        assert set(await names(pool, number)) == left
        for kind in get_args(IndexKind):
            left.remove(f"embeddings_{number}_{kind}_{watermark}")
            for _ in range(2):
                await indexes.drop_index(pool, **index, kind=kind)
                assert set(await names(pool, number)) == left


class TestBuildCoarseIndex:
    async def test_of_the_rows_up_to_the_watermark(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await indexes.build_coarse_index(pool, project_id=number, watermark=watermark, dimensions=3, lists=4)
        definition = await pool.fetchval(
            "SELECT indexdef FROM pg_indexes WHERE indexname = $1", f"embeddings_{number}_ivf_{watermark}"
        )
        assert "ivfflat (((vector)::halfvec(3)) halfvec_cosine_ops) WITH (lists='4')" in definition
        assert f"WHERE (sequence <= {watermark})" in definition


class TestAnalyzeRows:
    async def test_fills_the_statistics(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, _ = filled
        await indexes.analyze_rows(pool, project_id=number)
        known = await pool.fetch("SELECT attname FROM pg_stats WHERE tablename = $1", f"embeddings_{number}")
        assert {row[0] for row in known} >= {"sequence"}


class TestSetForSession:
    async def test_in_the_session(self, pool: Pool) -> None:
        async with pool.acquire() as connection:
            await indexes.set_for_session(connection, name="maintenance_work_mem", value="131072kB")
            assert await connection.fetchval("SHOW maintenance_work_mem") == "128MB"
            await connection.execute("RESET maintenance_work_mem")


class TestSampleVectors:
    async def test_random_rows_up_to_the_watermark(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        stored = {bytes(row[0].to_binary()) for row in await pool.fetch(f"SELECT vector FROM embeddings_{number}")}
        sample = await indexes.sample_vectors(pool, project_id=number, watermark=watermark, max_rows=15)
        assert len(sample) == 15
        assert {bytes(one.to_binary()) for one in sample} <= stored
        assert len(await indexes.sample_vectors(pool, project_id=number, watermark=watermark - 10, max_rows=99)) == 30


class TestCopyVectors:
    async def test_all_rows_up_to_the_watermark(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        pieces: list[bytes] = []

        async def take(piece: bytes) -> None:
            pieces.append(piece)

        async with pool.acquire() as connection:
            await indexes.copy_vectors(connection, project_id=number, watermark=watermark - 10, output=take)
        header, row, trailer = 19, 2 + 4 + 6 + 4 + 4 + 3 * 2, 2
        assert len(b"".join(pieces)) == header + 30 * row + trailer


class TestGetDistancesOfNeighbours:
    async def test_of_the_nearest(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await built(pool, number, watermark)
        rows = await pool.fetch(f"SELECT vector FROM embeddings_{number} ORDER BY text_id")
        stored = np.array([row[0].to_list() for row in rows])
        unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
        for max_rows in (1, 6, 100):
            found = await indexes.get_distances_of_neighbours(
                pool,
                project_id=number,
                watermark=watermark,
                dimensions=3,
                vectors=[row[0].to_binary() for row in rows[:7]],
                max_rows=max_rows,
            )
            expected = np.sort(1 - unit[:7] @ unit.T, axis=1)[:, :max_rows]
            assert np.abs(np.array(found) - expected).max() < 1e-3


class TestCountNeighboursLeft:
    async def test_without_changed_and_deleted_rows(self, connection: Connection, number: int) -> None:
        await factories.upsert(connection, number, {f"{row:02}": [1.0, 2.0, row] for row in range(20)})
        watermark = await indexes.get_next_watermark(connection)
        rows = await connection.fetch(f"SELECT ctid FROM embeddings_{number} ORDER BY text_id")
        places = [block << 16 | row for ((block, row),) in rows]

        async def left() -> list[int]:
            return await indexes.count_neighbours_left(
                connection, project_id=number, watermark=watermark, places=places
            )

        assert await left() == [10, 10]
        await factories.upsert(connection, number, {"03": [1.0, 1.0, 1.0], "04": [1.0, 1.0, 1.0]})
        await connection.execute(f"DELETE FROM embeddings_{number} WHERE text_id = '15'")
        assert await left() == [8, 9]


class TestSwitchIndex:
    async def test_replaces(self, connection: Connection, number: int) -> None:
        assert await switch(connection, number, 5) == number
        assert await switch(connection, number, 6) == number
        state = (await indexes.get_index_states(connection, project_ids=[number]))[0]
        assert state.built is not None
        now = await connection.fetchval("SELECT now()")
        expected = indexes.BuiltIndex(
            6,
            40,
            0,
            [40, 80],
            [0.9, 1.0],
            100,
            0.001,
            "synthetic",
            now,
            m=32,
            metadata_indexed=False,
            terms_indexed=False,
        )
        assert state == indexes.IndexState(expected, None, None)
        assert await switch(connection, 0) is None

    async def test_a_coarse_one(self, connection: Connection, number: int) -> None:
        for lists in (20, 0, 30):
            await switch(connection, number, lists=lists)
            built = (await indexes.get_index_states(connection, project_ids=[number]))[0].built
            assert built is not None
            assert (built.lists, built.efforts, built.recalls) == (lists, [40, 80], [0.9, 1.0])
            columns = "SELECT ef_searches, probes FROM project_indexes WHERE project_id = $1"
            row = tuple(await connection.fetchrow(columns, number))
            assert row == ([], [40, 80]) if lists else ([40, 80], [])


class TestNoteMeasurement:
    async def note(self, connection: Connection, number: int, watermark: int) -> int:
        return await indexes.note_measurement(
            connection,
            project_id=number,
            watermark=watermark,
            efforts=[20],
            recalls=[0.8],
            queries=500,
            recall_error=0.002,
            exact_seconds=0.1,
        )

    async def test_of_this_index_only(self, connection: Connection, number: int) -> None:
        await switch(connection, number, 5)
        assert await self.note(connection, number, 4) == 0
        assert await self.note(connection, number, 5) == 1
        built = (await indexes.get_index_states(connection, project_ids=[number]))[0].built
        assert built is not None
        assert (built.efforts, built.recalls, built.queries, built.measured_with) == ([20], [0.8], 500, "real")
        assert built.measured_at > await connection.fetchval("SELECT now()")
        await switch(connection, number, 6)
        built = (await indexes.get_index_states(connection, project_ids=[number]))[0].built
        assert built is not None
        assert (built.measured_with, built.recalls) == ("synthetic", [0.9, 1.0])

    async def test_not_of_a_coarse_one(self, connection: Connection, number: int) -> None:
        await switch(connection, number, 5, lists=20)
        assert await self.note(connection, number, 5) == 0


class TestForgetIndex:
    async def test_forgets(self, connection: Connection, number: int) -> None:
        await switch(connection, number)
        assert await indexes.forget_index(connection, project_id=number) == 1
        assert await indexes.forget_index(connection, project_id=number) == 0


class TestGetIndexStates:
    async def test_in_this_order(self, connection: Connection) -> None:
        one, two = await factories.filled(connection), await factories.filled(connection)
        nothing = indexes.IndexState(None, None, None)
        assert await indexes.get_index_states(connection, project_ids=[one]) == [nothing]
        await switch(connection, two)
        before, indexed, after = await indexes.get_index_states(connection, project_ids=[one, two, -1])
        assert (before, after) == (nothing, nothing)
        assert indexed.built is not None
        assert (indexed.built.efforts, indexed.built.recalls, indexed.progress) == ([40, 80], [0.9, 1.0], None)


class TestSummariseIndexes:
    async def test_counts_projects_and_rows(self, connection: Connection, number: int) -> None:
        before = await indexes.summarise_indexes(connection, recall=0.99)
        await switch(connection, number)
        after = await indexes.summarise_indexes(connection, recall=0.99)
        assert after == indexes.IndexSummary(before.projects + 1, before.rows + 40, before.below, 0, before.last_round)
        await switch(connection, number, recall=0.98)
        assert (await indexes.summarise_indexes(connection, recall=0.99)).below == before.below + 1
        assert (await indexes.summarise_indexes(connection, recall=0.98)).below == before.below
        await switch(connection, number, recall=0.98, lists=20)
        assert (await indexes.summarise_indexes(connection, recall=0.99)).below == before.below

    @pytest.mark.parametrize("kind", ["hnsw", "ivf", "tail", "meta", "terms"])
    async def test_builds_of_each_kind(self, kind: str, pool: Pool) -> None:
        number = await factories.filled(pool)
        index = f"embeddings_{number}_{kind}_7"
        before = (await indexes.summarise_indexes(pool, recall=0.99)).builds
        async with pool.acquire() as writer, pool.acquire() as builder:
            transaction = writer.transaction()
            await transaction.start()  # for which a concurrent build waits, as for a backup
            await factories.upsert(writer, number, {"t": [1, 2, 3]})
            building = asyncio.ensure_future(
                builder.execute(f"CREATE INDEX CONCURRENTLY {index} ON embeddings_{number} (sequence)")
            )
            found = before
            while found == before and not building.done():
                await asyncio.sleep(0.01)
                found = (await indexes.summarise_indexes(pool, recall=0.99)).builds
            await transaction.rollback()
            await building
        await pool.execute(f"DROP INDEX {index}")
        assert found == before + 1


class TestNoteRound:
    async def test_the_time_of_the_last_one(self, connection: Connection) -> None:
        for since, moves in (("1 hour", True), ("11 seconds", True), ("5 seconds", False)):
            await connection.execute(f"UPDATE indexer_state SET last_round = clock_timestamp() - interval '{since}'")
            before = (await indexes.summarise_indexes(connection, recall=0.99)).last_round
            await indexes.note_round(connection)
            after = (await indexes.summarise_indexes(connection, recall=0.99)).last_round
            assert (after > before) is moves
            assert time.time() - 60 < after <= time.time() + 1


class TestGetSession:
    async def test_is_that_of_the_connection(self, connection: Connection) -> None:
        assert await indexes.get_session(connection) == connection.get_server_pid()


class TestIsExecuting:
    """Outside of a transaction, in which PostgreSQL shows the sessions as they were at the first look."""

    async def test_only_while_a_statement_runs(self, pool: Pool) -> None:
        async with pool.acquire() as other:
            session = await indexes.get_session(other)
            assert not await indexes.is_executing(pool, session=session)
            running = asyncio.create_task(other.execute("SELECT pg_sleep(20)"))
            async with asyncio.timeout(10):
                while not await indexes.is_executing(pool, session=session):
                    await asyncio.sleep(0.01)
            await pool.execute("SELECT pg_cancel_backend($1)", session)
            with pytest.raises(asyncpg.QueryCanceledError):
                await running
            assert not await indexes.is_executing(pool, session=session)
        assert not await indexes.is_executing(pool, session=0)

    async def test_a_wait_for_a_lock_counts(self, pool: Pool) -> None:
        async with pool.acquire() as holder, pool.acquire() as other, holder.transaction():
            await holder.execute("SELECT pg_advisory_xact_lock(77)")
            session = await indexes.get_session(other)
            running = asyncio.create_task(other.execute("SELECT pg_advisory_xact_lock(77)"))
            waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
            async with asyncio.timeout(10):
                while not await pool.fetchval(waits, session):
                    await asyncio.sleep(0.01)
            assert await indexes.is_executing(pool, session=session)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class TestBuildMetadataIndex:
    async def test_builds(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await indexes.build_metadata_index(pool, project_id=number, watermark=watermark)
        assert await names(pool, number) == [f"embeddings_{number}_meta_{watermark}"]


class TestBuildTermsIndex:
    async def test_builds(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await indexes.build_terms_index(pool, project_id=number, watermark=watermark)
        assert await names(pool, number) == [f"embeddings_{number}_terms_{watermark}"]


class TestOmitTermsFromStatistics:
    async def test_there_are_none_after_an_analysis(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await pool.execute(f"UPDATE embeddings_{number} SET metadata = '{{\"a\": 1}}'")
        await indexes.build_terms_index(pool, project_id=number, watermark=watermark)
        index, known = f"embeddings_{number}_terms_{watermark}", []
        for _ in range(2):
            await pool.execute(f"ANALYZE embeddings_{number}")
            known.append(await pool.fetchval("SELECT count(*) FROM pg_stats WHERE tablename = $1", index))
            await pool.execute("DELETE FROM pg_statistic WHERE starelid = $1::text::regclass", index)
            await indexes.omit_terms_from_statistics(pool, project_id=number, watermark=watermark)
        assert known == [1, 0]
        await indexes.drop_index(pool, project_id=number, kind="terms", watermark=watermark)


class TestSampleMoreMetadata:
    async def test_sets_the_target_of_the_column(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, _ = filled
        target = "SELECT attstattarget FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'metadata'"
        await indexes.sample_more_metadata(pool, project_id=number)
        assert await pool.fetchval(target, f"embeddings_{number}") == 500


class TestNoteMetadataIndex:
    async def test_of_the_current_index_only(self, connection: Connection, number: int) -> None:
        await switch(connection, number, 5)
        for watermark, noted in ((4, False), (5, True)):
            assert await indexes.note_metadata_index(connection, project_id=number, watermark=watermark) == noted
            (state,) = await indexes.get_index_states(connection, project_ids=[number])
            assert state.built is not None
            assert state.built.metadata_indexed is noted


class TestNoteTermsIndex:
    async def test_of_the_current_index_only(self, connection: Connection, number: int) -> None:
        await switch(connection, number, 5)
        for watermark, noted in ((4, False), (5, True)):
            assert await indexes.note_terms_index(connection, project_id=number, watermark=watermark) == noted
            (state,) = await indexes.get_index_states(connection, project_ids=[number])
            assert state.built is not None
            assert state.built.terms_indexed is noted
