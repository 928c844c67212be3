"""Statements of `sql/embeddings.sql`: storing and reading embeddings. Vectors go in as `service.vectors.to_binary`."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from pgvector import HalfVector

from service.database.statements import Db, Queries

query = Queries(__name__)


class Written(msgspec.Struct, frozen=True):
    """How many rows a statement has inserted, and how many it has changed; the others were as stored already."""

    inserted: int
    updated: int


class EmbeddedText(msgspec.Struct, frozen=True):
    """A text that is stored, and its vector; None when there is nothing to store."""

    text_id: str
    vector: HalfVector | None


class StoredVector(msgspec.Struct, frozen=True):
    """The vector of an embedding."""

    text_id: str
    vector: HalfVector


class EmbeddingRow(msgspec.Struct, frozen=True):
    """An embedding as stored; `vector`, `text`, `metadata` are None when not asked for, the last two also when null."""

    text_id: str
    created_at: datetime
    updated_at: datetime
    vector: HalfVector | None
    text: str | None
    metadata: msgspec.Raw | None


class PassingIds(msgspec.Struct, frozen=True):
    """Ids whose metadata fit a filter, among rows of which `last` is the last, None at the end of the project."""

    text_ids: list[str]
    last: str | None


class PageRow(EmbeddingRow, frozen=True):
    """An embedding in a page; `page_bytes` is the size of the page's texts and metadata, also of those left out."""

    page_bytes: int


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
    """Stores a batch, sorted by `text_ids`, in one statement.

    Ids in `keep_text` and `keep_metadata` keep their stored one.
    """


@query
async def get_without_metadata(db: Db, *, project_id: int, text_ids: Sequence[str]) -> list[str]:
    """Those of these ids that have no metadata, or do not exist."""


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
    """The ids that are stored with the same text, and their vectors where the metadata are to change, or of all."""


@query
async def get_embeddings_by_project(
    db: Db,
    *,
    project_id: int,
    after: str | None,
    max_rows: int,
    skip: int,
    with_vector: bool,
    with_text: bool,
    with_metadata: bool,
    max_bytes: int,
) -> list[PageRow]:
    """A page in the order of text_id, after `after` if it is given.

    Without text and metadata when these are more than `max_bytes`.
    """


@query
async def get_embeddings_by_ids(
    db: Db,
    *,
    project_id: int,
    text_ids: Sequence[str],
    with_vector: bool,
    with_text: bool,
    with_metadata: bool,
    max_bytes: int,
) -> list[PageRow]:
    """The embeddings of these ids, in the order of text_id.

    Without text and metadata when these are more than `max_bytes`.
    """


@query
async def get_passing_ids(db: Db, *, project_id: int, after: str, only: str, rows: int, max_rows: int) -> PassingIds:
    """At most `max_rows` ids of embeddings that fit a filter, among the next `rows` rows behind an id."""


@query
async def are_embeddings_after(db: Db, *, project_id: int, after: str) -> bool:
    """Whether a project has an embedding behind this text_id."""


@query
async def retrieve_embeddings(db: Db, *, project_id: int, text_ids: Sequence[str], max_bytes: int) -> PageRow | None:
    """The embedding of the first of these ids, or of the next that was carried over from an original database.

    Without text and metadata when these are more than `max_bytes`.
    """


@query
async def retrieve_vector(db: Db, *, project_id: int, text_ids: Sequence[str]) -> StoredVector | None:
    """The vector of an embedding, found as by `retrieve_embeddings`."""


@query
async def delete_embedding(db: Db, *, project_id: int, text_ids: Sequence[str]) -> str | None:
    """Deletes an embedding, found as by `retrieve_embeddings`, and all marks of the ids; returns its id."""


@query
async def delete_embeddings(
    db: Db, *, project_id: int, text_ids: Sequence[str] | None, only: str | None, is_dry_run: bool
) -> list[str]:
    """Deletes the embeddings of these ids, or all whose metadata pass a filter, or both; returns their ids.

    With `is_dry_run` nothing is deleted.
    """


@query
async def delete_embeddings_by_project(db: Db, *, project_id: int) -> None:
    """Deletes all embeddings of a project."""


query.complete()
