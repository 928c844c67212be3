"""Embeddings (contract section 7)."""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeVar, cast
from urllib.parse import quote

import msgspec
from msgspec import Meta
from pgvector import HalfVector
from starlette.responses import Response

from service.admission import SHORT_BYTES, caller
from service.api.fields import Document
from service.database.pool import Pool
from service.errors import Invalid, Problem, found
from service.http.auth import embeddings_editor, embeddings_reader
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.http.responses import Lines
from service.queries import embeddings
from service.queries.changes import ChangeRow
from service.queries.embeddings import PageRow
from service.queries.projects import ProjectAccess
from service.search.limits import MAX_QUERY_FILTER
from service.search.passing import passing
from service.search.query import filter_of_query
from service.storage.locks import locked
from service.uploads.batch import Batch, EmbeddingIn, EmbeddingsIn
from service.uploads.store import Uploaded, check_metadata, checked, store_batch
from service.uploads.stream import Upload
from service.vectors import Encoding, in_bytes

Part = Literal["vector", "text", "metadata"]
After = Annotated[str, Meta(max_length=2600)]  # the length of the longest migrated id
# A vector in an answer: the shortest decimals of its halves, or bytes.
Vector = list[float] | bytes


OnError = Literal["stop", "skip"]
R = TypeVar("R", PageRow, ChangeRow)
U = TypeVar("U", bound=Upload)


class TextStreamQuery(msgspec.Struct, frozen=True):
    """The handling of invalid records: `stop` ends the upload before the first one, `skip` stores all others."""

    on_error: OnError = "stop"


class StreamQuery(TextStreamQuery, frozen=True):
    """Options of a stream of embeddings; `encoding` is for vectors as bytes."""

    encoding: Encoding = "f4"


