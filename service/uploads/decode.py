"""Rows of an upload: decoded and checked, a few at a time, so that other requests get their turn."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from service import decoding, number_arrays, turns
from service.decoding import Wire
from service.errors import ApiError
from service.uploads.batch import Batch, EmbeddingIn, Vector
from service.uploads.json_metadata import large_metadata
from service.uploads.limits import MAX_METADATA_BYTES, MAX_VECTOR_BYTES, ROWS_AT_ONCE


class _LargeRow(msgspec.Struct):
    """The fields of EmbeddingIn that can grow to many Python objects, still undecoded."""

    vector: msgspec.Raw = msgspec.Raw(b"")
    metadata: msgspec.Raw = msgspec.Raw(b"")


class _RawRow(EmbeddingIn, forbid_unknown_fields=True):
    """EmbeddingIn with what may be large in it still undecoded."""

    vector: msgspec.Raw
    metadata: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


def _too_large(raw: msgspec.Raw, wire: Wire) -> str | None:
    """The field of a row that is larger than any that could be stored."""
    if len(memoryview(raw)) <= decoding.EXPLAINED_BYTES:
        return None
    row = decoding.decode(bytes(raw), _LargeRow, wire=wire)
    if len(memoryview(row.vector)) > MAX_VECTOR_BYTES:
        return "vector"
    return "metadata" if len(memoryview(row.metadata)) > MAX_METADATA_BYTES else None


_decoders = {wire.name: wire.module.Decoder(EmbeddingIn) for wire in (decoding.JSON, decoding.MESSAGE_PACK)}


async def decode_rows(batch: Batch, rows: Sequence[msgspec.Raw]) -> None:
    """Decodes and checks rows into an empty batch; other requests get their turn between a few rows and the next.

    Raises BadRequest or Invalid for a malformed row, which in a batch of `repeatable` rows is a bad one like others.
    """
    start = 0
    while start < len(rows):
        start += await _decode_rows(batch, start, rows[start : start + ROWS_AT_ONCE])
        await asyncio.sleep(0)


async def _decode_rows(batch: Batch, start: int, rows: Sequence[msgspec.Raw]) -> int:
    """Decodes rows until enough time has passed, and returns their number."""
    fitting: list[int] = []
    sent_vectors: list[list[float] | bytes] = []
    decoder = _decoders[batch.wire.name]
    begin = time.perf_counter()
    row = start
    for row, raw in enumerate(rows, start):
        if time.perf_counter() - begin > turns.SECONDS:
            row -= 1
            break
        try:
            if field := _too_large(raw, batch.wire):
                batch.add_too_large(row, field)
                continue
            is_large = len(memoryview(raw)) > number_arrays.QUICK_BYTES
            sent = await _decode_large_row(raw, batch.wire) if is_large else decoder.decode(raw)
        except msgspec.ValidationError as error:
            batch.add_undecodable(row, raw, error)
            continue
        except ApiError as error:
            batch.add_malformed(row, error)
            continue
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            batch.add_malformed(row, decoding.unreadable(error, batch.wire))
            continue
        if batch.add(row, sent):
            fitting.append(row)
            sent_vectors.append(sent.vector)
    if fitting:
        batch.add_vectors(fitting, sent_vectors)
    return row - start + 1


async def _decode_large_row(raw: msgspec.Raw, wire: Wire) -> EmbeddingIn:
    """A row whose vector and metadata are decoded, or looked at, in pieces. Raises as a decoder does."""
    row = wire.module.decode(raw, type=_RawRow)
    sent = {name: getattr(row, name) for name in EmbeddingIn.__struct_fields__}
    is_json = wire is decoding.JSON
    sent["vector"] = (
        await number_arrays.decode_json(bytes(row.vector)) if is_json else wire.module.decode(row.vector, type=Vector)
    )
    if row.metadata is not UNSET:
        sent["metadata"] = await large_metadata(bytes(row.metadata), wire)
    return EmbeddingIn(**sent)
