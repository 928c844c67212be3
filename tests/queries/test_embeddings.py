"""Statements of sql/embeddings.sql on real rows."""

from typing import Any

import asyncpg
import msgspec
import pytest

from service.database.pool import Connection
from service.queries import embeddings
from tests.support import factories
from tests.support.factories import upsert


async def retrieve(connection: Connection, project_id: int, *text_ids: str) -> embeddings.PageRow:
    row = await embeddings.retrieve_embeddings(connection, project_id=project_id, text_ids=text_ids, max_bytes=10**6)
    assert row is not None
    return row


async def sequence(connection: Connection, project_id: int, text_id: str) -> int:
    value: int = await connection.fetchval(f"SELECT sequence FROM embeddings_{project_id} WHERE text_id = $1", text_id)
    return value


class TestUpsertEmbeddings:
    async def test_tells_inserted_from_updated_and_leaves_out_the_unchanged(
        self, connection: Connection, number: int
    ) -> None:
        assert await upsert(connection, number, {"a": [1, 2, 3], "b": [4, 5, 6]}) == embeddings.Written(2, 0)
        assert await upsert(connection, number, {"a": [1, 2, 3], "b": [4, 5, 7], "c": [1, 1, 1]}) == embeddings.Written(
            1, 1
        )
        assert await upsert(connection, number, {"a": [1, 2, 3], "b": [4, 5, 7], "c": [1, 1, 1]}) == embeddings.Written(
            0, 0
        )
        assert await factories.count(connection, number) == 3

    async def test_a_change_takes_a_new_sequence_and_a_later_time(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a": [1, 2, 3]})
        before, first = await retrieve(connection, number, "a"), await sequence(connection, number, "a")
        await upsert(connection, number, {"a": [1, 2, 3]})
        assert await sequence(connection, number, "a") == first
        await upsert(connection, number, {"a": [3, 2, 1]})
        after = await retrieve(connection, number, "a")
        assert await sequence(connection, number, "a") > first
        assert after.created_at == before.created_at == before.updated_at < after.updated_at

    async def test_field_by_field(self, connection: Connection, number: int) -> None:
        vector = {"a": [1.0, 2.0, 3.0]}

        async def stored(**columns: Any) -> tuple[str | None, Any]:
            await upsert(connection, number, vector, **columns)
            row = await retrieve(connection, number, "a")
            return row.text, row.metadata and msgspec.json.decode(row.metadata)

        assert await stored(texts=["t"], metadata=[{"k": 1}]) == ("t", {"k": 1})
        assert await stored() == ("t", {"k": 1})
        assert await stored(texts=["u"]) == ("u", {"k": 1})
        assert await stored(metadata=[{"k": 2}]) == ("u", {"k": 2})
        assert await stored(texts=[None]) == (None, {"k": 2})
        assert await stored(metadata=[None]) == (None, None)

    async def test_only_the_rows_that_keep_keep(self, connection: Connection, number: int) -> None:
        rows = {"a": [1, 2, 3], "b": [1, 2, 3]}
        await upsert(connection, number, rows, texts=["x", "y"])
        vectors = factories.to_binary(factories.np.array([[1, 2, 3], [1, 2, 3]], dtype="f2"))
        written = await embeddings.upsert_embeddings(
            connection,
            project_id=number,
            text_ids=["a", "b"],
            vectors=vectors,
            texts=[None, None],
            metadata=[None, None],
            keep_text=["b"],
            keep_metadata=["a", "b"],
        )
        assert written == embeddings.Written(0, 1)
        assert (await retrieve(connection, number, "a")).text is None
        assert (await retrieve(connection, number, "b")).text == "y"

    async def test_other_dimensions_are_refused(self, connection: Connection, number: int) -> None:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await upsert(connection, number, {"a": [1, 2]})
        assert caught.value.constraint_name == "embeddings_dimensions_check"

    async def test_projects_are_apart(self, connection: Connection) -> None:
        one, two = await factories.filled(connection), await factories.filled(connection)
        await upsert(connection, one, {"a": [1, 2, 3]})
        assert await factories.count(connection, two) == 0
        assert await connection.fetchval(f"SELECT count(*) FROM embeddings_{one}") == 1

    async def test_a_deleted_project(self, connection: Connection) -> None:
        with pytest.raises(asyncpg.UndefinedTableError):
            await upsert(connection, 2_000_000_000, {"a": [1, 2, 3]})


class TestGetWithoutMetadata:
    async def test_names_those_that_have_none(self, connection: Connection, number: int) -> None:
        rows = {name: [1.0, 2.0, 3.0] for name in ("empty", "full", "json null", "null")}
        await upsert(connection, number, rows, metadata=[{}, {"a": 1}, None, None])
        await connection.execute(
            f"UPDATE embeddings_{number} SET metadata = 'null' WHERE text_id = 'json null'"  # of the original system
        )
        names = [*rows, "missing"]
        found = await embeddings.get_without_metadata(connection, project_id=number, text_ids=names)
        assert sorted(found) == ["json null", "missing", "null"]
        assert await embeddings.get_without_metadata(connection, project_id=number, text_ids=[]) == []


class TestGetEmbeddedTexts:
    async def test_those_with_this_very_text(self, connection: Connection) -> None:
        number, other = await factories.filled(connection), await factories.filled(connection)
        rows = {"a": [1, 2, 3], "b": [3, 2, 1], "none": [1, 1, 1]}
        await upsert(connection, number, rows, texts=["one", "two", None])
        await upsert(connection, other, {"c": [1, 2, 3]}, texts=["three"])

        async def found(metadata: Any = None, keep: bool = False, all_vectors: bool = False) -> list[Any]:
            sent = None if metadata is None else msgspec.Raw(msgspec.json.encode(metadata))
            rows = await embeddings.get_embedded_texts(
                connection,
                project_id=number,
                text_ids=["a", "b", "c", "none", "new"],
                texts=["one", "two ", "three", "", "one"],
                metadata=[sent] * 5,
                keep_metadata=[keep] * 5,
                with_all_vectors=all_vectors,
            )
            return [(one.text_id, one.vector and one.vector.to_list()) for one in rows]

        assert await found() == await found({"x": 1}, keep=True) == [("a", None)]
        assert await found({"x": 1}) == await found(all_vectors=True) == [("a", [1, 2, 3])]


class TestDeleteEmbeddings:
    async def test_by_ids_and_by_metadata(self, connection: Connection, number: int) -> None:
        await connection.execute(f"DELETE FROM embeddings_{number}")
        kinds = [{"kind": kind} for kind in ("x", "y", "x")]
        await upsert(connection, number, {"a": [1, 2, 3], "b": [3, 2, 1], "c": [1, 1, 1]}, metadata=kinds)
        x = '($."kind" == "x")'

        async def gone(text_ids: list[str] | None, only: str | None = None, dry: bool = False) -> list[str]:
            found = await embeddings.delete_embeddings(
                connection,
                project_id=number,
                by_ids=int(text_ids is not None),
                text_ids=text_ids,
                only=only,
                is_dry_run=dry,
                max_ids=9,
            )
            assert found.deleted == len(found.text_ids)
            return found.text_ids

        assert await gone(["c", "a", "none"], dry=True) == ["a", "c"]
        assert await gone(None, x, dry=True) == ["a", "c"]
        assert await gone(["a", "b"], x) == ["a"]
        assert await gone(["a"]) == []
        assert await gone(None, x) == ["c"]
        assert await connection.fetchval(f"SELECT array_agg(text_id) FROM embeddings_{number}") == ["b"]

    async def test_tells_some_of_the_ids_only(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {name: [1, 2, 3] for name in "dbca"})
        found = await embeddings.delete_embeddings(
            connection, project_id=number, by_ids=0, text_ids=None, only="(1 == 1)", is_dry_run=False, max_ids=2
        )
        assert found == embeddings.Deletion(4, ["a", "b"])
        assert await connection.fetchval(f"SELECT count(*) FROM embeddings_{number}") == 0


class TestGetEmbeddingsByProject:
    async def get(self, connection: Connection, number: int, **given: Any) -> list[embeddings.PageRow]:
        values = {
            "by_ids": 0,
            "text_ids": None,
            "after": None,
            "max_rows": 200,
            "skip": 0,
            "with_vector": True,
            "with_text": True,
            "with_metadata": True,
            "max_bytes": 10**6,
        }
        return await embeddings.get_embeddings_by_project(connection, project_id=number, **{**values, **given})

    async def test_pages_in_the_order_of_bytes(self, connection: Connection, number: int) -> None:
        ids = ["a", "B", "ä", "a b", "Z", "z", "\U0001f600", "é"]
        await upsert(connection, number, {text_id: [1, 2, 3] for text_id in ids})
        rows = await self.get(connection, number)
        assert [row.text_id for row in rows] == sorted(ids)
        assert [row.text_id for row in await self.get(connection, number, max_rows=2, skip=3)] == sorted(ids)[3:5]
        assert [row.text_id for row in await self.get(connection, number, after="a b")] == [
            text_id for text_id in sorted(ids) if text_id > "a b"
        ]

    async def test_those_of_some_ids(self, connection: Connection, number: int) -> None:
        metadata = [{"k": 1}, None]
        await upsert(connection, number, {"b": [1, 2, 3], "a": [3, 2, 1]}, texts=["one", "two"], metadata=metadata)

        async def found(max_bytes: int = 100, **parts: bool) -> list[embeddings.PageRow]:
            return await self.get(
                connection, number, by_ids=1, text_ids=["a", "b", "none"], max_bytes=max_bytes, **parts
            )

        rows = await found()
        assert [(row.text_id, row.text) for row in rows] == [("a", "one"), ("b", "two")]
        assert [row.size for row in rows] == [11, 3]
        assert [row.text for row in await found(max_bytes=13)] == [None, None]
        assert [row.vector for row in await found(with_vector=False)] == [None, None]
        for part in ("text", "metadata"):
            rows = await found(with_text=part == "text", with_metadata=part == "metadata")
            shown = [(row.text, row.metadata and bytes(row.metadata)) for row in rows]
            assert shown == ([("one", None), ("two", None)] if part == "text" else [(None, b'{"k": 1}'), (None, None)])
            assert [row.size for row in rows] == ([3, 3] if part == "text" else [8, 0])

    async def test_leaves_behind_what_is_too_much(self, connection: Connection, number: int) -> None:
        texts, metadata = ["ü" * 50, None], [{"k": "v" * 89}, None]  # 100 and 98 bytes
        await upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]}, texts=texts, metadata=metadata)
        for max_bytes, has in ((198, True), (197, False)):
            row, other = await self.get(connection, number, max_bytes=max_bytes)
            assert (row.size, row.text is not None, row.metadata is not None) == (198, has, has)
            assert (other.size, other.text_id, other.text) == (0, "b", None)
            assert row.vector is not None
        rows = await self.get(connection, number, max_bytes=99, with_metadata=False)
        assert [(row.size, row.text) for row in rows] == [(100, None), (0, None)]
        (alone,) = await self.get(connection, number, max_bytes=99, max_rows=1)
        assert (alone.text, alone.size) == (None, 198)

    async def test_control_characters_count_as_in_json(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a": [1, 2, 3]}, texts=["\x01" * 2000])
        (row,) = await self.get(connection, number, max_bytes=2000)
        assert (row.size, row.text) == (12_002, None)
        (row,) = await self.get(connection, number, by_ids=1, text_ids=["a"], max_bytes=2000)
        assert (row.size, row.text) == (12_002, None)
        one = await embeddings.retrieve_embeddings(connection, project_id=number, text_ids=["a"], max_bytes=2000)
        assert one is not None
        assert (one.size, one.text) == (12_002, None)

    async def test_reads_only_what_is_asked_for(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a": [1, 2, 3]}, texts=["t"], metadata=[{"k": 1}])
        (row,) = await self.get(connection, number, with_vector=False, with_metadata=False)
        assert (row.vector, row.text, row.metadata) == (None, "t", None)
        (row,) = await self.get(connection, number, with_text=False)
        assert row.vector is not None
        assert row.metadata is not None
        assert (row.vector.to_list(), row.text, bytes(row.metadata)) == ([1, 2, 3], None, b'{"k": 1}')

    async def test_paging_uses_the_primary_key(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {f"{row:05}": [1, 2, row + 1] for row in range(3000)})
        await connection.execute(f"ANALYZE embeddings_{number}")
        statement = embeddings.query.statements["GetEmbeddingsByProject"]
        given = {"text_ids": None, "after": "02000", "max_rows": 10, "skip": 0, "max_bytes": 10**6}
        arguments = [given.get(name, True) for name in statement.parameters]
        plan = await connection.fetch(
            "EXPLAIN " + statement.render({"project_id": number, "by_ids": 0, "schema": "public"}), *arguments
        )
        assert any(f"embeddings_{number}_pkey" in line[0] for line in plan), plan


class TestGetPassingIDs:
    async def test_among_so_many_rows(self, connection: Connection, number: int) -> None:
        metadata: list[Any] = [{"n": 1}, {"n": 2}, None, {"n": 1}, {"n": 1}]
        await upsert(connection, number, {text_id: [1, 2, 3] for text_id in "abcde"}, metadata=metadata)

        async def found(after: str, rows: int, max_rows: int, only: str = "exists($.n ? (@ == 1))") -> tuple[str, Any]:
            page = await embeddings.get_passing_ids(
                connection, project_id=number, after=after, only=only, rows=rows, max_rows=max_rows
            )
            return "".join(page.text_ids), page.last

        assert await found("", 9, 9) == ("ade", None)
        assert await found("", 5, 9) == ("ade", "e")
        assert await found("", 2, 9) == ("a", "b")
        assert await found("b", 2, 9) == ("d", "d")
        assert await found("", 9, 2) == ("ad", None)
        assert await found("e", 9, 9) == ("", None)
        assert await found("", 9, 9, "!(exists($.n))") == ("c", None)


class TestAreEmbeddingsAfter:
    async def test_of_this_project_only(self, connection: Connection) -> None:
        number, other = await factories.filled(connection), await factories.filled(connection)
        await upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
        await upsert(connection, other, {"z": [1, 2, 3]})
        assert await embeddings.are_embeddings_after(connection, project_id=number, after="a") is True
        assert await embeddings.are_embeddings_after(connection, project_id=number, after="b") is False


async def mark(connection: Connection, number: int, *text_ids: str) -> None:
    """Says of ids that they were carried over from an original database."""
    await connection.executemany("INSERT INTO carried_ids VALUES ($1, $2)", [(number, one) for one in text_ids])


class TestRetrieveEmbeddings:
    async def test_the_first_of_the_ids_or_a_carried_one(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a%2Fb": [1, 2, 3], "c/d": [1, 2, 3], "c%2Fd": [1, 2, 3]})
        assert (
            await embeddings.retrieve_embeddings(
                connection, project_id=number, text_ids=["a/b", "a%2Fb"], max_bytes=10**6
            )
            is None
        )
        await mark(connection, number, "a%2Fb", "c%2Fd")
        assert (await retrieve(connection, number, "a/b", "a%2Fb")).text_id == "a%2Fb"
        assert (await retrieve(connection, number, "c/d", "c%2Fd")).text_id == "c/d"
        assert (await retrieve(connection, number, "c%2Fd", "c%252Fd")).text_id == "c%2Fd"
        assert (
            await embeddings.retrieve_embeddings(connection, project_id=number, text_ids=["x"], max_bytes=10**6) is None
        )

    async def test_leaves_behind_what_is_too_much(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a": [1, 2, 3]}, texts=["text"], metadata=[{"k": 1}])  # 4 and 8 bytes
        for max_bytes, has in ((12, True), (11, False), (0, False)):
            row = await embeddings.retrieve_embeddings(
                connection, project_id=number, text_ids=["a"], max_bytes=max_bytes
            )
            assert row is not None
            assert row.vector is not None
            assert (row.text is not None, row.metadata is not None, row.size) == (has, has, 12)
            assert row.vector.to_list() == [1, 2, 3]

    async def test_uses_the_primary_key(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {f"{row:05}": [1, 2, row + 1] for row in range(3000)})
        await connection.execute(f"ANALYZE embeddings_{number}")
        for name in ("RetrieveEmbeddings", "DeleteEmbedding"):
            statement = embeddings.query.statements[name]
            text = statement.render({"project_id": number, "schema": "public"})
            given: dict[str, Any] = {"text_ids": ["00001", "x", "y"], "max_bytes": 100}
            plan = await connection.fetch("EXPLAIN " + text, *[given[name] for name in statement.parameters])
            assert not any("Seq Scan on embeddings" in line[0] for line in plan), plan


class TestDeleteEmbedding:
    async def test_deletes_one(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, {"a/b": [1, 2, 3], "a%2Fb": [1, 2, 3], "c%2Fd": [1, 2, 3]})
        await mark(connection, number, "a%2Fb", "c%2Fd")
        ids = ["a/b", "a%2Fb"]
        assert await embeddings.delete_embedding(connection, project_id=number, text_ids=ids) == "a/b"
        assert await embeddings.delete_embedding(connection, project_id=number, text_ids=ids) is None
        assert await embeddings.delete_embedding(connection, project_id=number, text_ids=["a%2Fb"]) == "a%2Fb"
        ids = ["c/d", "c%2Fd"]
        assert await embeddings.delete_embedding(connection, project_id=number, text_ids=ids) == "c%2Fd"
        await upsert(connection, number, {"c%2Fd": [1, 2, 3]})
        assert await embeddings.delete_embedding(connection, project_id=number, text_ids=ids) is None


class TestDeleteEmbeddingsByProject:
    async def test_deletes_all_of_one_project(self, connection: Connection) -> None:
        one, two = await factories.filled(connection), await factories.filled(connection)
        for number in (one, two):
            await upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
            await mark(connection, number, "a")
        await embeddings.delete_embeddings_by_project(connection, project_id=one)
        assert await connection.fetch("SELECT project_id FROM carried_ids WHERE project_id IN ($1, $2)", one, two) == [
            (two,)
        ]
        assert await factories.count(connection, one) == 0
        assert await factories.count(connection, two) == 2
