"""Statements of `sql/similars.sql`: searches for similar rows. Vectors go in as `service.vectors.to_binary`."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class Nearest(msgspec.Struct, frozen=True):
    """The nearest rows to a vector, best first; similarity is 1 - cosine distance of the halves."""

    ids: list[str]
    similarities: list[float]


class NearestByIndex(Nearest, frozen=True):
    """`complete`: an exact search finds no more rows. `tied`: equally near rows may come before the last one."""

    complete: bool
    tied: bool


@query
async def get_similars_by_vector(
    db: Db,
    *,
    project_id: int,
    vectors: Sequence[bytes],
    except_id: str | None,
    threshold: float,
    metadata_path: str | None,
    metadata_value: str | None,
    only: str | None,
    max_rows: int,
    skip: int,
) -> list[Nearest]:
    """For each vector the nearest texts from `threshold` on, ties by id, without `except_id`."""


@query
async def get_similars_by_index(
    db: Db,
    *,
    project_id: int,
    dimensions: int,
    watermark: int,
    vectors: Sequence[bytes],
    at_most: int,
    candidates: int,
    filtered: int,
    confirms: int,
    key_hash: str | None,
    is_admin: bool,
    owner: str,
    project_handle: str,
    measured_at: datetime | None,
    except_id: str | None,
    threshold: float,
    metadata_path: str | None,
    metadata_value: str | None,
    only: str | None,
    max_rows: int,
    skip: int,
) -> list[NearestByIndex]:
    """As `get_similars_by_vector`, by the project's index; `hnsw.ef_search` must be set.

    `at_most` is at least the number of vectors, `candidates` the rows read from the index, `filtered` 1 with a filter.
    Empty if the index of the watermark, as measured at `measured_at`, is not the project's; with `confirms` 1 also if
    the caller (`key_hash`, `is_admin`) may not read the project `owner`/`project_handle`.
    """


@query
async def get_similars_by_filter(
    db: Db,
    *,
    project_id: int,
    watermark: int,
    vectors: Sequence[bytes],
    except_id: str | None,
    threshold: float,
    metadata_path: str | None,
    metadata_value: str | None,
    only: str,
    by_terms: int,
    indexed: str | None,
    terms: Sequence[str],
    max_rows: int,
    skip: int,
) -> list[Nearest]:
    """As `get_similars_by_vector`; a metadata index finds the rows.

    If `by_terms` is 1, those with one of the `terms`, otherwise those that pass `indexed`. Each is necessary to pass
    `only`.
    """


@query
async def estimate_passing_rows(db: Db, *, project_id: int, only: str) -> str:
    """A plan in JSON, whose `Plan Rows` estimates the rows of a project that pass a filter."""
