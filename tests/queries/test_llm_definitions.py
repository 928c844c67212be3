"""Statements of sql/llm_definitions.sql on real rows."""

from typing import Any

import asyncpg
import pytest

from service.database.pool import Connection
from service.queries import llm_definitions
from tests.support import factories

BUILT_IN = {
    "openai-large": ("text-embedding-3-large", 3072, 8192),
    "openai-small": ("text-embedding-3-small", 1536, 8191),
    "cohere-multilingual-v3": ("embed-multilingual-v3.0", 1024, 512),
    "cohere-v4": ("embed-v4.0", 1536, 128000),
    "gemini-embedding-001": ("gemini-embedding-001", 768, 2048),
    "local-small": ("l2-supercat-256", 256, None),
}


async def define(connection: Connection, owner: str, handle: str, *, public: bool = False) -> int:
    definition_id: int = await connection.fetchval(
        "INSERT INTO llm_service_definitions (owner, definition_handle, api_standard, is_public) "
        "VALUES ($1, $2, 'openai', $3) RETURNING definition_id",
        owner,
        handle,
        public,
    )
    return definition_id


class TestGetLLMDefinitionsByUser:
    async def test_own_systems_and_shared_each_once(self, connection: Connection) -> None:
        anna, bert = await factories.user(connection, "anna"), await factories.user(connection, "bert")
        await define(connection, anna, "mine", public=True)
        await define(connection, bert, "hidden")
        await define(connection, bert, "public", public=True)
        shared = await define(connection, bert, "shared", public=True)
        await connection.execute(
            "INSERT INTO llm_service_definitions_shared_with (user_handle, definition_id) VALUES ($1, $2)", anna, shared
        )
        rows = await llm_definitions.get_llm_definitions_by_user(connection, user_handle=anna, max_rows=200, skip=0)
        assert [(row.owner, row.definition_handle) for row in rows] == [
            *(("_system", handle) for handle in sorted(BUILT_IN)),
            ("anna", "mine"),
            ("bert", "shared"),
        ]
        page = await llm_definitions.get_llm_definitions_by_user(connection, user_handle=anna, max_rows=2, skip=6)
        assert page == rows[6:]


class TestGetAllLLMDefinitions:
    async def test_what_a_caller_may_use(self, connection: Connection, anna: str, bert: str) -> None:
        for name, public in (("private", False), ("public", True)):
            await connection.execute(
                "INSERT INTO llm_service_definitions (owner, definition_handle, api_standard, is_public)"
                " VALUES ($1, $2, 'openai', $3)",
                anna,
                name,
                public,
            )

        async def found(caller: str | None) -> set[str]:
            rows = await llm_definitions.get_all_llm_definitions(connection, caller=caller, max_rows=99, skip=0)
            return {row.definition_handle for row in rows if row.owner in (anna, "_system")}

        system = await llm_definitions.get_system_llm_definitions(connection, max_rows=99, skip=0)
        built_in = {row.definition_handle for row in system}
        assert "local-small" in built_in
        assert await found(anna) == await found(None) == built_in | {"private", "public"}
        assert await found(bert) == built_in | {"public"}


class TestGetSystemLLMDefinitions:
    async def test_in_pages(self, connection: Connection) -> None:
        rows = await llm_definitions.get_system_llm_definitions(connection, max_rows=99, skip=0)
        assert {row.owner for row in rows} == {"_system"}
        assert await llm_definitions.get_system_llm_definitions(connection, max_rows=1, skip=1) == rows[1:2]


class TestRetrieveLLMDefinitionRole:
    @pytest.mark.parametrize(
        ("caller", "handle", "role"),
        [
            ("anna", "private", "owner"),
            ("bert", "private", None),
            ("carl", "private", "reader"),
            ("anna", "public", "owner"),
            ("bert", "public", "public"),
            ("anna", "missing", None),
        ],
    )
    async def test_roles(self, connection: Connection, caller: str, handle: str, role: str | None) -> None:
        for user in ("anna", "bert", "carl"):
            await factories.user(connection, user)
        private = await define(connection, "anna", "private")
        await define(connection, "anna", "public", public=True)
        await connection.execute(
            "INSERT INTO llm_service_definitions_shared_with (user_handle, definition_id) VALUES ('carl', $1)", private
        )
        found = await llm_definitions.retrieve_llm_definition_role(
            connection, owner="anna", definition_handle=handle, caller=caller
        )
        assert found == role


def retrieved(connection: Connection, owner: str, handle: str, user: str | None = None) -> Any:
    return llm_definitions.retrieve_llm_definition(connection, owner=owner, definition_handle=handle, usable_by=user)


class TestRetrieveLLMDefinition:
    @pytest.mark.parametrize("handle", BUILT_IN)
    async def test_the_built_in_ones(self, connection: Connection, handle: str) -> None:
        row = await retrieved(connection, "_system", handle)
        assert row is not None
        assert (row.model, row.dimensions, row.context_limit) == BUILT_IN[handle]
        assert row.is_public

    async def test_a_missing_one(self, connection: Connection) -> None:
        assert await retrieved(connection, "_system", "none") is None

    @pytest.mark.parametrize(
        ("public", "shared", "works"), [(False, False, False), (True, False, True), (False, True, True)]
    )
    async def test_only_what_the_user_may_use(
        self, connection: Connection, anna: str, bert: str, public: bool, shared: bool, works: bool
    ) -> None:
        number = await connection.fetchval(
            "INSERT INTO llm_service_definitions (owner, definition_handle, api_standard, dimensions, is_public) "
            "VALUES ($1, 'def', 'openai', 3, $2) RETURNING definition_id",
            bert,
            public,
        )
        if shared:
            await connection.execute(
                "INSERT INTO llm_service_definitions_shared_with (user_handle, definition_id) VALUES ($1, $2)",
                anna,
                number,
            )

        async def usable(user: str, owner: str = bert, handle: str = "def") -> int | None:
            row = await retrieved(connection, owner, handle, user)
            return row and row.definition_id

        assert await usable(bert) == number
        assert await usable(anna) == (number if works else None)
        assert await usable(anna, "_system", "openai-small") is not None
        assert await usable(anna, bert, "other") is None


