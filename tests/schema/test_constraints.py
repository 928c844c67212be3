"""Every named constraint that a request can violate shows its 4xx, and every constraint is accounted for."""

import asyncio
from typing import Any

import asyncpg
import httpx2
import pytest

from service.database.errors import REFUSALS
from service.database.pool import Connection
from tests.support.world import (
    Headers,
    Project,
    batch,
    definition,
    instance,
    problem,
    project,
    row,
    unique,
    upload,
    user,
)

# Constraints that no request can violate, and why.
UNREACHABLE = {
    "api_standards_dialect_check": "the body is limited in the same way",
    "projects_text_search_check": "the body is limited in the same way",
    "api_standards_key_method_fkey": "the body is limited to the four key methods",
    "api_standards_pkey": "written by ON CONFLICT",
    "deleted_projects_pkey": "written by ON CONFLICT",
    "embedding_deletions_pkey": "from a sequence",
    "embedding_counts_pkey": "written by ON CONFLICT",
    "embedding_counts_project_id_fkey": "taken from the project itself",
    "embeddings_pkey": "written by ON CONFLICT",
    "embeddings_dimensions_check": "checked before; reached only when the dimensions change meanwhile (below)",
    "key_methods_pkey": "never written",
    "llm_service_definitions_context_limit_check": "the body is limited in the same way",
    "llm_service_definitions_dimensions_check": "the body is limited in the same way",
    "llm_service_definitions_owner_definition_handle_key": "written by ON CONFLICT",
    "llm_service_definitions_owner_fkey": "the guard knows that the owner exists; a race with their deletion only",
    "llm_service_definitions_pkey": "from a sequence",
    "llm_service_definitions_shared_with_definition_id_fkey": "taken from the definition itself",
    "llm_service_definitions_shared_with_pkey": "written by ON CONFLICT",
    "instance_usage_instance_id_fkey": "taken from the instance itself",
    "instance_usage_pkey": "written by ON CONFLICT",
    "usage_reservations_instance_id_fkey": "taken from the instance itself",
    "usage_reservations_pkey": "from a sequence",
    **{
        f"{table}_{column}_check": "the body is limited in the same way"
        for table in ("llm_service_instances", "llm_service_instances_shared_with")
        for column in ("tokens_per_day", "tokens_per_month", "requests_per_minute")
    },
    "llm_service_instances_context_limit_check": "the body is limited in the same way",
    "llm_service_instances_definition_id_fkey": "taken from the definition itself; a race with its deletion only",
    "llm_service_instances_dimensions_check": "the body is limited in the same way",
    "llm_service_instances_owner_fkey": "the guard knows that the owner exists; a race with their deletion only",
    "llm_service_instances_owner_instance_handle_key": "written by ON CONFLICT",
    "llm_service_instances_pkey": "from a sequence",
    "llm_service_instances_shared_with_instance_id_fkey": "taken from the instance itself",
    "llm_service_instances_shared_with_pkey": "written by ON CONFLICT",
    "llm_service_instances_shared_with_role_check": "the body is limited to reader and editor",
    "llm_service_instances_shared_with_role_fkey": "the body is limited to reader and editor",
    "projects_owner_fkey": "the guard knows that the owner exists; a race with their deletion only",
    "projects_pkey": "from a sequence",
    "users_pkey": "written by ON CONFLICT",
    "users_projects_pkey": "written by ON CONFLICT",
    "users_projects_project_id_fkey": "taken from the project itself",
    "users_projects_role_check": "the body is limited to reader and editor",
    "users_projects_role_fkey": "the body is limited to reader and editor",
    "users_vdb_key_key": "32 random bytes",
    "vdb_roles_pkey": "never written",
    # Left from the original system, and never written.
    "embeddings_text_id_owner_project_id_instance_id_key": "embeddings_unmigrated",
    "embeddings_unmigrated_pkey": "embeddings_unmigrated",
    "embeddings_unmigrated_project_id_fkey": "embeddings_unmigrated",
    # Written by the service itself.
    "carried_ids_pkey": "written by ON CONFLICT",
    "carried_ids_project_id_fkey": "written when embeddings are carried over only",
    "projects_to_mark_pkey": "written by migration 0012 only",
    "projects_to_mark_project_id_fkey": "written by migration 0012 only",
    "encryption_sentinel_only_row_check": "always true",
    "encryption_sentinel_pkey": "written by ON CONFLICT",
    "indexer_state_only_row_check": "always true",
    "indexer_state_pkey": "the migration inserts the only row",
    "project_indexes_pkey": "written by ON CONFLICT",
    "project_indexes_project_id_fkey": "taken from the project itself",
    "project_maps_pkey": "written by ON CONFLICT",
    "project_maps_project_id_fkey": "taken from the project itself; a race with its deletion only",
    "project_map_parts_pkey": "the parts before are deleted in the same transaction",
    "project_map_parts_project_id_fkey": "the map is locked in the same transaction",
    "llm_service_instances_api_key_sealed_by_check": "blob and id are set together",
}


