"""Pages of a project's embeddings: all, or those that pass a metadata filter."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from service.api.embeddings import COMPONENT_BYTES, After, Embedding, Part, columns, embedding_of, read_embeddings
from service.errors import Invalid, Problem
from service.http.auth import embeddings_reader
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.queries import embeddings
from service.queries.projects import ProjectAccess
from service.search.limits import MAX_QUERY_FILTER
from service.search.passing import passing
from service.search.query import filter_of_query
from service.shares import SHORT_BYTES
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


@endpoint("GET", "/v1/embeddings/{user}/{project}", guard=embeddings_reader, reads_from_replica=True)
async def get_embeddings(req: Req, query: EmbeddingsPage, access: ProjectAccess) -> Embeddings:
    """A page of a project's embeddings.

    With a `filter`, a page takes at most a second: it may be short or empty and still have a `next`.
    """
    parts = columns(query.include)
    page = None
    if query.filter is not None:
        if query.offset:
            raise Invalid(problems=[Problem("cannot be combined with `filter`: use `after`", "query.offset")])
        only = filter_of_query(query.filter)
        page = await req.reading(lambda db: passing(db, access.project_id, only, query.after, query.limit))
    ask = partial(
        embeddings.get_embeddings_by_project,
        project_id=access.project_id,
        by_ids=int(page is not None),
        text_ids=None if page is None else page.text_ids,
        after=query.after,
        max_rows=query.limit,
        skip=query.offset,
        **parts,
    )
    rows = await read_embeddings(req, ask)
    last = rows[-1].text_id if len(rows) == query.limit else None
    if page is not None:
        last = page.last
    vector_bytes = len(rows) * access.dimensions * COMPONENT_BYTES[query.encoding] if parts["with_vector"] else 0
    if vector_bytes > SHORT_BYTES:
        await req.body.make_room(vector_bytes)  # until a slow client has read them
    shown = [embedding_of(row, access, query.encoding) for row in rows]
    goes_on = partial(embeddings.are_embeddings_after, project_id=access.project_id, after=last or "")
    return Embeddings(shown, req.go_on(after=last) if last is not None and await req.reading(goes_on) else None)
