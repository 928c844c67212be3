"""Query planning for filtered searches: the method with the lowest estimated cost.

- The vector index, if many rows pass. It collects as many passing candidates as the recall needs without a filter, so
  a filter does not lower the recall.
- A metadata index, if few rows pass, with a comparison of all of them.
- A scan of all rows, if most of them pass, or if no metadata index supports the filter.

The estimate is PostgreSQL's, from its sample of the metadata (size in sql/indexes.sql).
"""

from typing import Literal

import msgspec

from service.database.pool import Pool
from service.queries import similars
from service.queries.projects import ProjectAccess
from service.search.filters import Filter
from service.search.terms import path_of

MAX_VISITED = 20_000  # rows of an index scan: pgvector's hnsw.max_scan_tuples
# The cost of a row by method, relative to a scan without a filter. Estimated from searches of 20,000 rows of 384
# dimensions.
ALL = 1.8
COLLECTED = 5.0
VISITED = 14.0
IN_A_LIST = 1.2
SHARE_WITHOUT_ESTIMATE = 0.5

Way = Literal["index", "filtered", "exact"]


class Estimate(msgspec.Struct, frozen=True):
    """The share of rows that pass a filter, and the share that a metadata index finds, None if none can.

    `by_terms`: the index of ranges and fields finds fewer than that of equal values.
    """

    passing: float
    found: float | None = None
    by_terms: bool = False


async def estimate(db: Pool, project: ProjectAccess, only: Filter | None) -> Estimate:
    """Estimates the rows that pass, in one to three round trips."""
    if only is None:
        return Estimate(SHARE_WITHOUT_ESTIMATE)
    by_index: dict[str, bool] = {}  # paths of necessary conditions; whether the index of terms finds their rows
    if only.indexed is not None and project.metadata_indexed:
        by_index[only.indexed] = False
    if only.spans and project.terms_indexed:
        by_index.setdefault(path_of(only.spans), True)
    shares = {path: await _share(db, project, path) for path in dict.fromkeys((only.path, *by_index))}
    if not by_index:
        return Estimate(shares[only.path])
    best = min(by_index, key=lambda path: shares[path])
    return Estimate(shares[only.path], shares[best], by_index[best])


def fastest(project: ProjectAccess, share: Estimate, effort: float | None) -> Way:
    """The method with the lowest cost.

    `effort` is the number of rows that the vector index visits, or of lists that it reads; None for an exact search.
    """
    rows = project.indexed_rows
    costs: dict[Way, float] = {"exact": ALL * rows}
    if effort is not None and project.lists:
        costs["index"] = IN_A_LIST * rows * effort / project.lists
    elif effort is not None and effort <= MAX_VISITED:
        costs["index"] = VISITED * effort
    if share.found is not None:
        costs["filtered"] = COLLECTED * share.found * rows
    return min(costs, key=lambda way: costs[way])


async def _share(db: Pool, project: ProjectAccess, path: str) -> float:
    plan = await similars.estimate_passing_rows(db, project_id=project.project_id, only=path)
    rows: int = msgspec.json.decode(plan)[0]["Plan"]["Plan Rows"]
    return min(1.0, max(1, rows) / max(1, project.indexed_rows))
