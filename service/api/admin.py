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
    """The words without which nothing is deleted."""

    confirm: Literal["delete all data"]


@endpoint("GET", "/v1/admin/sanity-check", guard=admin)
async def get_sanity_check(req: Req) -> Report:
    """Look for what is wrong with what is stored.

    Dimensions, metadata against the schemas, keys that do not open, invalid indexes. A project without a
    schema is a warning.
    """
    return await sanity_check.check(
        req.pool, req.services.keyring, req.services.schemas, req.services.settings.service_recall
    )


@endpoint("POST", "/v1/admin/reset", guard=admin, status=204)
async def post_reset(req: Req, body: Reset) -> None:
    """Delete everything but the built-in data."""
    await _reset(req.pool)


@endpoint("GET", "/v1/admin/footgun", guard=admin, status=204, only_debug=True)
async def get_footgun(req: Req) -> None:
    """Delete everything but the built-in data, without being asked. Only with SERVICE_DEBUG."""
    await _reset(req.pool)


async def _reset(pool: Pool) -> None:
    async with transaction(pool) as connection:
        await statements.lock_all(connection)
        await statements.delete_all_projects(connection)
        await statements.delete_all_instances(connection)
        await statements.delete_all_users(connection)
        await statements.delete_custom_api_standards(connection)
    await tables.drop_orphans(pool)


endpoints = [get_sanity_check, post_reset, get_footgun]
