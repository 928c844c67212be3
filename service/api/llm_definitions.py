"""Definitions: templates for instances (contract section 4)."""

from functools import partial
from typing import Any, Literal

import msgspec

from service.api.fields import AnyHandle, ContextLimit, Dimensions, Handle, ShortText, Text
from service.api.merge_patch import merged, put
from service.api.sharing import DefinitionShareIn, SharesPage, not_the_owner
from service.database.statements import Db
from service.errors import found
from service.http.auth import Caller, any_user, definition_owner, definition_reader, owner
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.queries import llm_definitions
from service.queries.llm_definitions import Definition, DefinitionBrief


class DefinitionIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A definition to create or replace."""

    definition_handle: Handle
    api_standard: AnyHandle
    endpoint: ShortText | None = None
    description: Text | None = None
    model: ShortText | None = None
    dimensions: Dimensions | None = None
    context_limit: ContextLimit | None = None
    is_public: bool | None = None


class Definitions(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of definitions; `next` is the URL of the next page."""

    definitions: list[DefinitionBrief]
    next: str | None = None


class DefinitionShares(msgspec.Struct, frozen=True):
    """The users with whom a definition is shared."""

    owner: str
    definition_handle: str
    shared_with: list[str]


class AllDefinitionsPage(Page, frozen=True):
    """The part of the definitions; with `owner=_system` only built-in ones."""

    owner: Literal["_system"] | None = None


@endpoint("GET", "/v1/llm-definitions", guard=any_user)
async def get_all_definitions(req: Req, query: AllDefinitionsPage, access: Caller) -> Definitions:
    """All definitions that the caller may use: own, built-in, shared and public ones. For the admin all."""
    if query.owner is not None:
        return Definitions(*await query.read(req, llm_definitions.get_system_llm_definitions))
    return Definitions(*await query.read(req, llm_definitions.get_all_llm_definitions, caller=access.handle))


@endpoint("GET", "/v1/llm-definitions/{user}", guard=owner)
async def get_definitions(req: Req, user: str, query: Page) -> Definitions:
    """A user's definitions: own, built-in and shared ones."""
    return Definitions(*await query.read(req, llm_definitions.get_llm_definitions_by_user, user_handle=user))


@endpoint("POST", "/v1/llm-definitions/{user}", guard=definition_owner, status=201)
async def post_definition(req: Req, user: str, body: DefinitionIn) -> DefinitionBrief:
    """Create or replace a definition. Those of `_system` are immutable."""
    return await llm_definitions.upsert_llm_definition(req.pool, owner=user, **msgspec.structs.asdict(body))


@endpoint("GET", "/v1/llm-definitions/{user}/{definition}", guard=definition_reader)
async def get_definition(req: Req, user: str, definition: str) -> Definition:
    """A definition."""
    return await _retrieved(req.pool, user, definition)


put_definition = put(post_definition, "definition")


@endpoint("PATCH", "/v1/llm-definitions/{user}/{definition}", guard=definition_owner, patches=DefinitionIn)
async def patch_definition(req: Req, user: str, definition: str, body: dict[str, Any]) -> Definition:
    """Change some properties of a definition (JSON merge patch, RFC 7396). Those of `_system` are immutable."""
    lock = partial(llm_definitions.lock_llm_definition, owner=user, definition_handle=definition)
    async with merged(req.pool, body, DefinitionIn, _name(user, definition), lock) as (tx, changed):
        await llm_definitions.upsert_llm_definition(tx, owner=user, **msgspec.structs.asdict(changed))
        return await _retrieved(tx, user, definition)


@endpoint("DELETE", "/v1/llm-definitions/{user}/{definition}", guard=definition_owner, status=204)
async def delete_definition(req: Req, user: str, definition: str) -> None:
    """Delete a definition. Instances made from it stay, without the link."""
    row = await llm_definitions.delete_llm_definition(req.pool, owner=user, definition_handle=definition)
    found(row, _name(user, definition))


@endpoint("POST", "/v1/llm-definitions/{user}/{definition}/share", guard=definition_owner, status=201)
async def share_definition(req: Req, user: str, definition: str, body: DefinitionShareIn) -> DefinitionShares:
    """Share a definition with a user, who may read and use it."""
    not_the_owner(user, body.share_with_handle)
    row = await llm_definitions.share_llm_definition(
        req.pool, owner=user, definition_handle=definition, user_handle=body.share_with_handle
    )
    found(row, _name(user, definition))
    return DefinitionShares(user, definition, await _shared_with(req, user, definition))


@endpoint("DELETE", "/v1/llm-definitions/{user}/{definition}/share/{other}", guard=definition_owner, status=204)
async def unshare_definition(req: Req, user: str, definition: str, other: str) -> None:
    """End the sharing of a definition with a user."""
    row = await llm_definitions.unshare_llm_definition(
        req.pool, owner=user, definition_handle=definition, user_handle=other
    )
    found(row, f"A share of {user}/{definition} with {other!r}")


@endpoint("GET", "/v1/llm-definitions/{user}/{definition}/shared-with", guard=owner)
async def get_definition_shares(req: Req, user: str, definition: str, query: SharesPage) -> list[str]:
    """The handles of the users with whom a definition is shared."""
    return query.of(req, (await _shared_with(req, user, definition))[query.offset :])[0]


async def _retrieved(db: Db, user: str, definition: str) -> Definition:
    row = await llm_definitions.retrieve_llm_definition(db, owner=user, definition_handle=definition, usable_by=None)
    return found(row, _name(user, definition))


async def _shared_with(req: Req, user: str, definition: str) -> list[str]:
    rows = await llm_definitions.get_shared_users_for_definition(req.pool, owner=user, definition_handle=definition)
    return found(rows, _name(user, definition))


def _name(user: str, definition: str) -> str:
    return f"The definition {user}/{definition}"
