"""Probes: liveness and readiness."""

from typing import Literal

import msgspec

from service.errors import Unavailable
from service.http.auth import anyone
from service.http.endpoint import endpoint
from service.http.request import Req
from service.queries import health
from service.schema import migrate


class Status(msgspec.Struct, frozen=True):
    """The state of the service."""

    status: Literal["ok"] = "ok"


@endpoint("GET", "/healthz", guard=anyone, is_probe=True)
async def get_health(req: Req) -> Status:
    """Liveness: the process answers. The database is not checked."""
    return Status()


@endpoint("GET", "/readyz", guard=anyone, errors=(503,), is_probe=True)
async def get_readiness(req: Req) -> Status:
    """Readiness: not shutting down, and the database is writable and has the schema of this version."""
    if req.services.draining.is_set():
        raise Unavailable("The service is shutting down.")
    missing = sorted(set(migrate.names()) - set(await health.get_applied_migrations(req.services.probe_pool)))
    if missing:
        raise Unavailable(f"The database lacks the migrations {', '.join(missing)}.")
    if await health.is_read_only(req.services.probe_pool):
        await req.services.probe_pool.expire_connections()
        await req.pool.expire_connections()  # new ones resolve the host name of the database again
        raise Unavailable("The database is read-only: only searches and reads are possible.")
    return Status()
