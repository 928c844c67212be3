"""Statements of sql/users.sql on real rows."""

import asyncpg
import pytest

from service.database.pool import Connection
from service.http.request import hash_key
from service.queries import llm_definitions, projects, users
from tests.support import factories


class TestUpsertUser:
    async def test_creates_with_the_key(self, connection: Connection) -> None:
        assert await users.upsert_user(connection, user_handle="anna", email="a@x", name="A", key_hash="h1")

    async def test_changes_all_but_the_key(self, connection: Connection) -> None:
        await factories.user(connection, "anna")
        assert not await users.upsert_user(connection, user_handle="anna", email="new@x", name=None, key_hash="other")
        stored = await users.retrieve_user(connection, user_handle="anna")
        assert stored is not None
        assert stored.email == "new@x"
        known = await users.authenticate_user(connection, key_hash=hash_key("key-of-anna"), named=None)
        assert known == users.Authentication("anna", named_exists=False)

    async def test_refuses_the_email_of_another(self, connection: Connection) -> None:
        await factories.user(connection, "anna", email="same@x")
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await factories.user(connection, "bert", email="same@x")
        assert caught.value.constraint_name == "users_email_key"


class TestAuthenticateUser:
    async def test_knows_a_key_and_a_name(self, connection: Connection) -> None:
        await factories.user(connection, "anna")
        known = await users.authenticate_user(connection, key_hash=hash_key("key-of-anna"), named="anna")
        assert known == users.Authentication("anna", named_exists=True)

    @pytest.mark.parametrize("key_hash", [None, "", hash_key("nobody's"), "-" * 64])
    async def test_always_one_row(self, connection: Connection, key_hash: str | None) -> None:
        known = await users.authenticate_user(connection, key_hash=key_hash, named="nobody")
        # The last is what is stored for _system; nothing hashes to it.
        assert known == users.Authentication("_system" if key_hash == "-" * 64 else None, named_exists=False)


class TestRetrieveTakenNames:
    async def test_of_another_user_but_for_case(self, connection: Connection) -> None:
        handle = await factories.user(connection)

        async def taken(user_handle: str, email: str) -> tuple[bool, bool]:
            found = await users.retrieve_taken_names(connection, user_handle=user_handle, email=email)
            assert found is not None
            return found.handle, found.email

        assert await taken("new", "new@example.org") == (False, False)
        assert await taken(handle, f"{handle}@EXAMPLE.org") == (False, False)
        assert await taken(handle.upper(), f"{handle}@EXAMPLE.org") == (True, True)
        assert await taken("new", f"{handle}@example.org") == (False, True)
        assert await taken("PUBLIC", "new@example.org") == (True, False)


class TestReplaceUserKey:
    async def test_the_old_key_stops_working(self, connection: Connection) -> None:
        await factories.user(connection, "anna")
        assert await users.replace_user_key(connection, user_handle="anna", key_hash=hash_key("new")) == "anna"
        old = await users.authenticate_user(connection, key_hash=hash_key("key-of-anna"), named=None)
        new = await users.authenticate_user(connection, key_hash=hash_key("new"), named=None)
        assert (old and old.caller, new and new.caller) == (None, "anna")

    @pytest.mark.parametrize("handle", ["nobody", "_system"])
    async def test_nobody_and_the_system_have_none(self, connection: Connection, handle: str) -> None:
        assert await users.replace_user_key(connection, user_handle=handle, key_hash="h") is None


class TestGetAllUsers:
    async def test_pages_in_order(self, connection: Connection) -> None:
        for handle in ("zoe", "anna", "mia"):
            await factories.user(connection, handle)
        everybody = await users.get_all_users(connection, search="", max_rows=200, skip=0)
        assert everybody == sorted(everybody)
        assert {"zoe", "anna", "mia", "_system"} <= set(everybody)
        assert await users.get_all_users(connection, search="", max_rows=1, skip=1) == everybody[1:2]

    async def test_those_that_contain_a_text(self, connection: Connection) -> None:
        for handle in ("Anna.1", "joanna", "mia_1", "mia%1"):
            await factories.user(connection, handle)
        assert await users.get_all_users(connection, search="ANNA", max_rows=200, skip=0) == ["Anna.1", "joanna"]
        assert await users.get_all_users(connection, search="a%1", max_rows=200, skip=0) == ["mia%1"]  # no pattern


