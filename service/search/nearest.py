"""Searches by index or exact, with an exact search where the result of the index may be incomplete."""

import math
import sys
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from service.database.pool import Pool, Scan, searching
from service.queries import similars
from service.queries.projects import ProjectAccess
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
BY_METADATA = Scan(40, goes_on=False)  # neither the vector index nor a sequential scan is used
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


Neighbours: TypeAlias = tuple[list[str], list[float]]  # ids and similarities, best first, ties by id


def size_of(nearest: Sequence[Neighbours]) -> int:
    """The size of results as JSON."""
    return sum(RESULT_BYTES + len(text_id.encode()) for ids, _ in nearest for text_id in ids)


class _Found:
    """The results of the vectors so far. Raises TooLong if they are more than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self.nearest: list[Neighbours] = []
        self._most, self._size = most_bytes, 0

    def add(self, more: list[Neighbours]) -> None:
        self.nearest += more
        self._size += size_of(more)
        if self._size > self._most:
            raise TooLong(self._size)


class Answer(msgspec.Struct, frozen=True):
    """The nearest neighbours of each vector; `recall` is 1 unless the vector index was used.

    `method` is `filtered` if exactly the rows that pass the filter were compared.
    """

    nearest: list[Neighbours]
    method: Literal["exact", "index", "filtered"]
    recall: float


class TooLong(Exception):
    """The results exceed `Question.most_bytes`; `size` is that of the results so far."""

    def __init__(self, size: int) -> None:
        self.size = size


class Unconfirmed(Exception):
    """The statement did not confirm the cached access."""


class Asker(msgspec.Struct, frozen=True):
    """The caller whose access a search confirms, by the hash of the key, if any."""

    key_hash: str | None
    is_admin: bool


async def nearest(
    pool: Pool, project: ProjectAccess, vectors: Sequence[bytes], question: Question, asker: Asker | None = None
) -> Answer:
    """Searches a project for the nearest rows to each vector (`service.vectors.to_binary`).

    With an `asker`, the statement also authorizes the caller; Unconfirmed is raised if it does not or cannot. Raises
    Unanswered if the index was just replaced, measured again or dropped, or is not replicated yet.
    """
    place = _place(project, question)
    if asker is not None and (project.watermark is None or place is None or question.is_filtered):
        raise Unconfirmed
    if project.watermark is not None and question.is_filtered:
        return await _filtered(pool, project, vectors, question, place)
    if project.watermark is None or place is None:
        return Answer(await _exactly(pool, project, vectors, question), "exact", 1.0)
    effort, recall = _effort(project, question, place), project.recalls[place]
    found = _Found(question.most_bytes)
    for start in range(0, len(vectors), VECTORS_AT_ONCE):
        some = vectors[start : start + VECTORS_AT_ONCE]
        found.add(
            await _nearest_by_index(pool, project, some, question, effort, question.max_rows + question.skip + 1, asker)
        )
        asker = None
    return Answer(found.nearest, "index", recall)


async def _filtered(
    pool: Pool, project: ProjectAccess, vectors: Sequence[bytes], question: Question, place: int | None
) -> Answer:
    """The nearest rows that pass the filter, found by the fastest method."""
    share = await ways.estimate(pool, project, question.only)
    least, visited, cost = question.max_rows + question.skip + 1, 0, math.inf
    if place is not None and project.lists:
        visited = _effort(project, question, place, share.passing)
        cost = ways.of_coarse_index(project, visited)
    elif place is not None:
        least = max(_effort(project, question, place), least)
        visited = math.ceil(least / share.passing)
        cost = ways.of_graph(visited)
    way = ways.fastest(project, share, cost)
    if place is None or way != "index":
        exact = await _exactly(pool, project, vectors, question, share if way == "filtered" else None)
        return Answer(exact, "filtered" if way == "filtered" else "exact", 1.0)
    found = _Found(question.most_bytes)
    for start in range(0, len(vectors), VECTORS_AT_ONCE):
        some = vectors[start : start + VECTORS_AT_ONCE]
        found.add(await _nearest_by_index(pool, project, some, question, visited, least))
    return Answer(found.nearest, "index", project.recalls[place])


async def _nearest_by_index(
    pool: Pool,
    project: ProjectAccess,
    vectors: Sequence[bytes],
    question: Question,
    effort: int,
    least: int,
    asker: Asker | None = None,
) -> list[Neighbours]:
    """The nearest rows to each vector among at least `least` candidates; exact if these may be incomplete.

    Ties with the last wanted row need more candidates: an index returns equally near rows in any order.
    """
    candidates = next((count for count in CANDIDATES if count >= least), None)
    if candidates is None:
        if asker is not None:
            raise Unconfirmed
        return await _exactly(pool, project, vectors, question)
    if project.lists:
        scan = Scan(effort, goes_on=True, is_coarse=True)
    else:
        enough = min(max(effort, candidates), MAX_EF_SEARCH)
        # Without a filter, few candidates are dropped: deleted rows, and the text itself.
        scan = Scan(enough, goes_on=question.is_filtered or enough < 2 * candidates)
    rows = await _through_index(pool, project, vectors, question, candidates, scan, asker)
    answers = [(row.ids, row.similarities) for row in rows]
    if tied := [place for place, row in enumerate(rows) if row.complete and row.tied]:
        some = [vectors[place] for place in tied]
        wider = await _nearest_by_index(pool, project, some, question, effort, WIDER * candidates)
        for place, answer in zip(tied, wider, strict=True):
            answers[place] = answer
    if incomplete := [place for place, row in enumerate(rows) if not row.complete]:
        exact = await _exactly(pool, project, [vectors[place] for place in incomplete], question)
        for place, answer in zip(incomplete, exact, strict=True):
            answers[place] = answer
    return answers


async def _through_index(
    pool: Pool,
    project: ProjectAccess,
    vectors: Sequence[bytes],
    question: Question,
    candidates: int,
    scan: Scan,
    asker: Asker | None,
) -> list[similars.NearestByIndex]:
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
    return rows


def _place(project: ProjectAccess, question: Question) -> int | None:
    """The position of the smallest measured effort with enough recall; None for an exact search.

    If no effort is enough and an exact search would take too long, the best effort is used.
    """
    if question.recall >= 1 or question.max_rows + question.skip > MAX_EF_SEARCH:
        return None
    wanted, is_exact_slow = question.recall, (project.exact_seconds or 0) > question.longest_exact
    if project.recalls and project.recalls[-1] < wanted and is_exact_slow:
        wanted = project.recalls[-1] - BARELY_LESS
    place = next((place for place, recall in enumerate(project.recalls) if recall >= wanted), None)
    if place is None or is_exact_slow or project.lists:
        return place
    return place if project.efforts[place] + _more_candidates(question) <= MAX_EF_SEARCH else None


def _effort(project: ProjectAccess, question: Question, place: int, passing: float = 1.0) -> int:
    """The candidates of a graph, or the lists of a coarse index, if this share of the rows passes the filter."""
    if not project.lists:
        return min(project.efforts[place] + _more_candidates(question), MAX_EF_SEARCH)
    times_more = float(max(1.0, (question.max_rows + question.skip) / passing / MEASURED_AT))
    return min(math.ceil(project.efforts[place] * math.pow(times_more, LISTS_FOR_TIMES_MORE)), project.lists)


def _more_candidates(question: Question) -> int:
    """Additional candidates for more results than in the measurement."""
    return math.ceil(CANDIDATES_FOR_EACH_MORE * max(0, question.max_rows + question.skip - MEASURED_AT))


async def _exactly(
    pool: Pool,
    project: ProjectAccess,
    vectors: Sequence[bytes],
    question: Question,
    share: ways.Estimate | None = None,
) -> list[Neighbours]:
    """The exact nearest rows; with a `share`, its metadata index finds the rows that pass."""
    found, asked = _Found(question.most_bytes), _parameters(project, question)
    if share is not None and question.only is not None:
        asked |= {"watermark": project.watermark, "by_terms": int(share.by_terms)}
        asked |= {"indexed": question.only.indexed, "terms": terms_of(question.only.spans) if share.by_terms else []}
    for start in range(0, len(vectors), EXACT_VECTORS_AT_ONCE):
        asked["vectors"] = vectors[start : start + EXACT_VECTORS_AT_ONCE]
        async with searching(pool, None if share is None else BY_METADATA) as connection:
            search = similars.get_similars_by_vector if share is None else similars.get_similars_by_filter
            rows = await search(connection, **asked)
        found.add([(row.ids, row.similarities) for row in rows])
    return found.nearest


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
