"""Uploads: the wire format into checked rows, and these into the database, a batch a statement.

A batch is all or nothing: every bad row is named, and one bad row keeps all from being stored.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from service import decoding, json_tokens, number_arrays, turns, vectors
from service.database.pool import Pool, transaction
from service.database.statements import Db
from service.decoding import Wire
from service.errors import ApiError, Conflict, Invalid, Problem
from service.metadata.schemas import EMPTY, BadSchema, Fault, Schemas, TooCostly
from service.queries import embeddings
from service.queries.projects import ProjectAccess
from service.uploads import parse
from service.uploads.batch import MAX_METADATA_DEPTH, Batch, EmbeddingIn, Vector

# So many rows are decoded, at most, before other requests get their turn: 4 ms at 1,536 dimensions. It also bounds what
# a body of short decimals can grow to as Python floats.
ROWS_AT_ONCE = 64
ROWS_A_STATEMENT = 5000  # of an upload: to prepare them takes 30 ms

MAX_VECTOR_BYTES = 32 * vectors.MAX_DIMENSIONS  # a double has 24 characters at most
MAX_METADATA_BYTES = 1024 * 1024


class _LargeRow(msgspec.Struct):
    """The fields of EmbeddingIn that can grow to many Python objects, still undecoded."""

    vector: msgspec.Raw = msgspec.Raw(b"")
    metadata: msgspec.Raw = msgspec.Raw(b"")


class _RawRow(EmbeddingIn, forbid_unknown_fields=True):
    """EmbeddingIn with what may be large in it still undecoded."""

    vector: msgspec.Raw
    metadata: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


class Uploaded(msgspec.Struct, frozen=True):
    """What became of a batch: its text_ids as sent, and how many were new, changed, and as stored already."""

    ids: list[str]
    inserted: int
    updated: int
    unchanged: int


class TooMuch(Invalid):
    """The metadata of rows `first` to `last` are too much for the project's schema."""

    def __init__(self, reason: str, first: int, last: int) -> None:
        where = f"body.embeddings[{first}]" + (f" to [{last}]" if last > first else "")
        super().__init__(f"Nothing was stored: {reason}.", [Problem(reason, where)])
        self.reason, self.first, self.last = reason, first, last


async def checked(schemas: Schemas, project: ProjectAccess, body: bytes, wire: Wire) -> Batch:
    """The batch (EmbeddingsIn) in a body, with the problems that it has in itself and against the project's schema."""
    batch = await _cut(project, body) if wire is decoding.JSON else None
    if batch is None:
        sent = await parse.split(body, wire)
        batch = Batch(project, sent.encoding, wire)
        await decode_rows(batch, sent.embeddings)
    for row, fault in (await metadata_faults(schemas, batch)).items():
        batch.add_fault(row, fault)
    return batch


async def check_schema(schemas: Schemas, project: ProjectAccess) -> None:
    """Raises Conflict for a schema that is none: the original system took any text."""
    await metadata_faults(schemas, Batch(project))


async def metadata_faults(schemas: Schemas, batch: Batch, *, patient: bool = False) -> dict[int, Fault]:
    """By its row, what in metadata breaks the project's schema. Absent metadata count as `{}`.

    Of a row that keeps its metadata only PostgreSQL knows whether there are some: `store_batch` asks. Raises TooMuch,
    Conflict when the schema is none, Busy (never when `patient`) and Unavailable.
    """
    project, rows = batch.project, [row for row, sent in enumerate(batch.metadata) if sent is not None]
    if not project.metadata_scheme:
        return {}
    documents = [EMPTY, *(batch.metadata[row] or EMPTY for row in rows)]
    try:
        found = await schemas.faults(project.owner, project.metadata_scheme, documents, patient=patient)
    except BadSchema as error:
        raise Conflict(f"The project's metadata schema is not usable: {error}. Replace it first.") from None
    except TooCostly as error:
        first, last = ([0, *rows][place] for place in (error.first, error.last))
        raise TooMuch(str(error), first, last) from None
    batch.absent_fault = found[0]
    absent = dict.fromkeys(batch.cleared, found[0])
    return {row: fault for row, fault in (absent | dict(zip(rows, found[1:], strict=True))).items() if fault}


