"""Texts that the service embeds itself, with the model of the project's instance."""

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from service.http.auth import embeddings_editor
from service.http.endpoint import endpoint
from service.http.request import Req
from service.providers.dialects import Purpose
from service.providers.embedder import Embedded
from service.providers.errors import BadTexts
from service.providers.ledger import Spender
from service.queries import embeddings
from service.queries.projects import ProjectAccess
from service.uploads import texts
from service.uploads.store import Uploaded, metadata_faults, store_batch
from service.uploads.texts import TextBatch, TextsIn

# Statuses of requests that embed texts, beside those that every route has.
EMBED_ERRORS = (404, 409, 424, 502, 503, 504)


class Usage(msgspec.Struct, frozen=True):
    """What embedding cost: texts that were embedded, their tokens, calls of the model. `unchanged` were so already.

    `estimated_tokens` are those of the tokens that the provider did not count.
    """

    texts: int
    tokens: int
    requests: int
    unchanged: int = 0
    estimated_tokens: int | UnsetType = UNSET


class StoredTexts(Uploaded, frozen=True):
    """What became of a batch of texts, as of one of embeddings, and what embedding it cost."""

    usage: Usage


@endpoint(
    "POST",
    "/v1/texts/{user}/{project}",
    guard=embeddings_editor,
    status=201,
    body=TextsIn,
    errors=EMBED_ERRORS,
)
async def post_texts(req: Req, access: ProjectAccess) -> StoredTexts:
    """Embed and store a batch of texts, all or nothing. A text that is stored already is not embedded again."""
    settings = req.services.settings
    body = await req.body.read(settings.service_max_texts_bytes)
    batch = await texts.checked(access, body, settings.service_max_texts)
    for row, fault in (await metadata_faults(req.services.schemas, batch)).items():
        batch.add_fault(row, fault)
    batch.check()  # before anything is spent
    with req.abandonable():
        usage = await _embed(req, batch)
    async with req.services.admission.upload():
        stored = await store_batch(req.pool, batch)
    req.record.rows = {"inserted": stored.inserted, "updated": stored.updated, "unchanged": stored.unchanged}
    return StoredTexts(stored.ids, stored.inserted, stored.updated, stored.unchanged, usage)


async def embedded(req: Req, project: ProjectAccess, sent: Sequence[str], purpose: Purpose) -> Embedded:
    """Texts as the project's instance embeds them, for a caller who may spend what that costs.

    Raises what `Embedder.embed` raises.
    """
    caller = project.caller or ("admin" if project.role == "admin" else "public")
    spender = Spender(project.instance_id or 0, project.owner, caller)
    return await req.services.embedder.embed(spender, sent, purpose)


def usage_of(made: Embedded, unchanged: int = 0) -> Usage:
    """What embedding cost, as it is told."""
    spent = made.spent
    return Usage(len(made.vectors), spent.tokens, spent.requests, unchanged, spent.estimated_tokens or UNSET)


async def _embed(req: Req, batch: TextBatch) -> Usage:
    """Gives the rows their vectors: those that are stored with the same text, or new ones. Raises Invalid."""
    project, sent = batch.project, [text or "" for text in batch.texts]
    stored = await embeddings.get_embedded_texts(
        req.pool, project_id=project.project_id, text_ids=batch.ids, texts=sent
    )
    known = {row.text_id: row.vector.to_numpy() for row in stored}
    new = [row for row, text_id in enumerate(batch.ids) if text_id not in known]
    try:
        made = await embedded(req, project, [sent[row] for row in new], "document")
    except BadTexts as error:
        for place, reason in error.reasons.items():
            batch.add_text_problem(new[place], reason)
        batch.check()
        raise
    halves: NDArray[np.float16] = np.empty((len(sent), project.dimensions), np.float16)
    for row, text_id in enumerate(batch.ids):
        if text_id in known:
            halves[row] = known[text_id]
    if new:
        halves[new] = made.vectors
    batch.set_vectors(halves)
    return usage_of(made, len(sent) - len(new))


endpoints = [post_texts]
