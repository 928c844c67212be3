"""Pages of a project's embeddings: all, or those that pass a metadata filter."""

from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.admission import SHORT_BYTES
from service.api.embeddings import COMPONENT_BYTES, After, Embedding, Part, columns, embedding_of, read_embeddings
from service.errors import Invalid, Problem
from service.http.auth import embeddings_reader
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.queries import embeddings
from service.queries.embeddings import PageRow
from service.queries.projects import ProjectAccess
from service.search.limits import MAX_QUERY_FILTER
from service.search.passing import passing
from service.search.query import filter_of_query
from service.vectors import Encoding


class EmbeddingsPage(Page, frozen=True):
    """The part of a project's embeddings; paging with `after` has a constant cost at any depth.

    `filter` is a metadata filter in JSON, as in a search.
    """

    after: After | None = None
    include: list[Part] | None = None
    encoding: Encoding | None = None
    filter: Annotated[str, Meta(max_length=MAX_QUERY_FILTER)] | None = None


class Embeddings(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of embeddings in the order of text_id; `next` is the URL of the next page."""

    embeddings: list[Embedding]
    next: str | None = None


@endpoint("GET", "/v1/embeddings/{user}/{project}", guard=embeddings_reader, errors=(404, 409), reads_from_replica=True)
async def get_embeddings(req: Req, query: EmbeddingsPage, access: ProjectAccess) -> Embeddings:
    """A page of a project's embeddings.

    With a `filter`, a page takes at most a second: it may be short or empty and still have a `next`.
    """
    read = _all if query.filter is None else _filtered
    parts = columns(query.include)
    rows, last = await read(req, query, access, parts)
    vector_bytes = len(rows) * access.dimensions * COMPONENT_BYTES[query.encoding] if parts["with_vector"] else 0
    if vector_bytes > SHORT_BYTES:
        await req.body.make_room(vector_bytes)  # until a slow client has read them
    return Embeddings(
        [embedding_of(row, access, query.encoding) for row in rows], None if last is None else req.go_on(after=last)
    )


async def _all(
    req: Req, query: EmbeddingsPage, project: ProjectAccess, parts: dict[str, Any]
) -> tuple[list[PageRow], str | None]:
    """A page, and the id after which the next page begins, if there is one."""
    ask = partial(
        embeddings.get_embeddings_by_project,
        project_id=project.project_id,
        after=query.after,
        max_rows=query.limit,
        skip=query.offset,
        **parts,
    )
    rows = await read_embeddings(req, ask)
    return rows, await _goes_on(req, project, rows[-1].text_id) if len(rows) == query.limit else None


async def _filtered(
    req: Req, query: EmbeddingsPage, project: ProjectAccess, parts: dict[str, Any]
) -> tuple[list[PageRow], str | None]:
    """A page that passes the filter, and the id after which the next page begins, if there is one."""
    if query.offset:
        raise Invalid(problems=[Problem("cannot be combined with `filter`: use `after`", "query.offset")])
    only = filter_of_query(query.filter or "")
    page = await req.reading(lambda db: passing(db, project.project_id, only, query.after, query.limit))
    ask = partial(embeddings.get_embeddings_by_ids, project_id=project.project_id, text_ids=page.text_ids, **parts)
    rows = await read_embeddings(req, ask)
    return rows, page.read_up_to and await _goes_on(req, project, page.read_up_to)


async def _goes_on(req: Req, project: ProjectAccess, last: str) -> str | None:
    """The id, if there are embeddings after it."""
    goes_on = await req.reading(
        lambda db: embeddings.are_embeddings_after(db, project_id=project.project_id, after=last)
    )
    return last if goes_on else None
