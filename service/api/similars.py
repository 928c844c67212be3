"""Similarity search (contract section 8)."""

import asyncio
import math
import sys
import time
from collections import Counter
from functools import partial
from typing import Annotated, Any, Literal, cast

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray
from pgvector import HalfVector

from service import vectors
from service.api.embeddings import candidates, columns
from service.api.fields import Document, ShortText
from service.api.texts import EMBED_ERRORS, embedded
from service.database.pool import Pool
from service.errors import BadRequest, Forbidden, Problem, Unauthorized, found
from service.http.auth import EDITORS, READERS, embeddings_reader, searcher
from service.http.deadline import deadline
from service.http.endpoint import endpoint
from service.http.provisional import confirm
from service.http.request import Req
from service.queries import embeddings
from service.queries.embeddings import PageRow
from service.queries.projects import ProjectAccess
from service.search import filters
from service.search.nearest import Answer, Question, TooLong, Unconfirmed, nearest
from service.search.query import Part, Query, SearchIn, decode
from service.search.slow import Outcome
from service.storage.replica import Unanswered
from service.turns import Turns

SHOWN_AT_ONCE = 5000  # results whose texts and metadata are read together: a thousand vectors find up to 200,000
Limit = Annotated[int, Meta(ge=1, le=200)]


class Search(msgspec.Struct, frozen=True):
    """Options of a search. `count` is the older name of `limit`; the smaller one counts.

    `metadata_path` and `metadata_value` exclude texts with this value in a metadata field. `recall` is the required
    share of the nearest neighbours, instead of the service's default; `exact` finds all of them.
    """

    limit: Limit | None = None
    count: Limit | None = None
    offset: Annotated[int, Meta(ge=0, le=10**12)] = 0
    threshold: Annotated[float, Meta(ge=-1, le=1)] = 0.5
    metadata_path: Annotated[ShortText, Meta(min_length=1)] | None = None
    metadata_value: ShortText | None = None
    exact: bool = False
    recall: Annotated[float, Meta(ge=0, le=1)] | None = None
    include: list[Part] | None = None

    @property
    def max_rows(self) -> int:
        """The requested number of results."""
        return min(self.limit or self.count or 10, self.count or self.limit or 10)


# The roles that may search with texts, by the project's `text_search`.
TEXT_SEARCHERS = {"editors": EDITORS, "readers": EDITORS | {"reader"}, "public": READERS}


