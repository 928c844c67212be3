"""The body of an upload: cut into its rows, and these decoded and checked, a few at a time."""

import asyncio
import re
import time
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from service import decoding, number_arrays, turns, vectors
from service.decoding import Wire
from service.errors import ApiError, ContentTooLarge, Invalid
from service.turns import Turns
from service.uploads.batch import Batch, EmbeddingIn, EmbeddingsIn, Vector
from service.uploads.json_metadata import large_metadata
from service.uploads.limits import (
    MAX_METADATA_BYTES,
    MAX_OBJECTS,
    MAX_ROWS,
    MAX_VECTOR_BYTES,
    ROWS_AT_ONCE,
    UNCHECKED_BYTES,
)

_HEAD = re.compile(rb'\s*\{\s*(?:"encoding"\s*:\s*"(f[24])"\s*,\s*)?"embeddings"\s*:\s*\[\s*(?=\{\s*("\w{1,20}"))')
_TAIL = re.compile(rb'\]\s*(?:,\s*"encoding"\s*:\s*"(f[24])"\s*)?\}\s*\Z')
_TAIL_BYTES = 200


class _Object(msgspec.Struct):
    """Any JSON object; its content is passed over."""


class _Shape(msgspec.Struct):
    """EmbeddingsIn as far as its rows are objects."""

    embeddings: list[_Object]


class RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    """EmbeddingsIn with its rows still undecoded."""

    embeddings: list[msgspec.Raw]
    encoding: vectors.Encoding = "f4"


class _Counted(msgspec.Struct):
    """EmbeddingsIn as far as its rows can be counted."""

    embeddings: msgspec.Raw = msgspec.Raw(b"")


async def cut(body: bytes) -> RawBatch | None:
    """The rows of a body of JSON, found by the text between two of them; None when it does not look as expected.

    It takes 4.5 ms for 500 rows of 1,536 numbers, `split` 26 ms, of 66 ms that such a batch takes to decode: without it
    the rate of JSON uploads falls by a third. When every piece is a whole JSON object, then the rows are these and no
    others, as there is nothing else in the body. When one is not, only `split` can name the problem.
    """
    head = _HEAD.match(body)
    tail = _TAIL.search(body, max(len(body) - _TAIL_BYTES, 0))
    if head is None or tail is None or (head[1] and tail[1]):
        return None
    start, end = head.end(), tail.start()
    separator = next((one for one in (b"},{" + head[2], b"}, {" + head[2]) if body.find(one, start, end) >= 0), None)
    view, rows, others = memoryview(body), [], Turns()
    while separator is not None and (place := body.find(separator, start, end)) >= 0:
        rows.append(msgspec.Raw(view[start : place + 1]))
        start = place + len(separator) - len(head[2]) - 1
        if len(rows) == MAX_ROWS:
            return None
        await others.give()
    rows.append(msgspec.Raw(view[start:end]))
    encoding: vectors.Encoding = "f2" if b"f2" in (head[1], tail[1]) else "f4"
    return RawBatch(rows, encoding)


async def split(body: bytes, wire: Wire) -> RawBatch:
    """The rows, undecoded. Looks first at what would take much more memory as Python objects than as it came.

    Each look passes over the whole body, so others have their turn between.
    """
    too_many = ContentTooLarge(f"A batch may have at most {MAX_ROWS:,} embeddings: send several.")
    if wire is decoding.MESSAGE_PACK:
        rows = memoryview(decoding.decode(body, _Counted, wire=wire).embeddings)
        if (number_arrays.count_msgpack(rows) or 0) > MAX_ROWS:
            raise too_many
    elif len(body) > UNCHECKED_BYTES:
        # A row has a brace at least; input without one is refused before a list of it is made.
        if body.count(b"{") > MAX_OBJECTS:
            raise too_many
        decoding.decode(body, _Shape)
    await asyncio.sleep(0)
    try:
        sent: RawBatch = wire.module.decode(body, type=RawBatch)
    except msgspec.ValidationError as error:
        raise Invalid(problems=decoding.problems(body, EmbeddingsIn, "body", error, wire)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise decoding.unreadable(error, wire) from None
    if len(sent.embeddings) > MAX_ROWS:
        raise too_many
    return sent


class _LargeRow(msgspec.Struct):
    """The fields of EmbeddingIn that can grow to many Python objects, still undecoded."""

    vector: msgspec.Raw = msgspec.Raw(b"")
    metadata: msgspec.Raw = msgspec.Raw(b"")


class _RawRow(EmbeddingIn, forbid_unknown_fields=True):
    """EmbeddingIn whose large fields are still undecoded."""

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
