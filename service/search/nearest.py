"""Searches by index or exact, with an exact search where the result of the index may be incomplete."""

import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import msgspec

from service.database.pool import Pool, Scan, searching
from service.queries import similars
from service.queries.projects import ProjectAccess
from service.queries.users import Credentials
from service.search import ways
from service.search.filters import Filter
from service.search.terms import terms_of
from service.storage.replica import Unanswered

MAX_EF_SEARCH = 1000  # pgvector's limit
# Vectors per statement; other requests may use the connection between statements.
VECTORS_AT_ONCE = 50
# Rows read from the index: few values, because each is a separate prepared statement. At least one more than wanted,
# to detect ties with the last one.
CANDIDATES = (11, 21, 51, 101, 201, 501, 1001, 3001, 10001)
# Neither the vector index nor a sequential scan is used, nor processes for more rows than there are: the planner has no
# statistics of terms, and assumes 15,000 to 90,000 of 1,000,000 rows.
BY_METADATA = Scan(40, goes_on=False, in_parallel=False)
WIDER = 10  # times as many candidates after ties beyond the last one
EXACT_VECTORS_AT_ONCE = 5
# Recall is measured at 10 results. On real embeddings (20,000 of 384 dimensions) the candidates for the same recall
# grow linearly with the results: 0.99 took 128 for 10 results, 160 for 50, 215 for 100, 325 for 200. With 1.1 more for
# each result, the recall at 50 was 0.9888 and 0.9896 where it was 0.9915 and 0.9910 at 10.
MEASURED_AT = 10
CANDIDATES_FOR_EACH_MORE = 1.3
# A coarse index must read more lists for more results: on the same embeddings in 100 lists, a recall of 0.96 took 24
# lists for 10 results, 32 for 50, 44 for 200, 57 for 1,000: an exponent of 0.2. Other data need more. With a filter,
# the number of results is divided by the share of rows that pass: with 65 of 6,100, in 60 lists, an exponent of 0.3 had
# a recall of 0.989 to 0.993 (measured: up to 0.994), 0.35 at least 0.998.
LISTS_FOR_TIMES_MORE = 0.35
RESULT_BYTES = 50  # of JSON, besides the id
BARELY_LESS = 0.001  # than the best recall, if that saves candidates


class Question(msgspec.Struct, frozen=True):
    """A search for the `max_rows` nearest rows after `skip`, among those that pass the filters.

    `recall` is the required share of the nearest rows, 1 for an exact search. If the index does not reach it, the
    search is exact, unless that takes more than `longest_exact` seconds. `metadata_path` and `metadata_value` exclude
    rows, `only` selects rows. `most_bytes` limits the results of all vectors together.
    """

    max_rows: int
    skip: int
    threshold: float
    recall: float
    longest_exact: float = math.inf
    except_id: str | None = None
    metadata_path: str | None = None
    metadata_value: str | None = None
    only: Filter | None = None
    most_bytes: int = sys.maxsize

    @property
    def is_filtered(self) -> bool:
        """Whether rows are filtered by their metadata."""
        return self.metadata_path is not None or self.only is not None

    @property
    def wanted(self) -> int:
        """The number of nearest rows up to the last result."""
        return self.max_rows + self.skip


Neighbours: TypeAlias = tuple[list[str], list[float]]  # ids and similarities, best first, ties by id


class Answer(msgspec.Struct, frozen=True):
    """The nearest neighbours of each vector, and their size as JSON; `recall` is 1 unless the vector index was used.

    `method` is `filtered` if exactly the rows that pass the filter were compared.
    """

    nearest: list[Neighbours]
    size: int
    method: ways.Way
    recall: float


class TooLong(Exception):
    """The results exceed `Question.most_bytes`; `size` is that of the results so far."""

    def __init__(self, size: int) -> None:
        self.size = size


class Unconfirmed(Exception):
    """The statement did not confirm the cached access."""


async def nearest(
    pool: Pool, project: ProjectAccess, vectors: Sequence[bytes], question: Question, asker: Credentials | None = None
) -> Answer:
    """Searches a project for the nearest rows to each vector (`service.vectors.to_binary`).

    With an `asker`, the statement also authorizes the caller; Unconfirmed is raised if it does not or cannot. Raises
    Unanswered if the index was just replaced, measured again or dropped, or is not replicated yet.
    """
    place = None if project.watermark is None else _place(project, question)
    if asker is not None and (place is None or question.is_filtered):
        raise Unconfirmed
    way: ways.Way = "exact" if place is None else "index"
    share, effort, least = None, 0, 0
    if project.watermark is not None and question.is_filtered:
        share = await ways.estimate(pool, project, question.only)
    if place is not None:
        effort, least = _effort(project, question, place, share)
    if share is not None:
        way = ways.fastest(project, share, None if place is None else effort)
    if place is None or way != "index":
        exact = await _exactly(pool, project, question, vectors, share if way == "filtered" else None)
        return Answer(*exact, way, 1.0)
    by_index = partial(_by_index, pool, project, question, effort, least, asker)
    return Answer(*await _in_parts(vectors, VECTORS_AT_ONCE, question, by_index), "index", project.recalls[place])


async def _in_parts(
    vectors: Sequence[bytes],
    at_once: int,
    question: Question,
    ask: Callable[[Sequence[bytes]], Awaitable[list[Neighbours]]],
) -> tuple[list[Neighbours], int]:
    """What `ask` finds, called with some vectors at once, and its size as JSON. Raises TooLong."""
    found: list[Neighbours] = []
    size = 0
    for start in range(0, len(vectors), at_once):
        more = await ask(vectors[start : start + at_once])
        found += more
        for ids, _ in more:
            size += RESULT_BYTES * len(ids) + len(msgspec.json.encode("".join(ids)))
        if size > question.most_bytes:
            raise TooLong(size)
    return found, size


