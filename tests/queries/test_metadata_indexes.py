"""Statements of sql/metadata_indexes.sql."""

from service.database.pool import Connection, Pool
from service.queries import indexes, metadata_indexes
from tests.queries.test_indexes import names, switch


class TestBuildMetadataIndex:
    async def test_builds_and_drops(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await metadata_indexes.build_metadata_index(pool, project_id=number, watermark=watermark)
        assert await names(pool, number) == [f"embeddings_{number}_meta_{watermark}"]
        for _ in range(2):
            await metadata_indexes.drop_metadata_index(pool, project_id=number, watermark=watermark)
            assert await names(pool, number) == []


class TestDropMetadataIndex:
    """With TestBuildMetadataIndex."""


class TestBuildTermsIndex:
    async def test_builds_and_drops(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await metadata_indexes.build_terms_index(pool, project_id=number, watermark=watermark)
        assert await names(pool, number) == [f"embeddings_{number}_terms_{watermark}"]
        for _ in range(2):
            await metadata_indexes.drop_terms_index(pool, project_id=number, watermark=watermark)
            assert await names(pool, number) == []


class TestOmitTermsFromStatistics:
    async def test_there_are_none_after_an_analysis(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, watermark = filled
        await pool.execute(f"UPDATE embeddings_{number} SET metadata = '{{\"a\": 1}}'")
        await metadata_indexes.build_terms_index(pool, project_id=number, watermark=watermark)
        index, known = f"embeddings_{number}_terms_{watermark}", []
        for _ in range(2):
            await pool.execute(f"ANALYZE embeddings_{number}")
            known.append(await pool.fetchval("SELECT count(*) FROM pg_stats WHERE tablename = $1", index))
            await pool.execute("DELETE FROM pg_statistic WHERE starelid = $1::text::regclass", index)
            await metadata_indexes.omit_terms_from_statistics(pool, project_id=number, watermark=watermark)
        assert known == [1, 0]
        await metadata_indexes.drop_terms_index(pool, project_id=number, watermark=watermark)


class TestDropTermsIndex:
    """With TestBuildTermsIndex."""


class TestSampleMoreMetadata:
    async def test_sets_the_target_of_the_column(self, pool: Pool, filled: tuple[int, int]) -> None:
        number, _ = filled
        target = "SELECT attstattarget FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'metadata'"
        await metadata_indexes.sample_more_metadata(pool, project_id=number)
        assert await pool.fetchval(target, f"embeddings_{number}") == 500


class TestNoteMetadataIndex:
    async def test_of_the_current_index_only(self, connection: Connection, number: int) -> None:
        await switch(connection, number, 5)
        for watermark, noted in ((4, False), (5, True)):
            assert (
                await metadata_indexes.note_metadata_index(connection, project_id=number, watermark=watermark) == noted
            )
            (state,) = await indexes.get_index_states(connection, project_ids=[number])
            assert state.built is not None
            assert state.built.metadata_indexed is noted


class TestNoteTermsIndex:
    async def test_of_the_current_index_only(self, connection: Connection, number: int) -> None:
        await switch(connection, number, 5)
        for watermark, noted in ((4, False), (5, True)):
            assert await metadata_indexes.note_terms_index(connection, project_id=number, watermark=watermark) == noted
            (state,) = await indexes.get_index_states(connection, project_ids=[number])
            assert state.built is not None
            assert state.built.terms_indexed is noted
