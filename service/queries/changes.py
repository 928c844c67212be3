"""Statements of `sql/changes.sql`: the changes of a project, and digests for comparison."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from pgvector import HalfVector

from service.database.statements import Db, Queries

query = Queries(__name__)


class LogState(msgspec.Struct, frozen=True):
    """The last sequence that was given, the name of the log, and up to where deletions may be missing in it.

    `log` is None without a table, `begins` while deletions are not noted yet.
    """

    last_sequence: int
    log: str | None
    begins: int | None


class ChangeRow(msgspec.Struct, frozen=True):
    """An embedding that was inserted or changed, or the deletion of one; `page_bytes` as of a page of embeddings."""

    sequence: int
    deleted: bool
    text_id: str
    created_at: datetime | None
    updated_at: datetime | None
    vector: HalfVector | None
    text: str | None
    metadata: msgspec.Raw | None
    page_bytes: int


class DigestRow(msgspec.Struct, frozen=True):
    """The digests of an embedding's vector, text and metadata, of 16 hexadecimal digits; None for what it has not."""

    text_id: str
    vector: str
    text: str | None
    metadata: str | None


class BucketRow(msgspec.Struct, frozen=True):
    """How many embeddings are in a bucket, their digests combined by XOR, and the last of their ids."""

    bucket: int
    rows: int
    vectors: str
    texts: str
    metadata: str
    last_text_id: str


@query
async def retrieve_log_state(db: Db, *, project_id: int) -> LogState:
    """How far sequences and the log of a project go."""


@query
async def get_writers(db: Db, *, project_id: int) -> list[str]:
    """The virtual ids of the transactions that may have written embeddings of a project, and have not ended."""


@query
async def make_sequences_durable(db: Db) -> None:
    """Has all sequences that were given so far survive a crash."""


@query
async def get_changes(
    db: Db,
    *,
    project_id: int,
    after: int,
    up_to: int,
    max_rows: int,
    with_vector: bool,
    with_text: bool,
    with_metadata: bool,
    max_bytes: int,
) -> list[ChangeRow]:
    """Changes and deletions after one sequence and up to another, in that order.

    Without texts and metadata when these are more than `max_bytes`.
    """


@query
async def get_digests(
    db: Db, *, project_id: int, after: str | None, buckets: Sequence[int] | None, max_rows: int
) -> list[DigestRow]:
    """Digests in the order of text_id, after `after` if it is given, of all embeddings or of those in these buckets."""


@query
async def get_bucket_digests(db: Db, *, project_id: int, after: str | None, max_rows: int) -> list[BucketRow]:
    """The digests of the buckets that the next `max_rows` embeddings in the order of text_id are in."""


@query
async def forget_deletions(db: Db, *, days: int) -> None:
    """Forgets deletions of more than `days` ago, and those of deleted projects."""


query.complete()
