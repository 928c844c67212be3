"""Alive, and able to serve."""

from typing import Literal

import msgspec

from service.errors import Unavailable
from service.http.auth import anyone
from service.http.endpoint import endpoint
from service.http.request import Req
from service.queries import health
from service.schema import migrate


class Status(msgspec.Struct, frozen=True):
    """The service is well."""

    status: Literal["ok"] = "ok"


@endpoint("GET", "/healthz", guard=anyone, is_probe=True)
async def get_health(req: Req) -> Status:
    """Alive: the process answers. Says nothing of the database."""
    return Status()


@endpoint("GET", "/readyz", guard=anyone, errors=(503,), is_probe=True)
async def get_readiness(req: Req) -> Status:
    """Able to serve: it is not stopping, and the database answers and has the schema of this version."""
    if req.services.draining.is_set():
        raise Unavailable("The service is stopping.")
    missing = sorted(set(migrate.names()) - set(await health.get_applied_migrations(req.services.probe_pool)))
    if missing:
        raise Unavailable(f"The database lacks the migrations {', '.join(missing)}.")
    if await health.is_read_only(req.services.probe_pool):
        await req.services.probe_pool.expire_connections()
        await req.pool.expire_connections()  # new ones go where the database's name leads now
        raise Unavailable("The database is read-only: searches and reads are answered, changes are not.")
    return Status()


endpoints = [get_health, get_readiness]