async def _cut(project: ProjectAccess, body: bytes) -> Batch | None:
    """The batch, when its rows are where they seem to be and all is well with them."""
    sent = await parse.cut(body)
    if sent is None:
        return None
    batch = Batch(project, sent.encoding, decoding.JSON)
    with contextlib.suppress(ApiError):
        await decode_rows(batch, sent.embeddings)
        batch.check()
        return batch
    return None


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
    """Decodes and checks rows, and lets other requests have their turn between some and some.

    Raises BadRequest for a row that cannot be read at all; the others' problems are in the batch then.
    """
    start = 0
    while start < len(rows):
        start += await _decode_rows(batch, start, rows[start : start + ROWS_AT_ONCE])
        await asyncio.sleep(0)


async def _decode_rows(batch: Batch, start: int, rows: Sequence[msgspec.Raw]) -> int:
    """Decodes rows until enough time has passed, and returns how many it were."""
    fitting: list[int] = []
    sent_vectors: list[list[float] | bytes] = []
    decoder = _decoders[batch.wire.name]
    begin = time.perf_counter()
    row = start
    for row, raw in enumerate(rows, start):
        if time.perf_counter() - begin > turns.SECONDS:
            row -= 1
            break
        if field := _too_large(raw, batch.wire):
            batch.add_too_large(row, field)
            continue
        try:
            is_large = len(memoryview(raw)) > number_arrays.QUICK_BYTES
            sent = await _decode_large_row(raw, batch.wire) if is_large else decoder.decode(raw)
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
        sent["metadata"] = await _large_metadata(bytes(row.metadata), wire)
    return EmbeddingIn(**sent)


async def _large_metadata(sent: bytes, wire: Wire) -> Any:
    """Metadata, as JSON still where it is large."""
    is_json = wire is decoding.JSON
    is_object = sent.startswith(b"{") if is_json else sent[0] & 0xF0 == 0x80 or sent[0] in (0xDE, 0xDF)
    if len(sent) <= number_arrays.QUICK_BYTES or not is_object:
        return wire.module.decode(sent, type=dict[str, Any] | None)
    try:
        text = sent if is_json else await json_tokens.from_msgpack(sent, MAX_METADATA_DEPTH)
        fault = await json_tokens.fault(sent, MAX_METADATA_DEPTH) if is_json else None
    except json_tokens.NoJson as error:
        fault = str(error)
    if fault is not None:
        raise msgspec.ValidationError(f"{fault} - at `$.metadata`")
    return msgspec.Raw(text)


async def store_batch(pool: Pool, batch: Batch) -> Uploaded:
    """Stores a batch that was checked, in one transaction.

    Raises Invalid or BadRequest with every bad row, and then has stored nothing.
    """
    keeping = batch.keep_metadata if batch.absent_fault is not None else []
    if keeping and batch.has_problems:  # then all of them are told
        await _find_without_metadata(pool, batch, keeping)
    batch.check()
    if not batch.ids:
        return Uploaded([], 0, 0, 0)
    if not keeping and len(batch.ids) <= ROWS_A_STATEMENT:
        return await _store(pool, batch)
    async with transaction(pool) as tx:
        stored = await _store(tx, batch)
        # When all its rows are locked, also those that were as they are: what is found now stays true.
        if keeping:
            await _find_without_metadata(tx, batch, keeping)
            batch.check()
        return stored


async def _find_without_metadata(of: Db, batch: Batch, keeping: list[str]) -> None:
    """Rows that are to keep their metadata, and have none."""
    names = set(await embeddings.get_without_metadata(of, project_id=batch.project.project_id, text_ids=keeping))
    for row, text_id in enumerate(batch.ids):
        if text_id in names and batch.absent_fault is not None:
            batch.add_fault(row, batch.absent_fault)


async def _store(of: Db, batch: Batch) -> Uploaded:
    """Stores the rows, very many in several statements, each of which the event loop can prepare in little time."""
    # Sorted as PostgreSQL sorts them (by bytes, which for UTF-8 is by code points).
    order = sorted(range(len(batch.ids)), key=batch.ids.__getitem__)
    halves = np.concatenate(batch.halves)
    inserted = updated = 0
    for start in range(0, len(order), ROWS_A_STATEMENT):
        some = order[start : start + ROWS_A_STATEMENT]
        names = [batch.ids[row] for row in some]
        here = set(names)
        written = await embeddings.upsert_embeddings(
            of,
            project_id=batch.project.project_id,
            text_ids=names,
            vectors=vectors.to_binary(halves[some]),
            texts=[batch.texts[row] for row in some],
            metadata=[batch.metadata[row] for row in some],
            keep_text=[name for name in batch.keep_text if name in here],
            keep_metadata=[name for name in batch.keep_metadata if name in here],
        )
        inserted += sum(written)
        updated += len(written) - sum(written)
    return Uploaded(batch.ids, inserted, updated, len(batch.ids) - inserted - updated)
