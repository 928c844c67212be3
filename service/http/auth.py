"""Authentication and authorization: the guards of the endpoints (contract section 1: A, O, E, R, P, any).

A guard runs at most one statement, in which SQL decides. It raises Unauthorized for a missing or unknown key, and
Forbidden for a known key without permission, whether or not the resource exists.
"""

from collections.abc import Awaitable, Callable

import msgspec

from service.errors import Conflict, Forbidden, NotFound, Unauthorized
from service.http.provisional import recall, remember
from service.http.request import Req
from service.queries import llm_definitions, llm_instances, projects, users
from service.queries.projects import ProjectAccess

EDITORS = frozenset({"admin", "owner", "editor"})
READERS = EDITORS | {"reader", "public"}


class Caller(msgspec.Struct, frozen=True):
    """The caller: a user, or the admin, who has no handle."""

    handle: str | None
    role: str


async def anyone(req: Req) -> None:
    """Any: no key is needed."""


async def admin(req: Req) -> Caller:
    """A: the admin key only."""
    if req.credentials.is_admin:
        return Caller(None, "admin")
    await _authenticate(req, None)
    raise Forbidden


async def metrics_reader(req: Req) -> None:
    """A, and the metrics key, which permits nothing else."""
    if not req.is_metrics_key:
        await admin(req)


async def any_user(req: Req) -> Caller:
    """U: every user, and the admin."""
    return Caller(None, "admin") if req.credentials.is_admin else Caller(await _authenticate(req, None), "user")


async def owner(req: Req) -> Caller:
    """A and O: the admin, and the user in the path. The admin gets NotFound for an unknown user."""
    if not req.credentials.is_admin:
        caller = await _authenticate(req, req.names["user"])
        if caller != req.names["user"]:
            raise Forbidden
        return Caller(caller, "owner")
    known = await users.authenticate_user(req.pool, key_hash=None, named=req.names["user"])
    if not known.named_exists:
        raise NotFound(f"The user {req.names['user']!r} was not found.")
    return Caller(None, "admin")


async def definition_owner(req: Req) -> Caller:
    """A and O of a definition. The definitions of `_system` are immutable, even for the admin."""
    caller = await owner(req)
    if req.names["user"] == "_system":
        raise Forbidden("The definitions of _system are built in and cannot be changed.")
    return caller


async def definition_reader(req: Req) -> Caller:
    """A, O, R of a definition, and any user if it is public."""
    role_of = llm_definitions.retrieve_llm_definition_role
    return await _with_role(req, role_of, definition_handle=req.names["definition"])


async def instance_reader(req: Req) -> Caller:
    """A, O, E, R of an instance."""
    role_of = llm_instances.retrieve_llm_instance_role
    return await _with_role(req, role_of, instance_handle=req.names["instance"])


async def project_reader(req: Req) -> ProjectAccess:
    """A O E R P of a project."""
    return await _project(req, READERS)


async def embeddings_reader(req: Req) -> ProjectAccess:
    """A O E R P of a project's embeddings."""
    return _with_instance(await _project(req, READERS))


async def searcher(req: Req) -> ProjectAccess:
    """A O E R P of a project's embeddings, for a search; may be provisional (`service.http.provisional`)."""
    access = await recall(req)
    if access is None:
        access = await embeddings_reader(req)
        remember(req, access)
    return access


async def embeddings_editor(req: Req) -> ProjectAccess:
    """A O E of a project's embeddings."""
    return _with_instance(await _project(req, EDITORS))


async def _project(req: Req, roles: frozenset[str]) -> ProjectAccess:
    """The access to a project for a caller in one of these roles."""
    given = req.credentials
    row = await projects.retrieve_project_access(
        req.pool,
        key_hash=None if given.is_admin else given.key_hash,
        is_admin=given.is_admin,
        owner=req.names["user"],
        project_handle=req.names["project"],
    )
    if given.key_hash is not None and not given.is_admin and row.caller is None:
        raise Unauthorized
    req.record.principal = req.record.principal or row.caller
    if row.access is None and (given.is_admin or row.caller == req.names["user"]):
        raise NotFound(f"The project {req.names['user']}/{req.names['project']} was not found.")
    if row.access is None or row.access.role not in roles:
        raise Unauthorized if given.key_hash is None else Forbidden
    return row.access


def _with_instance(project: ProjectAccess) -> ProjectAccess:
    if not project.dimensions:
        raise Conflict("The project has no instance, so it has no embeddings: set one with a PUT of the project.")
    return project


async def _authenticate(req: Req, named: str | None) -> str:
    """The handle of a caller other than the admin."""
    if req.credentials.key_hash is None:
        raise Unauthorized
    known = await users.authenticate_user(req.pool, key_hash=req.credentials.key_hash, named=named)
    if known.caller is None:
        raise Unauthorized
    req.record.principal = known.caller
    return known.caller


async def _with_role(req: Req, role_of: Callable[..., Awaitable[str | None]], **resource: str) -> Caller:
    """The caller with their role. Without a role, the owner goes on (to NotFound), and others are refused."""
    caller = await any_user(req)
    if caller.handle is None:
        return caller
    role = await role_of(req.pool, owner=req.names["user"], caller=caller.handle, **resource)
    if role is None and caller.handle != req.names["user"]:
        raise Forbidden
    return Caller(caller.handle, role or "owner")


# Guards that admit callers without a key to public resources.
PUBLIC_GUARDS = (project_reader, embeddings_reader, searcher)
# Guards that raise Conflict for a project without an instance.
INSTANCE_GUARDS = (embeddings_reader, searcher, embeddings_editor)
