"""Statements of `sql/admin.sql`: state, sanity check and reset. What may be long is read in pages, `after` a key."""

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class ProjectToCheck(msgspec.Struct, frozen=True):
    """A project, `name` as owner/handle; `dimensions` is None when it has no instance."""

    project_id: int
    name: str
    metadata_scheme: str | None
    dimensions: int | None


class MetadataToCheck(msgspec.Struct, frozen=True):
    """The metadata of an embedding as JSON."""

    text_id: str
    metadata: bytes


class Unmigrated(msgspec.Struct, frozen=True):
    """Embeddings of the original system that a project (owner/handle) could not take in, and why."""

    project: str
    obstacle: str | None
    embeddings: int


class DatabaseDescription(msgspec.Struct, frozen=True):
    """The versions of the database's server and of pgvector, and the size of the database."""

    postgresql: str
    pgvector: str
    bytes: int


class Counts(msgspec.Struct, frozen=True):
    """How many there are of each; `embeddings` is None while there is a project that is not counted yet."""

    users: int
    projects: int
    instances: int
    embeddings: int | None


class Build(msgspec.Struct, frozen=True):
    """An index that is being built for some `seconds`; `progress` goes from 0 to 1."""

    owner: str
    project_handle: str
    project_id: int
    kind: str
    progress: float
    seconds: float


@query
async def get_projects_to_check(db: Db, *, after: int, max_rows: int) -> list[ProjectToCheck]:
    """A page of all projects by their number."""


@query
async def count_projects(db: Db) -> int:
    """How many projects there are."""


@query
async def count_wrong_dimensions(db: Db, *, project_id: int, dimensions: int) -> int:
    """How many vectors of a project have another number of dimensions."""


@query
async def get_metadata_to_check(
    db: Db, *, project_id: int, after: str, max_rows: int, max_bytes: int
) -> list[MetadataToCheck]:
    """A page of a project's metadata by text_id: some `max_bytes`, but one row at least."""


@query
async def get_invalid_indexes(db: Db) -> list[str]:
    """The names of the projects' indexes whose build was interrupted."""


@query
async def get_projects_below_recall(db: Db, *, recall: float) -> list[str]:
    """The projects, as owner/handle, whose index does not reach this recall."""


@query
async def count_unmigrated_embeddings(db: Db) -> list[Unmigrated]:
    """How many embeddings of the original system have no place in this schema, by project and reason."""


@query
async def describe_database(db: Db) -> DatabaseDescription:
    """Versions and size."""


@query
async def count_all(db: Db) -> Counts:
    """Users but `_system`, projects, instances, embeddings."""


@query
async def get_table_sizes(db: Db, *, project_ids: list[int]) -> list[int]:
    """The bytes of these projects' tables with their indexes, in this order."""


@query
async def get_builds(db: Db, *, max_rows: int) -> list[Build]:
    """The indexes that are being built, the oldest first."""


@query
async def lock_all(db: Db) -> None:
    """Has everybody who would change anything but embeddings wait for the end of the transaction."""


@query
async def delete_all_projects(db: Db) -> int:
    """Deletes all projects, but for the tables."""


@query
async def delete_all_instances(db: Db) -> int:
    """Deletes all instances. Violates `projects_llm_service_instance_id_fkey` while there are projects."""


@query
async def delete_all_users(db: Db) -> int:
    """Deletes all users but `_system`, with all that they own, but for the tables."""


@query
async def delete_custom_api_standards(db: Db) -> int:
    """Deletes the API standards that are not built in."""


query.complete()
