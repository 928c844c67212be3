"""Uploads: the wire format into checked rows, and these into the database, a batch a statement.

A batch is all or nothing: every bad row is named, and one bad row keeps all from being stored.
"""

import asyncio

import msgspec

from service import decoding, vectors
from service.auth import Storage
from service.batch import Batch, EmbeddingIn
from service.queries import embeddings
from service.sql import Db

# So many rows are decoded before other requests get their turn: 4 ms at 1,536 dimensions. It also bounds
# what a body of short decimals can grow to as Python floats.
ROWS_AT_ONCE = 64


class _RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    """EmbeddingsIn with its rows still undecoded."""

    embeddings: list[msgspec.Raw]


class Uploaded(msgspec.Struct, frozen=True):
    """What became of a batch: its text_ids as sent, and how many were new, changed, and as stored already."""

    ids: list[str]
    inserted: int
    updated: int
    unchanged: int


async def store_json(db: Db, project: Storage, body: bytes) -> Uploaded:
    """Stores a JSON batch (EmbeddingsIn) in one statement.

    Raises Invalid or BadRequest with every bad row, and then has stored nothing.
    """
    rows = decoding.decode(body, _RawBatch).embeddings
    batch = Batch(len(rows), project)
    at_once = ROWS_AT_ONCE if batch.schema is None else max(1, ROWS_AT_ONCE // batch.schema.cost)
    for start in range(0, len(rows), at_once):
        _decode_rows(batch, start, rows[start : start + at_once])
        await asyncio.sleep(0)
    batch.check()
    return await _store(db, batch)


_decoder = msgspec.json.Decoder(EmbeddingIn)


def _decode_rows(batch: Batch, start: int, rows: list[msgspec.Raw]) -> None:
    fitting: list[int] = []
    floats: list[list[float]] = []
    for row, raw in enumerate(rows, start):
        try:
            sent = _decoder.decode(raw)
        except msgspec.ValidationError as error:
            batch.add_undecodable(row, raw, error)
            continue
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise decoding.unreadable(error) from None
        if batch.add(row, sent):
            fitting.append(row)
            floats.append(sent.vector)
    if fitting:
        batch.add_vectors(fitting, floats)


async def _store(db: Db, batch: Batch) -> Uploaded:
    if not batch.ids:
        return Uploaded([], 0, 0, 0)
    # Sorted as PostgreSQL sorts them (by bytes, which for UTF-8 is by code points).
    order = sorted(range(len(batch.ids)), key=batch.ids.__getitem__)
    written = await embeddings.upsert_embeddings(
        db,
        project_id=batch.project.project_id,
        text_ids=[batch.ids[row] for row in order],
        vectors=vectors.to_binary(batch.halves[order]),
        texts=[batch.texts[row] for row in order],
        metadata=[batch.metadata[row] for row in order],
        keep_text=batch.keep_text,
        keep_metadata=batch.keep_metadata,
    )
    inserted = sum(written)
    return Uploaded(batch.ids, inserted, len(written) - inserted, len(batch.ids) - len(written))
