"""Statements of sql/projects.sql on real rows."""

from typing import Any

import asyncpg
import pytest

from service.database.pool import Connection
from service.http.request import hash_key
from service.queries import projects, users
from service.queries.users import SharedWith
from tests.support import factories


async def access(connection: Connection, key: str | None, owner: str, **given: Any) -> projects.ProjectRequest:
    return await projects.retrieve_project_access(
        connection,
        key_hash=None if key is None else hash_key(f"key-of-{key}"),
        **{"is_admin": False, "owner": owner, "project_handle": "proj", **given},
    )


class TestRetrieveProjectAccess:
    @pytest.mark.parametrize("public", [False, True])
    async def test_roles(self, connection: Connection, public: bool) -> None:
        anna, editor, reader, stranger = [await factories.user(connection) for _ in range(4)]
        instance_id = await factories.instance(connection, anna, "inst")
        number = await factories.project(
            connection,
            anna,
            "inst",
            "proj",
            public_read=public,
            share_users=[editor, reader],
            share_roles=["editor", "reader"],
        )
        seen = [await access(connection, key, anna) for key in (anna, editor, reader, stranger, None, "unknown")]
        outside = "public" if public else "none"
        accesses = [row.access for row in seen if row.access is not None]
        assert [row.role for row in accesses] == ["owner", "editor", "reader", outside, outside, "none"]
        assert [row.caller for row in seen] == [anna, editor, reader, stranger, None, None]
        assert [row.caller for row in accesses] == [anna, editor, reader, stranger, None, None]
        assert {row.project_id for row in accesses} == {number}
        assert accesses[0] == projects.ProjectAccess(
            number, anna, "proj", "owner", anna, anna, "inst", 3, None, None, [], [], instance_id=instance_id
        )
        by_admin = (await access(connection, None, anna, is_admin=True)).access
        assert by_admin is not None
        assert by_admin.role == "admin"

    async def test_a_project_without_an_instance_has_no_dimensions(self, connection: Connection, anna: str) -> None:
        await connection.execute("INSERT INTO projects (owner, project_handle) VALUES ($1, 'proj')", anna)
        row = (await access(connection, anna, anna)).access
        assert row is not None
        assert (row.dimensions, row.instance_owner, row.instance_handle) == (0, "", "")

    async def test_a_missing_project_still_tells_the_caller(self, connection: Connection, anna: str) -> None:
        assert await access(connection, anna, anna) == projects.ProjectRequest(anna, None)


class TestFitTable:
    async def test_makes_a_table_of_its_own(self, connection: Connection, number: int) -> None:
        parent = "SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass($1)"
        assert await connection.fetchval(parent, f"embeddings_{number}") == 0
        assert await factories.count(connection, number) == 0
        options = await connection.fetchval(
            "SELECT reloptions FROM pg_class WHERE oid = to_regclass($1)", f"embeddings_{number}"
        )
        storage = await connection.fetchval(
            "SELECT attstorage FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'vector'",
            f"embeddings_{number}",
        )
        assert (options, storage) == (["toast_tuple_target=8160"], b"m")

    async def test_an_instance_of_other_dimensions_only_while_empty(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "three")
        await factories.instance(connection, anna, "two", dimensions=2)
        number = await factories.project(connection, anna, "three", "proj")
        await factories.project(connection, anna, "two", "proj")
        assert (await factories.upsert(connection, number, {"a": [1, 2]})).inserted == 1
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await factories.project(connection, anna, "three", "proj")
        assert caught.value.constraint_name == "projects_dimensions_fixed"


