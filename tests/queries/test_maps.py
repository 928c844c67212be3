"""Statements of sql/maps.sql on real rows."""

import asyncio
import struct
from typing import Any

import msgspec
import numpy as np
import pytest

from service.database.pool import Connection, connected
from service.queries import embeddings, maps
from service.queries.maps import AskedMap
from tests.support import factories
from tests.support.factories import upsert

OTHER_LOG = "00000000-0000-0000-0000-000000000000"
NEVER = maps.KnownMap(*[None] * 7, False, [], *[None] * 3)  # requested
THREE = {"a": [1.0, 2, 3], "b": [1.0, 2, 4], "c": [1.0, 2, 5]}


async def asked(connection: Connection, **overrides: Any) -> AskedMap:
    """The map of a new project of three embeddings, which somebody has asked for before all others."""
    number = await factories.filled(connection)
    await upsert(connection, number, THREE, **overrides)
    await maps.ask_for_map(connection, project_id=number)
    await connection.execute(
        "UPDATE project_maps SET asked_at = timestamptz '2000-06-01' - make_interval(secs => $1) WHERE project_id = $1",
        number,
    )
    found = await maps.retrieve_asked_map(connection)
    assert found is not None
    assert found.project_id == number
    return found


async def store(connection: Connection, one: AskedMap, **overrides: Any) -> int:
    values = {
        "log": one.log,
        "changes": one.changes,
        "base_changes": one.changes,
        "base_rows": one.rows,
        "basis": b"basis",
        "has_neighbours": True,
        "explained": [0.5, 0.25],
        "trust_sample": 3,
        "trust_of_pca": 0.75,
        "trust_of_neighbours": None,
        **overrides,
    }
    return await maps.store_map(connection, project_id=one.project_id, **values)


async def store_part(connection: Connection, one: AskedMap, part: int, text_ids: list[str], **overrides: Any) -> None:
    pairs = [number for place in range(len(text_ids)) for number in (part, place)]
    values = {
        "sequences": np.arange(len(text_ids)).tobytes(),
        "pca": struct.pack(f"<{len(pairs)}f", *pairs),
        "neighbours": struct.pack(f"<{len(pairs)}f", *(-number for number in pairs)),
        **overrides,
    }
    await maps.store_map_part(connection, project_id=one.project_id, part=part, text_ids=text_ids, **values)


async def points(connection: Connection, number: int, **overrides: Any) -> list[maps.MapPoints]:
    values = {"by_neighbours": False, "field": None, "longest": 8, "parts": 9, **overrides}
    return await maps.get_map_points(connection, project_id=number, **values)


class TestRetrieveMap:
    async def test_without_one(self, connection: Connection, number: int) -> None:
        await upsert(connection, number, THREE)
        assert await maps.retrieve_map(connection, project_id=number, parts=1) == maps.MapState(3, 3, NEVER, 0)

    async def test_of_no_project(self, connection: Connection) -> None:
        assert await maps.retrieve_map(connection, project_id=0, parts=1) is None

    async def test_the_bytes_of_the_first_parts(self, connection: Connection) -> None:
        one = await asked(connection)
        await store(connection, one)
        await store_part(connection, one, 0, ["a", "bä\x01"])
        await store_part(connection, one, 1, ["c"])
        await upsert(connection, one.project_id, {"d": [1, 1, 1]})
        found = await maps.retrieve_map(connection, project_id=one.project_id, parts=1)
        assert found is not None
        assert (found.rows, found.changes_now, found.map.changes, found.id_bytes) == (
            4,
            4,
            3,
            len('["a","bä\\u0001"]') + 1,
        )
        assert found.map.explained == [0.5, 0.25]


class TestAskForMap:
    async def test_the_first_to_ask_counts(self, connection: Connection) -> None:
        one = await asked(connection)
        await maps.ask_for_map(connection, project_id=one.project_id)
        time = await connection.fetchval("SELECT asked_at FROM project_maps WHERE project_id = $1", one.project_id)
        assert time.year == 2000
        await maps.end_map(connection, project_id=one.project_id, log=one.log, error=None)
        await maps.ask_for_map(connection, project_id=one.project_id)
        time = await connection.fetchval("SELECT asked_at FROM project_maps WHERE project_id = $1", one.project_id)
        assert time.year > 2000

    async def test_nothing_for_no_project(self, connection: Connection) -> None:
        await maps.ask_for_map(connection, project_id=0)
        assert await connection.fetchval("SELECT count(*) FROM project_maps WHERE project_id = 0") == 0


