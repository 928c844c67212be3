"""Administration (contract section 9)."""

from typing import Literal

import msgspec

from service.api import sanity_check
from service.api.sanity_check import Report
from service.database.pool import Pool, transaction
from service.http.auth import admin
from service.http.endpoint import endpoint
from service.http.request import Req
from service.queries import admin as statements
from service.storage import tables


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The confirmation of a reset."""

    confirm: Literal["delete all data"]


@endpoint("GET", "/v1/admin/sanity-check", guard=admin)
async def get_sanity_check(req: Req) -> Report:
    """Check the stored data.

    Finds wrong dimensions, metadata that violate their schema, provider keys that cannot be decrypted, and invalid
    indexes. A project without a schema is a warning.
    """
    return await sanity_check.check(req.pool, req.services.keyring, req.services.schemas, req.settings.service_recall)


@endpoint("POST", "/v1/admin/reset", guard=admin, status=204)
async def post_reset(req: Req, body: Reset) -> None:
    """Delete everything except the built-in data."""
    await _reset(req.pool)


@endpoint("GET", "/v1/admin/footgun", guard=admin, status=204, only_debug=True)
async def get_footgun(req: Req) -> None:
    """Delete everything except the built-in data, without a confirmation. Only with SERVICE_DEBUG."""
    await _reset(req.pool)


async def _reset(pool: Pool) -> None:
    async with transaction(pool) as connection:
        await statements.lock_all(connection)
        await statements.delete_all(connection)
        await statements.delete_custom_api_standards(connection)
    await tables.drop_orphans(pool)
