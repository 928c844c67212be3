"""Statements of `sql/indexes.sql`: the vector indexes of projects. Builds must not run in a transaction."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from pgvector import HalfVector

from service.database.statements import Db, Queries

query = Queries(__name__)

# A graph, a coarse index, and the indexes of the tail, and of equal values and of terms in the metadata.
IndexKind = Literal["hnsw", "ivf", "tail", "meta", "terms"]


class ProjectToIndex(msgspec.Struct, frozen=True):
    """A project that has or may need an index; `changes` counts all changes of its `rows` so far.

    It gets another `log` when it is emptied.
    """

    project_id: int
    dimensions: int
    rows: int
    changes: int
    log: str


class StrayIndex(msgspec.Struct, frozen=True):
    """An index that is not in use."""

    project_id: int
    kind: IndexKind
    watermark: int


class BuiltIndex(msgspec.Struct, frozen=True):
    """An index of the `indexed_rows` rows up to `watermark`, and its recall for each effort.

    Efforts are candidates of a graph, or lists read of a coarse index with `lists` lists. The recalls were measured at
    `measured_at` with `queries` real or synthetic queries; `recall_error` is the standard error at the aim. `m` is
    pgvector's number of links per row. `metadata_indexed` and `terms_indexed`: whether there are metadata indexes too.
    """

    watermark: int
    indexed_rows: int
    lists: int
    efforts: list[int]
    recalls: list[float]
    queries: int
    recall_error: float
    measured_with: str
    measured_at: datetime
    m: int
    metadata_indexed: bool
    terms_indexed: bool


class IndexState(msgspec.Struct, frozen=True):
    """The index of a project, if any; `progress` (0 to 1) and `seconds` of a build, if any."""

    built: BuiltIndex | None
    progress: float | None
    seconds: float | None


class IndexSummary(msgspec.Struct, frozen=True):
    """All indexes: their number, their rows, those below the desired recall, and builds in progress.

    `last_round` is the Unix time at which an indexer last finished a round.
    """

    projects: int
    rows: int
    below: int
    builds: int
    last_round: float


@query
async def lock_project_index(db: Db, *, lock: int, project_id: int) -> bool:
    """Locks a project's index for this session; False if another session has the lock."""


@query
async def unlock_project_index(db: Db, *, lock: int, project_id: int) -> bool:
    """Releases the lock."""


@query
async def get_session(db: Db) -> int:
    """The number of this session in the server."""


@query
async def set_for_session(db: Db, *, name: str, value: str) -> str:
    """Changes a setting in this session."""


@query
async def is_executing(db: Db, *, session: int) -> bool:
    """Whether a session executes a statement, or waits for a lock in it."""


@query
async def get_projects_to_index(db: Db, *, threshold: int, all_projects: bool) -> list[int]:
    """The projects with an index or `threshold` rows: all, or those with unchecked changes."""


@query
async def retrieve_project_to_index(db: Db, *, project_id: int) -> ProjectToIndex | None:
    """A project with its present numbers; None if it was deleted, or is not counted."""


@query
async def note_checked(db: Db, *, project_id: int, changes: int) -> None:
    """Records that a project was checked, unless it has changed since."""


@query
async def note_round(db: Db) -> None:
    """Records the end of a round of an indexer, with a resolution of ten seconds."""


@query
async def get_stray_indexes(db: Db) -> list[StrayIndex]:
    """Indexes of interrupted builds or builds in progress, and replaced ones."""


@query
async def get_next_watermark(db: Db) -> int:
    """A sequence higher than that of any row, which no row will get."""


@query
async def count_rows_up_to(db: Db, *, project_id: int, watermark: int) -> int:
    """The number of rows up to a watermark."""


@query
async def count_tail(db: Db, *, project_id: int, watermark: int, max_rows: int) -> int:
    """The number of rows above a watermark, counted up to `max_rows`."""


@query
async def build_vector_index(db: Db, *, project_id: int, watermark: int, dimensions: int, m: int) -> None:
    """Builds the HNSW index of the rows up to a watermark; `m` is pgvector's."""


@query
async def build_coarse_index(db: Db, *, project_id: int, watermark: int, dimensions: int, lists: int) -> None:
    """Builds the IVFFlat index of the rows up to a watermark."""


@query
async def build_tail_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Builds the index of the rows above a watermark."""


@query
async def build_metadata_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Builds the metadata index of equal values of the rows up to a watermark."""


@query
async def build_terms_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Builds the metadata index of ranges and fields (terms, migration 0023) of the rows up to a watermark."""


@query
async def omit_terms_from_statistics(db: Db, *, project_id: int, watermark: int) -> None:
    """Makes ANALYZE ignore an index of terms."""


@query
async def drop_index(db: Db, *, project_id: int, kind: IndexKind, watermark: int) -> None:
    """Drops an index if it exists."""


@query
async def sample_more_metadata(db: Db, *, project_id: int) -> None:
    """Increases the sample of a project's metadata in ANALYZE."""


@query
async def analyze_rows(db: Db, *, project_id: int) -> None:
    """Collects the planner's statistics of a project's sequences and metadata."""


@query
async def sample_vectors(db: Db, *, project_id: int, watermark: int, max_rows: int) -> list[HalfVector]:
    """Random vectors of the rows up to a watermark."""


@query
async def copy_vectors(db: Db, *, project_id: int, watermark: int, output: Callable[[bytes], Awaitable[None]]) -> None:
    """Sends the places and vectors of the rows up to a watermark to `output`, in the binary format of COPY."""


@query
async def get_distances_of_neighbours(
    db: Db, *, project_id: int, watermark: int, dimensions: int, vectors: Sequence[bytes], max_rows: int
) -> list[list[float]]:
    """For each vector, the cosine distances of its nearest rows by the index."""


@query
async def count_neighbours_left(db: Db, *, project_id: int, watermark: int, places: Sequence[int]) -> list[int]:
    """For each ten places of rows, how many of the rows have not been changed or deleted."""


@query
async def switch_index(
    db: Db,
    *,
    project_id: int,
    log: str,
    watermark: int,
    indexed_rows: int,
    lists: int,
    efforts: Sequence[int],
    recalls: Sequence[float],
    queries: int,
    recall_error: float,
    exact_seconds: float | None,
    m: int,
) -> int | None:
    """Activates an index for searches; None if the project was deleted, or emptied since it had this log."""


@query
async def note_measurement(
    db: Db,
    *,
    project_id: int,
    watermark: int,
    efforts: Sequence[int],
    recalls: Sequence[float],
    queries: int,
    recall_error: float,
    exact_seconds: float | None,
) -> int:
    """Stores the recalls of a graph, measured with real queries, unless it was replaced."""


@query
async def note_metadata_index(db: Db, *, project_id: int, watermark: int) -> int:
    """Activates the metadata index for searches."""


@query
async def note_terms_index(db: Db, *, project_id: int, watermark: int) -> int:
    """Activates the index of terms for searches."""


@query
async def forget_index(db: Db, *, project_id: int) -> int:
    """Deactivates the index of a project."""


@query
async def get_index_states(db: Db, *, project_ids: Sequence[int]) -> list[IndexState]:
    """The states of projects' indexes, in this order."""


@query
async def summarise_indexes(db: Db, *, recall: float) -> IndexSummary:
    """Totals of all indexes; `below` counts those below this recall."""
