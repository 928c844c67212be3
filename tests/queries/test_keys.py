"""Statements of sql/keys.sql on real rows."""

from typing import Any

from service.database.pool import Connection, Pool
from service.queries import keys, llm_instances
from tests.support import factories


async def sealed(connection: Connection, blob: bytes, key_id: str | None = None) -> int:
    owner = await factories.user(connection)
    values: dict[str, Any] = {"change_key": True, "api_key_encrypted": blob, "api_key_sealed_by": key_id}
    return await factories.instance(connection, owner, "inst", **values)


async def plain(connection: Connection, api_key: str, blob: bytes | None = None) -> int:
    owner = await factories.user(connection)
    number = await factories.instance(connection, owner, "inst", change_key=True, api_key_encrypted=blob)
    await connection.execute("UPDATE llm_service_instances SET api_key = $2 WHERE instance_id = $1", number, api_key)
    return number


async def stored(connection: Connection, number: int) -> tuple[Any, ...]:
    row = await connection.fetchrow(
        "SELECT api_key_encrypted, api_key_sealed_by, api_key FROM llm_service_instances WHERE instance_id = $1", number
    )
    assert row is not None
    return tuple(row)


class TestGetSealedKeys:
    async def test_pages_of_those_that_have_a_key(self, connection: Connection) -> None:
        one, two = await sealed(connection, b"1", "k"), await sealed(connection, b"2")
        await factories.instance(connection, await factories.user(connection))
        page = await keys.get_sealed_keys(connection, after=one - 1, max_rows=1)
        assert [(row.instance_id, row.instance_handle, row.blob, row.key_id) for row in page] == [
            (one, "inst", b"1", "k")
        ]
        page = await keys.get_sealed_keys(connection, after=one, max_rows=9)
        assert [(row.instance_id, row.blob, row.key_id) for row in page] == [(two, b"2", None)]


class TestCountSealedKeys:
    async def test_by_the_key_that_sealed_them(self, connection: Connection) -> None:
        for key_id in ("k", "k", "l", None):
            await sealed(connection, b"1", key_id)
        await factories.instance(connection, await factories.user(connection))
        found = {row.key_id: row.sealed for row in await keys.count_sealed_keys(connection)}
        assert {key_id: found.get(key_id) for key_id in ("k", "l", None)} == {"k": 2, "l": 1, None: 1}


class TestResealKeys:
    async def test_exchanges_what_has_not_changed(self, connection: Connection) -> None:
        one, two = await sealed(connection, b"1"), await sealed(connection, b"changed", "old")
        before = await connection.fetchval("SELECT updated_at FROM llm_service_instances WHERE instance_id = $1", one)
        count = await keys.reseal_keys(
            connection, instance_ids=[one, two], old_blobs=[b"1", b"2"], blobs=[b"n1", b"n2"], key_id="new"
        )
        assert count == 1
        assert await stored(connection, one) == (b"n1", "new", None)
        assert await stored(connection, two) == (b"changed", "old", None)
        after = await connection.fetchval("SELECT updated_at FROM llm_service_instances WHERE instance_id = $1", one)
        assert after == before

    async def test_removes_what_has_not_changed(self, connection: Connection) -> None:
        one, two = await sealed(connection, b"1", "k"), await sealed(connection, b"changed", "k")
        count = await keys.reseal_keys(
            connection, instance_ids=[one, two], old_blobs=[b"1", b"2"], blobs=[None, None], key_id=None
        )
        assert count == 1
        assert await stored(connection, one) == (None, None, None)
        assert await stored(connection, two) == (b"changed", "k", None)


class TestCountPlaintextKeys:
    async def test_counts(self, connection: Connection) -> None:
        before = await keys.count_plaintext_keys(connection) or 0
        await plain(connection, "secret")
        assert await keys.count_plaintext_keys(connection) == before + 1


class TestGetPlaintextKeys:
    async def test_pages(self, connection: Connection) -> None:
        one, two = await plain(connection, "1"), await plain(connection, "2")
        page = await keys.get_plaintext_keys(connection, after=one - 1, max_rows=1)
        assert [(row.instance_id, row.instance_handle, row.api_key) for row in page] == [(one, "inst", "1")]
        assert [row.instance_id for row in await keys.get_plaintext_keys(connection, after=one, max_rows=9)] == [two]


class TestSealPlaintextKeys:
    async def test_seals_clears_and_keeps_what_is_newer(self, connection: Connection) -> None:
        fresh, empty = await plain(connection, "one"), await plain(connection, "")
        newer, changed = await plain(connection, "two", b"newer"), await plain(connection, "changed")
        count = await keys.seal_plaintext_keys(
            connection,
            instance_ids=[fresh, empty, newer, changed],
            api_keys=["one", "", "two", "three"],
            blobs=[b"1", None, b"2", b"3"],
            key_id="k",
        )
        assert count == 3
        assert await stored(connection, fresh) == (b"1", "k", None)
        assert await stored(connection, empty) == (None, None, None)
        assert await stored(connection, newer) == (b"newer", None, None)
        assert await stored(connection, changed) == (None, None, "changed")

    async def test_a_key_that_is_set_takes_the_place_of_a_plaintext_one(self, connection: Connection) -> None:
        number = await plain(connection, "old")
        owner = await connection.fetchval("SELECT owner FROM llm_service_instances WHERE instance_id = $1", number)
        found = await llm_instances.retrieve_llm_instance(connection, owner=owner, instance_handle="inst", role="owner")
        assert found
        assert found.has_api_key
        await factories.instance(connection, owner, "inst")
        assert await stored(connection, number) == (None, None, "old")
        await factories.instance(connection, owner, "inst", change_key=True)
        assert await stored(connection, number) == (None, None, None)


class TestRewriteInstances:
    async def test_writes_the_table_anew(self, pool: Pool) -> None:
        place = "SELECT pg_relation_filenode('llm_service_instances')"
        before = await pool.fetchval(place)
        await keys.rewrite_instances(pool)
        assert await pool.fetchval(place) != before


class TestGetSentinel:
    async def test_none_at_first(self, connection: Connection) -> None:
        assert await keys.get_sentinel(connection) is None


class TestStoreSentinel:
    async def test_the_first_stays_until_it_is_replaced(self, connection: Connection) -> None:
        for key_id, sealed, replaces, stays in (
            ("a", b"1", False, "a"),
            ("b", b"2", False, "a"),
            ("c", b"3", True, "c"),
        ):
            stored = await keys.store_sentinel(connection, key_id=key_id, sealed=sealed, replaces=replaces)
            assert stored == await keys.get_sentinel(connection)
            assert stored.key_id == stays
