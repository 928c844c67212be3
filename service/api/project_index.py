"""The state of a project's vector index in answers (contract section 6)."""

from datetime import datetime
from typing import Literal

import msgspec

from service.database.statements import Db
from service.queries import indexes
from service.queries.indexes import IndexState
from service.storage.builds import PLAIN

COUNTED_TAIL = 10_000  # rows, counted in 3 ms


class IndexMeasurement(msgspec.Struct, frozen=True):
    """The measurement of an index's recall. Twice the standard `error` is subtracted from the mean.

    `kind`: with `queries` made from stored vectors (synthetic), or sampled from recent searches (real). Synthetic ones
    find more than texts, so their misses are multiplied by 1.6.
    """

    queries: int
    kind: str
    at: datetime
    error: float


class ProjectIndex(msgspec.Struct, frozen=True, omit_defaults=True):
    """The vector index of a project with `rows` rows; the `tail` is not in it, and is an estimate above 10,000.

    `recall` is the measured share of nearest neighbours found with `ef_search` candidates. `graph` is dense if a plain
    one did not reach the desired recall, and coarse for an index of lists, used until the graph of a large project is
    ready. `progress` is from 0 to 1 while an index is being built, for about `seconds_left` more.
    """

    state: Literal["exact", "building", "indexed"]
    rows: int
    tail: int
    ef_search: int | None = None
    recall: float | None = None
    progress: float | None = None
    seconds_left: float | None = None
    graph: Literal["plain", "dense", "coarse"] | None = None
    measured: IndexMeasurement | None = None


async def project_index(db: Db, recall: float, project_id: int, rows: int) -> ProjectIndex:
    """The index of a project with `rows` rows, for searches that aim at this recall."""
    state = (await indexes.get_index_states(db, project_ids=[project_id]))[0]
    tail = 0
    if state.built is not None:
        tail = await indexes.count_tail(
            db, project_id=project_id, watermark=state.built.watermark, max_rows=min(rows, COUNTED_TAIL)
        )
        if tail == COUNTED_TAIL:
            tail = min(rows, max(tail, rows - state.built.indexed_rows))
    return index_of(state, recall, rows, tail)


def index_of(state: IndexState, recall: float, rows: int, tail: int) -> ProjectIndex:
    """The index of a project with `rows` rows, of which `tail` are not indexed yet."""
    built, left = state.built, seconds_left(state.progress, state.seconds)
    if built is None:
        is_building = state.progress is not None
        return ProjectIndex("building" if is_building else "exact", 0, rows, progress=state.progress, seconds_left=left)
    pairs = list(zip(built.efforts, built.recalls, strict=True))
    best = pairs[-1] if pairs else (None, None)
    effort, measured = next((pair for pair in pairs if pair[1] >= recall), best)
    return ProjectIndex(
        "indexed" if state.progress is None and not built.lists else "building",
        rows - tail,
        tail,
        None if built.lists else effort,
        measured,
        state.progress,
        left,
        "coarse" if built.lists else "plain" if built.m == PLAIN else "dense",
        IndexMeasurement(built.queries, built.measured_with, built.measured_at, built.recall_error),
    )


def seconds_left(progress: float | None, seconds: float | None) -> float | None:
    """The estimated remaining time of a build, from its `progress` (0 to 1) after `seconds`."""
    return round(seconds * (1 - progress) / progress, 1) if progress and seconds is not None else None
