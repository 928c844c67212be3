"""Statements of sql/llm_instances.sql on real rows."""

from typing import Any

import asyncpg
import msgspec
import pytest

from service.database.pool import Connection
from service.queries import llm_instances
from tests.support import factories

NO_LIMITS: dict[str, Any] = {
    "tokens_per_day": None, "tokens_per_month": None, "requests_per_minute": None, "expires_at": None,
}  # fmt: skip


async def retrieve(connection: Connection, owner: str, handle: str, role: str = "owner") -> llm_instances.Instance:
    row = await llm_instances.retrieve_llm_instance(connection, owner=owner, instance_handle=handle, role=role)
    assert row is not None
    return row


async def share(connection: Connection, user: str, instance_id: int, role: str = "reader") -> None:
    await connection.execute(
        "INSERT INTO llm_service_instances_shared_with (user_handle, instance_id, role) VALUES ($1, $2, $3)",
        user,
        instance_id,
        role,
    )


async def stored_key(connection: Connection, instance_id: int) -> bytes | None:
    key: bytes | None = await connection.fetchval(
        "SELECT api_key_encrypted FROM llm_service_instances WHERE instance_id = $1", instance_id
    )
    return key


class TestUpsertLLMInstance:
    async def test_creates_and_replaces(self, connection: Connection, anna: str) -> None:
        first = await factories.instance(connection, anna, "inst", model="one", endpoint="http://x")
        second = await factories.instance(connection, anna, "inst", model="two", context_limit=5)
        assert first == second
        row = await retrieve(connection, anna, "inst")
        assert (row.model, row.endpoint, row.context_limit) == ("two", None, 5)

    async def test_keeps_its_definition(self, connection: Connection, anna: str) -> None:
        number = await connection.fetchval(
            "SELECT definition_id FROM llm_service_definitions WHERE definition_handle = 'openai-small'"
        )
        await factories.instance(connection, anna, "inst", definition_id=number)
        row = await retrieve(connection, anna, "inst")
        assert (row.definition_id, row.definition_owner, row.definition_handle) == (number, "_system", "openai-small")
        await factories.instance(connection, anna, "inst")
        assert (await retrieve(connection, anna, "inst")).definition_id == number

    async def test_needs_dimensions(self, connection: Connection, anna: str) -> None:
        with pytest.raises(asyncpg.NotNullViolationError) as caught:
            await factories.instance(connection, anna, dimensions=None)
        assert caught.value.column_name == "dimensions"

    async def test_the_key_stays_unless_it_is_to_change(self, connection: Connection, anna: str) -> None:
        number = await factories.instance(connection, anna, "inst", change_key=True, api_key_encrypted=b"sealed")
        await factories.instance(connection, anna, "inst")
        assert await stored_key(connection, number) == b"sealed"
        assert (await retrieve(connection, anna, "inst")).has_api_key
        await factories.instance(connection, anna, "inst", change_key=True, api_key_encrypted=None)
        assert await stored_key(connection, number) is None
        assert not (await retrieve(connection, anna, "inst")).has_api_key

    async def test_fits_the_empty_projects_of_the_instance(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst")
        numbers = [await factories.project(connection, anna, "inst") for _ in range(3)]
        await factories.instance(connection, anna, "inst", dimensions=2)
        for number in numbers:
            assert (await factories.upsert(connection, number, {"a": [1, 2]})).inserted == 1

    async def test_keeps_the_dimensions_of_a_project_with_embeddings(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst")
        number = await factories.project(connection, anna, "inst")
        await factories.upsert(connection, number, {"a": [1, 2, 3]})
        await factories.instance(connection, anna, "inst", model="other")
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await factories.instance(connection, anna, "inst", dimensions=2)
        assert caught.value.constraint_name == "projects_dimensions_fixed"

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"owner": "nobody"}, "llm_service_instances_owner_fkey"),
            ({"api_standard": "none"}, "llm_service_instances_api_standard_fkey"),
            ({"dimensions": 0}, "llm_service_instances_dimensions_check"),
            ({"dimensions": 16001}, "llm_service_instances_dimensions_check"),
            ({"context_limit": 0}, "llm_service_instances_context_limit_check"),
        ],
    )
    async def test_refusals(self, connection: Connection, change: dict[str, Any], constraint: str) -> None:
        values = {"owner": await factories.user(connection), **change}
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
            await factories.instance(connection, **values)
        assert caught.value.constraint_name == constraint


