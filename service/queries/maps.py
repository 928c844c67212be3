"""Statements of `sql/maps.sql`: maps of projects."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class KnownMap(msgspec.Struct, frozen=True):
    """A map, perhaps never requested. It shows the project at `made_at`, when its number of changes was `changes`."""

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
    """The current rows and changes of a project, its map, and the bytes of the ids in the first parts."""

    rows: int
    changes_now: int
    map: KnownMap
    id_bytes: int


class MapPoints(msgspec.Struct, frozen=True):
    """The points of a part: `positions` of all, and `places` (from 1) and ids of those whose embeddings still exist.

    `field` has a value for each of the latter, if requested.
    """

    positions: bytes | None
    places: list[int]
    text_ids: list[str]
    field: msgspec.Raw | None


class AskedMap(msgspec.Struct, frozen=True):
    """A requested map, with the current state of the project, and the projection and layout to keep."""

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
    """A part of a layout by neighbours: sequences of embeddings (int64), and positions (float32)."""

    sequences: bytes
    positions: bytes


@query
async def retrieve_map(db: Db, *, project_id: int, parts: int) -> MapState | None:
    """The state of a map; None for a deleted project."""


@query
async def ask_for_map(db: Db, *, project_id: int) -> None:
    """Requests a map, unless that is pending."""


@query
async def get_map_points(
    db: Db, *, project_id: int, by_neighbours: bool, field: str | None, longest: int, parts: int
) -> list[MapPoints]:
    """The first parts; `field` is a JSON path, `longest` the maximum length of a value."""


@query
async def retrieve_asked_map(db: Db) -> AskedMap | None:
    """The oldest pending request, if any."""


@query
async def note_map_progress(db: Db, *, project_id: int, log: str, stage: str, progress: float) -> int:
    """Stores the progress; returns 0 if the project was emptied or deleted."""


@query
async def retrieve_sample_end(db: Db, *, project_id: int, rows: int) -> int | None:
    """The last hash of a sample of `rows` rows in the order of samples; None for fewer rows."""


@query
async def copy_sample(db: Db, *, project_id: int, last: int, output: Callable[[bytes], Awaitable[None]]) -> None:
    """The embeddings up to a hash, in the binary format of COPY (`service.maps.samples`)."""


@query
async def get_map_layout(db: Db, *, project_id: int) -> list[LayoutPart]:
    """The stored layout by neighbours."""


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
    """Stores a map without parts, and deletes the old ones; returns 0 if the project was emptied or deleted."""


@query
async def store_map_part(
    db: Db, *, project_id: int, part: int, text_ids: list[str], sequences: bytes, pca: bytes, neighbours: bytes | None
) -> None:
    """Stores a part."""


@query
async def end_map(db: Db, *, project_id: int, log: str, error: str | None) -> None:
    """Ends a request, perhaps with an error, unless the project was emptied since."""