async def _by_index(
    pool: Pool,
    project: ProjectAccess,
    question: Question,
    effort: int,
    least: int,
    asker: Credentials | None,
    vectors: Sequence[bytes],
) -> list[Neighbours]:
    """The nearest rows to each vector among at least `least` candidates; exact if these may be incomplete.

    Ties with the last wanted row need more candidates: an index returns equally near rows in any order.
    """
    candidates = next((count for count in CANDIDATES if count >= least), None)
    if candidates is None:
        return (await _exactly(pool, project, question, vectors))[0]
    if project.lists:
        scan = Scan(effort, goes_on=True, is_coarse=True)
    else:
        enough = min(max(effort, candidates), MAX_EF_SEARCH)
        # Without a filter, few candidates are dropped: deleted rows, and the text itself.
        scan = Scan(enough, goes_on=question.is_filtered or enough < 2 * candidates)
    async with searching(pool, scan) as connection:
        rows = await similars.get_similars_by_index(
            connection,
            dimensions=project.dimensions,
            watermark=project.watermark or 0,
            vectors=vectors,
            at_most=1 if len(vectors) == 1 else VECTORS_AT_ONCE,
            candidates=candidates,
            filtered=int(question.is_filtered),
            confirms=int(asker is not None),
            key_hash=asker.key_hash if asker is not None else None,
            is_admin=asker is not None and asker.is_admin,
            owner=project.owner,
            project_handle=project.project_handle,
            measured_at=project.measured_at,
            **_parameters(project, question),
        )
    if not rows:
        raise Unanswered if asker is None else Unconfirmed
    answers = [(row.ids, row.similarities) for row in rows]
    if tied := [place for place, row in enumerate(rows) if row.complete and row.tied]:
        some = [vectors[place] for place in tied]
        wider = await _by_index(pool, project, question, effort, WIDER * candidates, None, some)
        for place, answer in zip(tied, wider, strict=True):
            answers[place] = answer
    if incomplete := [place for place, row in enumerate(rows) if not row.complete]:
        exact, _ = await _exactly(pool, project, question, [vectors[place] for place in incomplete])
        for place, answer in zip(incomplete, exact, strict=True):
            answers[place] = answer
    return answers


def _place(project: ProjectAccess, question: Question) -> int | None:
    """The position of the smallest measured effort with enough recall; None for an exact search.

    If no effort is enough and an exact search would take too long, the best effort is used.
    """
    if question.recall >= 1 or question.wanted > MAX_EF_SEARCH:
        return None
    wanted, is_exact_slow = question.recall, (project.exact_seconds or 0) > question.longest_exact
    if project.recalls and project.recalls[-1] < wanted and is_exact_slow:
        wanted = project.recalls[-1] - BARELY_LESS
    place = next((place for place, recall in enumerate(project.recalls) if recall >= wanted), None)
    if place is None or is_exact_slow or project.lists:
        return place
    return place if project.efforts[place] + _more_candidates(question) <= MAX_EF_SEARCH else None


def _effort(project: ProjectAccess, question: Question, place: int, share: ways.Estimate | None) -> tuple[int, int]:
    """The rows of a graph to visit, or the lists of a coarse index; and the least candidates to collect.

    `share` is the estimate for a filter, if any.
    """
    passing, least = 1.0 if share is None else share.passing, question.wanted + 1
    if project.lists:
        times_more = float(max(1.0, question.wanted / passing / MEASURED_AT))
        return min(math.ceil(project.efforts[place] * math.pow(times_more, LISTS_FOR_TIMES_MORE)), project.lists), least
    candidates = min(project.efforts[place] + _more_candidates(question), MAX_EF_SEARCH)
    if share is None:
        return candidates, least
    least = max(candidates, least)
    return math.ceil(least / passing), least


def _more_candidates(question: Question) -> int:
    """Additional candidates for more results than in the measurement."""
    return math.ceil(CANDIDATES_FOR_EACH_MORE * max(0, question.wanted - MEASURED_AT))


async def _exactly(
    pool: Pool,
    project: ProjectAccess,
    question: Question,
    vectors: Sequence[bytes],
    share: ways.Estimate | None = None,
) -> tuple[list[Neighbours], int]:
    """The exact nearest rows, and their size; with a `share`, its metadata index finds the rows that pass."""
    asked = _parameters(project, question)
    statement: Callable[..., Awaitable[list[similars.Nearest]]] = similars.get_similars_by_vector
    if share is not None and question.only is not None:
        statement = similars.get_similars_by_filter
        asked |= {"watermark": project.watermark, "by_terms": int(share.by_terms)}
        asked |= {"indexed": question.only.indexed, "terms": terms_of(question.only.spans) if share.by_terms else []}

    async def ask(some: Sequence[bytes]) -> list[Neighbours]:
        async with searching(pool, None if share is None else BY_METADATA) as connection:
            return [(row.ids, row.similarities) for row in await statement(connection, vectors=some, **asked)]

    return await _in_parts(vectors, EXACT_VECTORS_AT_ONCE, question, ask)


def _parameters(project: ProjectAccess, question: Question) -> dict[str, Any]:
    return {
        "project_id": project.project_id,
        "except_id": question.except_id,
        "threshold": question.threshold,
        "metadata_path": question.metadata_path,
        "metadata_value": question.metadata_value,
        "only": question.only.path if question.only else None,
        "max_rows": question.max_rows,
        "skip": question.skip,
    }
