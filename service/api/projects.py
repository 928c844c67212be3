"""Projects (contract section 6)."""

import contextlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.api.fields import AnyHandle, Handle, ShareRole, Text
from service.api.merge_patch import merged, put
from service.api.project_index import ProjectIndex, project_index
from service.api.sharing import not_the_system
from service.database.statements import Db
from service.errors import BadRequest, Invalid, Problem, found
from service.http.auth import Caller, owner, project_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.metadata.schemas import BadSchema
from service.queries import llm_instances, projects
from service.queries.llm_instances import ProjectInstance
from service.queries.projects import ProjectAccess, ProjectBrief, ProjectRow, TextSearch
from service.storage.locks import locked

EVERYBODY = "*"


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user with whom a project is shared."""

    user_handle: AnyHandle
    role: ShareRole


class OlderService(msgspec.Struct, frozen=True):
    """An instance in the format of older clients; other fields are ignored."""

    llm_service_handle: AnyHandle
    owner: AnyHandle | None = None


class ProjectIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project to create or replace.

    `metadataScheme` is a JSON Schema as text or object. `text_search`: the users who may search with texts, which the
    instance embeds: editors (default), readers, or all who may read the project (public). In `shared_with` a plain
    handle is a reader, and `"*"` means `public_read: true`; if it is omitted, the shares stay. `authorizedReaders` and
    `llmServices` (of which the first counts) are older names of `shared_with` and `instance_handle`.
    """

    project_handle: Handle
    instance_handle: AnyHandle | None = None
    instance_owner: AnyHandle | None = None
    description: Text | None = None
    metadata_scheme: str | dict[str, Any] | bool | None = msgspec.field(name="metadataScheme", default=None)
    public_read: bool | None = None
    text_search: TextSearch | None = None
    shared_with: Annotated[list[AnyHandle | Share], Meta(max_length=10_000)] | None = None
    authorized_readers: Annotated[list[AnyHandle], Meta(max_length=10_000)] | None = msgspec.field(
        name="authorizedReaders", default=None
    )
    llm_services: list[AnyHandle | OlderService] | None = msgspec.field(name="llmServices", default=None)


class Project(ProjectRow, frozen=True, kw_only=True):
    """A project as visible to the caller with this `role`.

    `changes` grows by one with each inserted, changed or deleted embedding. While `changes` and `log` stay the same, so
    do the embeddings.
    """

    index: ProjectIndex


@endpoint("POST", "/v1/projects/{user}", guard=owner, status=201, errors=(409,))
async def post_project(req: Req, user: str, body: ProjectIn, access: Caller) -> ProjectBrief:
    """Create or replace a project."""
    await _check_schema(req, user, body.metadata_scheme)
    async with locked(req.pool, user) as tx:
        return await _store(tx, user, body, access.role)


@endpoint("GET", "/v1/projects/{user}/{project}", guard=project_reader)
async def get_project(req: Req, user: str, project: str, access: ProjectAccess) -> Project:
    """A project with the number of its embeddings and the state of its index."""
    recall, what = req.settings.service_recall, project_name(user, project)
    return await _retrieve(req.pool, recall, what, access.project_id, access.role, access.caller)


@endpoint("GET", "/v1/projects/{user}/{project}/instance", guard=project_reader)
async def get_project_instance(req: Req, user: str, project: str, access: ProjectAccess) -> ProjectInstance:
    """The instance of a project as visible to its readers: its model, and whether it can embed texts."""
    row = await llm_instances.get_llm_instances_by_project(req.pool, project_id=access.project_id)
    return found(row, f"An instance of {project_name(user, project)}")


put_project = put(post_project, "project")


@endpoint("PATCH", "/v1/projects/{user}/{project}", guard=owner, patches=ProjectIn, errors=(409,))
async def patch_project(req: Req, user: str, project: str, body: dict[str, Any], access: Caller) -> Project:
    """Change some properties of a project (JSON merge patch, RFC 7396). `"shared_with": null` ends all shares.

    A `metadataScheme` as object is merged with the stored one, as text it replaces it.
    """
    # As in a PUT, null would leave these as they are.
    empty = {"shared_with": [], "authorizedReaders": [], "public_read": False, "text_search": "editors"}
    body |= {name: value for name, value in empty.items() if name in body and body[name] is None}

    async def lock(db: Db) -> dict[str, Any] | None:
        stored = await projects.lock_project(db, owner=user, project_handle=project)
        if stored is not None and isinstance(body.get("metadataScheme"), dict):
            with contextlib.suppress(msgspec.DecodeError, RecursionError):  # invalid schemas of the original system
                stored["metadataScheme"] = msgspec.json.decode(stored["metadataScheme"] or "null")
        if stored is not None and body.get("llmServices") and "instance_handle" not in body:
            stored.pop("instance_handle")  # replaced by llmServices, the older name
            stored.pop("instance_owner")
        return stored

    what, checked = project_name(user, project), None
    while True:
        async with merged(req.pool, body, ProjectIn, what, lock, owners=(user,)) as (tx, changed):
            schema = schema_text(changed.metadata_scheme) if "metadataScheme" in body else None
            if schema == checked or schema is None:
                stored = await _store(tx, user, changed, access.role)
                return await _retrieve(
                    tx, req.settings.service_recall, what, stored.project_id, access.role, access.handle
                )
        await _check_schema(req, user, schema)  # without locks, so it may have changed meanwhile
        checked = schema


