"""Texts that the service embeds itself, with the model of the project's instance."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from starlette.responses import Response

from service.api.projects import ProjectPath
from service.decoding import JSON as JSON_WIRE
from service.decoding import MESSAGE_PACK
from service.http.auth import embeddings_editor
from service.http.endpoint import endpoint
from service.http.request import Req
from service.http.responses import JSON, MSGPACK, NDJSON, Lines
from service.providers.dialects import Purpose
from service.providers.embedder import Embedded
from service.providers.ledger import Spender
from service.queries.projects import ProjectAccess
from service.uploads import texts
from service.uploads.store import Uploaded, check_schema, metadata_faults, store_batch
from service.uploads.text_stream import TextUpload
from service.uploads.texts import Embed, TextIn, TextsIn, Usage, add_vectors

# Statuses of requests that embed texts, beside those that every route has.
EMBED_ERRORS = (404, 409, 424, 502, 503, 504)


FORMATS = (JSON, MSGPACK)
STREAMS = (NDJSON, MSGPACK)


class TextStreamQuery(msgspec.Struct, frozen=True):
    """What to do with a record that is not valid.

    `stop`: what came before it is stored, it and what follows is not; `skip`: all others are stored.
    """

    on_error: Literal["stop", "skip"] = "stop"


class StoredTexts(Uploaded, frozen=True):
    """What became of a batch of texts, as of one of embeddings, and what embedding it cost."""

    usage: Usage


@endpoint(
    "POST",
    "/v1/texts/{user}/{project}",
    guard=embeddings_editor,
    status=201,
    body=TextsIn,
    consumes=FORMATS,
    errors=EMBED_ERRORS,
)
async def post_texts(req: Req, access: ProjectAccess) -> StoredTexts:
    """Embed and store a batch of texts, all or nothing. A text that is stored already is not embedded again."""
    settings = req.services.settings
    body = await req.body.read(settings.service_max_texts_bytes, FORMATS)
    batch = await texts.checked(access, body, settings.service_max_texts, req.body.wire(FORMATS))
    for row, fault in (await metadata_faults(req.services.schemas, batch)).items():
        batch.add_fault(row, fault)
    batch.check()  # before anything is spent
    rows = list(range(len(batch.ids)))
    with req.abandonable():
        usage = await add_vectors(req.pool, batch, rows, _documents(req))
    batch.check()
    async with req.services.admission.upload():
        stored = await store_batch(req.pool, batch.only([row for row in rows if row not in batch.same]))
    unchanged = stored.unchanged + len(batch.same)
    req.record.rows = {"inserted": stored.inserted, "updated": stored.updated, "unchanged": unchanged}
    return StoredTexts(batch.ids, stored.inserted, stored.updated, unchanged, usage)


@endpoint(
    "POST",
    "/v1/texts/{user}/{project}/stream",
    guard=embeddings_editor,
    errors=(404, 409),
    consumes=STREAMS,
    streams=TextIn,
    produces=NDJSON,
)
async def post_text_stream(req: Req, path: ProjectPath, query: TextStreamQuery, access: ProjectAccess) -> Response:
    """Embed and store texts without end: one record a line, or MessagePack records one after the other.

    Answers as the stream of embeddings does, with `usage` in each line. A text that is stored already is not embedded
    again, so that sending everything again is harmless and costs nothing.
    """
    wire = MESSAGE_PACK if req.body.media_type(STREAMS) == MSGPACK else JSON_WIRE
    await check_schema(req.services.schemas, access)
    names = {"user": path.user, "project": path.project}
    upload = TextUpload(
        req.pool,
        req.services.admission,
        req.services.schemas,
        req.services.draining,
        access,
        lambda: embeddings_editor(req, names),
        wire,
        "f4",
        query.on_error,
    )
    upload.embed = _documents(req)
    req.record.rows = upload.counts
    return Lines(upload.lines(req.body.chunks(upload.kept_waiting_until)))


def _documents(req: Req) -> Embed:
    """Embeds texts as documents of a project."""

    async def embed(project: ProjectAccess, sent: list[str]) -> Embedded:
        return await embedded(req, project, sent, "document")

    return embed


async def embedded(req: Req, project: ProjectAccess, sent: Sequence[str], purpose: Purpose) -> Embedded:
    """Texts as the project's instance embeds them, for a caller who may spend what that costs.

    Raises what `Embedder.embed` raises.
    """
    caller = project.caller or ("admin" if project.role == "admin" else "public")
    spender = Spender(project.instance_id or 0, project.owner, caller)
    return await req.services.embedder.embed(spender, sent, purpose)


endpoints = [post_texts, post_text_stream]
