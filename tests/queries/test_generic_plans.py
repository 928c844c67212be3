"""A connection that has searched makes generic plans (`ServiceConnection.use`): other statements on it stay as fast."""

from collections.abc import Awaitable, Callable

import pytest

from service.database.pool import Connection
from service.database.statements import Statement as Text
from service.queries import changes, embeddings
from tests.support import factories
from tests.support.factories import upsert

ROWS = 3000
ALL = {"with_vector": True, "with_text": True, "with_metadata": True}
Statement = Callable[[Connection, int], Awaitable[list[str]]]


async def page(db: Connection, number: int) -> list[str]:
    asked = {"text_ids": None, "after": "02980", "max_rows": 10, "skip": 0, "max_bytes": 10**6, **ALL}
    rows = await embeddings.get_embeddings_by_project(db, project_id=number, by_ids=0, **asked)
    return [row.text_id for row in rows]


async def some(db: Connection, number: int) -> list[str]:
    ids = [f"{place:05}" for place in range(2981, 2991)]
    asked = {"text_ids": ids, "after": None, "max_rows": 10, "skip": 0, "max_bytes": 10**6, **ALL}
    rows = await embeddings.get_embeddings_by_project(db, project_id=number, by_ids=1, **asked)
    return [row.text_id for row in rows]


async def digests(db: Connection, number: int) -> list[str]:
    found = await changes.get_digests(db, project_id=number, after="02980", buckets=None, max_rows=10)
    return found.text_ids


async def buckets(db: Connection, number: int) -> list[str]:
    rows = await changes.get_bucket_digests(db, project_id=number, after="02980", max_rows=10)
    return [f"{place:05}" for place in range(2981, 2981 + sum(row.rows for row in rows))]


async def delete(db: Connection, number: int) -> list[str]:
    ids = [f"{place:05}" for place in range(2981, 2991)]
    gone = await embeddings.delete_embeddings(
        db, project_id=number, by_ids=1, text_ids=ids, only=None, is_dry_run=True, max_ids=99
    )
    return gone.text_ids


@pytest.fixture
async def searched(connection: Connection) -> Connection:
    """A connection with the settings of a search by index."""
    for setting in ("plan_cache_mode = force_generic_plan", "enable_seqscan = off", "enable_sort = off"):
        await connection.execute(f"SET LOCAL {setting}")
    return connection


@pytest.mark.parametrize("statement", [page, some, digests, buckets, delete])
async def test_reads_only_the_rows_of_the_answer(searched: Connection, statement: Statement) -> None:
    number = await factories.filled(searched)
    await upsert(searched, number, {f"{row:05}": [1, 2, row + 1] for row in range(ROWS)})
    await searched.execute(f"ANALYZE embeddings_{number}")
    read = f"SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'embeddings_{number}'"
    before = await searched.fetchval(read)
    assert await statement(searched, number) == [f"{place:05}" for place in range(2981, 2991)]
    assert await searched.fetchval(read) - before < 100


@pytest.mark.parametrize(
    "statement",
    [embeddings.query.statements["GetEmbeddingsByProject"], changes.query.statements["GetChanges"]],
    ids=lambda one: str(one.name),
)
async def test_a_page_writes_a_text_as_json_once(searched: Connection, statement: Text) -> None:
    """For its size; made twice in each row, a page of long texts takes a third longer."""
    number = await factories.filled(searched)
    text = statement.render({"project_id": number, "schema": "public", "by_ids": 0, "after": 0})
    await searched.execute(f"PREPARE page AS {text}")
    plan = await searched.fetch(f"EXPLAIN (VERBOSE) EXECUTE page ({', '.join(['NULL'] * len(statement.parameters))})")
    await searched.execute("DEALLOCATE page")
    assert "\n".join(line[0] for line in plan).count("to_json(") == 1, plan


async def test_an_upload_compares_no_row_with_all_others(searched: Connection) -> None:
    number = await factories.filled(searched)
    statement = embeddings.query.statements["UpsertEmbeddings"]
    text = statement.render({"project_id": number, "schema": "public"})
    kinds = {"vectors": "halfvec[]", "metadata": "jsonb[]"}
    types = ", ".join(kinds.get(name, "text[]") for name in statement.parameters)
    await searched.execute(f"PREPARE upsert ({types}) AS {text}")
    plan = await searched.fetch(f"EXPLAIN EXECUTE upsert ({', '.join(['NULL'] * len(statement.parameters))})")
    await searched.execute("DEALLOCATE upsert")
    assert any("hashed SubPlan" in line[0] for line in plan), plan
    assert not any("ALL ($" in line[0] for line in plan), plan