async def email_in_use(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    ada = await user(api, admin)
    body = {"user_handle": unique("u"), "email": ada.email}
    return await api.post("/v1/users", json=body, headers=admin)


async def instance_in_use(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    own = await project(api, await user(api, admin))
    return await api.delete(own.instance.path, headers=own.owner.headers)


async def dimensions_fixed(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    own = await project(api, await user(api, admin))
    await upload(api, own, row("a", [1, 2, 3]))
    return await api.patch(own.instance.path, json={"dimensions": 2}, headers=own.owner.headers)


async def project_name_in_use(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    ada, bob = await user(api, admin), await user(api, admin)
    own, other = await project(api, ada), await project(api, bob)
    same = {"project_handle": own.handle, "instance_handle": other.instance.handle}
    await api.put(f"/v1/projects/{bob.handle}/{own.handle}", json=same, headers=bob.headers)
    share = {"share_with_handle": bob.handle, "role": "reader"}
    await api.post(f"{own.instance.path}/share", json=share, headers=ada.headers)
    return await api.post(f"{own.path}/transfer", json={"new_owner": bob.handle}, headers=ada.headers)


async def project_shared_with_nobody(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    own = await project(api, await user(api, admin))
    share = {"share_with_handle": "nobody", "role": "reader"}
    return await api.post(f"{own.path}/share", json=share, headers=own.owner.headers)


async def definition_shared_with_nobody(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    ada = await user(api, admin)
    path = await definition(api, ada)
    return await api.post(f"{path}/share", json={"share_with_handle": "nobody"}, headers=ada.headers)


async def instance_shared_with_nobody(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    ada = await user(api, admin)
    share = {"share_with_handle": "nobody", "role": "reader"}
    return await api.post(f"{(await instance(api, ada)).path}/share", json=share, headers=ada.headers)


async def definition_of_no_standard(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    ada = await user(api, admin)
    body = {"definition_handle": "def", "api_standard": "none"}
    return await api.post(f"/v1/llm-definitions/{ada.handle}", json=body, headers=ada.headers)


async def instance_of_no_standard(api: httpx2.AsyncClient, admin: Headers) -> httpx2.Response:
    ada = await user(api, admin)
    body = {"instance_handle": "inst", "api_standard": "none", "dimensions": 3}
    return await api.post(f"/v1/llm-instances/{ada.handle}", json=body, headers=ada.headers)


SHOWN: dict[str, tuple[Any, int]] = {
    "users_email_key": (email_in_use, 409),
    "projects_llm_service_instance_id_fkey": (instance_in_use, 409),
    "projects_dimensions_fixed": (dimensions_fixed, 409),
    "projects_owner_project_handle_key": (project_name_in_use, 409),
    "users_projects_user_handle_fkey": (project_shared_with_nobody, 400),
    "llm_service_definitions_shared_with_user_handle_fkey": (definition_shared_with_nobody, 400),
    "llm_service_instances_shared_with_user_handle_fkey": (instance_shared_with_nobody, 400),
    "llm_service_definitions_api_standard_fkey": (definition_of_no_standard, 422),
    "llm_service_instances_api_standard_fkey": (instance_of_no_standard, 422),
}


@pytest.mark.parametrize("constraint", SHOWN)
async def test_a_violation_is_a_clear_refusal(api: httpx2.AsyncClient, admin: Headers, constraint: str) -> None:
    violate, status = SHOWN[constraint]
    body = problem(await violate(api, admin), status)
    assert body["detail"] == REFUSALS[constraint]().detail


async def test_every_constraint_is_accounted_for(connection: Connection) -> None:
    named = await connection.fetch(
        "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace "
        "AND contype IN ('p', 'u', 'f', 'c') AND conrelid::regclass::text !~ '^_?yoyo|^embeddings_[0-9]+$'"
    )
    raised_by_functions = {"projects_dimensions_fixed", "embeddings_dimensions_check"}
    assert {one["conname"] for one in named} | raised_by_functions == UNREACHABLE.keys() | SHOWN.keys()
    assert not UNREACHABLE.keys() & SHOWN.keys()
    # What a race may still violate is explained too.
    races = {name for name, why in UNREACHABLE.items() if "race" in why or "meanwhile" in why}
    assert SHOWN.keys() | races <= REFUSALS.keys()


async def test_dimensions_that_change_during_an_upload(
    api: httpx2.AsyncClient, own: Project, service_database: str
) -> None:
    connection = await asyncpg.connect(service_database)
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass"
    async with connection.transaction():
        await connection.execute(f"LOCK TABLE embeddings_{own.id} IN ACCESS EXCLUSIVE MODE")
        sent = api.post(own.embeddings, json=batch(row("a", [1, 2, 3])), headers=own.owner.headers)
        uploading = asyncio.create_task(sent)
        while not await connection.fetchval(waits, f"embeddings_{own.id}"):
            await asyncio.sleep(0.01)
        await connection.execute("SELECT fit_embeddings_partition($1, 2)", own.id)
    await connection.close()
    problem(await uploading, 400)
