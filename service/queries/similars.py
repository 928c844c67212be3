"""Statements of `sql/similars.sql`: searches for similar rows. Vectors go in as `service.vectors.to_binary`."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class Nearest(msgspec.Struct, frozen=True):
    """The nearest of one vector, best first; similarity is 1 - cosine distance of the halves, from -1 to 1."""

    ids: list[str]
    similarities: list[float]


class NearestByIndex(msgspec.Struct, frozen=True):
    """As Nearest; `complete` is False when an exact search may find more.

    `tied` is True when rows that are as near as the last one may come before it.
    """

    ids: list[str]
    similarities: list[float]
    complete: bool
    tied: bool


class ShownSize(msgspec.Struct, frozen=True):
    """How many bytes of text and metadata of an embedding are asked for."""

    text_id: str
    size: int


class Shown(msgspec.Struct, frozen=True):
    """What is shown of a result beside its similarity."""

    text_id: str
    text: str | None
    metadata: msgspec.Raw | None


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
    """For each vector the nearest texts with at least `threshold`, ties by id, without `except_id`."""


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
    """As `get_similars_by_vector`, through the project's index; `hnsw.ef_search` must be set.

    `at_most` is the number of vectors or more, `candidates` of rows that are taken from the index, `filtered` is 1 when
    there is something that rows must pass. Empty when the project has neither the index of the watermark nor a later
    one; with `confirms` 1 also when the caller, given by `key_hash` and `is_admin`, may not see the project
    `owner`/`project_handle` (any more), or its index is not the one that was measured at `measured_at` (any more).
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
    indexed: str,
    max_rows: int,
    skip: int,
) -> list[Nearest]:
    """As `get_similars_by_vector`; an index of the metadata finds the rows that pass `indexed`, a part of `only`."""


@query
async def estimate_passing_rows(db: Db, *, project_id: int, only: str) -> str:
    """A plan in JSON, whose `Plan Rows` is about how many rows of a project pass a filter."""


@query
async def get_shown_sizes(
    db: Db, *, project_id: int, text_ids: Sequence[str], with_text: bool, with_metadata: bool
) -> list[ShownSize]:
    """How large text and metadata of some embeddings are, in any order."""


@query
async def get_texts_and_metadata(
    db: Db, *, project_id: int, text_ids: Sequence[str], with_text: bool, with_metadata: bool
) -> list[Shown]:
    """Text and metadata of some embeddings, in any order."""


query.complete()
