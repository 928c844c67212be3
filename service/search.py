"""Searches: whether through the index or exactly, and exactly again where the index may have left out something."""

from collections.abc import Sequence
from typing import Any, Literal

import asyncpg
import msgspec

from service.auth import Storage
from service.db import Pool, Scan, searching
from service.errors import Outdated
from service.filters import Filter
from service.queries import similars
from service.request import Credentials

MAX_EF_SEARCH = 1000  # pgvector's
# So many vectors are searched for in a statement; between two, others get the connection.
VECTORS_AT_ONCE = 50
# So many rows are taken from the index: few numbers, as each makes a statement of its own, which PostgreSQL keeps.
CANDIDATES = (10, 20, 50, 100, 200, 500, MAX_EF_SEARCH)
EXACT_VECTORS_AT_ONCE = 5
ALLOWED = Credentials(None, is_admin=True)  # asks for those who are known to be allowed


class Question(msgspec.Struct, frozen=True):
    """What is asked for: the `max_rows` nearest after `skip`, of those that pass.

    `recall` is the share of the nearest that should be found, 1 for an exact answer. `metadata_path` and
    `metadata_value` leave out rows, `only` lets rows in.
    """

    max_rows: int
    skip: int
    threshold: float
    recall: float
    except_id: str | None = None
    metadata_path: str | None = None
    metadata_value: str | None = None
    only: Filter | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether rows may be left out for what their metadata says."""
        return self.metadata_path is not None or self.only is not None


class Answer(msgspec.Struct, frozen=True):
    """For each vector the ids and similarities of the nearest. `recall` is 1 when they were found exactly.

    `caller` is the user who asked, as far as the index was asked.
    """

    nearest: list[tuple[list[str], list[float]]]
    method: Literal["exact", "index"]
    recall: float
    caller: str | None = None


async def nearest(
    pool: Pool, asker: Credentials, project: Storage, vectors: Sequence[bytes], question: Question
) -> Answer:
    """Searches a project for what is nearest to each vector (`service.vectors.to_binary`).

    Raises Outdated when `asker` may not see the project, or when it is not as it was remembered.
    """
    place = _place(project, question)
    if project.watermark is None or place is None:
        if not project.proved:
            raise Outdated
        return Answer(await _exactly(pool, project, vectors, question), "exact", 1.0)
    # More candidates than rows are asked for, or the index would have to be asked again and again.
    candidates = next(count for count in CANDIDATES if count >= question.max_rows + question.skip)
    ef_search, recall = max(project.ef_searches[place], candidates), project.recalls[place]
    # Where nothing is filtered, the index finds few that do not count: what was deleted, and the text itself.
    scan = Scan(ef_search, goes_on=question.is_filtered or ef_search < 2 * candidates)
    found: list[tuple[list[str], list[float]]] = []
    caller = None
    for start in range(0, len(vectors), VECTORS_AT_ONCE):
        some = vectors[start : start + VECTORS_AT_ONCE]
        rows = await _through_index(pool, asker, project, some, question, candidates, scan)
        caller = rows[0].caller
        incomplete = [place for place, row in enumerate(rows) if not row.complete]
        answers = [(row.ids or [], row.similarities or []) for row in rows]
        if incomplete:
            exact = await _exactly(pool, project, [some[place] for place in incomplete], question)
            for place, answer in zip(incomplete, exact, strict=True):
                answers[place] = answer
        found += answers
    return Answer(found, "index", recall, caller)


async def _through_index(
    pool: Pool,
    asker: Credentials,
    project: Storage,
    vectors: Sequence[bytes],
    question: Question,
    candidates: int,
    scan: Scan,
) -> list[similars.NearestByIndex]:
    try:
        async with searching(pool, scan) as connection:
            rows = await similars.get_similars_by_index(
                connection,
                key_hash=asker.key_hash,
                is_admin=asker.is_admin,
                owner=project.owner,
                project_handle=project.project_handle,
                dimensions=project.dimensions,
                watermark=project.watermark or 0,
                # The index that is remembered may have gone; that of the primary may not have come to a replica.
                same_index=int(not project.proved or asker is ALLOWED),
                vectors=vectors,
                at_most=1 if len(vectors) == 1 else VECTORS_AT_ONCE,
                candidates=candidates,
                filtered=int(question.is_filtered),
                **_parameters(project, question),
            )
    except asyncpg.UndefinedTableError:
        raise Outdated from None
    if not rows:
        raise Outdated
    return rows


def _place(project: Storage, question: Question) -> int | None:
    """Where, in what was measured of the index, the smallest ef_search is that finds enough; None when none does."""
    if question.recall >= 1 or question.max_rows + question.skip > MAX_EF_SEARCH:
        return None
    return next((place for place, recall in enumerate(project.recalls) if recall >= question.recall), None)


async def _exactly(
    pool: Pool, project: Storage, vectors: Sequence[bytes], question: Question
) -> list[tuple[list[str], list[float]]]:
    found: list[tuple[list[str], list[float]]] = []
    for start in range(0, len(vectors), EXACT_VECTORS_AT_ONCE):
        rows = await similars.get_similars_by_vector(
            pool, vectors=vectors[start : start + EXACT_VECTORS_AT_ONCE], **_parameters(project, question)
        )
        found += [(row.ids or [], row.similarities or []) for row in rows]
    return found


def _parameters(project: Storage, question: Question) -> dict[str, Any]:
    return {
        "project_id": project.project_id,
        "except_id": question.except_id,
        "threshold": question.threshold,
        "metadata_path": question.metadata_path,
        "metadata_value": question.metadata_value,
        "only": question.only.path if question.only else None,
        "values": question.only.values if question.only else None,
        "max_rows": question.max_rows,
        "skip": question.skip,
    }
