"""Statements of `sql/maps.sql`: maps of projects."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class KnownMap(msgspec.Struct, frozen=True):
    """A requested map and its state. It shows the project at `made_at`, when its counter of changes was `changes`."""

    project_id: int
    asked_at: datetime | None
    stage: str | None
    progress: float | None
    failed_at: datetime | None
    error: str | None
    made_at: datetime | None
    changes: int | None
    has_neighbours: bool
    explained: list[float]
    trust_sample: int | None
    trust_of_pca: float | None
    trust_of_neighbours: float | None


class MapState(msgspec.Struct, frozen=True):
    """The rows and changes of a project now, its map, and the bytes of the ids in the first parts of it."""

    rows: int
    changes_now: int
    map: KnownMap | None
    id_bytes: int


class MapPoints(msgspec.Struct, frozen=True):
    """Points of a part: `positions` of all, and `places`, from 1 on, and ids of those whose embeddings exist.

    `field` has a value for each of these, if one was asked for.
    """

    part: int
    positions: bytes | None
    places: list[int]
    text_ids: list[str]
    field: msgspec.Raw | None


class AskedMap(msgspec.Struct, frozen=True):
    """A map that was asked for: of a project as it is, and the projection and layout that are kept."""

    project_id: int
    dimensions: int
    log: str
    rows: int
    changes: int
    basis: bytes | None
    base_changes: int | None
    base_rows: int | None
    has_neighbours: bool


class LayoutPart(msgspec.Struct, frozen=True):
    """A part of the layout by neighbours: the sequences of its embeddings (int64), and their positions (float32)."""

    sequences: bytes
    positions: bytes


@query
async def retrieve_map(db: Db, *, project_id: int, parts: int) -> MapState | None:
    """The state of a map; None for a project that has just been deleted."""


@query
async def ask_for_map(db: Db, *, project_id: int) -> None:
    """Notes that somebody has asked."""


@query
async def get_map_points(
    db: Db, *, project_id: int, by_neighbours: bool, field: str | None, longest: int, parts: int
) -> list[MapPoints]:
    """The first parts; `field` is a JSON path, `longest` the most characters of a value."""


@query
async def retrieve_asked_map(db: Db) -> AskedMap | None:
    """What is to be done first, if anything is."""


@query
async def note_map_progress(db: Db, *, project_id: int, stage: str, progress: float) -> int:
    """Says how far it is; 0 when the project has been emptied or deleted."""


@query
async def retrieve_sample_end(db: Db, *, project_id: int, rows: int) -> int | None:
    """The last hash of a sample of `rows` rows, in the order of samples; None for a project with fewer rows."""


@query
async def copy_sample(db: Db, *, project_id: int, last: int, output: Callable[[bytes], Awaitable[None]]) -> None:
    """The embeddings up to that, in the binary format of COPY (`service.maps.samples`)."""


@query
async def get_map_layout(db: Db, *, project_id: int) -> list[LayoutPart]:
    """The layout by neighbours."""


@query
async def store_map(
    db: Db,
    *,
    project_id: int,
    log: str,
    changes: int,
    base_changes: int,
    base_rows: int,
    basis: bytes,
    has_neighbours: bool,
    explained: list[float],
    trust_sample: int,
    trust_of_pca: float | None,
    trust_of_neighbours: float | None,
) -> int:
    """Stores a map without its parts; 0 when the project has been emptied or deleted."""


@query
async def forget_map_parts(db: Db, *, project_id: int) -> None:
    """Deletes the parts."""


@query
async def store_map_part(
    db: Db, *, project_id: int, part: int, text_ids: list[str], sequences: bytes, pca: bytes, neighbours: bytes | None
) -> None:
    """Stores a part."""


@query
async def end_map(db: Db, *, project_id: int, error: str | None) -> None:
    """Nothing is to be done any more, or nothing can be."""


query.complete()