class Similar(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stored text and its similarity: 1 - cosine distance of the halves, from -1 to 1."""

    id: str
    similarity: float
    text: str | UnsetType | None = UNSET
    metadata: Document | UnsetType | None = UNSET


class Method(msgspec.Struct, frozen=True):
    """The method of a search, and its measured recall, 1 for an exact search.

    `filtered` is exact too: the metadata index found the rows that pass, and all of them were compared.
    """

    method: Literal["exact", "index", "filtered"]
    recall: float


class Similars(msgspec.Struct, frozen=True):
    """Similar texts, best first, ties by id; for several vectors a list per vector, in order."""

    user_handle: str
    project_handle: str
    results: list[Similar | list[Similar]]
    search: Method


@endpoint("GET", "/v1/similars/{user}/{project}/{text_id}", guard=embeddings_reader, reads_from_replica=True)
async def get_similars(req: Req, text_id: str, query: Search, access: ProjectAccess) -> Similars:
    """Texts that are similar to a stored one, which is excluded."""
    stored_id, vector = await _stored(req, access, candidates(text_id, req), text_id)
    question = _question(req, query, None, stored_id)
    return await _similars(req, access, question, [vector], query.include, single=True)


@endpoint(
    "POST",
    "/v1/similars/{user}/{project}",
    guard=searcher,
    body=SearchIn,
    errors=EMBED_ERRORS,
    only_reads=True,
    reads_from_replica=True,
)
async def post_similars(req: Req, query: Search, access: ProjectAccess) -> Similars:
    """Texts that are similar to one or more vectors or texts, or to a stored text, which is excluded."""
    most = req.settings.service_max_body_bytes
    # No variable keeps the body, because the answer may be as large.
    sent = await decode(await req.body.read(most), req.body.wire, access.dimensions)
    include = query.include if sent.include is None else sent.include
    except_id = None
    if sent.halves is not None:
        binary = vectors.to_binary(sent.halves)
    elif req.is_provisional:
        raise Unconfirmed  # authorize before reading or embedding
    elif sent.text_id is not None:
        except_id, vector = await _stored(req, access, candidates(sent.text_id), sent.text_id)
        binary = [vector]
    else:
        binary = vectors.to_binary(await _embedded(req, access, sent))
    question = _question(req, query, sent.only, except_id)
    answer = await _similars(req, access, question, binary, include, single=sent.is_single)
    if answer.search.method == "index" and not question.is_filtered and except_id is None:
        req.services.real_queries.note(access.project_id, binary)
    return answer


async def _stored(req: Req, project: ProjectAccess, text_ids: list[str], name: str) -> tuple[str, bytes]:
    """Id and vector of the embedding with one of these ids (`candidates`). Raises NotFound with this name."""

    async def ask(db: Pool) -> PageRow:
        # Without text and metadata.
        row = await embeddings.retrieve_embeddings(db, project_id=project.project_id, text_ids=text_ids, max_bytes=0)
        return found(row, f"The embedding {name!r}")  # on a replica: perhaps not replicated yet

    row = await req.reading(ask)
    return row.text_id, cast("HalfVector", row.vector).to_binary()


async def _embedded(req: Req, project: ProjectAccess, sent: Query) -> NDArray[np.float16]:
    """The vectors of the texts in a search, for callers who may use the instance."""
    if project.role not in TEXT_SEARCHERS[project.text_search]:
        if req.credentials.key_hash is None:
            raise Unauthorized
        raise Forbidden(f"Only {project.text_search} of this project may search it with texts (its `text_search`).")
    made = await embedded(req, project, sent.texts, purpose="query")
    made.check(lambda place: "body.text" if sent.is_single else f"body.texts[{place}]")
    return vectors.to_halves(made.vectors)[0]


def _question(req: Req, query: Search, only: filters.Filter | None, except_id: str | None) -> Question:
    if (query.metadata_path is None) != (query.metadata_value is None):
        missing = "metadata_path" if query.metadata_path is None else "metadata_value"
        problem = Problem("is required with its counterpart", f"query.{missing}")
        raise BadRequest("metadata_path and metadata_value go together.", [problem])
    recall = req.settings.service_recall if query.recall is None else query.recall
    return Question(
        max_rows=query.max_rows,
        skip=query.offset,
        threshold=query.threshold,
        recall=1.0 if query.exact else recall,
        longest_exact=req.settings.service_exact_seconds if query.recall is None else math.inf,
        except_id=except_id,
        metadata_path=query.metadata_path,
        metadata_value=query.metadata_value,
        only=only,
        most_bytes=req.settings.service_max_body_bytes,
    )


async def _similars(
    req: Req, project: ProjectAccess, question: Question, sent: list[bytes], include: list[Part] | None, single: bool
) -> Similars:
    answer = await _timed(req, project, question, sent)
    await req.make_room_to_show(answer.size)
    shown = await _shown(req, project, answer, include or [])
    results: list[Any] = []
    turns = Turns()
    for ids, similarities in answer.nearest:
        pairs = zip(ids, similarities, strict=True)
        results.append(
            [Similar(text_id, similarity, *shown.get(text_id, (UNSET, UNSET))) for text_id, similarity in pairs]
        )
        await turns.give()
    method = Method(answer.method, answer.recall)
    return Similars(project.owner, project.project_handle, results[0] if single else results, method)


async def _timed(req: Req, project: ProjectAccess, question: Question, sent: list[bytes]) -> Answer:
    """Searches, and records the duration."""
    start = time.perf_counter()
    answer, outcome = None, Outcome.FAILED
    try:
        answer = await _nearest(req, project, question, sent)
        outcome = Outcome.ANSWERED
    except asyncio.CancelledError:
        outcome = Outcome.ABANDONED
        raise
    except TooLong as error:
        await req.make_room_to_show(error.size)  # raises Invalid
        raise
    finally:
        seconds = time.perf_counter() - start
        req.services.slow_searches.note(project, question, len(sent), seconds, outcome, answer)
    req.record.search, req.record.search_seconds = answer.method, seconds
    return answer


async def _nearest(req: Req, project: ProjectAccess, question: Question, sent: list[bytes]) -> Answer:
    """Searches within a time limit. Raises Busy."""
    seconds = req.settings.service_search_timeout
    fewer = "fewer vectors" if len(sent) > 1 else "a simpler filter" if question.is_filtered else "less"
    async with deadline(seconds, f"The search timed out after {seconds:g} s: ask for {fewer}."):
        if req.is_provisional:
            answer = await nearest(req.pool, project, sent, question, req.credentials)
            confirm(req, project)
            return answer
        while True:
            search = partial(nearest, project=project, vectors=sent, question=question)
            try:
                return await req.reading(search)
            except Unanswered:  # the index was just replaced, measured again, or dropped
                project = await embeddings_reader(req)


async def _shown(req: Req, project: ProjectAccess, answer: Answer, include: list[Part]) -> dict[str, tuple[Any, Any]]:
    """Text and metadata of the results, if requested."""
    if not include:
        return {}
    times: Counter[str] = Counter()
    turns = Turns()
    for ids, _ in answer.nearest:
        times.update(ids)
        await turns.give()
    asked = {"by_ids": 1, "after": None, "max_rows": SHOWN_AT_ONCE, "skip": 0, **columns(include)}
    read = partial(embeddings.get_embeddings_by_project, project_id=project.project_id, **asked)
    names = list(times)
    parts = [names[start : start + SHOWN_AT_ONCE] for start in range(0, len(names), SHOWN_AT_ONCE)]
    # Sizes first: a thousand vectors may all find the same long texts.
    size = 0
    for part in parts:
        sizes = await req.reading(partial(read, text_ids=part, max_bytes=0))
        size += sum(row.size * times[row.text_id] for row in sizes)
    await req.make_room_to_show(size)
    shown: dict[str, tuple[Any, Any]] = {}
    for part in parts:
        for row in await req.reading(partial(read, text_ids=part, max_bytes=sys.maxsize)):
            text, metadata = row.text if "text" in include else UNSET, row.metadata if "metadata" in include else UNSET
            shown[row.text_id] = text, metadata
    return shown
