"""Statements of `sql/embeddings.sql`: storing and reading embeddings. Vectors go in as `service.vectors.to_binary`."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from pgvector import HalfVector

from service.database.statements import Db, Queries

query = Queries(__name__)


class Written(msgspec.Struct, frozen=True):
    """The numbers of inserted and of changed rows."""

    inserted: int
    updated: int


class EmbeddedText(msgspec.Struct, frozen=True):
    """A stored text, and its vector; None if there is nothing to store."""

    text_id: str
    vector: HalfVector | None


class PageRow(msgspec.Struct, frozen=True):
    """A stored embedding; `vector`, `text` and `metadata` are None unless requested.

    `size` is the bytes of text and metadata, even if left out.
    """

    text_id: str
    created_at: datetime
    updated_at: datetime
    vector: HalfVector | None
    text: str | None
    metadata: msgspec.Raw | None
    size: int


class Deletion(msgspec.Struct, frozen=True):
    """The number of deleted embeddings, and the first of their ids in order."""

    deleted: int
    text_ids: list[str]


class PassingIds(msgspec.Struct, frozen=True):
    """Ids that pass a filter among some rows; `last` is the last of these rows, None at the end of the project."""

    text_ids: list[str]
    last: str | None


@query
async def upsert_embeddings(
    db: Db,
    *,
    project_id: int,
    text_ids: Sequence[str],
    vectors: Sequence[bytes],
    texts: Sequence[str | None],
    metadata: Sequence[msgspec.Raw | None],
    keep_text: Sequence[str],
    keep_metadata: Sequence[str],
) -> Written:
    """Stores a batch, sorted by `text_ids`. Ids in `keep_text` and `keep_metadata` keep the stored value."""


@query
async def get_without_metadata(db: Db, *, project_id: int, text_ids: Sequence[str]) -> list[str]:
    """The ids that have no metadata or do not exist."""


@query
async def get_embedded_texts(
    db: Db,
    *,
    project_id: int,
    text_ids: Sequence[str],
    texts: Sequence[str],
    metadata: Sequence[msgspec.Raw | None],
    keep_metadata: Sequence[bool],
    with_all_vectors: bool,
) -> list[EmbeddedText]:
    """The ids stored with the same text; their vectors only if the metadata change, or if all are requested."""


@query
async def get_embeddings_by_project(
    db: Db,
    *,
    project_id: int,
    by_ids: int,
    text_ids: Sequence[str] | None,
    after: str | None,
    max_rows: int,
    skip: int,
    with_vector: bool,
    with_text: bool,
    with_metadata: bool,
    max_bytes: int,
) -> list[PageRow]:
    """A page of all embeddings, or of those with some ids, in the order of text_id, behind `after` if given.

    `by_ids` is 1 with `text_ids`, 0 without. Without text and metadata above `max_bytes` in all.
    """


@query
async def get_passing_ids(db: Db, *, project_id: int, after: str, only: str, rows: int, max_rows: int) -> PassingIds:
    """Up to `max_rows` ids that pass a filter among the next `rows` rows after an id."""


@query
async def are_embeddings_after(db: Db, *, project_id: int, after: str) -> bool:
    """Whether a project has an embedding after this text_id."""


@query
async def retrieve_embeddings(db: Db, *, project_id: int, text_ids: Sequence[str], max_bytes: int) -> PageRow | None:
    """The embedding of the first id, or of the next id that was migrated from an original database.

    Without text and metadata above `max_bytes`.
    """


@query
async def delete_embedding(db: Db, *, project_id: int, text_ids: Sequence[str]) -> str | None:
    """Deletes an embedding, found as in `retrieve_embeddings`; returns its id."""


@query
async def delete_embeddings(
    db: Db,
    *,
    project_id: int,
    by_ids: int,
    text_ids: Sequence[str] | None,
    only: str | None,
    is_dry_run: bool,
    max_ids: int,
) -> Deletion:
    """Deletes the embeddings selected by ids, by a filter, or by both, unless `is_dry_run`.

    `by_ids` is 1 with `text_ids`, 0 without.
    """


@query
async def delete_embeddings_by_project(db: Db, *, project_id: int) -> None:
    """Deletes all embeddings of a project."""
