"""How a project is searched, as its owner sees it (contract section 6)."""

from datetime import datetime
from typing import Literal

import msgspec

from service.database.statements import Db
from service.queries import indexes
from service.storage.indexer import PLAIN


class IndexMeasurement(msgspec.Struct, frozen=True):
    """How the recall of an index was measured: with `queries` made of stored vectors, when, and its standard error."""

    queries: int
    at: datetime
    error: float


class ProjectIndex(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a project is searched: `rows` through its vector index, and `tail` one by one.

    `recall` is the share of the nearest that is found, as measured, with `ef_search` candidates. `graph` is dense where
    a plain one did not reach the recall that searches want. `progress` goes from 0 to 1 while the first or the next
    index is being built.
    """

    state: Literal["exact", "building", "indexed"]
    rows: int
    tail: int
    ef_search: int | None = None
    recall: float | None = None
    progress: float | None = None
    graph: Literal["plain", "dense"] | None = None
    measured: IndexMeasurement | None = None


async def project_index(db: Db, recall: float, project_id: int, rows: int) -> ProjectIndex:
    """The index of a project of so many rows, for searches that want this recall."""
    state = await indexes.retrieve_index_state(db, project_id=project_id)
    built = state.built
    if built is None:
        return ProjectIndex("exact" if state.progress is None else "building", 0, rows, progress=state.progress)
    tail = await indexes.count_tail(db, project_id=project_id, watermark=built.watermark, max_rows=rows)
    pairs = list(zip(built.ef_searches, built.recalls, strict=True))
    best = pairs[-1] if pairs else (None, None)
    ef_search, measured = next((pair for pair in pairs if pair[1] >= recall), best)
    return ProjectIndex(
        "indexed" if state.progress is None else "building",
        rows - tail,
        tail,
        ef_search,
        measured,
        state.progress,
        "plain" if built.m == PLAIN.m else "dense",
        IndexMeasurement(built.queries, built.built_at, built.recall_error),
    )