class TestFitTablesOfInstance:
    async def test_fits_the_empty_projects_of_the_instance_alone(self, connection: Connection, anna: str) -> None:
        number = await factories.instance(connection, anna, "inst")
        await factories.instance(connection, anna, "other")
        mine, others = [await factories.project(connection, anna, name) for name in ("inst", "other")]
        await connection.execute("UPDATE llm_service_instances SET dimensions = 2")
        await llm_instances.fit_tables_of_instance(connection, instance_id=number)
        assert (await factories.upsert(connection, mine, {"a": [1, 2]})).inserted == 1
        assert (await factories.upsert(connection, others, {"a": [1, 2, 3]})).inserted == 1


class TestRetrieveLLMInstance:
    async def test_shares_are_for_the_owner(self, connection: Connection, anna: str, bert: str) -> None:
        await share(connection, bert, await factories.instance(connection, anna, "inst"), "editor")
        owner_sees = await retrieve(connection, anna, "inst")
        reader_sees = await retrieve(connection, anna, "inst", "reader")
        assert owner_sees.shared_with == [llm_instances.InstanceShare(bert, "editor")]
        assert reader_sees.shared_with is None
        assert reader_sees.access_role == "reader"


class TestGetLLMInstancesByUser:
    async def test_own_and_shared(self, connection: Connection) -> None:
        anna, bert = await factories.user(connection, "anna"), await factories.user(connection, "bert")
        await factories.instance(connection, bert, "own")
        await factories.instance(connection, anna, "hidden")
        await share(connection, bert, await factories.instance(connection, anna, "given"), "editor")
        rows = await llm_instances.get_llm_instances_by_user(connection, user_handle=bert, max_rows=9, skip=0)
        assert [(row.owner, row.instance_handle, row.access_role) for row in rows] == [
            ("anna", "given", "editor"),
            ("bert", "own", "owner"),
        ]
        for row, of in zip(rows, ("anna", "bert"), strict=True):
            full = await retrieve(connection, of, row.instance_handle, row.access_role)
            for name in ("instance_id", "api_standard", "dimensions", "has_api_key", "description", "model"):
                assert getattr(row, name) == getattr(full, name)
        assert rows[1:] == await llm_instances.get_llm_instances_by_user(
            connection, user_handle=bert, max_rows=1, skip=1
        )


class TestRetrieveLLMInstanceRole:
    async def test_roles(self, connection: Connection) -> None:
        anna, bert, carl = [await factories.user(connection) for _ in range(3)]
        await share(connection, bert, await factories.instance(connection, anna, "inst"), "reader")
        roles = [
            await llm_instances.retrieve_llm_instance_role(
                connection, owner=anna, instance_handle="inst", caller=caller
            )
            for caller in (anna, bert, carl)
        ]
        assert roles == ["owner", "reader", None]


