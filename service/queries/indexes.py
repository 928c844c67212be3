"""Statements of `sql/indexes.sql`: the vector indexes of projects. Builds are no part of a transaction."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec
from pgvector import HalfVector

from service.database.statements import Db, Queries

query = Queries(__name__)


class ProjectToIndex(msgspec.Struct, frozen=True):
    """A project that has an index or may need one: how many `rows` it has, and how many `changes` it ever had."""

    project_id: int
    dimensions: int
    rows: int
    changes: int


class StrayIndex(msgspec.Struct, frozen=True):
    """An index that is not a project's current one; `kind` is hnsw, ivf, tail or meta."""

    project_id: int
    kind: str
    watermark: int


class BuiltIndex(msgspec.Struct, frozen=True):
    """An index with the `indexed_rows` rows up to `watermark`, and its recall with each effort.

    Efforts are numbers of candidates of a graph, or, of a coarse index with `lists` lists, of lists that are read. The
    recalls were measured at `measured_at` with `queries` real or synthetic queries; `recall_error` is the standard
    error of the one that was aimed at. `m` is the number of a row's links in the graph, as pgvector has it.
    `metadata_indexed`: whether the metadata of the rows have an index as well.
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


class IndexState(msgspec.Struct, frozen=True):
    """The index of a project, if it has one; `progress`, from 0 to 1, while one is being built, `seconds` long."""

    built: BuiltIndex | None
    progress: float | None
    seconds: float | None


class IndexSummary(msgspec.Struct, frozen=True):
    """Of all projects: those with an index, the rows in them, those with too little recall, and those being built."""

    projects: int
    rows: int
    below: int
    builds: int


@query
async def lock_project_index(db: Db, *, lock: int, project_id: int) -> bool:
    """Whether this session may now work on the project's index."""


@query
async def unlock_project_index(db: Db, *, lock: int, project_id: int) -> bool:
    """Lets others work on the project's index."""


@query
async def fold_counts(db: Db, *, threshold: int) -> None:
    """Brings the projects' numbers of embeddings up to date, and notes those that have an index or may need one."""


@query
async def get_uncounted(db: Db) -> list[int]:
    """Projects whose embeddings have to be counted."""


@query
async def lock_embeddings(db: Db, *, project_id: int) -> None:
    """Keeps a project's embeddings from being emptied or dropped until the end of the transaction."""


@query
async def lock_count(db: Db, *, project_id: int) -> int | None:
    """Keeps deltas out of a project's number until the end of the transaction.

    `lock_embeddings` comes first. None when others have it locked, or the project is gone.
    """


@query
async def recount(db: Db, *, project_id: int) -> None:
    """Counts a project's embeddings, after `lock_count`, in the same transaction."""


@query
async def drop_stray_deltas(db: Db) -> None:
    """Drops what deleted projects left in the deltas."""


@query
async def get_projects_to_index(db: Db, *, threshold: int, look_at_all: bool) -> list[ProjectToIndex]:
    """The projects with an index or `threshold` rows: all of them, or those with changes nobody has looked at."""


@query
async def note_looked_at(db: Db, *, project_id: int, changes: int) -> None:
    """Notes that a project needs nothing before its next change."""


@query
async def get_stray_indexes(db: Db) -> list[StrayIndex]:
    """Remains of builds, and builds in progress."""


@query
async def get_next_watermark(db: Db) -> int:
    """A sequence that is higher than that of any row, and that no row will have."""


@query
async def count_rows_up_to(db: Db, *, project_id: int, watermark: int) -> int:
    """How many rows an index up to this has."""


@query
async def count_tail(db: Db, *, project_id: int, watermark: int, max_rows: int) -> int:
    """How many rows have a higher sequence, counted up to `max_rows`."""


@query
async def build_vector_index(
    db: Db, *, project_id: int, watermark: int, dimensions: int, m: int, ef_construction: int
) -> None:
    """Builds the HNSW index of the rows up to a watermark; pgvector's documentation explains the last two."""


@query
async def build_coarse_index(db: Db, *, project_id: int, watermark: int, dimensions: int, lists: int) -> None:
    """Builds the IVFFlat index of the rows up to a watermark, with this number of lists."""


@query
async def build_tail_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Builds the index that finds the rows above a watermark."""


@query
async def drop_vector_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Drops an HNSW index, if it is there."""


@query
async def drop_coarse_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Drops an IVFFlat index, if it is there."""


@query
async def drop_tail_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Drops the index of a tail, if it is there."""


@query
async def build_metadata_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Builds the index of the metadata of the rows up to a watermark."""


@query
async def drop_metadata_index(db: Db, *, project_id: int, watermark: int) -> None:
    """Drops an index of metadata, if it is there."""


@query
async def sample_more_metadata(db: Db, *, project_id: int) -> None:
    """Has the next ANALYZE keep a larger sample of a project's metadata."""


@query
async def analyze_rows(db: Db, *, project_id: int) -> None:
    """Tells the planner how sequences and metadata of a project are distributed."""


@query
async def note_metadata_index(db: Db, *, project_id: int, watermark: int) -> int:
    """Lets searches use the index of the metadata."""


@query
async def use_memory(db: Db, *, kibibytes: int) -> str:
    """Sets how much memory a build of this session may take."""


@query
async def use_workers(db: Db, *, workers: int) -> str:
    """Sets how many processes help with a build of this session."""


@query
async def sample_vectors(db: Db, *, project_id: int, watermark: int, max_rows: int) -> list[HalfVector]:
    """Random vectors of the rows up to a watermark."""


@query
async def copy_vectors(db: Db, *, project_id: int, watermark: int, output: Callable[[bytes], Awaitable[None]]) -> None:
    """Gives all vectors of the rows up to a watermark to `output`, in the binary form of COPY."""


@query
async def get_distances_of_neighbours(
    db: Db, *, project_id: int, watermark: int, dimensions: int, vectors: Sequence[bytes], neighbour: int
) -> list[float]:
    """The cosine distance of each stored vector from its nearest row of this number, which the index finds."""


@query
async def count_neighbours_found(
    db: Db, *, project_id: int, watermark: int, dimensions: int, vectors: Sequence[bytes], distances: Sequence[float]
) -> list[int]:
    """How many rows the index finds, of ten, that are at most as far from each vector as its distance says."""


@query
async def switch_index(
    db: Db,
    *,
    project_id: int,
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
    """Makes an index the one that is searched; None when the project is gone."""


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
    """Replaces the recalls of a graph, which were measured with real queries."""


@query
async def forget_index(db: Db, *, project_id: int) -> int:
    """Lets a project be searched without an index."""


@query
async def retrieve_index_state(db: Db, *, project_id: int) -> IndexState:
    """The state of a project's index."""


@query
async def summarise_indexes(db: Db, *, recall: float) -> IndexSummary:
    """All indexes together; `below` counts those that do not reach this recall."""


query.complete()
