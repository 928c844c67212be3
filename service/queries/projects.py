"""Statements of `sql/projects.sql`: projects, access to them, and their tables of embeddings."""

from datetime import datetime
from typing import Any

import msgspec

from service.database.statements import Db, Queries
from service.queries.indexes import IndexState
from service.queries.users import SharedWith

query = Queries(__name__)


class ProjectAccess(msgspec.Struct, frozen=True):
    """A project, and what its caller may do with it.

    `role`: owner, editor, reader, public, admin or none. `caller` is None for the admin and without a key. `dimensions`
    is 0, and the instance has no name, for a project of the original system without an instance.

    `instance_id` is None without an instance. `text_search` says who may search with texts, which it embeds: editors,
    readers, public.

    `watermark` is None without a vector index (sql/indexes.sql). `recalls` are those of its `efforts`, measured at
    `measured_at`: numbers of candidates of a graph, or, of a coarse index with `lists` lists, of lists that a search
    reads. `exact_seconds`: what an exact search took when the index was built, if that was measured. `indexed_rows` is
    how many rows the index has, `metadata_indexed` whether there is one of their metadata too.
    """

    project_id: int
    owner: str
    project_handle: str
    role: str
    caller: str | None
    instance_owner: str
    instance_handle: str
    dimensions: int
    metadata_scheme: str | None
    watermark: int | None
    efforts: list[int]
    recalls: list[float]
    exact_seconds: float | None = None
    lists: int = 0
    measured_at: datetime | None = None
    instance_id: int | None = None
    text_search: str = "editors"
    indexed_rows: int = 0
    metadata_indexed: bool = False


class ProjectRequest(msgspec.Struct, frozen=True):
    """Who calls, None for no or an unknown key; and the project that a path names, None when there is none."""

    caller: str | None
    access: ProjectAccess | None


class ProjectBrief(msgspec.Struct, frozen=True):
    """A project as it stands in a list and in the answer to its creation."""

    owner: str
    project_handle: str
    project_id: int
    public_read: bool
    role: str


class ProjectRole(msgspec.Struct, frozen=True):
    """A project, and what somebody may do with it."""

    project_id: int
    role: str


class ListedInstance(msgspec.Struct, frozen=True, omit_defaults=True):
    """The instance of a project as it stands in a list."""

    owner: str
    instance_handle: str
    dimensions: int
    model: str | None = None


class ProjectInList(ProjectBrief, frozen=True):
    """A project of a list, with the state of its index."""

    number_of_embeddings: int
    text_search: str
    description: str | None
    instance: ListedInstance | None
    index: IndexState


class ProjectRow(msgspec.Struct, frozen=True):
    """A project as a caller in `role` may see it, without its shares."""

    project_id: int
    project_handle: str
    owner: str
    public_read: bool
    role: str
    number_of_embeddings: int
    changes: int | None
    log: str | None
    text_search: str
    description: str | None
    metadata_scheme: str | None
    instance: dict[str, Any] | None


class ProjectSize(msgspec.Struct, frozen=True):
    """How many embeddings a project has."""

    project_id: int
    number_of_embeddings: int


class Transfer(msgspec.Struct, frozen=True):
    """Whether a project could be handed over: `fits` when the new owner may use its instance."""

    fits: bool
    project_id: int


@query
async def retrieve_project_access(
    db: Db, *, key_hash: str | None, is_admin: bool, owner: str, project_handle: str
) -> ProjectRequest:
    """The user of the key with this digest, and their role for a project."""


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
    text_search: str | None,
    change_shares: bool,
    share_users: list[str],
    share_roles: list[str],
    role: str,
) -> ProjectBrief | None:
    """Creates or replaces a project, and with `change_shares` its shares.

    Without `public_read` and `text_search` these stay as they are.

    None when the owner has no such instance. `fit_table` comes next. Violates `users_projects_user_handle_fkey` for
    an unknown user.
    """


@query
async def fit_table(db: Db, *, project_id: int) -> None:
    """Creates a project's table, or gives an empty one the dimensions of the project's instance.

    Violates `projects_dimensions_fixed` when it holds embeddings of another number of dimensions.
    """


@query
async def get_projects_by_user(db: Db, *, user_handle: str, max_rows: int, skip: int) -> list[ProjectRole]:
    """A page of a user's own projects and those shared with the user, and the user's role in each."""


@query
async def get_all_projects(db: Db, *, max_rows: int, skip: int) -> list[int]:
    """A page of the numbers of all projects, by owner and handle."""


@query
async def get_largest_projects(db: Db, *, max_rows: int) -> list[int]:
    """The numbers of the projects with the most embeddings, the largest first."""


@query
async def describe_projects(db: Db, *, project_ids: list[int], roles: list[str]) -> list[ProjectInList]:
    """These projects as they stand in a list, in this order, for somebody with these roles."""


@query
async def retrieve_project(db: Db, *, project_id: int, role: str, caller: str | None) -> ProjectRow | None:
    """A project as `caller` in `role` may see it."""


@query
async def retrieve_project_size(db: Db, *, owner: str, project_handle: str) -> ProjectSize | None:
    """How many embeddings a project has; None when there is no such project."""


@query
async def delete_project(db: Db, *, owner: str, project_handle: str) -> int | None:
    """Deletes a project but for its embeddings, and returns its number; `drop_table` comes next."""


@query
async def get_orphaned_tables(db: Db) -> list[int]:
    """The numbers of deleted projects whose tables are still there."""


@query
async def drop_table(db: Db, *, project_id: int) -> None:
    """Drops the table of a deleted project; nothing happens when it is gone already."""


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
async def get_shared_users_for_project(db: Db, *, owner: str, project_handle: str) -> list[SharedWith] | None:
    """The users that a project is shared with, and their roles; None when there is no such project."""


@query
async def transfer_project(db: Db, *, owner: str, project_handle: str, new_owner: str) -> Transfer | None:
    """Hands a project over, if it fits; None when there is no project.

    Violates `projects_owner_fkey` for an unknown user, `projects_owner_project_handle_key` when they have a
    project of that name.
    """


query.complete()
