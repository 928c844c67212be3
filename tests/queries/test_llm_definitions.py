"""Statements of sql/llm_definitions.sql on real rows."""

import pytest

from service.db import Connection
from service.queries import llm_definitions
from tests.queries import factories

BUILT_IN = {
    "openai-large": ("text-embedding-3-large", 3072, 8192),
    "openai-small": ("text-embedding-3-small", 1536, 8191),
    "cohere-multilingual-v3": ("embed-multilingual-v3.0", 1024, 512),
    "cohere-v4": ("embed-v4.0", 1536, 128000),
    "gemini-embedding-001": ("gemini-embedding-001", 768, 2048),
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
        page = await llm_definitions.get_llm_definitions_by_user(connection, user_handle=anna, max_rows=2, skip=5)
        assert page == rows[5:]


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


class TestRetrieveLLMDefinition:
    @pytest.mark.parametrize("handle", BUILT_IN)
    async def test_the_built_in_ones(self, connection: Connection, handle: str) -> None:
        row = await llm_definitions.retrieve_llm_definition(connection, owner="_system", definition_handle=handle)
        assert row is not None
        assert (row.model, row.dimensions, row.context_limit) == BUILT_IN[handle]
        assert row.is_public

    async def test_a_missing_one(self, connection: Connection) -> None:
        assert (
            await llm_definitions.retrieve_llm_definition(connection, owner="_system", definition_handle="none") is None
        )
