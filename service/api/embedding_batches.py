"""Many embeddings at once, by their ids or their metadata: read, and deleted."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service import decoding
from service.api.embeddings import COMPONENT_BYTES, Embedding, Part, embedding_of, read_embeddings
from service.database.pool import Pool
from service.errors import Invalid, Problem
from service.http.auth import embeddings_editor, embeddings_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.http.responses import JSON, MSGPACK
from service.queries import embeddings
from service.queries.embeddings import PageRow
from service.queries.projects import ProjectAccess
from service.search.query import StoredId, sent_filter
from service.uploads.limits import MAX_IDS, MAX_IDS_BYTES
from service.vectors import Encoding

FORMATS = (JSON, MSGPACK)
StoredIds = Annotated[list[StoredId], Meta(min_length=1, max_length=MAX_IDS)]


class GetIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which embeddings to read, and what of them, all unless said otherwise; `encoding` is of vectors in bytes."""

    text_ids: StoredIds
    include: list[Part] | None = None
    encoding: Encoding | None = None


class Found(msgspec.Struct, frozen=True):
    """The embeddings that there are, in the order of their ids, and the ids that there are not."""

    embeddings: list[Embedding]
    missing: list[str]


class DeleteIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which embeddings to delete: those of these ids, those whose metadata pass a filter, or those that are both.

    With `dry_run` they stay, and the answer says which would go.
    """

    text_ids: StoredIds | None = None
    filter: dict[str, Any] | None = None
    dry_run: bool = False


class _RawDelete(DeleteIn, frozen=True, forbid_unknown_fields=True):
    """DeleteIn with the filter still undecoded, which may grow to many objects."""

    filter: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


class Deleted(msgspec.Struct, frozen=True):
    """How many embeddings were deleted, or would be, and the first 10,000 of their ids, in order."""

    deleted: int
    text_ids: list[str]
    dry_run: bool


@endpoint(
    "POST",
    "/v1/embeddings/{user}/{project}/get",
    guard=embeddings_reader,
    body=GetIn,
    consumes=FORMATS,
    errors=(404, 409),
    only_reads=True,
    reads_from_replica=True,
)
async def post_get(req: Req, access: ProjectAccess) -> Found:
    """Read embeddings by their ids, up to 10,000."""
    sent = await _body(req, GetIn)
    parts = ("vector", "text", "metadata") if sent.include is None else sent.include

    shown = len(set(sent.text_ids)) * access.dimensions if "vector" in parts else 0

    async def ask(db: Pool, max_bytes: int) -> list[PageRow]:
        return await embeddings.get_embeddings_by_ids(
            db,
            project_id=access.project_id,
            text_ids=sent.text_ids,
            with_vector="vector" in parts,
            with_text="text" in parts,
            with_metadata="metadata" in parts,
            max_bytes=max_bytes,
        )

    vector_bytes = shown * COMPONENT_BYTES[sent.encoding]
    rows = await read_embeddings(req, ask, vector_bytes=vector_bytes, where="body.text_ids")
    there = {row.text_id for row in rows}
    missing = [text_id for text_id in dict.fromkeys(sent.text_ids) if text_id not in there]
    return Found([embedding_of(row, access, sent.encoding) for row in rows], missing)


@endpoint(
    "POST",
    "/v1/embeddings/{user}/{project}/delete",
    guard=embeddings_editor,
    body=DeleteIn,
    consumes=FORMATS,
    errors=(404, 409),
)
async def post_delete(req: Req, access: ProjectAccess) -> Deleted:
    """Delete embeddings by their ids, up to 10,000, or by a filter; all or none."""
    sent = await _body(req, _RawDelete)
    only = None if sent.filter is UNSET else sent_filter(bytes(sent.filter), req.body.wire(FORMATS))
    if sent.text_ids is None and only is None:
        raise Invalid(problems=[Problem("either this or `filter` is required", "body.text_ids")])
    gone = await embeddings.delete_embeddings(
        req.pool,
        project_id=access.project_id,
        text_ids=sent.text_ids,
        only=only.path if only is not None else None,
        is_dry_run=sent.dry_run,
    )
    return Deleted(len(gone), gone[:MAX_IDS], sent.dry_run)


async def _body(req: Req, kind: Any) -> Any:
    return decoding.decode(await req.body.read(MAX_IDS_BYTES, FORMATS), kind, wire=req.body.wire(FORMATS))


endpoints = [post_get, post_delete]
