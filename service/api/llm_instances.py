"""Instances: users' own services, with the sealed key of their provider (contract section 5)."""

import msgspec

from service.api.users import UserPath, same_handle
from service.auth import Caller, instance_reader, owner
from service.errors import Unavailable, found
from service.fields import AnyHandle, ApiKey, ContextLimit, Dimensions, Handle, ShortText, Text
from service.http import Page, Req, endpoint
from service.queries import llm_instances
from service.queries.llm_instances import Instance, InstanceBrief, InstanceRef


class InstancePath(UserPath, frozen=True):
    """A path that names an instance."""

    instance: str


class InstanceIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instance to be created or replaced. `api_key`: left out, the stored one stays; `""` removes it."""

    instance_handle: Handle
    dimensions: Dimensions
    endpoint: ShortText | None = None
    description: Text | None = None
    api_standard: AnyHandle | None = None
    model: ShortText | None = None
    context_limit: ContextLimit | None = None
    api_key: ApiKey | None = None


class FromDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instance to be made from a definition; what is not given is inherited."""

    instance_handle: Handle
    definition_owner: AnyHandle
    definition_handle: AnyHandle
    dimensions: Dimensions | None = None
    endpoint: ShortText | None = None
    description: Text | None = None
    api_standard: AnyHandle | None = None
    model: ShortText | None = None
    context_limit: ContextLimit | None = None
    api_key: ApiKey | None = None


class Instances(msgspec.Struct, frozen=True):
    """A page of instances."""

    instances: list[InstanceBrief]


@endpoint("POST", "/v1/llm-instances/{user}", guard=owner, status=201, errors=(404, 409))
async def post_instance(req: Req, path: UserPath, body: InstanceIn) -> InstanceRef:
    """Create or replace an instance."""
    row = await llm_instances.upsert_llm_instance(
        req.db,
        owner=path.user,
        instance_handle=body.instance_handle,
        endpoint=body.endpoint,
        description=body.description,
        api_standard=body.api_standard or "openai",
        model=body.model,
        dimensions=body.dimensions,
        context_limit=body.context_limit,
        change_key=body.api_key is not None,
        api_key_encrypted=req.cipher.seal(body.api_key) if body.api_key else None,
    )
    if row is None:
        raise Unavailable
    return row


@endpoint("PUT", "/v1/llm-instances/{user}/{instance}", guard=owner, status=201, errors=(404, 409))
async def put_instance(req: Req, path: InstancePath, body: InstanceIn) -> InstanceRef:
    """Create or replace an instance."""
    same_handle(path.instance, body.instance_handle, "instance_handle")
    row: InstanceRef = await post_instance.handler(req, path, body)
    return row


@endpoint("POST", "/v1/llm-instances/{user}/from-definition", guard=owner, errors=(404, 409))
async def post_instance_from_definition(req: Req, path: UserPath, body: FromDefinition) -> InstanceRef:
    """Make an instance from a definition."""
    row = await llm_instances.create_llm_instance_from_definition(
        req.db,
        owner=path.user,
        instance_handle=body.instance_handle,
        definition_owner=body.definition_owner,
        definition_handle=body.definition_handle,
        endpoint=body.endpoint,
        description=body.description,
        api_standard=body.api_standard,
        model=body.model,
        dimensions=body.dimensions,
        context_limit=body.context_limit,
        change_key=body.api_key is not None,
        api_key_encrypted=req.cipher.seal(body.api_key) if body.api_key else None,
    )
    return found(row, f"A definition {body.definition_owner}/{body.definition_handle} that {path.user} may use")


@endpoint("GET", "/v1/llm-instances/{user}", guard=owner, errors=(404,))
async def get_instances(req: Req, path: UserPath, query: Page) -> Instances:
    """A user's own instances and those shared with the user."""
    return Instances(
        await llm_instances.get_llm_instances_by_user(
            req.db, user_handle=path.user, max_rows=query.limit, skip=query.offset
        )
    )


@endpoint("GET", "/v1/llm-instances/{user}/{instance}", guard=instance_reader, errors=(404,))
async def get_instance(req: Req, path: InstancePath, access: Caller) -> Instance:
    """An instance. Its key is never shown, only whether there is one."""
    row = await llm_instances.retrieve_llm_instance(
        req.db, owner=path.user, instance_handle=path.instance, role=access.role
    )
    return found(row, f"The instance {path.user}/{path.instance}")


@endpoint("DELETE", "/v1/llm-instances/{user}/{instance}", guard=owner, status=204, errors=(404, 409))
async def delete_instance(req: Req, path: InstancePath) -> None:
    """Delete an instance that no project uses."""
    row = await llm_instances.delete_llm_instance(req.db, owner=path.user, instance_handle=path.instance)
    found(row, f"The instance {path.user}/{path.instance}")


endpoints = [
    get_instances,
    post_instance,
    post_instance_from_definition,
    get_instance,
    put_instance,
    delete_instance,
]
