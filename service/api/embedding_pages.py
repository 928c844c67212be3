"""The embeddings of a project, page by page: all of them, or those whose metadata pass a filter."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.api.embeddings import After, Embedding, Part, embedding_of, read_embeddings
from service.database.pool import Pool
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
    """Which part of a project's embeddings; `after` pages at any depth at constant cost.

    `filter` lets in only those whose metadata fit, as in a search, in JSON.
    """

    after: After | None = None
    include: list[Part] | None = None
    encoding: Encoding | None = None
    filter: Annotated[str, Meta(max_length=MAX_QUERY_FILTER)] | None = None


class Embeddings(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of embeddings in the order of text_id; `next` is where the list goes on, if it does."""

    embeddings: list[Embedding]
    next: str | None = None


@endpoint("GET", "/v1/embeddings/{user}/{project}", guard=embeddings_reader, errors=(404, 409), reads_from_replica=True)
async def get_embeddings(req: Req, query: EmbeddingsPage, access: ProjectAccess) -> Embeddings:
    """A page of a project's embeddings.

    With a `filter` a page looks at rows for a second at most: it may be short, or empty, and still have a `next`.
    """
    parts = ("vector", "text", "metadata") if query.include is None else query.include
    asked = {f"with_{part}": part in parts for part in ("vector", "text", "metadata")}
    read = _all if query.filter is None else _filtered
    rows, last = await read(req, query, access, asked)
    return Embeddings(
        [embedding_of(row, access, query.encoding) for row in rows], None if last is None else req.go_on(after=last)
    )


async def _all(
    req: Req, query: EmbeddingsPage, project: ProjectAccess, asked: dict[str, Any]
) -> tuple[list[PageRow], str | None]:
    """A page, and the id behind which the list goes on, if it does."""

    async def ask(db: Pool, max_bytes: int) -> list[PageRow]:
        return await embeddings.get_embeddings_by_project(
            db,
            project_id=project.project_id,
            after=query.after,
            max_rows=query.limit,
            skip=query.offset,
            max_bytes=max_bytes,
            **asked,
        )

    rows = await read_embeddings(req, ask)
    return rows, await _goes_on(req, project, rows[-1].text_id) if len(rows) == query.limit else None


async def _filtered(
    req: Req, query: EmbeddingsPage, project: ProjectAccess, asked: dict[str, Any]
) -> tuple[list[PageRow], str | None]:
    """A page of what passes the filter, and the id behind which the list goes on, if it does."""
    if query.offset:
        raise Invalid(problems=[Problem("does not go with `filter`: go on with `after`", "query.offset")])
    only = filter_of_query(query.filter or "")
    page = await req.reading(lambda db: passing(db, project.project_id, only, query.after, query.limit))

    async def ask(db: Pool, max_bytes: int) -> list[PageRow]:
        return await embeddings.get_embeddings_by_ids(
            db, project_id=project.project_id, text_ids=page.text_ids, max_bytes=max_bytes, **asked
        )

    rows = await read_embeddings(req, ask)
    return rows, page.looked_up_to and await _goes_on(req, project, page.looked_up_to)


async def _goes_on(req: Req, project: ProjectAccess, last: str) -> str | None:
    """The id, if there are embeddings behind it. At any depth at the same cost."""
    goes_on = await req.reading(
        lambda db: embeddings.are_embeddings_after(db, project_id=project.project_id, after=last)
    )
    return last if goes_on else None


endpoints = [get_embeddings]
