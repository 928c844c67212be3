"""Reading and deleting many embeddings, by id or by a metadata filter."""

from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service import decoding
from service.api.embeddings import COMPONENT_BYTES, Embedding, Part, columns, embedding_of, read_embeddings
from service.errors import Invalid, Problem
from service.http.auth import embeddings_editor, embeddings_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.queries import embeddings
from service.queries.embeddings import Deletion
from service.queries.projects import ProjectAccess
from service.search.query import StoredId, sent_filter
from service.turns import converted
from service.uploads.limits import MAX_IDS, MAX_IDS_BYTES
from service.vectors import Encoding

StoredIds = Annotated[list[StoredId], Meta(min_length=1, max_length=MAX_IDS)]


class GetIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selects embeddings, and the parts to `include`, all by default; `encoding` is for vectors as bytes."""

    text_ids: StoredIds
    include: list[Part] | None = None
    encoding: Encoding | None = None


class Found(msgspec.Struct, frozen=True):
    """The embeddings found, in the order of their ids, and the missing ids."""

    embeddings: list[Embedding]
    missing: list[str]


class DeleteIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selects embeddings to delete by their ids, by a filter of their metadata, or by both.

    With `dry_run` nothing is deleted, and the answer lists what would be.
    """

    text_ids: StoredIds | None = None
    filter: dict[str, Any] | None = None
    dry_run: bool = False


class _RawDelete(DeleteIn, frozen=True, forbid_unknown_fields=True):
    """DeleteIn with an undecoded filter, which may expand to many objects."""

    filter: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


class Deleted(Deletion, frozen=True):
    """The number of embeddings that were, or would be, deleted, and the first 10,000 of their ids, in order."""

    dry_run: bool


@endpoint(
    "POST",
    "/v1/embeddings/{user}/{project}/get",
    guard=embeddings_reader,
    body=GetIn,
    only_reads=True,
    reads_from_replica=True,
)
async def post_get(req: Req, access: ProjectAccess) -> Found:
    """Read embeddings by their ids, up to 10,000."""
    sent = await _body(req, GetIn)
    parts = columns(sent.include)
    asked = {"by_ids": 1, "text_ids": sent.text_ids, "after": None, "max_rows": MAX_IDS, "skip": 0, **parts}
    ask = partial(embeddings.get_embeddings_by_project, project_id=access.project_id, **asked)
    count = len(set(sent.text_ids)) if parts["with_vector"] else 0
    vector_bytes = count * access.dimensions * COMPONENT_BYTES[sent.encoding]
    rows = await read_embeddings(req, ask, vector_bytes=vector_bytes, where="body.text_ids")
    there = {row.text_id for row in rows}
    missing = [text_id for text_id in dict.fromkeys(sent.text_ids) if text_id not in there]
    return Found(await converted(rows, lambda row: embedding_of(row, access, sent.encoding)), missing)


@endpoint("POST", "/v1/embeddings/{user}/{project}/delete", guard=embeddings_editor, body=DeleteIn)
async def post_delete(req: Req, access: ProjectAccess) -> Deleted:
    """Delete embeddings by their ids, up to 10,000, or by a filter; all or none."""
    sent = await _body(req, _RawDelete)
    only = None if sent.filter is UNSET else sent_filter(bytes(sent.filter), req.body.wire)
    if sent.text_ids is None and only is None:
        raise Invalid(problems=[Problem("either this or `filter` is required", "body.text_ids")])
    gone = await embeddings.delete_embeddings(
        req.pool,
        project_id=access.project_id,
        by_ids=int(sent.text_ids is not None),
        text_ids=sent.text_ids,
        only=only.path if only is not None else None,
        is_dry_run=sent.dry_run,
        max_ids=MAX_IDS,
    )
    return Deleted(gone.deleted, gone.text_ids, sent.dry_run)


async def _body(req: Req, kind: Any) -> Any:
    return decoding.decode(await req.body.read(MAX_IDS_BYTES), kind, wire=req.body.wire)
