"""Uploads: the wire format into checked rows, and these into the database, a batch a statement.

A batch is all or nothing: every bad row is named, and one bad row keeps all from being stored.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from service import decoding, vectors
from service.auth import Storage
from service.batch import Batch, EmbeddingIn, EmbeddingsIn
from service.decoding import Wire
from service.errors import ContentTooLarge, Invalid
from service.queries import embeddings
from service.sql import Db

# So many rows are decoded before other requests get their turn: 4 ms at 1,536 dimensions. It also bounds
# what a body of short decimals can grow to as Python floats.
ROWS_AT_ONCE = 64

UNCHECKED_BYTES = 4 * 1024 * 1024  # a list of all that could stand in it takes 150 MB at most, for a moment
MAX_ROWS = 100_000
MAX_OBJECTS = 10 * MAX_ROWS
MAX_VECTOR_BYTES = 32 * vectors.MAX_DIMENSIONS  # a double has 24 characters at most
MAX_METADATA_BYTES = 1024 * 1024


class _Object(msgspec.Struct):
    """Any JSON object; what is in it is passed over."""


class _Shape(msgspec.Struct):
    """EmbeddingsIn as far as its rows are objects."""

    embeddings: list[_Object]


class _RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    """EmbeddingsIn with its rows still undecoded."""

    embeddings: list[msgspec.Raw]
    encoding: vectors.Encoding = "f4"


class _Counted(msgspec.Struct):
    """EmbeddingsIn as far as its rows can be counted."""

    embeddings: msgspec.Raw = msgspec.Raw(b"")


class _LargeRow(msgspec.Struct):
    """The fields of EmbeddingIn that can grow to many Python objects, still undecoded."""

    vector: msgspec.Raw = msgspec.Raw(b"")
    metadata: msgspec.Raw = msgspec.Raw(b"")


class Uploaded(msgspec.Struct, frozen=True):
    """What became of a batch: its text_ids as sent, and how many were new, changed, and as stored already."""

    ids: list[str]
    inserted: int
    updated: int
    unchanged: int


async def store(db: Db, project: Storage, body: bytes, wire: Wire) -> Uploaded:
    """Stores a batch (EmbeddingsIn) in one statement.

    Raises Invalid or BadRequest with every bad row, and then has stored nothing.
    """
    sent = _split(body, wire)
    batch = Batch(project, sent.encoding, wire)
    await decode_rows(batch, sent.embeddings)
    batch.check()
    return await store_batch(db, batch)


def _split(body: bytes, wire: Wire) -> _RawBatch:
    """The rows, undecoded. Looks first at what would take much more memory as Python objects than as it came."""
    too_many = ContentTooLarge(f"A batch may have at most {MAX_ROWS:,} embeddings: send several.")
    if wire is decoding.MESSAGE_PACK:
        if _announced(memoryview(decoding.decode(body, _Counted, wire=wire).embeddings)) > MAX_ROWS:
            raise too_many
    elif len(body) > UNCHECKED_BYTES:
        # A row has a brace at least, and what has none is found out before a list of it is made.
        if body.count(b"{") > MAX_OBJECTS:
            raise too_many
        decoding.decode(body, _Shape)
    try:
        sent: _RawBatch = wire.module.decode(body, type=_RawBatch)
    except msgspec.ValidationError as error:
        raise Invalid(problems=decoding.problems(body, EmbeddingsIn, "body", error, wire)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise decoding.unreadable(error, wire) from None
    if len(sent.embeddings) > MAX_ROWS:
        raise too_many
    return sent


def _announced(array: memoryview) -> int:
    """How many items a MessagePack array says it has; 0 for what is none."""
    if not array:
        return 0
    if array[0] in (0xDC, 0xDD):
        return int.from_bytes(array[1 : 3 if array[0] == 0xDC else 5])
    return array[0] & 0x0F if 0x90 <= array[0] <= 0x9F else 0


def _too_large(raw: msgspec.Raw, wire: Wire) -> str | None:
    """The field of a row that is larger than any that could be stored."""
    if len(memoryview(raw)) <= decoding.EXPLAINED_BYTES:
        return None
    row = decoding.decode(bytes(raw), _LargeRow, wire=wire)
    if len(memoryview(row.vector)) > MAX_VECTOR_BYTES:
        return "vector"
    return "metadata" if len(memoryview(row.metadata)) > MAX_METADATA_BYTES else None


class _Quick(EmbeddingIn):
    """EmbeddingIn, with whatever in its vector: msgspec takes half the time when it need not look at each number."""

    vector: Annotated[list[Any], Meta(max_length=vectors.MAX_DIMENSIONS)] | bytes


_quick_decoders = {wire.name: wire.module.Decoder(_Quick) for wire in (decoding.JSON, decoding.MESSAGE_PACK)}
_decoders = {wire.name: wire.module.Decoder(EmbeddingIn) for wire in (decoding.JSON, decoding.MESSAGE_PACK)}


def _decode_row(raw: msgspec.Raw, wire: Wire) -> EmbeddingIn:
    quick: EmbeddingIn = _quick_decoders[wire.name].decode(raw)
    if isinstance(quick.vector, bytes) or set(map(type, quick.vector)) == {float}:
        return quick
    strict: EmbeddingIn = _decoders[wire.name].decode(raw)
    return strict


async def decode_rows(batch: Batch, rows: Sequence[msgspec.Raw]) -> None:
    """Decodes and checks rows, and lets other requests have their turn between some and some.

    Raises BadRequest for a row that cannot be read at all; the others' problems are in the batch then.
    """
    at_once = ROWS_AT_ONCE if batch.schema is None else max(1, ROWS_AT_ONCE // batch.schema.cost)
    for start in range(0, len(rows), at_once):
        _decode_rows(batch, start, rows[start : start + at_once])
        await asyncio.sleep(0)


def _decode_rows(batch: Batch, start: int, rows: Sequence[msgspec.Raw]) -> None:
    fitting: list[int] = []
    sent_vectors: list[list[float] | bytes] = []
    for row, raw in enumerate(rows, start):
        if field := _too_large(raw, batch.wire):
            batch.add_too_large(row, field)
            continue
        try:
            sent = _decode_row(raw, batch.wire)
        except msgspec.ValidationError as error:
            batch.add_undecodable(row, raw, error)
            continue
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise decoding.unreadable(error, batch.wire) from None
        if batch.add(row, sent):
            fitting.append(row)
            sent_vectors.append(sent.vector)
    if fitting:
        batch.add_vectors(fitting, sent_vectors)


async def store_batch(db: Db, batch: Batch) -> Uploaded:
    """Stores a checked batch in one statement."""
    if not batch.ids:
        return Uploaded([], 0, 0, 0)
    # Sorted as PostgreSQL sorts them (by bytes, which for UTF-8 is by code points).
    order = sorted(range(len(batch.ids)), key=batch.ids.__getitem__)
    written = await embeddings.upsert_embeddings(
        db,
        project_id=batch.project.project_id,
        text_ids=[batch.ids[row] for row in order],
        vectors=vectors.to_binary(np.concatenate(batch.halves)[order]),
        texts=[batch.texts[row] for row in order],
        metadata=[batch.metadata[row] for row in order],
        keep_text=batch.keep_text,
        keep_metadata=batch.keep_metadata,
    )
    inserted = sum(written)
    return Uploaded(batch.ids, inserted, len(written) - inserted, len(batch.ids) - len(written))
