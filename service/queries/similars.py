"""Statements of `sql/similars.sql`: what is similar."""

import msgspec

from service.sql import Db, Queries

query = Queries(__name__)


class Similar(msgspec.Struct, frozen=True):
    """A stored text and its similarity: 1 - cosine distance of the halves, from -1 to 1."""

    id: str
    similarity: float


@query
async def get_similars_by_vector(
    db: Db,
    *,
    project_id: int,
    vector: bytes,
    except_id: str | None,
    threshold: float,
    metadata_path: str | None,
    metadata_value: str | None,
    max_rows: int,
    skip: int,
) -> list[Similar]:
    """The nearest texts with at least `threshold`, best first, ties by id, without `except_id`."""


query.complete()