async def upsert(connection: Connection, owner: str, **overrides: Any) -> llm_definitions.DefinitionBrief:
    values = {
        "definition_handle": "def",
        "endpoint": None,
        "description": None,
        "api_standard": "openai",
        "model": None,
        "dimensions": None,
        "context_limit": None,
        "is_public": False,
        **overrides,
    }
    row = await llm_definitions.upsert_llm_definition(connection, owner=owner, **values)
    assert row is not None
    return row


class TestUpsertLLMDefinition:
    async def test_creates_and_replaces(self, connection: Connection, anna: str) -> None:
        first = await upsert(connection, anna, model="one", is_public=True)
        second = await upsert(connection, anna, dimensions=3)
        assert (first.definition_id, first.is_public) == (second.definition_id, True)
        row = await retrieved(connection, anna, "def")
        assert row is not None
        assert (row.model, row.dimensions, row.is_public) == (None, 3, False)

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"owner": "nobody"}, "llm_service_definitions_owner_fkey"),
            ({"api_standard": "none"}, "llm_service_definitions_api_standard_fkey"),
            ({"dimensions": 16001}, "llm_service_definitions_dimensions_check"),
            ({"context_limit": 0}, "llm_service_definitions_context_limit_check"),
        ],
    )
    async def test_refusals(self, connection: Connection, change: dict[str, Any], constraint: str) -> None:
        values = {"owner": await factories.user(connection), **change}
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
            await upsert(connection, **values)
        assert caught.value.constraint_name == constraint


class TestLockLLMDefinition:
    async def test_has_the_body_of_a_put(self, connection: Connection, anna: str) -> None:
        await upsert(connection, anna, model="m", dimensions=3)
        found = await llm_definitions.lock_llm_definition(connection, owner=anna, definition_handle="def")
        assert found is not None
        assert (
            found.items()
            >= {
                "definition_handle": "def",
                "api_standard": "openai",
                "endpoint": None,
                "description": None,
                "model": "m",
                "dimensions": 3,
                "context_limit": None,
                "is_public": False,
            }.items()
        )
        assert await llm_definitions.lock_llm_definition(connection, owner=anna, definition_handle="none") is None


class TestDeleteLLMDefinition:
    async def test_instances_stay_unlinked(self, connection: Connection, anna: str) -> None:
        number = (await upsert(connection, anna)).definition_id
        instance_id = await factories.instance(connection, anna, "inst")
        link = "UPDATE llm_service_instances SET definition_id = $1 WHERE instance_id = $2"
        await connection.execute(link, number, instance_id)
        deleted = await llm_definitions.delete_llm_definition(connection, owner=anna, definition_handle="def")
        assert deleted == number
        linked = "SELECT definition_id FROM llm_service_instances WHERE instance_id = $1"
        assert await connection.fetchval(linked, instance_id) is None
        assert await llm_definitions.delete_llm_definition(connection, owner=anna, definition_handle="def") is None


async def shares(connection: Connection, owner: str) -> list[Any] | None:
    return await llm_definitions.get_shared_users_for_definition(connection, owner=owner, definition_handle="def")


class TestShareLLMDefinition:
    async def test_shares_once(self, connection: Connection, anna: str, bert: str) -> None:
        number = (await upsert(connection, anna)).definition_id
        for _ in range(2):
            shared = await llm_definitions.share_llm_definition(
                connection, owner=anna, definition_handle="def", user_handle=bert
            )
            assert shared == number
        assert await shares(connection, anna) == [bert]

    async def test_of_a_missing_one(self, connection: Connection, anna: str) -> None:
        shared = await llm_definitions.share_llm_definition(
            connection, owner=anna, definition_handle="def", user_handle=anna
        )
        assert shared is None

    async def test_with_nobody(self, connection: Connection, anna: str) -> None:
        await upsert(connection, anna)
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await llm_definitions.share_llm_definition(
                connection, owner=anna, definition_handle="def", user_handle="nobody"
            )
        assert caught.value.constraint_name == "llm_service_definitions_shared_with_user_handle_fkey"


class TestUnshareLLMDefinition:
    async def test_ends_one_share(self, connection: Connection) -> None:
        anna, bert, carl = [await factories.user(connection) for _ in range(3)]
        await upsert(connection, anna)
        for user in (bert, carl):
            await llm_definitions.share_llm_definition(
                connection, owner=anna, definition_handle="def", user_handle=user
            )
        ended = [
            await llm_definitions.unshare_llm_definition(
                connection, owner=anna, definition_handle="def", user_handle=bert
            )
            for _ in range(2)
        ]
        assert ended[0] is not None
        assert ended[1] is None
        assert await shares(connection, anna) == [carl]


class TestGetSharedUsersForDefinition:
    async def test_none_and_no_definition(self, connection: Connection, anna: str) -> None:
        assert await shares(connection, anna) is None
        await upsert(connection, anna)
        assert await shares(connection, anna) == []
