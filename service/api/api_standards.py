"""API standards: how the interfaces of providers work (contract section 3)."""

from functools import partial
from typing import Any, Literal

import msgspec

from service.api.fields import Handle, ShortText, Text
from service.api.merge_patch import merged, put
from service.database.errors import StillUsed
from service.errors import Conflict, found
from service.http.auth import admin, anyone
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.providers.dialects import Name
from service.queries import api_standards
from service.queries.api_standards import APIStandard


class StandardIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API standard to create or replace: how a provider expects its key, and in which field.

    `dialect` is the format of its API; null if the service does not call it.
    """

    api_standard_handle: Handle
    description: Text
    key_method: Literal["auth_bearer", "body_form", "query_param", "custom_header"]
    key_field: ShortText
    dialect: Name | None = None


class Standards(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of API standards; `next` is the URL of the next page."""

    api_standards: list[APIStandard]
    next: str | None = None


@endpoint("GET", "/v1/api-standards", guard=anyone)
async def get_standards(req: Req, query: Page) -> Standards:
    """All API standards."""
    return Standards(*await query.read(req, api_standards.get_api_standards))


@endpoint("POST", "/v1/api-standards", guard=admin, status=201)
async def post_standard(req: Req, body: StandardIn) -> APIStandard:
    """Create or replace an API standard."""
    return await api_standards.upsert_api_standard(req.pool, **msgspec.structs.asdict(body))


@endpoint("GET", "/v1/api-standards/{standard}", guard=anyone)
async def get_standard(req: Req, standard: str) -> APIStandard:
    """An API standard."""
    row = await api_standards.retrieve_api_standard(req.pool, api_standard_handle=standard)
    return found(row, f"The API standard {standard!r}")


put_standard = put(post_standard, "standard")


@endpoint("PATCH", "/v1/api-standards/{standard}", guard=admin, patches=StandardIn)
async def patch_standard(req: Req, standard: str, body: dict[str, Any]) -> APIStandard:
    """Change some properties of an API standard (JSON merge patch, RFC 7396)."""
    lock = partial(api_standards.lock_api_standard, api_standard_handle=standard)
    async with merged(req.pool, body, StandardIn, f"The API standard {standard!r}", lock) as (tx, changed):
        return await api_standards.upsert_api_standard(tx, **msgspec.structs.asdict(changed))


@endpoint("DELETE", "/v1/api-standards/{standard}", guard=admin, status=204, errors=(409,))
async def delete_standard(req: Req, standard: str) -> None:
    """Delete an API standard that no definition and no instance uses."""
    try:
        deleted = await api_standards.delete_api_standard(req.pool, api_standard_handle=standard)
    except StillUsed:
        raise Conflict("A definition or an instance still uses this API standard.") from None
    found(deleted, f"The API standard {standard!r}")