@endpoint("DELETE", "/v1/projects/{user}/{project}", guard=owner, status=204)
async def delete_project(req: Req, user: str, project: str) -> None:
    """Delete a project with all its embeddings."""
    async with locked(req.pool, user) as tx:
        project_id = await projects.delete_project(tx, owner=user, project_handle=project)
        await projects.drop_table(tx, project_id=found(project_id, project_name(user, project)))


async def _store(db: Db, owner_handle: str, body: ProjectIn, role: str) -> ProjectBrief:
    instance_owner, instance_handle = _instance(owner_handle, body)
    shares = _shares(owner_handle, body)
    everybody = shares is not None and shares.pop(EVERYBODY, None) is not None
    row = await projects.upsert_project(
        db,
        owner=owner_handle,
        project_handle=body.project_handle,
        instance_owner=instance_owner,
        instance_handle=instance_handle,
        description=body.description,
        metadata_scheme=schema_text(body.metadata_scheme),
        public_read=True if everybody else body.public_read if shares is None else bool(body.public_read),
        text_search=body.text_search,
        share_users=None if shares is None else list(shares),
        share_roles=None if shares is None else list(shares.values()),
        role=role,
    )
    project = found(row, f"An instance {instance_owner}/{instance_handle} that {owner_handle} may use")
    await projects.fit_table(db, project_id=project.project_id)
    return project


async def _retrieve(db: Db, recall: float, what: str, project_id: int, role: str, caller: str | None) -> Project:
    stored = await projects.retrieve_project(db, project_id=project_id, role=role, caller=caller)
    row = found(stored, what)
    index = await project_index(db, recall, project_id, row.number_of_embeddings)
    return Project(**msgspec.structs.asdict(row), index=index)


def project_name(user: str, project: str) -> str:
    """The name of a project in errors."""
    return f"The project {user}/{project}"


def _instance(owner_handle: str, body: ProjectIn) -> tuple[str, str]:
    """Owner and handle of the instance in a body. Raises Invalid without one."""
    named = body.llm_services if body.instance_handle is None else [body.instance_handle]
    if not named:
        raise Invalid(problems=[Problem("is required", "body.instance_handle")])
    first = OlderService(named[0]) if isinstance(named[0], str) else named[0]
    return first.owner or body.instance_owner or owner_handle, first.llm_service_handle


def _shares(owner_handle: str, body: ProjectIn) -> dict[str, str] | None:
    """Roles by handle; None if the body has no shares. Raises Invalid, or BadRequest for the owner."""
    if body.shared_with is None and body.authorized_readers is None:
        return None
    shares: dict[str, str] = {}
    for field, listed in (("shared_with", body.shared_with), ("authorizedReaders", body.authorized_readers)):
        for place, one in enumerate(listed or []):
            share = Share(one, "reader") if isinstance(one, str) else one
            where = f"body.{field}[{place}]"
            not_the_system(share.user_handle, where)
            if shares.setdefault(share.user_handle, share.role) != share.role:
                raise Invalid(problems=[Problem("has two roles", where, share.user_handle)])
            if share.user_handle == owner_handle:
                problem = Problem("is the project's owner", where, share.user_handle)
                raise BadRequest("A project cannot be shared with its owner.", [problem])
    return shares


def schema_text(scheme: str | dict[str, Any] | bool | None) -> str | None:
    """The schema as text, which is stored."""
    if scheme is None or scheme == "":
        return None
    return scheme if isinstance(scheme, str) else msgspec.json.encode(scheme).decode()


async def _check_schema(req: Req, owner_handle: str, scheme: str | dict[str, Any] | bool | None) -> None:
    """Raises Invalid for an unusable schema. Call before taking locks: it may take seconds."""
    if (text := schema_text(scheme)) is None:
        return
    try:
        await req.services.schemas.check(owner_handle, text)
    except BadSchema as error:
        raise Invalid(problems=[Problem(f"is not a usable JSON Schema: {error}", "body.metadataScheme")]) from None
