"""Changes of a project since a sequence, and digests to compare copies."""

from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import asdict, replace

from service.api.embeddings import COMPONENT_BYTES, After, Part, Vector, columns, read_embeddings, vector_of
from service.api.fields import Document
from service.errors import Gone, Invalid, Problem
from service.http.auth import embeddings_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.queries import changes
from service.queries.changes import ChangeRow, DigestLists
from service.queries.projects import ProjectAccess
from service.storage.changes import settled
from service.turns import converted
from service.uploads.limits import MAX_CHANGES, MAX_DIGESTED, MAX_DIGESTS
from service.vectors import Encoding

BUCKETS = 4096
MAX_BUCKETS = 1000  # fit in a URL
DIGEST_BYTES = 500  # of memory for an id and its digests
AGAIN = "Get the sequence with limit=0, read all embeddings from the primary, then the changes since that sequence."

Sequence = Annotated[int, Meta(ge=0, le=2**62)]


class ChangesQuery(msgspec.Struct, frozen=True):
    """Selects changes since the `sequence` of an earlier answer, 0 for all; `after` continues a list.

    `log` is the log of the earlier answer: sequences are valid within one log only. A `limit` of 0 returns only both.
    """

    since: Sequence = 0
    after: Sequence | None = None
    log: Annotated[str, Meta(max_length=36)] | None = None
    limit: Annotated[int, Meta(ge=0, le=MAX_CHANGES)] = 200
    include: list[Part] | None = None
    encoding: Encoding | None = None


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """An embedding in its current state, or a deletion; sequences are ascending."""

    sequence: int
    text_id: str
    deleted: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None
    vector: Vector | None = None
    text: str | None = None
    metadata: Document | None = None


class Changes(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of changes in order; `next` is the URL of the next page.

    The last page has a `sequence`: all changes up to it were listed. The next request sends it with the `log`.
    """

    changes: list[Change]
    log: str | None = None
    sequence: int | None = None
    next: str | None = None


class DigestsQuery(msgspec.Struct, frozen=True):
    """Selects embeddings after the id `after`, in some or all buckets."""

    after: After | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_DIGESTS)] = MAX_DIGESTS
    buckets: Annotated[list[Annotated[int, Meta(ge=0, lt=BUCKETS)]], Meta(max_length=MAX_BUCKETS)] | None = None


class Digests(DigestLists, frozen=True):
    """Digests of the embeddings `text_ids`, in the same order; null for no text or metadata."""

    next: str | None = None


class BucketsQuery(msgspec.Struct, frozen=True):
    """Selects the next `limit` embeddings after the id `after`."""

    after: After | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_DIGESTED)] = MAX_DIGESTED


class BucketDigests(msgspec.Struct, frozen=True, omit_defaults=True):
    """For each bucket the number of selected embeddings in it, and their digests combined by XOR.

    Clients combine several pages in the same way.
    """

    rows: list[int]
    vectors: list[str]
    texts: list[str]
    metadata: list[str]
    next: str | None = None


@endpoint("GET", "/v1/embeddings/{user}/{project}/changes", guard=embeddings_reader, errors=(410,))
async def get_changes(req: Req, query: ChangesQuery, access: ProjectAccess) -> Changes:
    """Insertions, changes and deletions since a sequence, in order. Deletions are kept for 30 days."""
    project_id = access.project_id
    after = query.since if query.after is None else query.after
    if after < query.since:
        raise Invalid(problems=[Problem("must not be less than `since`", "query.after")])
    parts = columns(query.include)
    state = await settled(req.pool, project_id)
    if after > state.last_sequence:
        raise Gone(f"Unknown sequence; was the database restored? {AGAIN}")
    ask = partial(
        changes.get_changes,
        project_id=project_id,
        after=after,
        up_to=state.last_sequence,
        max_rows=query.limit,
        **parts,
    )
    vector_bytes = query.limit * access.dimensions * COMPONENT_BYTES[query.encoding] if parts["with_vector"] else 0
    rows = await read_embeddings(req, ask, vector_bytes=vector_bytes, from_replica=False)
    # Read after the rows, to detect deletions before the reading that the log has already dropped.
    log = await changes.retrieve_log_state(req.pool, project_id=project_id)
    is_forgotten = query.since and (log.begins is None or query.since < log.begins)
    if is_forgotten or log.log != state.log or query.log not in (None, log.log):
        raise Gone(f"The deletions since then are no longer available. {AGAIN}")
    listed = await converted(rows, lambda row: _change(row, query.encoding))
    if query.limit and len(rows) == query.limit:
        return Changes(listed, log.log, next=req.go_on(after=rows[-1].sequence, log=str(log.log)))
    if state.last_sequence > query.since:
        await changes.make_sequences_durable(req.pool)
    return Changes(listed, log.log, state.last_sequence)


@endpoint("GET", "/v1/embeddings/{user}/{project}/digests", guard=embeddings_reader)
async def get_digests(req: Req, query: DigestsQuery, access: ProjectAccess) -> Digests:
    """Digests of a project's embeddings in the order of text_id."""
    await req.body.make_room(query.limit * DIGEST_BYTES)
    page = await changes.get_digests(
        req.pool, project_id=access.project_id, after=query.after, buckets=query.buckets, max_rows=query.limit
    )
    goes_on = len(page.text_ids) == query.limit
    return Digests(**asdict(page), next=req.go_on(after=page.text_ids[-1]) if goes_on else None)


@endpoint("GET", "/v1/embeddings/{user}/{project}/digests/buckets", guard=embeddings_reader)
async def get_bucket_digests(req: Req, query: BucketsQuery, access: ProjectAccess) -> BucketDigests:
    """Digests of a project's embeddings, combined in 4,096 buckets: a compact way to find where copies differ."""
    rows = await changes.get_bucket_digests(
        req.pool, project_id=access.project_id, after=query.after, max_rows=query.limit
    )
    none = ["0" * 16] * BUCKETS
    found = BucketDigests([0] * BUCKETS, none.copy(), none.copy(), none.copy())
    for row in rows:
        found.rows[row.bucket], found.vectors[row.bucket] = row.rows, row.vectors
        found.texts[row.bucket], found.metadata[row.bucket] = row.texts, row.metadata
    if sum(found.rows) < query.limit:
        return found
    return replace(found, next=req.go_on(after=max(row.last_text_id for row in rows)))


def _change(row: ChangeRow, encoding: Encoding | None) -> Change:
    vector, times = vector_of(row.vector, encoding), (row.created_at, row.updated_at)
    return Change(row.sequence, row.text_id, row.deleted, *times, vector, row.text, row.metadata)
