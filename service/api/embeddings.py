"""Embeddings (contract section 7)."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal, Protocol, TypeVar, cast
from urllib.parse import quote

import msgspec
from msgspec import Meta
from pgvector import HalfVector
from starlette.responses import Response

from service.admission import SHORT_BYTES
from service.api.fields import Document
from service.api.projects import ProjectPath
from service.database.pool import Pool
from service.decoding import JSON as JSON_WIRE
from service.decoding import MESSAGE_PACK
from service.errors import found
from service.http.auth import embeddings_editor, embeddings_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.http.responses import JSON, MSGPACK, NDJSON, Lines
from service.queries import embeddings
from service.queries.embeddings import PageRow
from service.queries.projects import ProjectAccess
from service.uploads import stream
from service.uploads.batch import EmbeddingIn, EmbeddingsIn
from service.uploads.store import Uploaded, check_schema, checked, store_batch
from service.vectors import Encoding, in_bytes

Part = Literal["vector", "text", "metadata"]
After = Annotated[str, Meta(max_length=2600)]  # as long as a carried id may be
# A vector as it is shown: the shortest decimals of its halves, or raw bytes.
Vector = list[float] | bytes


class Sized(Protocol):
    """A row of a page, whose texts and metadata have `page_bytes` together."""

    @property
    def page_bytes(self) -> int:
        """In bytes."""


R = TypeVar("R", bound=Sized)


class EmbeddingPath(ProjectPath, frozen=True):
    """A path that names an embedding by its text_id, percent-encoded, slashes too."""

    text_id: str


class StreamQuery(msgspec.Struct, frozen=True):
    """What to do with a record that is not valid, and what vectors are that come as bytes.

    `stop`: what came before it is stored, it and what follows is not; `skip`: all others are stored.
    """

    on_error: Literal["stop", "skip"] = "stop"
    encoding: Encoding = "f4"


class Embedding(msgspec.Struct, frozen=True, omit_defaults=True):
    """An embedding as stored.

    The vector as the shortest decimals of its halves, or with an `encoding` as raw little-endian bytes, in JSON base64.
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


FORMATS = (JSON, MSGPACK)
# Of a component in an answer; decimals of halves have eight characters at most, but for a few.
COMPONENT_BYTES: dict[Encoding | None, int] = {"f2": 2, "f4": 4, None: 8}
STREAMS = (NDJSON, MSGPACK)


@endpoint(
    "POST",
    "/v1/embeddings/{user}/{project}",
    guard=embeddings_editor,
    status=201,
    body=EmbeddingsIn,
    consumes=FORMATS,
    errors=(404, 409),
)
async def post_embeddings(req: Req, access: ProjectAccess) -> Uploaded:
    """Store a batch of embeddings, all or nothing."""
    body = await req.body.read(req.services.settings.service_max_body_bytes, FORMATS)
    batch = await checked(req.services.schemas, access, body, req.body.wire(FORMATS))
    async with req.services.admission.upload():
        stored = await store_batch(req.pool, batch)
    req.record.rows = {"inserted": stored.inserted, "updated": stored.updated, "unchanged": stored.unchanged}
    return stored


@endpoint(
    "POST",
    "/v1/embeddings/{user}/{project}/stream",
    guard=embeddings_editor,
    errors=(404, 409),
    consumes=STREAMS,
    streams=EmbeddingIn,
    produces=NDJSON,
)
async def post_stream(req: Req, path: ProjectPath, query: StreamQuery, access: ProjectAccess) -> Response:
    """Store embeddings without end: one record a line, or MessagePack records one after the other.

    Answers with a line of JSON for each chunk that is safely stored, while records are still coming. What a line counts
    is stored; sending everything again is harmless. A record replaces an earlier one of the same text_id.
    """
    wire = MESSAGE_PACK if req.body.media_type(STREAMS) == MSGPACK else JSON_WIRE
    await check_schema(req.services.schemas, access)
    names = {"user": path.user, "project": path.project}
    upload = stream.Upload(
        req.pool,
        req.services.admission,
        req.services.schemas,
        req.services.draining,
        access,
        lambda: embeddings_editor(req, names),
        wire,
        query.encoding,
        query.on_error,
    )
    req.record.rows = upload.counts
    return Lines(upload.lines(req.body.chunks(upload.kept_waiting_until)))


@endpoint("DELETE", "/v1/embeddings/{user}/{project}", guard=embeddings_editor, status=204, errors=(404, 409))
async def delete_embeddings(req: Req, access: ProjectAccess) -> None:
    """Delete all embeddings of a project."""
    await embeddings.delete_embeddings_by_project(req.pool, project_id=access.project_id)


@endpoint(
    "GET",
    "/v1/embeddings/{user}/{project}/{text_id}",
    guard=embeddings_reader,
    errors=(404, 409),
    reads_from_replica=True,
)
async def get_embedding(req: Req, path: EmbeddingPath, access: ProjectAccess) -> Embedding:
    """An embedding."""

    async def ask(db: Pool, max_bytes: int) -> list[PageRow]:
        row = await embeddings.retrieve_embeddings(
            db, project_id=access.project_id, text_ids=candidates(req, path), max_bytes=max_bytes
        )
        return [found(row, f"The embedding {path.text_id!r}")]

    (row,) = await read_embeddings(req, ask)
    return embedding_of(row, access)


@endpoint("DELETE", "/v1/embeddings/{user}/{project}/{text_id}", guard=embeddings_editor, status=204, errors=(404, 409))
async def delete_embedding(req: Req, path: EmbeddingPath, access: ProjectAccess) -> None:
    """Delete an embedding."""
    row = await embeddings.delete_embedding(req.pool, project_id=access.project_id, text_ids=candidates(req, path))
    found(row, f"The embedding {path.text_id!r}")


async def read_embeddings(
    req: Req,
    ask: Callable[[Pool, int], Awaitable[list[R]]],
    *,
    vector_bytes: int = 0,
    where: str = "query.limit",
    from_replica: bool = True,
) -> list[R]:
    """Embeddings with their texts and metadata: where these are many bytes, room is made before they are fetched.

    So it is for the vectors, of which an answer shows `vector_bytes` at most. `where` is the part of the request that
    says how many embeddings. Raises Invalid when all are larger than a body may be, and Busy.
    """
    room = SHORT_BYTES
    await req.make_room_to_show(vector_bytes, where)

    async def page(db: Pool) -> list[R]:
        return await ask(db, room)

    while (rows := await (req.reading(page) if from_replica else page(req.pool))) and rows[0].page_bytes > room:
        req.body.leave_room()
        if len(rows) == 1:  # it could be sent, so it can be shown
            await req.body.make_room(rows[0].page_bytes)
        else:
            await req.make_room_to_show(vector_bytes + rows[0].page_bytes, where)
        room = rows[0].page_bytes
    return rows


def candidates(req: Req, path: EmbeddingPath) -> list[str]:
    """The id that a path means, and its percent-encoded forms, which only carried ids may have (migration 0012)."""
    return list(dict.fromkeys([path.text_id, req.path_params["text_id"], quote(path.text_id, safe="")]))


def embedding_of(row: embeddings.EmbeddingRow, project: ProjectAccess, encoding: Encoding | None = None) -> Embedding:
    """A row of a project as it is shown."""
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
    """A vector as it is shown: in an `encoding`, or as it is, to become decimals."""
    if vector is None or encoding is None:
        return cast("Vector | None", vector)
    return in_bytes(vector, encoding)


endpoints = [post_embeddings, post_stream, delete_embeddings, get_embedding, delete_embedding]
