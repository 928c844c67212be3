"""Statements of `sql/admin.sql`: state, sanity check and reset. Long lists are read in pages, `after` a key."""

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class ProjectToCheck(msgspec.Struct, frozen=True):
    """A project, `name` as owner/handle; `dimensions` is None without an instance."""

    project_id: int
    name: str
    metadata_scheme: str | None
    dimensions: int | None


class MetadataToCheck(msgspec.Struct, frozen=True):
    """The metadata of an embedding as JSON."""

    text_id: str
    metadata: bytes


class Unmigrated(msgspec.Struct, frozen=True):
    """Embeddings of a project (owner/handle) of the original system that could not be migrated, and the reason."""

    project: str
    obstacle: str | None
    embeddings: int


class DatabaseDescription(msgspec.Struct, frozen=True):
    """The versions of PostgreSQL and pgvector, the size of the database, and the numbers of resources.

    `users` are without `_system`; `embeddings`, as counted some seconds ago, is None until all projects are counted.
    """

    postgresql: str
    pgvector: str
    database_bytes: int
    users: int
    projects: int
    instances: int
    embeddings: int | None


class Build(msgspec.Struct, frozen=True):
    """An index that has been building for `seconds`; `progress` is from 0 to 1."""

    owner: str
    project_handle: str
    project_id: int
    kind: str
    progress: float
    seconds: float


@query
async def get_projects_to_check(db: Db, *, after: int, max_rows: int) -> list[ProjectToCheck]:
    """A page of all projects, by id."""


@query
async def count_wrong_dimensions(db: Db, *, project_id: int, dimensions: int) -> int:
    """The number of vectors with other dimensions."""


@query
async def get_metadata_to_check(
    db: Db, *, project_id: int, after: str, max_rows: int, max_bytes: int
) -> list[MetadataToCheck]:
    """A page of a project's metadata by text_id: about `max_bytes`, but at least one row."""


@query
async def get_invalid_indexes(db: Db) -> list[str]:
    """The names of indexes with an interrupted build."""


@query
async def get_projects_below_recall(db: Db, *, recall: float) -> list[str]:
    """The projects (owner/handle) with an index below this recall."""


@query
async def count_unmigrated_embeddings(db: Db) -> list[Unmigrated]:
    """The embeddings of the original system that could not be migrated, by project and reason."""


@query
async def describe_database(db: Db) -> DatabaseDescription:
    """Versions, size, and numbers of resources."""


@query
async def get_table_sizes(db: Db, *, project_ids: list[int]) -> list[int]:
    """The bytes of these projects' tables with indexes, in this order; 0 without a table."""


@query
async def get_builds(db: Db, *, max_rows: int) -> list[Build]:
    """The indexes that are being built, oldest first."""


@query
async def lock_all(db: Db) -> None:
    """Blocks all changes except those of embeddings until the end of the transaction."""


@query
async def delete_all(db: Db) -> None:
    """Deletes all projects, without their tables, all instances, and all users except `_system`."""


@query
async def delete_custom_api_standards(db: Db) -> None:
    """Deletes the API standards that are not built in."""
