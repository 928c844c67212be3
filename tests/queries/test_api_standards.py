"""Statements of sql/api_standards.sql on real rows."""

import asyncpg
import pytest

from service.database.pool import Connection
from service.queries import api_standards
from service.queries.api_standards import APIStandard
from tests.support import factories


async def upsert(connection: Connection, handle: str, method: str = "query_param") -> APIStandard | None:
    return await api_standards.upsert_api_standard(
        connection, api_standard_handle=handle, description="d", key_method=method, key_field="key", dialect=None
    )


class TestUpsertAPIStandard:
    async def test_creates_and_replaces(self, connection: Connection) -> None:
        assert await upsert(connection, "mine") == APIStandard("mine", "query_param", "d", "key")
        assert await upsert(connection, "mine", "body_form") == APIStandard("mine", "body_form", "d", "key")

    async def test_an_unknown_key_method(self, connection: Connection) -> None:
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await upsert(connection, "mine", "by_pigeon")
        assert caught.value.constraint_name == "api_standards_key_method_fkey"


class TestLockAPIStandard:
    async def test_has_the_body_of_a_put(self, connection: Connection) -> None:
        await upsert(connection, "mine")
        found = await api_standards.lock_api_standard(connection, api_standard_handle="mine")
        assert found is not None
        assert (
            found.items()
            >= {
                "api_standard_handle": "mine",
                "description": "d",
                "key_method": "query_param",
                "key_field": "key",
                "dialect": None,
            }.items()
        )
        assert await api_standards.lock_api_standard(connection, api_standard_handle="none") is None


class TestGetAPIStandards:
    async def test_the_built_in_ones_in_pages(self, connection: Connection) -> None:
        await upsert(connection, "mine")
        rows = await api_standards.get_api_standards(connection, max_rows=200, skip=0)
        assert [(row.api_standard_handle, row.key_method, row.key_field) for row in rows] == [
            ("azure-openai", "custom_header", "api-key"),
            ("cohere", "auth_bearer", "Authorization"),
            ("gemini", "custom_header", "x-goog-api-key"),
            ("jina", "auth_bearer", "Authorization"),
            ("local", "auth_bearer", "Authorization"),
            ("mine", "query_param", "key"),
            ("mistral", "auth_bearer", "Authorization"),
            ("ollama", "auth_bearer", "Authorization"),
            ("openai", "auth_bearer", "Authorization"),
            ("tei", "auth_bearer", "Authorization"),
            ("voyage", "auth_bearer", "Authorization"),
        ]
        assert all(row.dialect for row in rows if row.api_standard_handle != "mine")
        assert await api_standards.get_api_standards(connection, max_rows=1, skip=2) == rows[2:3]


class TestRetrieveAPIStandard:
    async def test_one_and_none(self, connection: Connection) -> None:
        row = await api_standards.retrieve_api_standard(connection, api_standard_handle="openai")
        assert row is not None
        assert row.key_method == "auth_bearer"
        assert await api_standards.retrieve_api_standard(connection, api_standard_handle="none") is None


class TestDeleteAPIStandard:
    async def test_only_when_nothing_uses_it(self, connection: Connection, anna: str) -> None:
        await upsert(connection, "mine")
        number = await factories.instance(connection, anna, api_standard="mine")
        for used in ("mine", "openai"):
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                async with connection.transaction():
                    await api_standards.delete_api_standard(connection, api_standard_handle=used)
        await connection.execute("DELETE FROM llm_service_instances WHERE instance_id = $1", number)
        assert await api_standards.delete_api_standard(connection, api_standard_handle="mine") == "mine"
        assert await api_standards.delete_api_standard(connection, api_standard_handle="mine") is None