class TestGetMapPoints:
    async def test_of_embeddings_that_exist(self, connection: Connection) -> None:
        one = await asked(connection)
        await store(connection, one)
        await store_part(connection, one, 0, ["c", "gone", "a"])
        await store_part(connection, one, 1, ["b"])
        await store_part(connection, one, 2, ["gone too"])
        found = await points(connection, one.project_id)
        assert [(part.places, part.text_ids) for part in found] == [([1, 3], ["c", "a"]), ([1], ["b"]), ([], [])]
        assert struct.unpack("<6f", found[0].positions or b"") == (0, 0, 0, 1, 0, 2)
        assert {part.field for part in found} == {None}
        (first,) = await points(connection, one.project_id, by_neighbours=True, parts=1)
        assert struct.unpack("<6f", first.positions or b"") == (0, 0, 0, -1, 0, -2)

    async def test_a_field_has_short_scalars(self, connection: Connection) -> None:
        values = [
            "short",
            "longer than eight",
            12,
            0.5,
            123456789,
            True,
            None,
            {"x": 1},
            ["first", 2],
            [],
            1e15,
            "ü" * 9,
        ]
        documents: list[Any] = [{"a": {"b": value}} for value in values]
        rows = {f"{place:02}": [1.0, 2, place] for place in range(len(values) + 2)}
        one = await asked(connection)
        await upsert(connection, one.project_id, rows, metadata=[*documents, {"a": "no object"}, None])
        await store(connection, one)
        await store_part(connection, one, 0, list(rows))
        (part,) = await points(connection, one.project_id, field='$."a"."b"[*]')
        assert part.field is not None
        assert msgspec.json.decode(part.field) == [
            *("short", "longer t", 12, 0.5, None, True, None, None, "first", None, None, "ü" * 8),
            *(None, None),
        ]


class TestRetrieveAskedMap:
    async def test_what_is_kept_of_it(self, connection: Connection) -> None:
        one = await asked(connection)
        assert (one.dimensions, one.rows, one.changes) == (3, 3, 3)
        assert (one.basis, one.base_changes, one.base_rows, one.has_neighbours) == (None, None, None, False)
        await store(connection, one)
        await upsert(connection, one.project_id, {"d": [1, 1, 1]})
        later = await maps.retrieve_asked_map(connection)
        assert later is not None
        assert (later.rows, later.changes) == (4, 4)
        assert (later.basis, later.base_changes, later.base_rows, later.has_neighbours) == (b"basis", 3, 3, True)

    async def test_nothing_when_nobody_has_asked(self, connection: Connection) -> None:
        one = await asked(connection)
        await connection.execute("UPDATE project_maps SET asked_at = NULL WHERE project_id <> $1", one.project_id)
        await maps.end_map(connection, project_id=one.project_id, log=one.log, error=None)
        assert await maps.retrieve_asked_map(connection) is None


class TestNoteMapProgress:
    async def test_it_replaces_an_earlier_failure(self, connection: Connection) -> None:
        one = await asked(connection)
        await maps.end_map(connection, project_id=one.project_id, log=one.log, error="It failed.")
        values = {"project_id": one.project_id, "log": one.log, "stage": "pca", "progress": 0.5}
        assert await maps.note_map_progress(connection, **values) == 1
        found = await maps.retrieve_map(connection, project_id=one.project_id, parts=1)
        assert found is not None
        assert (found.map.stage, found.map.progress, found.map.error, found.map.failed_at) == ("pca", 0.5, None, None)

    async def test_not_of_a_deleted_or_emptied_project(self, connection: Connection) -> None:
        one = await asked(connection)
        for project_id, log in ((0, one.log), (one.project_id, OTHER_LOG)):
            values = {"project_id": project_id, "log": log, "stage": "pca", "progress": 0}
            assert await maps.note_map_progress(connection, **values) == 0


class TestRetrieveSampleEnd:
    async def test_the_order_depends_on_the_id_alone(self, connection: Connection) -> None:
        one = await asked(connection)
        ends = [
            await maps.retrieve_sample_end(connection, project_id=one.project_id, rows=rows) for rows in (1, 2, 3, 4)
        ]
        assert ends[3] is None
        assert 0 <= ends[0] < ends[1] < ends[2]  # type: ignore[operator]
        await upsert(connection, one.project_id, {"d": [1, 1, 1]})
        now = [await maps.retrieve_sample_end(connection, project_id=one.project_id, rows=rows) for rows in range(1, 5)]
        assert set(ends[:3]) < set(now)