class TestRetrieveLLMInstanceByID:
    async def test_how_to_call_it(self, connection: Connection) -> None:
        anna, bert, carl = [await factories.user(connection) for _ in range(3)]
        number = await factories.instance(
            connection, anna, "inst", model="m", endpoint="https://x", change_key=True, api_key_encrypted=b"sealed"
        )
        await share(connection, bert, number)

        async def found(holder: str) -> llm_instances.Model:
            row = await llm_instances.retrieve_llm_instance_by_id(connection, instance_id=number, holder=holder)
            assert row is not None
            return row

        expected = llm_instances.Model(
            number, anna, "inst", "openai", "auth_bearer", "Authorization", "https://x", "m", 3, b"sealed", None, None,
            is_usable=True, is_limited=False,
        )  # fmt: skip
        assert await found(anna) == await found(bert) == expected
        assert "sealed" not in repr(expected)
        assert not (await found(carl)).is_usable
        await connection.execute("UPDATE llm_service_instances_shared_with SET tokens_per_day = 5")
        assert [(await found(holder)).is_limited for holder in (anna, bert)] == [False, True]
        await connection.execute("UPDATE llm_service_instances_shared_with SET expires_at = now()")
        assert not (await found(bert)).is_usable
        await connection.execute("UPDATE llm_service_instances SET requests_per_minute = 5")
        assert (await found(anna)).is_limited
        assert await llm_instances.retrieve_llm_instance_by_id(connection, instance_id=-1, holder=anna) is None


class TestGetLLMInstancesByProject:
    async def test_what_its_readers_may_know(self, connection: Connection, anna: str, bert: str) -> None:
        number = await factories.instance(connection, anna, "inst", model="m", endpoint="https://models.example.org")
        await share(connection, bert, number)
        project = await factories.project(connection, bert, "inst", instance_owner=anna)
        found = await llm_instances.get_llm_instances_by_project(connection, project_id=project)
        assert found == llm_instances.ProjectInstance(
            anna, "inst", "m", 3, "openai", can_embed=True, text_search="editors"
        )
        await connection.execute("DELETE FROM llm_service_instances_shared_with")
        found = await llm_instances.get_llm_instances_by_project(connection, project_id=project)
        assert found is not None
        assert not found.can_embed
        assert await llm_instances.get_llm_instances_by_project(connection, project_id=-1) is None

    async def test_what_the_service_cannot_call(self, connection: Connection, anna: str) -> None:
        """It needs an endpoint and a model, but for the one inside the service."""
        address = "https://models.example.org"
        cases: list[tuple[dict[str, object], bool]] = [
            ({"model": "m", "endpoint": address}, True),
            ({"model": "m"}, False),
            ({"model": "m", "endpoint": ""}, False),
            ({"endpoint": address}, False),
            ({"model": "l2-supercat-256", "api_standard": "local", "dimensions": 256}, True),
        ]
        for at, (fields, can_embed) in enumerate(cases):
            handle = f"inst-{at}"
            await factories.instance(connection, anna, handle, **fields)
            project = await factories.project(connection, anna, handle)
            found = await llm_instances.get_llm_instances_by_project(connection, project_id=project)
            assert found is not None
            assert found.can_embed == can_embed, fields


class TestGetSharedLLMInstances:
    async def test_those_of_others(self, connection: Connection) -> None:
        anna, bert = await factories.user(connection, "anna"), await factories.user(connection, "bert")
        await factories.instance(connection, bert, "own")
        for name in ("one", "two", "ended"):
            await share(connection, bert, await factories.instance(connection, anna, name))
        await connection.execute(
            "UPDATE llm_service_instances_shared_with SET expires_at = now() FROM llm_service_instances AS instance"
            " WHERE instance.instance_id = llm_service_instances_shared_with.instance_id AND instance_handle = 'ended'"
        )
        rows = await llm_instances.get_shared_llm_instances(connection, user_handle=bert, max_rows=9, skip=0)
        assert [(row.instance_handle, row.access_role) for row in rows] == [("one", "reader"), ("two", "reader")]
        rest = await llm_instances.get_shared_llm_instances(connection, user_handle=bert, max_rows=1, skip=1)
        assert rest == rows[1:]