class TestUpsertProject:
    async def test_replaces_the_one_of_the_same_name(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst")
        first = await factories.project(connection, anna, "inst", "proj", description="one", public_read=True)
        second = await factories.project(connection, anna, "inst", "proj", description="two", public_read=None)
        assert first == second
        row = await projects.retrieve_project(connection, project_id=first, role="owner", caller=anna)
        assert row is not None
        assert (row.description, row.public_read) == ("two", True)

    async def test_shares_are_replaced_only_when_given(self, connection: Connection) -> None:
        anna, bert, carl = [await factories.user(connection) for _ in range(3)]
        await factories.instance(connection, anna, "inst")

        async def shares(**given: Any) -> Any:
            await factories.project(connection, anna, "inst", "proj", **given)
            rows = await projects.get_shared_users_for_project(connection, owner=anna, project_handle="proj")
            return [(share.role, share.user_handle) for share in rows or []]

        both = {"share_users": [bert, carl], "share_roles": ["reader", "editor"]}
        assert sorted(await shares(**both)) == sorted([("reader", bert), ("editor", carl)])
        assert len(await shares()) == 2
        assert await shares(share_users=[bert], share_roles=["editor"]) == [("editor", bert)]
        assert await shares(share_users=[], share_roles=[]) == []

    async def test_no_row_for_an_instance_the_owner_has_not(self, connection: Connection, anna: str, bert: str) -> None:
        await factories.instance(connection, bert, "inst")
        with pytest.raises(AssertionError):
            await factories.project(connection, anna, "inst", instance_owner=bert)
        assert await projects.get_projects_by_user(connection, user_handle=anna, max_rows=9, skip=0) == []

    async def test_an_unknown_user_to_share_with(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst")
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await factories.project(connection, anna, "inst", share_users=["nobody"], share_roles=["reader"])
        assert caught.value.constraint_name == "users_projects_user_handle_fkey"


class TestGetProjectsByUser:
    async def test_own_and_shared(self, connection: Connection) -> None:
        anna, bert = await factories.user(connection, "anna"), await factories.user(connection, "bert")
        for owner in (anna, bert):
            await factories.instance(connection, owner, "inst")
        own = await factories.project(connection, bert, "inst", "own")
        await factories.project(connection, anna, "inst", "hidden", public_read=True)
        given = await factories.project(connection, anna, "inst", "given", share_users=[bert], share_roles=["reader"])
        rows = await projects.get_projects_by_user(connection, user_handle=bert, max_rows=9, skip=0)
        assert rows == [given, own]
        assert rows[1:] == await projects.get_projects_by_user(connection, user_handle=bert, max_rows=1, skip=1)


class TestGetAllProjects:
    async def test_by_owner_and_handle(self, connection: Connection) -> None:
        anna, bert = await factories.user(connection, "anna"), await factories.user(connection, "bert")
        for owner in (anna, bert):
            await factories.instance(connection, owner, "inst")
        last = await factories.project(connection, bert, "inst", "a")
        second = await factories.project(connection, anna, "inst", "b")
        first = await factories.project(connection, anna, "inst", "a")
        rows = await projects.get_all_projects(connection, max_rows=1000, skip=0)
        assert [number for number in rows if number in {first, second, last}] == [first, second, last]
        assert await projects.get_all_projects(connection, max_rows=2, skip=1) == rows[1:3]


class TestGetLargestProjects:
    async def test_those_with_the_most_embeddings_first(self, connection: Connection) -> None:
        small, large, unknown = [await factories.filled(connection) for _ in range(3)]
        for number, rows in ((small, 10**9), (large, 10**10), (unknown, None)):
            await connection.execute("UPDATE embedding_counts SET embeddings = $2 WHERE project_id = $1", number, rows)
        assert await projects.get_largest_projects(connection, max_rows=2) == [large, small]
        assert unknown not in await projects.get_largest_projects(connection, max_rows=1000)
        for number in (small, large):
            await connection.execute("UPDATE embedding_counts SET embeddings = 10^9 WHERE project_id = $1", number)
        await factories.upsert(connection, large, {"a": [1, 2, 3]})  # not added up yet
        assert await projects.get_largest_projects(connection, max_rows=2) == [large, small]


class TestDescribeProjects:
    async def test_in_this_order_with_the_roles(self, connection: Connection) -> None:
        anna, bert = await factories.user(connection), await factories.user(connection)
        await factories.instance(connection, anna, "inst")
        await factories.instance(connection, bert, "inst")
        own = await factories.project(connection, bert, "inst")
        hidden = await factories.project(connection, anna, "inst", "hidden", public_read=True)
        given = await factories.project(connection, anna, "inst", "given", share_users=[bert], share_roles=["reader"])

        async def roles(caller: str | None) -> list[tuple[int, str]]:
            asked = [given, -1, hidden, own]
            rows = await projects.describe_projects(connection, project_ids=asked, caller=caller)
            return [(row.project_id, row.role) for row in rows]

        assert await roles(bert) == [(given, "reader"), (own, "owner")]
        assert await roles(None) == [(given, "admin"), (hidden, "admin"), (own, "admin")]

    async def test_with_the_instance(self, connection: Connection) -> None:
        number = await factories.filled(connection, description="all")
        await factories.upsert(connection, number, {"a": [1, 2, 3]})
        (row,) = await projects.describe_projects(connection, project_ids=[number], caller=None)
        assert (row.description, row.text_search, row.number_of_embeddings) == ("all", "editors", 1)
        assert row.instance == projects.ListedInstance(row.owner, "inst", 3)
        await connection.execute("UPDATE projects SET llm_service_instance_id = NULL WHERE project_id = $1", number)
        (row,) = await projects.describe_projects(connection, project_ids=[number], caller=None)
        assert row.instance is None


class TestRetrieveProjectSize:
    async def test_counts(self, connection: Connection) -> None:
        number = await factories.filled(connection, handle="proj")
        await factories.upsert(connection, number, {"a": [1, 2, 3], "b": [1, 2, 3]})
        owner = await connection.fetchval("SELECT owner FROM projects WHERE project_id = $1", number)
        found = await projects.retrieve_project_size(connection, owner=owner, project_handle="proj")
        assert found == projects.ProjectSize(number, 2)
        assert await projects.retrieve_project_size(connection, owner=owner, project_handle="none") is None


class TestRetrieveProject:
    async def test_the_role_on_the_instance_is_the_callers(self, connection: Connection, anna: str, bert: str) -> None:
        await factories.instance(connection, anna, "inst")
        number = await factories.project(connection, anna, "inst", share_users=[bert], share_roles=["reader"])
        owner_sees = await projects.retrieve_project(connection, project_id=number, role="owner", caller=anna)
        reader_sees = await projects.retrieve_project(connection, project_id=number, role="reader", caller=bert)
        assert owner_sees is not None
        assert reader_sees is not None
        assert owner_sees.instance is not None
        assert owner_sees.instance["access_role"] == "owner"
        assert reader_sees.instance is not None
        assert reader_sees.instance["access_role"] is None
        assert owner_sees.shared_with is not None
        assert [(one.user_handle, one.role) for one in owner_sees.shared_with] == [(bert, "reader")]
        assert reader_sees.shared_with is None


class TestDeleteProject:
    async def test_leaves_the_table(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst")
        number = await factories.project(connection, anna, "inst", "proj")
        assert await projects.delete_project(connection, owner=anna, project_handle="proj") == number
        assert await projects.get_orphaned_tables(connection) == [number]
        assert await projects.delete_project(connection, owner=anna, project_handle="proj") is None


class TestGetOrphanedTables:
    async def test_there_are_none_while_the_projects_are_there(self, connection: Connection) -> None:
        await factories.filled(connection)
        assert await projects.get_orphaned_tables(connection) == []


class TestDropTable:
    async def test_drops_what_a_deleted_user_left(self, connection: Connection) -> None:
        stays = await factories.filled(connection)
        goes = await factories.filled(connection)
        owner = await connection.fetchval("SELECT owner FROM projects WHERE project_id = $1", goes)
        await users.delete_user(connection, user_handle=owner)
        assert await projects.get_orphaned_tables(connection) == [goes]
        await projects.drop_table(connection, project_id=goes)
        await projects.drop_table(connection, project_id=goes)
        assert await projects.get_orphaned_tables(connection) == []
        assert await factories.count(connection, stays) == 0


class TestLockProject:
    async def test_is_the_body_of_a_put_without_the_shares(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst")
        await factories.project(connection, anna, "inst", "proj", metadata_scheme="{}")
        assert await projects.lock_project(connection, owner=anna, project_handle="proj") == {
            "project_handle": "proj",
            "description": None,
            "metadataScheme": "{}",
            "public_read": False,
            "text_search": "editors",
            "instance_owner": anna,
            "instance_handle": "inst",
        }
        assert await projects.lock_project(connection, owner=anna, project_handle="none") is None


async def shares(connection: Connection, owner: str) -> list[SharedWith] | None:
    return await projects.get_shared_users_for_project(connection, owner=owner, project_handle="shared")


async def share_as(connection: Connection, owner: str, user: str, role: str) -> int | None:
    return await projects.share_project(connection, owner=owner, project_handle="shared", user_handle=user, role=role)


class TestShareProject:
    async def test_sharing_again_changes_the_role(self, connection: Connection, anna: str, bert: str) -> None:
        assert await share_as(connection, anna, bert, "reader") is None
        await factories.instance(connection, anna, "inst")
        number = await factories.project(connection, anna, "inst", "shared")
        for role in ("reader", "editor"):
            assert await share_as(connection, anna, bert, role) == number
            assert await shares(connection, anna) == [SharedWith(bert, role)]

    @pytest.mark.parametrize(
        ("user", "role", "constraint"),
        [("nobody", "reader", "users_projects_user_handle_fkey"), ("_system", "owner", "users_projects_role_check")],
    )
    async def test_refusals(self, connection: Connection, anna: str, user: str, role: str, constraint: str) -> None:
        await factories.instance(connection, anna, "inst")
        await factories.project(connection, anna, "inst", "shared")
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
            await share_as(connection, anna, user, role)
        assert caught.value.constraint_name == constraint


class TestUnshareProject:
    async def test_ends_one_share(self, connection: Connection) -> None:
        anna, bert, carl = [await factories.user(connection) for _ in range(3)]
        await factories.instance(connection, anna, "inst")
        number = await factories.project(connection, anna, "inst", "shared")
        for user in (bert, carl):
            await share_as(connection, anna, user, "reader")
        ended = [
            await projects.unshare_project(connection, owner=anna, project_handle="shared", user_handle=bert)
            for _ in range(2)
        ]
        assert ended == [number, None]
        assert await shares(connection, anna) == [SharedWith(carl, "reader")]


class TestGetSharedUsersForProject:
    async def test_none_and_nothing_of_that_name(self, connection: Connection, anna: str) -> None:
        assert await shares(connection, anna) is None
        await factories.instance(connection, anna, "inst")
        await factories.project(connection, anna, "inst", "shared")
        assert await shares(connection, anna) == []


class TestTransferProject:
    async def transfer(self, connection: Connection, owner: str, to: str) -> projects.Transfer | None:
        return await projects.transfer_project(connection, owner=owner, project_handle="proj", new_owner=to)

    async def test_to_somebody_who_may_use_the_instance(self, connection: Connection, anna: str, bert: str) -> None:
        instance_id = await factories.instance(connection, anna, "inst")
        number = await factories.project(connection, anna, "inst", "proj", share_users=[bert], share_roles=["reader"])
        assert await self.transfer(connection, anna, bert) == projects.Transfer(fits=False, project_id=number)
        share = (
            "INSERT INTO llm_service_instances_shared_with (user_handle, instance_id, role) VALUES ($1, $2, 'reader')"
        )
        await connection.execute(share, bert, instance_id)
        assert await self.transfer(connection, anna, bert) == projects.Transfer(fits=True, project_id=number)
        assert await self.transfer(connection, anna, bert) is None
        row = await projects.retrieve_project(connection, project_id=number, role="owner", caller=bert)
        assert row is not None
        assert row.owner == bert
        assert await projects.get_shared_users_for_project(connection, owner=bert, project_handle="proj") == []
        former = (await access(connection, anna, bert)).access
        assert former is not None
        assert former.role == "none"

    async def test_to_somebody_who_has_one_of_that_name(self, connection: Connection, anna: str, bert: str) -> None:
        for owner in (anna, bert):
            await factories.instance(connection, owner, "inst")
            await factories.project(connection, owner, "inst", "proj")
        share = (
            "INSERT INTO llm_service_instances_shared_with (user_handle, instance_id, role) "
            "SELECT $1, instance_id, 'reader' FROM llm_service_instances WHERE owner = $2"
        )
        await connection.execute(share, bert, anna)
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await self.transfer(connection, anna, bert)
        assert caught.value.constraint_name == "projects_owner_project_handle_key"
