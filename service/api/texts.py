"""Uploads of texts, which the service embeds with the model of the project's instance."""

from collections.abc import Sequence
from functools import partial

from starlette.responses import Response

from service.admission import caller
from service.api.embeddings import TextStreamQuery, received, upload_of
from service.http.auth import embeddings_editor
from service.http.endpoint import endpoint
from service.http.request import Req
from service.providers.dialects import Purpose
from service.providers.embedder import Embedded
from service.providers.ledger import Spender
from service.queries.projects import ProjectAccess
from service.uploads import texts
from service.uploads.store import Uploaded, check_metadata, store_batch
from service.uploads.text_stream import TextUpload
from service.uploads.texts import TextIn, TextsIn, Usage, add_vectors

# Statuses of requests that embed texts, besides those of every route.
EMBED_ERRORS = (409, 424, 502, 503, 504)


class StoredTexts(Uploaded, frozen=True):
    """The result of a batch of texts, with the cost of embedding."""

    usage: Usage


@endpoint("POST", "/v1/texts/{user}/{project}", guard=embeddings_editor, status=201, body=TextsIn, errors=EMBED_ERRORS)
async def post_texts(req: Req, access: ProjectAccess) -> StoredTexts:
    """Embed and store a batch of texts, all or nothing. Texts that are already stored are not embedded again."""
    body = await req.body.read(req.settings.service_max_texts_bytes)
    batch = await texts.checked(access, body, req.settings.service_max_texts, req.body.wire)
    await check_metadata(req.services.schemas, batch)
    batch.check()  # before texts are embedded
    rows = list(range(len(batch.ids)))
    with req.abandonable():
        await add_vectors(req.pool, batch, rows, partial(embedded, req, purpose="document"))
    batch.check()
    await batch.check_model(req.pool)
    async with req.services.uploads.held(caller.get(), patient=True):  # the texts are paid for
        stored = await store_batch(req.pool, batch.only([row for row in rows if row not in batch.same]))
    unchanged = stored.unchanged + len(batch.same)
    req.record.rows = {"inserted": stored.inserted, "updated": stored.updated, "unchanged": unchanged}
    return StoredTexts(batch.ids, stored.inserted, stored.updated, unchanged, batch.usage)


@endpoint("POST", "/v1/texts/{user}/{project}/stream", guard=embeddings_editor, streams=TextIn)
async def post_text_stream(req: Req, query: TextStreamQuery, access: ProjectAccess) -> Response:
    """Embed and store a stream of texts of any length: one record per line, or consecutive MessagePack records.

    Answers like the stream of embeddings, with `usage` in each line. Texts that are already stored are not embedded
    again, so an upload can be repeated without cost.
    """
    upload = await upload_of(TextUpload, req, access, query.on_error)
    upload.embed = partial(embedded, req, purpose="document")
    return received(req, upload)


async def embedded(req: Req, project: ProjectAccess, sent: Sequence[str], *, purpose: Purpose) -> Embedded:
    """Embeds texts with the project's instance, for a caller who is authorized to. Raises as `Embedder.embed` does."""
    caller = project.caller or ("admin" if project.role == "admin" else "public")
    spender = Spender(project.instance_id or 0, project.owner, caller)
    return await req.services.embedder.embed(spender, sent, purpose)