class TestCopySample:
    async def test_as_far_as_is_asked_for(self, connection: Connection) -> None:
        one = await asked(connection)
        end = await maps.retrieve_sample_end(connection, project_id=one.project_id, rows=2)
        assert end is not None
        for last, rows in ((end, 2), (2**63 - 1, 3), (0, 0)):
            came = bytearray()

            async def take(piece: bytes, came: bytearray = came) -> None:
                came.extend(piece)

            await maps.copy_sample(connection, project_id=one.project_id, last=last, output=take)
            # A row: the number of columns; an id, a sequence, a place and a vector with their lengths.
            assert len(came) == 19 + rows * (2 + (4 + 1) + (4 + 8) + (4 + 8) + (4 + 4 + 3 * 2)) + 2

    @pytest.mark.parametrize("fault", [BrokenPipeError, asyncio.CancelledError])
    @pytest.mark.parametrize("wait", [0.0, 0.2])
    async def test_an_output_that_fails(self, service_database: str, fault: type[BaseException], wait: float) -> None:
        """The connection can be used afterwards, also if the server has already sent all."""

        async def take(_: bytes) -> None:
            await asyncio.sleep(wait)
            raise fault

        async with connected(service_database) as connection, asyncio.timeout(10):
            transaction = connection.transaction()
            await transaction.start()
            one = await asked(connection)
            with pytest.raises(fault):
                await maps.copy_sample(connection, project_id=one.project_id, last=2**63 - 1, output=take)
            assert await connection.fetchval("SELECT 1") == 1
            await transaction.rollback()


class TestGetMapLayout:
    async def test_parts_that_have_one(self, connection: Connection) -> None:
        one = await asked(connection)
        await store(connection, one)
        await store_part(connection, one, 1, ["b"], neighbours=b"second")
        await store_part(connection, one, 0, ["a"], neighbours=b"first", sequences=b"numbers")
        await store_part(connection, one, 2, ["c"], neighbours=None)
        found = await maps.get_map_layout(connection, project_id=one.project_id)
        assert [part.positions for part in found] == [b"first", b"second"]
        assert found[0].sequences == b"numbers"


class TestStoreMap:
    async def test_not_of_a_project_that_was_emptied(self, connection: Connection) -> None:
        one = await asked(connection)
        assert await store(connection, one) == 1
        await embeddings.delete_embeddings_by_project(connection, project_id=one.project_id)
        found = await maps.retrieve_map(connection, project_id=one.project_id, parts=1)
        assert found is not None
        assert found.map == NEVER
        assert await store(connection, one) == 0
        await maps.ask_for_map(connection, project_id=one.project_id)
        assert await store(connection, one) == 0  # it is of another log

    async def test_the_old_parts_of_the_project_are_deleted(self, connection: Connection) -> None:
        one, other = await asked(connection), await asked(connection)
        for each in (one, other):
            await store(connection, each)
            await store_part(connection, each, 0, ["a"])
        await store(connection, one)
        assert await points(connection, one.project_id) == []
        assert len(await points(connection, other.project_id)) == 1


class TestStoreMapPart:
    async def test_it_goes_with_the_project(self, connection: Connection) -> None:
        one = await asked(connection)
        await store(connection, one)
        await store_part(connection, one, 0, ["a"])
        left = "SELECT count(*) FROM project_map_parts WHERE project_id = $1"
        assert await connection.fetchval(left, one.project_id) == 1
        await connection.execute("DELETE FROM projects WHERE project_id = $1", one.project_id)
        assert await connection.fetchval(left, one.project_id) == 0


class TestEndMap:
    async def test_done_or_failed(self, connection: Connection) -> None:
        one = await asked(connection)
        for error in (None, "It failed."):
            await maps.note_map_progress(connection, project_id=one.project_id, log=one.log, stage="pca", progress=0.5)
            await maps.end_map(connection, project_id=one.project_id, log=one.log, error=error)
            found = await maps.retrieve_map(connection, project_id=one.project_id, parts=1)
            assert found is not None
            assert (found.map.asked_at, found.map.stage, found.map.progress) == (None, None, None)
            assert found.map.error == error
            assert (found.map.failed_at is None) == (error is None)

    async def test_a_request_after_the_project_was_emptied_stays(self, connection: Connection) -> None:
        one = await asked(connection)
        await maps.end_map(connection, project_id=one.project_id, log=OTHER_LOG, error=None)
        assert await maps.retrieve_asked_map(connection) == one
