"""Texts that the service embeds itself, with the model of the project's instance."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.http.auth import embeddings_editor
from service.http.endpoint import endpoint
from service.http.request import Req
from service.providers.local import NO_KNOWN_WORD
from service.queries import embeddings
from service.queries.llm_instances import Model
from service.queries.projects import ProjectAccess
from service.uploads import texts
from service.uploads.limits import MAX_TEXTS_BYTES
from service.uploads.store import Uploaded, metadata_faults, store_batch
from service.uploads.texts import TextBatch, TextsIn


class Usage(msgspec.Struct, frozen=True):
    """What embedding cost: texts that were embedded, their tokens, calls of the model. `unchanged` were so already."""

    texts: int
    tokens: int
    requests: int
    unchanged: int = 0


class StoredTexts(Uploaded, frozen=True):
    """What became of a batch of texts, as of one of embeddings, and what embedding it cost."""

    usage: Usage


@endpoint("POST", "/v1/texts/{user}/{project}", guard=embeddings_editor, status=201, body=TextsIn, errors=(404, 409))
async def post_texts(req: Req, access: ProjectAccess) -> StoredTexts:
    """Embed and store a batch of texts, all or nothing. A text that is stored already is not embedded again."""
    body = await req.body.read(MAX_TEXTS_BYTES)
    batch = await texts.checked(access, body)
    for row, fault in (await metadata_faults(req.services.schemas, batch)).items():
        batch.add_fault(row, fault)
    batch.check()  # before anything is spent
    usage = await _embed(req, batch)
    batch.check()
    async with req.services.admission.upload():
        stored = await store_batch(req.pool, batch)
    req.record.rows = {"inserted": stored.inserted, "updated": stored.updated, "unchanged": stored.unchanged}
    return StoredTexts(stored.ids, stored.inserted, stored.updated, stored.unchanged, usage)


def model_of(project: ProjectAccess) -> Model:
    """The model of a project's instance."""
    instance = f"{project.instance_owner}/{project.instance_handle}"
    return Model(instance, project.dialect, project.model, project.dimensions)


async def _embed(req: Req, batch: TextBatch) -> Usage:
    """Gives the rows their vectors: those that are stored with the same text, or new ones."""
    project, sent = batch.project, [text or "" for text in batch.texts]
    stored = await embeddings.get_embedded_texts(
        req.pool, project_id=project.project_id, text_ids=batch.ids, texts=sent
    )
    known = {row.text_id: row.vector.to_numpy() for row in stored}
    new = [row for row, text_id in enumerate(batch.ids) if text_id not in known]
    made = await req.services.embedder.embed(model_of(project), [sent[row] for row in new])
    for place in made.unknown:
        batch.add_text_problem(new[place], NO_KNOWN_WORD)
    halves: NDArray[np.float16] = np.empty((len(sent), project.dimensions), np.float16)
    for row, text_id in enumerate(batch.ids):
        if text_id in known:
            halves[row] = known[text_id]
    if new:
        halves[new] = made.halves
    batch.set_vectors(halves)
    return Usage(len(new), made.tokens, int(bool(new)), len(sent) - len(new))


endpoints = [post_texts]
