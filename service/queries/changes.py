"""Statements of `sql/changes.sql`: the changes of a project, and digests for comparison."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from pgvector import HalfVector

from service.database.statements import Db, Queries

query = Queries(__name__)


class LogState(msgspec.Struct, frozen=True):
    """The last sequence of any row or deletion, the log, and the sequence up to which deletions may be missing in it.

    `log` is None without a table, `begins` is None before the log begins.
    """

    last_sequence: int
    log: str | None
    begins: int | None


class ChangeRow(msgspec.Struct, frozen=True):
    """An inserted or changed embedding, or a deletion; `size` is as in a page of embeddings."""

    sequence: int
    deleted: bool
    text_id: str
    created_at: datetime | None
    updated_at: datetime | None
    vector: HalfVector | None
    text: str | None
    metadata: msgspec.Raw | None
    size: int


class DigestLists(msgspec.Struct, frozen=True, omit_defaults=True):
    """The digests of embeddings' vectors, texts and metadata, 16 hexadecimal digits; None for missing parts."""

    text_ids: list[str]
    vectors: list[str]
    texts: list[str | None]
    metadata: list[str | None]


class BucketRow(msgspec.Struct, frozen=True):
    """The number of embeddings in a bucket, their digests combined by XOR, and the last of their ids."""

    bucket: int
    rows: int
    vectors: str
    texts: str
    metadata: str
    last_text_id: str


@query
async def retrieve_log_state(db: Db, *, project_id: int) -> LogState:
    """The state of a project's log."""


@query
async def get_writers(db: Db, *, project_id: int) -> list[str]:
    """The virtual ids of running transactions that may have written embeddings of a project."""


@query
async def make_sequences_durable(db: Db) -> None:
    """Makes sure that all sequences assigned until now survive a crash."""


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
    """Changes and deletions after a sequence, up to another, in order.

    Without texts and metadata above `max_bytes`.
    """


@query
async def get_digests(
    db: Db, *, project_id: int, after: str | None, buckets: Sequence[int] | None, max_rows: int
) -> DigestLists:
    """Digests in the order of text_id, behind `after` if given, of all embeddings or those in some buckets."""


@query
async def get_bucket_digests(db: Db, *, project_id: int, after: str | None, max_rows: int) -> list[BucketRow]:
    """The digests by bucket of the next `max_rows` embeddings in the order of text_id."""


@query
async def forget_deletions(db: Db, *, days: int) -> None:
    """Removes deletions from the logs after some days."""


@query
async def get_deleted_projects_in_logs(db: Db) -> list[int]:
    """The projects that do not exist any more, but whose deletions do."""


@query
async def forget_logs(db: Db, *, project_ids: Sequence[int]) -> None:
    """Removes all deletions of deleted projects."""
