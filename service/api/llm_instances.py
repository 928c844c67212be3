"""Instances: users' configured models, with the encrypted key of their provider (contract section 5)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import msgspec

from service.api.fields import (
    AnyHandle,
    ApiKey,
    ContextLimit,
    Dimensions,
    Handle,
    Moment,
    RequestCount,
    ShortText,
    Text,
    Tokens,
    check_end,
)
from service.api.merge_patch import merged, put
from service.database.pool import Connection
from service.database.statements import Db
from service.errors import found
from service.http.auth import Caller, instance_reader, owner
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.provider_keys.keyring import Keyring, instance_place
from service.queries import llm_definitions, llm_instances
from service.queries.llm_definitions import Definition
from service.queries.llm_instances import Instance, InstanceBrief, InstanceRef
from service.storage.locks import locked


class InstanceFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of an instance. `api_key`: if omitted, the stored key stays; `""` removes it.

    `tokens_per_day`, `tokens_per_month` (in UTC) and `requests_per_minute` limit the use by all users together, until
    `expires_at`.
    """

    instance_handle: Handle
    endpoint: ShortText | None = None
    description: Text | None = None
    api_standard: AnyHandle | None = None
    model: ShortText | None = None
    context_limit: ContextLimit | None = None
    api_key: ApiKey | None = None
    tokens_per_day: Tokens | None = None
    tokens_per_month: Tokens | None = None
    requests_per_minute: RequestCount | None = None
    expires_at: Moment | None = None


class InstanceIn(InstanceFields, frozen=True, kw_only=True):
    """An instance to create or replace. `api_key`: if omitted, the stored key stays; `""` removes it."""

    dimensions: Dimensions


class FromDefinition(InstanceFields, frozen=True, kw_only=True):
    """An instance to make from a definition; omitted fields are inherited."""

    definition_owner: AnyHandle
    definition_handle: AnyHandle
    dimensions: Dimensions | None = None


class Instances(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of instances; `next` is the URL of the next page."""

    instances: list[InstanceBrief]
    next: str | None = None


class InstancesPage(Page, frozen=True):
    """The part of a user's instances; with `access=shared` only those of others."""

    access: Literal["all", "shared"] = "all"


@endpoint("GET", "/v1/llm-instances/{user}", guard=owner)
async def get_instances(req: Req, user: str, query: InstancesPage) -> Instances:
    """A user's own and shared instances; with `access=shared` only the latter."""
    ask = (
        llm_instances.get_shared_llm_instances if query.access == "shared" else llm_instances.get_llm_instances_by_user
    )
    return Instances(*await query.read(req, ask, user_handle=user))


@endpoint("POST", "/v1/llm-instances/{user}", guard=owner, status=201, errors=(409,))
async def post_instance(req: Req, user: str, body: InstanceIn) -> InstanceRef:
    """Create or replace an instance."""
    async with _locked(req, user, body.instance_handle) as tx:
        return await _store(tx, req.services.keyring, user, body)


@endpoint("POST", "/v1/llm-instances/{user}/from-definition", guard=owner, errors=(409,))
async def post_instance_from_definition(req: Req, user: str, body: FromDefinition) -> InstanceRef:
    """Make an instance from a definition.

    The definition must be the user's own, one of `_system`, public, or shared with the user.
    """
    async with _locked(req, user, body.instance_handle) as tx:
        definition = await llm_definitions.retrieve_llm_definition(
            tx, owner=body.definition_owner, definition_handle=body.definition_handle, usable_by=user
        )
        what = f"A definition {body.definition_owner}/{body.definition_handle} that {user} may use"
        return await _store(tx, req.services.keyring, user, body, found(definition, what))


@endpoint("GET", "/v1/llm-instances/{user}/{instance}", guard=instance_reader)
async def get_instance(req: Req, user: str, instance: str, access: Caller) -> Instance:
    """An instance. Its key is never shown, only whether it exists."""
    return await retrieved(req.pool, user, instance, access.role)


put_instance = put(post_instance, "instance")


@endpoint("PATCH", "/v1/llm-instances/{user}/{instance}", guard=owner, patches=InstanceIn, errors=(409,))
async def patch_instance(req: Req, user: str, instance: str, body: dict[str, Any], access: Caller) -> Instance:
    """Change some properties of an instance (JSON merge patch, RFC 7396). `"api_key": null` removes the key."""
    if "api_key" in body and body["api_key"] is None:
        body = {**body, "api_key": ""}
    lock = partial(llm_instances.lock_llm_instance, owner=user, instance_handle=instance)
    async with merged(req.pool, body, InstanceIn, instance_name(user, instance), lock, owners=(user,)) as (tx, changed):
        await _store(tx, req.services.keyring, user, changed)
        return await retrieved(tx, user, instance, access.role)


@endpoint("DELETE", "/v1/llm-instances/{user}/{instance}", guard=owner, status=204, errors=(409,))
async def delete_instance(req: Req, user: str, instance: str) -> None:
    """Delete an instance that no project uses."""
    row = await llm_instances.delete_llm_instance(req.pool, owner=user, instance_handle=instance)
    found(row, instance_name(user, instance))


@asynccontextmanager
async def _locked(req: Req, owner_handle: str, handle: str) -> AsyncIterator[Connection]:
    """A transaction that locks the owner, and the instance if it exists."""
    async with locked(req.pool, owner_handle) as tx:
        await llm_instances.lock_llm_instance(tx, owner=owner_handle, instance_handle=handle)
        yield tx


async def _store(
    db: Db, keyring: Keyring, owner_handle: str, sent: InstanceIn | FromDefinition, definition: Definition | None = None
) -> InstanceRef:
    """Stores an instance, with omitted fields from the definition."""
    fields = {name: getattr(sent, name) for name in InstanceIn.__struct_fields__}
    inherited = {} if definition is None else msgspec.structs.asdict(definition)
    fields |= {name: inherited.get(name) for name, value in fields.items() if value is None}
    fields["api_standard"] = fields["api_standard"] or "openai"
    check_end(sent.expires_at)
    api_key = fields.pop("api_key")
    sealed = keyring.seal(api_key, instance_place(owner_handle, sent.instance_handle)) if api_key else None
    row = await llm_instances.upsert_llm_instance(
        db,
        owner=owner_handle,
        definition_id=inherited.get("definition_id"),
        change_key=api_key is not None,
        api_key_encrypted=sealed,
        api_key_sealed_by=keyring.current.id if sealed else None,
        **fields,
    )
    await llm_instances.fit_tables_of_instance(db, instance_id=row.instance_id)
    return row


async def retrieved(db: Db, user: str, instance: str, role: str) -> Instance:
    """The instance of a path as visible to a caller with `role`. Raises NotFound."""
    row = await llm_instances.retrieve_llm_instance(db, owner=user, instance_handle=instance, role=role)
    return found(row, instance_name(user, instance))


def instance_name(user: str, instance: str) -> str:
    """The name of an instance in errors."""
    return f"The instance {user}/{instance}"