class TestLockInstanceShare:
    async def test_is_the_body_of_its_change(self, connection: Connection, anna: str, bert: str) -> None:
        await share(connection, bert, await factories.instance(connection, anna, "inst"))
        found = await llm_instances.lock_instance_share(
            connection, owner=anna, instance_handle="inst", user_handle=bert
        )
        assert found == {"role": "reader", **NO_LIMITS}
        other = await llm_instances.lock_instance_share(
            connection, owner=anna, instance_handle="inst", user_handle=anna
        )
        assert other is None


class TestDeleteLLMInstance:
    async def test_deletes_one_that_no_project_uses(self, connection: Connection, anna: str) -> None:
        number = await factories.instance(connection, anna, "inst")
        assert await llm_instances.delete_llm_instance(connection, owner=anna, instance_handle="inst") == number
        assert await llm_instances.delete_llm_instance(connection, owner=anna, instance_handle="inst") is None

    async def test_refuses_one_in_use(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst")
        number = await factories.project(connection, anna, "inst")
        assert await factories.count(connection, number) == 0
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await llm_instances.delete_llm_instance(connection, owner=anna, instance_handle="inst")
        assert caught.value.constraint_name == "projects_llm_service_instance_id_fkey"


class TestLockLLMInstance:
    async def test_has_the_body_of_a_put_without_the_key(self, connection: Connection, anna: str) -> None:
        await factories.instance(connection, anna, "inst", model="m", change_key=True, api_key_encrypted=b"sealed")
        found = await llm_instances.lock_llm_instance(connection, owner=anna, instance_handle="inst")
        assert found is not None
        assert not {"api_key", "api_key_encrypted"} & set(found)
        wanted = {
            "instance_handle": "inst",
            "dimensions": 3,
            "endpoint": None,
            "description": None,
            "api_standard": "openai",
            "model": "m",
            "context_limit": None,
            **NO_LIMITS,
        }
        assert {name: found[name] for name in wanted} == wanted
        assert await llm_instances.lock_llm_instance(connection, owner=anna, instance_handle="none") is None


async def shares(connection: Connection, owner: str) -> list[dict[str, Any]] | None:
    row = await llm_instances.retrieve_llm_instance(connection, owner=owner, instance_handle="shared", role="owner")
    return None if row is None else [msgspec.to_builtins(share) for share in row.shared_with or []]


async def share_as(connection: Connection, owner: str, user: str, role: str) -> int | None:
    return await llm_instances.link_user_to_llm_instance(
        connection, owner=owner, instance_handle="shared", user_handle=user, role=role, **NO_LIMITS
    )


class TestLinkUserToLLMInstance:
    async def test_sharing_again_changes_the_role(self, connection: Connection, anna: str, bert: str) -> None:
        assert await share_as(connection, anna, bert, "reader") is None
        number = await factories.instance(connection, anna, "shared")
        for role in ("reader", "editor"):
            assert await share_as(connection, anna, bert, role) == number
            assert await shares(connection, anna) == [{"user_handle": bert, "role": role}]

    @pytest.mark.parametrize(
        ("user", "role", "constraint"),
        [
            ("nobody", "reader", "llm_service_instances_shared_with_user_handle_fkey"),
            ("_system", "owner", "llm_service_instances_shared_with_role_check"),
        ],
    )
    async def test_refusals(self, connection: Connection, anna: str, user: str, role: str, constraint: str) -> None:
        await factories.instance(connection, anna, "shared")
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
            await share_as(connection, anna, user, role)
        assert caught.value.constraint_name == constraint


class TestUnshareLLMInstance:
    async def test_ends_one_share(self, connection: Connection) -> None:
        anna, bert, carl = [await factories.user(connection) for _ in range(3)]
        number = await factories.instance(connection, anna, "shared")
        for user in (bert, carl):
            await share_as(connection, anna, user, "reader")
        ended = [
            await llm_instances.unshare_llm_instance(connection, owner=anna, instance_handle="shared", user_handle=bert)
            for _ in range(2)
        ]
        assert ended == [number, None]
        assert await shares(connection, anna) == [{"user_handle": carl, "role": "reader"}]