class Embedding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stored embedding.

    The vector is the shortest decimals of its halves, or with an `encoding` little-endian bytes, base64 in JSON.
    """

    text_id: str
    user_handle: str
    project_handle: str
    project_id: int
    instance_handle: str
    vector_dim: int
    created_at: datetime
    updated_at: datetime
    vector: Vector | None = None
    text: str | None = None
    metadata: Document | None = None


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


# Of a component in an answer; decimals of almost all halves have at most eight characters.
COMPONENT_BYTES: dict[Encoding | None, int] = {"f2": 2, "f4": 4, None: 8}


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


@endpoint("POST", "/v1/embeddings/{user}/{project}", guard=embeddings_editor, status=201, body=EmbeddingsIn)
async def post_embeddings(req: Req, access: ProjectAccess) -> Uploaded:
    """Store a batch of embeddings, all or nothing."""
    body = await req.body.read(req.settings.service_max_body_bytes)
    batch = await checked(req.services.schemas, access, body, req.body.wire)
    async with req.services.uploads.held(caller.get()):
        stored = await store_batch(req.pool, batch)
    req.record.rows = {"inserted": stored.inserted, "updated": stored.updated, "unchanged": stored.unchanged}
    return stored


@endpoint("POST", "/v1/embeddings/{user}/{project}/stream", guard=embeddings_editor, streams=EmbeddingIn)
async def post_stream(req: Req, query: StreamQuery, access: ProjectAccess) -> Response:
    """Store a stream of embeddings of any length: one record per line, or consecutive MessagePack records.

    Answers with a line of JSON for each stored chunk while the upload goes on. Everything that a line counts is stored.
    An upload can be repeated safely. A record replaces an earlier one with the same text_id.
    """
    return received(req, await upload_of(Upload, req, access, query.on_error, query.encoding))


@endpoint("DELETE", "/v1/embeddings/{user}/{project}", guard=embeddings_editor, status=204)
async def delete_embeddings(req: Req, access: ProjectAccess) -> None:
    """Delete all embeddings of a project."""
    # The lock is that of a deletion of the project, which locks the count before the table, here locked first.
    async with locked(req.pool, access.owner) as tx:
        await embeddings.delete_embeddings_by_project(tx, project_id=access.project_id)


@endpoint("GET", "/v1/embeddings/{user}/{project}/{text_id}", guard=embeddings_reader, reads_from_replica=True)
async def get_embedding(req: Req, text_id: str, access: ProjectAccess) -> Embedding:
    """An embedding."""

    async def ask(db: Pool, max_bytes: int) -> list[PageRow]:
        row = await embeddings.retrieve_embeddings(
            db, project_id=access.project_id, text_ids=candidates(text_id, req), max_bytes=max_bytes
        )
        return [found(row, f"The embedding {text_id!r}")]

    (row,) = await read_embeddings(req, ask)
    return embedding_of(row, access)


@endpoint("DELETE", "/v1/embeddings/{user}/{project}/{text_id}", guard=embeddings_editor, status=204)
async def delete_embedding(req: Req, text_id: str, access: ProjectAccess) -> None:
    """Delete an embedding."""
    ids = candidates(text_id, req)
    row = await embeddings.delete_embedding(req.pool, project_id=access.project_id, text_ids=ids)
    found(row, f"The embedding {text_id!r}")


async def upload_of(kind: type[U], req: Req, access: ProjectAccess, on_error: OnError, encoding: Encoding = "f4") -> U:
    """A stream into a project. Raises UnsupportedMediaType, and Conflict for an unusable schema."""
    services, wire = req.services, req.body.wire
    await check_metadata(services.schemas, Batch(access))
    return kind(
        req.pool,
        services.memory,
        services.uploads,
        services.schemas,
        services.draining,
        access,
        partial(embeddings_editor, req),
        wire,
        encoding,
        on_error,
    )


def received(req: Req, upload: Upload) -> Lines:
    """The answer to a stream, which stores it."""
    req.record.rows = upload.counts
    return Lines(upload.lines(req.body.chunks(upload.chunks.kept_waiting_until)))


async def read_embeddings(
    req: Req,
    ask: Callable[..., Awaitable[list[R]]],
    *,
    vector_bytes: int = 0,
    where: str = "query.limit",
    from_replica: bool = True,
) -> list[R]:
    """Reads embeddings, after reserving memory for their vectors, and for texts and metadata if they are large.

    `ask` is a query with a limit `max_bytes`. The vectors take at most `vector_bytes`. `where` is the parameter that
    sets the number of embeddings. Raises Invalid above the limit of a body's size, and Busy.
    """
    room = SHORT_BYTES
    await req.make_room_to_show(vector_bytes, where)
    while True:
        page = partial(ask, max_bytes=room)
        rows = await (req.reading(page) if from_replica else page(req.pool))
        size = sum(row.size for row in rows)
        if size <= room:
            return rows
        req.body.leave_room()
        if len(rows) == 1:  # never too large: it was uploaded
            await req.body.make_room(size)
        else:
            await req.make_room_to_show(vector_bytes + size, where)
        room = size


def columns(include: Collection[str] | None) -> dict[str, Any]:
    """The arguments of queries that select the parts of embeddings, all by default."""
    return {f"with_{part}": include is None or part in include for part in ("vector", "text", "metadata")}


def candidates(text_id: str, req: Req | None = None) -> list[str]:
    """An id, and its percent-encoded forms, as in the request's path, which only migrated ids have (migration 0012)."""
    in_path = [] if req is None else [req.path_params["text_id"]]
    return list(dict.fromkeys([text_id, *in_path, quote(text_id, safe="")]))


def embedding_of(row: PageRow, project: ProjectAccess, encoding: Encoding | None = None) -> Embedding:
    """The answer for a row of a project."""
    return Embedding(
        text_id=row.text_id,
        user_handle=project.owner,
        project_handle=project.project_handle,
        project_id=project.project_id,
        instance_handle=project.instance_handle,
        vector_dim=project.dimensions,
        created_at=row.created_at,
        updated_at=row.updated_at,
        vector=vector_of(row.vector, encoding),
        text=row.text,
        metadata=row.metadata,
    )


def vector_of(vector: HalfVector | None, encoding: Encoding | None) -> Vector | None:
    """A vector as bytes in an `encoding`, or unchanged, to be encoded as decimals."""
    if vector is None or encoding is None:
        return cast("Vector | None", vector)
    return in_bytes(vector, encoding)