class TestRetrieveUser:
    async def test_lists_what_is_owned_and_shared(self, connection: Connection) -> None:
        anna, bert = await factories.user(connection, "anna"), await factories.user(connection, "bert")
        await factories.instance(connection, anna, "inst")
        await factories.project(connection, anna, "inst", "proj", share_users=[bert], share_roles=["editor"])
        owner = await users.retrieve_user(connection, user_handle=anna)
        reader = await users.retrieve_user(connection, user_handle=bert)
        assert owner is not None
        assert reader is not None
        assert owner.projects == [{"project_handle": "proj", "owner": "anna", "role": "owner"}]
        assert owner.instances == [{"instance_handle": "inst", "owner": "anna", "role": "owner"}]
        assert owner.definitions == []  # the public ones of _system are not theirs
        assert reader.projects == [{"project_handle": "proj", "owner": "anna", "role": "editor"}]
        assert reader.instances == []

    async def test_of_nobody(self, connection: Connection) -> None:
        assert await users.retrieve_user(connection, user_handle="nobody") is None


class TestDeleteUser:
    async def test_takes_all_they_own_along(self, connection: Connection) -> None:
        anna = await factories.user(connection, "anna")
        await factories.instance(connection, anna, "inst")
        project_id = await factories.project(connection, anna, "inst")
        assert await users.delete_user(connection, user_handle=anna) == anna
        assert await projects.get_orphaned_tables(connection) == [project_id]
        assert await connection.fetchval("SELECT count(*) FROM llm_service_instances WHERE owner = 'anna'") == 0

    async def test_refuses_while_anothers_project_uses_their_instance(self, connection: Connection) -> None:
        anna, bert = await factories.user(connection, "anna"), await factories.user(connection, "bert")
        instance_id = await factories.instance(connection, anna, "inst")
        await connection.execute(
            "INSERT INTO llm_service_instances_shared_with (user_handle, instance_id, role) VALUES ($1, $2, 'reader')",
            bert,
            instance_id,
        )
        await factories.project(connection, bert, "inst", instance_owner=anna)
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await users.delete_user(connection, user_handle=anna)
        assert caught.value.constraint_name == "projects_llm_service_instance_id_fkey"

    @pytest.mark.parametrize("handle", ["nobody", "_system"])
    async def test_nobody_and_the_system(self, connection: Connection, handle: str) -> None:
        assert await users.delete_user(connection, user_handle=handle) is None
        listed = await llm_definitions.get_llm_definitions_by_user(
            connection, user_handle="nobody", max_rows=10, skip=0
        )
        assert len(listed) == 6


class TestLockUser:
    async def test_is_the_body_of_a_put(self, connection: Connection) -> None:
        await factories.user(connection, "anna", name="Anna")
        assert await users.lock_user(connection, user_handle="anna") == {
            "user_handle": "anna",
            "email": "anna@example.org",
            "name": "Anna",
        }
        assert await users.lock_user(connection, user_handle="nobody") is None
        assert await users.lock_user(connection, user_handle="_system") is None


class TestLockOwners:
    async def test_until_the_end_of_the_transaction_and_again(self, connection: Connection) -> None:
        for _ in range(2):
            await users.lock_owners(connection, user_handles=["bert", "anna", "nobody"])
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert await connection.fetchval(held) == 3


class TestLockInstancesOfUser:
    async def test_locks_and_changes_nothing(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst")
        await factories.project(connection, anna, "inst")
        await users.lock_instances_of_user(connection, user_handle=anna)
        for table in ("llm_service_instances", "projects"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE owner = $1 AND xmax <> 0", anna) == 1
