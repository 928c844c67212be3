"""Checks batches, and stores them.

A batch is all or nothing: a single bad row prevents its storage, and all bad rows are reported.
"""

import contextlib

import msgspec
from msgspec import UNSET

from service import decoding
from service.database.pool import Pool, transaction
from service.database.statements import Db
from service.decoding import Wire
from service.errors import ApiError, Conflict, Invalid, Problem
from service.metadata.schemas import EMPTY, BadSchema, Fault, Schemas, TooCostly
from service.queries import embeddings
from service.queries.projects import ProjectAccess
from service.uploads import parse
from service.uploads.batch import Batch, EmbeddingsIn
from service.uploads.limits import MAX_ROWS, OBJECTS_AN_EMBEDDING, ROWS_A_STATEMENT
from service.uploads.parse import RawBatch


class Uploaded(msgspec.Struct, frozen=True):
    """The result of a batch: its text_ids as sent, and the numbers of new, changed and unchanged rows."""

    ids: list[str]
    inserted: int
    updated: int
    unchanged: int


class TooMuch(Invalid):
    """The schema check of the metadata of rows `first` to `last` exceeds a limit."""

    def __init__(self, reason: str, first: int, last: int) -> None:
        where = f"body.embeddings[{first}]" + (f" to [{last}]" if last > first else "")
        super().__init__(f"Nothing was stored: {reason}.", [Problem(reason, where)])
        self.reason, self.first, self.last = reason, first, last


async def checked(schemas: Schemas, project: ProjectAccess, body: bytes, wire: Wire) -> Batch:
    """The batch (EmbeddingsIn) in a body, with its problems, also those with the project's schema."""
    batch = await _decoded_if_well_formed(project, body) if wire is decoding.JSON else None
    if batch is None:
        sent = await parse.split(body, wire, RawBatch, EmbeddingsIn, MAX_ROWS, OBJECTS_AN_EMBEDDING)
        batch = Batch(project, sent.encoding, wire)
        await batch.decode(sent.embeddings)
    await check_metadata(schemas, batch)
    return batch


async def check_metadata(schemas: Schemas, batch: Batch, *, patient: bool = False) -> None:
    """Adds to a batch the rows whose metadata violate the project's schema. Absent metadata count as `{}`.

    `store_batch` checks rows that keep their stored metadata. Raises TooMuch, Conflict for an unusable schema, Busy
    (unless `patient`) and Unavailable.
    """
    project = batch.project
    if not project.metadata_scheme:
        return
    sent = {row: one.metadata for row, one in batch.rows.items() if isinstance(one.metadata, msgspec.Raw)}
    documents = [EMPTY, *sent.values()]
    try:
        found = await schemas.faults(project.owner, project.metadata_scheme, documents, patient=patient)
    except BadSchema as error:
        raise Conflict(f"The project's metadata schema is not usable: {error}. Replace it first.") from None
    except TooCostly as error:
        first, last = ([0, *sent][place] for place in (error.first, error.last))
        raise TooMuch(str(error), first, last) from None
    batch.absent_fault = found[0]
    cleared = [(row, found[0]) for row, one in batch.rows.items() if one.metadata is None]
    for row, fault in [*cleared, *zip(sent, found[1:], strict=True)]:
        if fault is not None:
            batch.add_fault(row, fault)


async def _decoded_if_well_formed(project: ProjectAccess, body: bytes) -> Batch | None:
    """The batch of a body that `parse.cut` can split into valid rows; None for any other."""
    sent = await parse.cut(body)
    if sent is None:
        return None
    batch = Batch(project, sent.encoding, decoding.JSON)
    with contextlib.suppress(ApiError):
        await batch.decode(sent.embeddings)
        batch.check()
        return batch
    return None


async def store_batch(pool: Pool, batch: Batch) -> Uploaded:
    """Stores a checked batch in one transaction. Raises Invalid or BadRequest with all bad rows."""
    fault = batch.absent_fault if any(row.metadata is UNSET for row in batch.rows.values()) else None
    if fault is not None and batch.bad:  # to report all bad rows
        await _find_without_metadata(pool, batch, fault)
    batch.check()
    if not batch.ids:
        return Uploaded([], 0, 0, 0)
    if fault is None and len(batch.ids) <= ROWS_A_STATEMENT:
        return await _store(pool, batch)
    async with transaction(pool) as tx:
        stored = await _store(tx, batch)
        # After the upsert, which has locked all rows, even unchanged ones.
        if fault is not None:
            await _find_without_metadata(tx, batch, fault)
            batch.check()
        return stored


async def _find_without_metadata(of: Db, batch: Batch, fault: Fault) -> None:
    """Adds the fault to rows that should keep their metadata but have none."""
    kept = {one.text_id: row for row, one in batch.rows.items() if one.metadata is UNSET}
    for text_id in await embeddings.get_without_metadata(of, project_id=batch.project.project_id, text_ids=list(kept)):
        batch.add_fault(kept[text_id], fault)


async def _store(of: Db, batch: Batch) -> Uploaded:
    """Stores the rows in statements that are small enough to be prepared on the event loop."""
    # In PostgreSQL's order (by bytes, which for UTF-8 is by code points).
    order = sorted(batch.rows.values(), key=lambda row: row.text_id)
    inserted = updated = 0
    for start in range(0, len(order), ROWS_A_STATEMENT):
        some = order[start : start + ROWS_A_STATEMENT]
        written = await embeddings.upsert_embeddings(
            of,
            project_id=batch.project.project_id,
            text_ids=[row.text_id for row in some],
            vectors=[row.vector for row in some],
            texts=[None if row.text is UNSET else row.text for row in some],
            metadata=[None if row.metadata is UNSET else row.metadata for row in some],
            keep_text=[row.text_id for row in some if row.text is UNSET],
            keep_metadata=[row.text_id for row in some if row.metadata is UNSET],
        )
        inserted += written.inserted
        updated += written.updated
    return Uploaded(batch.ids, inserted, updated, len(batch.ids) - inserted - updated)
