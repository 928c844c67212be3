"""Statements of `sql/projects.sql`: projects, access to them, and their tables of embeddings."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from service.database.statements import Db, Queries
from service.queries.users import SharedWith

query = Queries(__name__)

TextSearch = Literal["editors", "readers", "public"]


class ProjectAccess(msgspec.Struct, frozen=True):
    """A project with the caller's role and all that a request needs.

    `role`: owner, editor, reader, public, admin or none. `caller` is None for the admin and without a key. Without an
    instance (original system) `dimensions` is 0, and the handles are empty. `text_search`: editors, readers or public.

    `watermark` is None without a vector index. `recalls` of its `efforts` were measured at `measured_at`: candidates of
    a graph, or lists read of a coarse index with `lists` lists. `exact_seconds` is the measured time of an exact
    search. `metadata_indexed` and `terms_indexed`: whether the `indexed_rows` have metadata indexes too, of equal
    values, and of ranges and fields.
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
    terms_indexed: bool = False


class ProjectRequest(msgspec.Struct, frozen=True):
    """The caller, None without a known key, and the project, if it exists."""

    caller: str | None
    access: ProjectAccess | None


class ProjectBrief(msgspec.Struct, frozen=True):
    """A project in the answer to its creation."""

    owner: str
    project_handle: str
    project_id: int
    public_read: bool
    role: str


class ListedInstance(msgspec.Struct, frozen=True, omit_defaults=True):
    """The instance of a project in a list."""

    owner: str
    instance_handle: str
    dimensions: int
    model: str | None = None


class ProjectInList(ProjectBrief, frozen=True, omit_defaults=True):
    """A project in a list, without its index."""

    number_of_embeddings: int
    text_search: TextSearch
    description: str | None = None
    instance: ListedInstance | None = None


class ProjectRow(ProjectBrief, frozen=True, omit_defaults=True):
    """A project as visible to a caller with `role`, without its index; only owner and admin see its shares."""

    number_of_embeddings: int
    text_search: TextSearch
    changes: int | None = None
    log: str | None = None
    instance: dict[str, Any] | None = None
    description: str | None = None
    metadata_scheme: str | None = msgspec.field(name="metadataScheme", default=None)
    shared_with: list[SharedWith] | None = None


class ProjectSize(msgspec.Struct, frozen=True):
    """The number of embeddings of a project."""

    project_id: int
    number_of_embeddings: int


class Transfer(msgspec.Struct, frozen=True):
    """Whether a project was transferred: `fits` if the new owner may use its instance."""

    fits: bool
    project_id: int


@query
async def retrieve_project_access(
    db: Db, *, key_hash: str | None, is_admin: bool, owner: str, project_handle: str
) -> ProjectRequest:
    """The user of the key with this hash, and the access to a project."""


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
    share_users: list[str] | None,
    share_roles: list[str] | None,
    role: str,
) -> ProjectBrief | None:
    """Creates or replaces a project. Call `fit_table` afterwards.

    If `public_read`, `text_search` or the shares are None, they are not changed. Returns None if the owner may not use
    the instance. Violates `users_projects_user_handle_fkey` for an unknown user.
    """


@query
async def fit_table(db: Db, *, project_id: int) -> None:
    """Creates a project's table, or adapts an empty one to the dimensions of the instance.

    Violates `projects_dimensions_fixed` if it has embeddings with other dimensions.
    """


@query
async def get_projects_by_user(db: Db, *, user_handle: str, max_rows: int, skip: int) -> list[int]:
    """A page of the ids of a user's own and shared projects, by owner and handle."""


@query
async def get_all_projects(db: Db, *, max_rows: int, skip: int) -> list[int]:
    """A page of the ids of all projects, by owner and handle."""


@query
async def get_largest_projects(db: Db, *, max_rows: int) -> list[int]:
    """The ids of the largest counted projects, largest first."""


@query
async def describe_projects(db: Db, *, project_ids: list[int], caller: str | None) -> list[ProjectInList]:
    """The list entries of those of these projects that a user has access to, in this order; of all for the admin."""


@query
async def retrieve_project(db: Db, *, project_id: int, role: str, caller: str | None) -> ProjectRow | None:
    """A project as visible to `caller` with `role`."""


@query
async def retrieve_project_size(db: Db, *, owner: str, project_handle: str) -> ProjectSize | None:
    """The number of embeddings of a project; None if it does not exist."""


@query
async def delete_project(db: Db, *, owner: str, project_handle: str) -> int | None:
    """Deletes a project without its table, and returns its id. Call `drop_table` afterwards."""


@query
async def get_orphaned_tables(db: Db) -> list[int]:
    """The ids of deleted projects with a table."""


@query
async def drop_table(db: Db, *, project_id: int) -> None:
    """Drops the table of a deleted project, if it exists."""


@query
async def lock_project(db: Db, *, owner: str, project_handle: str) -> dict[str, Any] | None:
    """A project as the body of a PUT, locked until the end of the transaction."""


@query
async def share_project(db: Db, *, owner: str, project_handle: str, user_handle: str, role: str) -> int | None:
    """Shares a project, or changes the role. Violates `users_projects_user_handle_fkey` for an unknown user."""


@query
async def unshare_project(db: Db, *, owner: str, project_handle: str, user_handle: str) -> int | None:
    """Ends a share; None if there was none."""


@query
async def get_shared_users_for_project(db: Db, *, owner: str, project_handle: str) -> list[SharedWith] | None:
    """The users with whom a project is shared, with roles; None if the project does not exist."""


@query
async def transfer_project(db: Db, *, owner: str, project_handle: str, new_owner: str) -> Transfer | None:
    """Transfers a project, if the new owner may use its instance; None if it does not exist.

    Violates `projects_owner_fkey` for an unknown user, `projects_owner_project_handle_key` for an existing project with
    this handle.
    """
