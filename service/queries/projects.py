"""Statements of `sql/projects.sql`: projects, access to them, and their partitions."""

from typing import Any

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class ProjectAccess(msgspec.Struct, frozen=True):
    """Who calls, and what a request on a project needs to know of it.

    `caller` is None for the admin and for no or an unknown key; `project_id` (and `owner`,
    `project_handle`) when there is no such project; `role` when the caller may not see it; `dimensions`
    when the project, an old one, has no instance; `watermark` and what follows when it has
    no index. `role` is owner, editor, reader, admin or public.
    """

    caller: str | None
    project_id: int | None
    owner: str | None
    project_handle: str | None
    role: str | None
    instance_owner: str | None
    instance_handle: str | None
    dimensions: int | None
    metadata_scheme: str | None
    watermark: int | None
    ef_searches: list[int] | None
    recalls: list[float] | None


class ProjectContext(msgspec.Struct, frozen=True):
    """A project that has an instance, as uploads and searches need to know it.

    `watermark` is None when it has no vector index; `ef_searches` and `recalls` are what was measured of it.
    """

    project_id: int
    owner: str
    project_handle: str
    instance_owner: str
    instance_handle: str
    dimensions: int
    metadata_scheme: str | None
    watermark: int | None
    ef_searches: list[int]
    recalls: list[float]


class ProjectBrief(msgspec.Struct, frozen=True):
    """A project as it stands in a list and in the answer to its creation."""

    owner: str
    project_handle: str
    project_id: int
    public_read: bool
    role: str


class ProjectRow(msgspec.Struct, frozen=True):
    """A project as somebody in `role` may see it, without the number of its embeddings."""

    project_id: int
    project_handle: str
    owner: str
    public_read: bool
    role: str
    description: str | None
    metadata_scheme: str | None
    shared_with: list[dict[str, Any]] | None
    instance: dict[str, Any] | None


class Transfer(msgspec.Struct, frozen=True):
    """Whether a project could be handed over: `fits` when the new owner may use its instance."""

    fits: bool
    project_id: int


@query
async def retrieve_project_access(
    db: Db, *, key_hash: str | None, is_admin: bool, owner: str, project_handle: str
) -> ProjectAccess | None:
    """Who has the key of this digest, and what they may do with a project. Never None."""


@query
async def upsert_project(
    db: Db,
    *,
    owner: str,
    project_handle: str,
    instance_owner: str,
    instance_handle: str,
    description: str | None,
    metadata_scheme: str | None,
    public_read: bool | None,
    change_shares: bool,
    share_users: list[str],
    share_roles: list[str],
    role: str,
) -> ProjectBrief | None:
    """Creates or replaces a project, and with `change_shares` its shares. Without `public_read` it stays as it is.

    None when the owner has no such instance. Violates `projects_dimensions_fixed` when the project holds
    embeddings and the instance has other dimensions, `users_projects_user_handle_fkey` for an unknown user.
    """


@query
async def get_projects_by_user(db: Db, *, user_handle: str, max_rows: int, skip: int) -> list[ProjectBrief]:
    """A page of a user's own projects and those shared with the user."""


@query
async def retrieve_project(db: Db, *, project_id: int, role: str, caller: str | None) -> ProjectRow | None:
    """A project as `caller`, somebody in `role`, may see it."""


@query
async def delete_project(db: Db, *, owner: str, project_handle: str) -> int | None:
    """Deletes a project and its embeddings."""


@query
async def get_orphaned_partitions(db: Db) -> list[int]:
    """The numbers of deleted projects whose partitions are still there."""


@query
async def drop_orphaned_partition(db: Db, *, project_id: int) -> None:
    """Drops the partition of a deleted project; nothing happens when it is gone already."""


@query
async def lock_project(db: Db, *, owner: str, project_handle: str) -> dict[str, Any] | None:
    """A project as the body of a PUT, locked until the end of the transaction."""


@query
async def share_project(db: Db, *, owner: str, project_handle: str, user_handle: str, role: str) -> int | None:
    """Shares a project, or changes the role. Violates `users_projects_user_handle_fkey` for an unknown user."""


@query
async def unshare_project(db: Db, *, owner: str, project_handle: str, user_handle: str) -> int | None:
    """Ends a share; None when there was none."""


@query
async def get_shared_users_for_project(db: Db, *, owner: str, project_handle: str) -> list[dict[str, Any]] | None:
    """All whom a project is shared with, in which role; None when there is none of that name."""


@query
async def transfer_project(db: Db, *, owner: str, project_handle: str, new_owner: str) -> Transfer | None:
    """Hands a project over, if it fits; None when there is no project.

    Violates `projects_owner_fkey` for an unknown user, `projects_owner_project_handle_key` when they have a
    project of that name.
    """


query.complete()
