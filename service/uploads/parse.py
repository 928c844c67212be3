"""Bodies of uploads: split into rows, which are decoded and checked a few at a time."""

import asyncio
import re
import time
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from service import decoding, number_arrays, turns, vectors
from service.decoding import Wire
from service.errors import ApiError, ContentTooLarge
from service.turns import Turns
from service.uploads.batch import Batch, EmbeddingIn, EmbeddingsIn, Vector
from service.uploads.json_metadata import large_metadata
from service.uploads.limits import (
    MAX_METADATA_BYTES,
    MAX_ROWS,
    MAX_VECTOR_BYTES,
    OBJECTS_AN_EMBEDDING,
    ROWS_AT_ONCE,
)

# Its white space is limited, and not tried again: a body may consist of it.
_HEAD = re.compile(
    rb'~\{~(?:"encoding"~:~"(f[24])"~,~)?"embeddings"~:~\[~(?=\{~("\w{1,20}"))'.replace(b"~", rb"\s{0,99}+")
)
_TAIL = re.compile(rb'\]\s*(?:,\s*"encoding"\s*:\s*"(f[24])"\s*)?\}\s*\Z')
_TAIL_BYTES = 200


class _AnyObject(msgspec.Struct):
    """Any JSON object; its content is skipped."""


class _AnyWithId(msgspec.Struct):
    """Any JSON object with a text_id."""

    text_id: msgspec.Raw


class _Shape(msgspec.Struct):
    """A batch with rows that are any objects."""

    embeddings: list[_AnyObject] = []
    texts: list[_AnyObject] = []


class _Identified(msgspec.Struct):
    """A batch with rows that are any objects with a text_id."""

    embeddings: list[_AnyWithId] = []
    texts: list[_AnyWithId] = []


class _Counted(msgspec.Struct):
    """A batch with undecoded lists of rows, for counting."""

    embeddings: msgspec.Raw = msgspec.Raw(b"")
    texts: msgspec.Raw = msgspec.Raw(b"")


class RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    """EmbeddingsIn with undecoded rows."""

    embeddings: list[msgspec.Raw]
    encoding: vectors.Encoding = "f4"


async def cut(body: bytes) -> RawBatch | None:
    """Splits a body of JSON at the text between two rows; None if it does not have the expected form.

    It takes 4.5 ms for 500 rows of 1,536 numbers, `split` 26 ms, out of 66 ms to decode such a batch: without it the
    rate of JSON uploads falls by a third. If every piece is a complete JSON object, the pieces are exactly the rows,
    because the body contains nothing else. If not, `split` finds the problem.
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


def check_number(body: bytes, wire: Wire, most_rows: int, most_objects: int, too_many: ContentTooLarge) -> None:
    """Checks the number of rows before they are decoded, which may need much more memory. Raises `too_many`.

    In JSON, every row has a brace, and a list of anything else is refused. Texts and metadata may have braces too: if
    there are more than `most_objects`, every row must have a text_id.
    """
    if wire is decoding.MESSAGE_PACK:
        sent = decoding.decode(body, _Counted, wire=wire)
        counts = (number_arrays.count_msgpack(memoryview(rows)) for rows in (sent.embeddings, sent.texts))
        if any(count is not None and count > most_rows for count in counts):
            raise too_many
    elif body.count(b"{") > most_objects:
        if body.count(b'"text_id"') > most_objects:
            raise too_many
        decoding.decode(body, _Identified)
    elif len(body) > decoding.EXPLAINED_BYTES:
        decoding.decode(body, _Shape)


async def split(body: bytes, wire: Wire) -> RawBatch:
    """The undecoded rows."""
    too_many = ContentTooLarge(f"A batch may have at most {MAX_ROWS:,} embeddings: split it.")
    check_number(body, wire, MAX_ROWS, OBJECTS_AN_EMBEDDING * MAX_ROWS, too_many)
    await asyncio.sleep(0)  # each check reads the whole body
    sent = decoding.decode(body, RawBatch, wire=wire, explained_as=EmbeddingsIn)
    if len(sent.embeddings) > MAX_ROWS:
        raise too_many
    return sent


class _RawRow(EmbeddingIn, forbid_unknown_fields=True):
    """EmbeddingIn with undecoded large fields."""

    vector: msgspec.Raw
    metadata: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


_decoders = {wire.name: wire.module.Decoder(EmbeddingIn) for wire in (decoding.JSON, decoding.MESSAGE_PACK)}


async def decode_rows(batch: Batch, rows: Sequence[msgspec.Raw]) -> None:
    """Decodes and checks rows into an empty batch, with turns for other requests.

    Raises BadRequest or Invalid for a malformed row, unless rows are `repeatable`.
    """
    fitting: list[int] = []
    sent_vectors: list[list[float] | bytes] = []
    decoder = _decoders[batch.wire.name]
    begin = time.perf_counter()
    for row, raw in enumerate(rows):
        try:
            is_large = len(memoryview(raw)) > number_arrays.QUICK_BYTES
            sent = await _decode_large_row(raw, batch.wire) if is_large else decoder.decode(raw)
        except (ApiError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            batch.add_undecodable(row, raw, error)
        else:
            if batch.add(row, sent):
                fitting.append(row)
                sent_vectors.append(sent.vector)
        if len(fitting) == ROWS_AT_ONCE or row == len(rows) - 1 or time.perf_counter() - begin > turns.SECONDS:
            batch.add_vectors(fitting, sent_vectors)
            fitting, sent_vectors = [], []
            await asyncio.sleep(0)
            begin = time.perf_counter()


async def _decode_large_row(raw: msgspec.Raw, wire: Wire) -> EmbeddingIn:
    """Decodes a row with its vector and metadata in pieces. Raises like a decoder."""
    row = wire.module.decode(raw, type=_RawRow)
    if len(memoryview(raw)) > decoding.EXPLAINED_BYTES:
        for field, most in (("vector", MAX_VECTOR_BYTES), ("metadata", MAX_METADATA_BYTES)):
            if len(memoryview(getattr(row, field) or b"")) > most:
                raise msgspec.ValidationError(f"is too large - at `$.{field}`")
    sent = {name: getattr(row, name) for name in EmbeddingIn.__struct_fields__}
    is_json = wire is decoding.JSON
    sent["vector"] = (
        await number_arrays.decode_json(bytes(row.vector)) if is_json else wire.module.decode(row.vector, type=Vector)
    )
    if row.metadata is not UNSET:
        sent["metadata"] = await large_metadata(bytes(row.metadata), wire)
    return EmbeddingIn(**sent)
