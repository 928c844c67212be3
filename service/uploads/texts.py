"""The body of an upload of texts: cut into its rows, and these checked as embeddings are, but for the vectors."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

from service import decoding, number_arrays
from service.database.pool import Pool
from service.decoding import Wire
from service.errors import ApiError, ContentTooLarge, Invalid
from service.providers.embedder import Embedded
from service.providers.errors import BadTexts
from service.providers.spent import Spent
from service.queries import embeddings
from service.queries.projects import ProjectAccess
from service.turns import Turns
from service.uploads.batch import Batch, TextId
from service.uploads.json_metadata import large_metadata
from service.uploads.limits import MAX_TEXT_CHARACTERS, OBJECTS_A_TEXT

SentText = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=r"^[^\u0000]*$")]


class TextIn(msgspec.Struct, forbid_unknown_fields=True):
    """A text to be embedded and stored. `metadata`: left out keeps what is stored, null clears it."""

    text_id: TextId
    text: SentText
    metadata: dict[str, Any] | UnsetType | None = UNSET


class TextsIn(msgspec.Struct, forbid_unknown_fields=True):
    """A batch of texts, all or nothing."""

    texts: list[TextIn]


class _RawText(TextIn, forbid_unknown_fields=True):
    """TextIn with metadata that are still undecoded."""

    metadata: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


class _RawTexts(msgspec.Struct, forbid_unknown_fields=True):
    """TextsIn with its rows still undecoded."""

    texts: list[msgspec.Raw]


class _Counted(msgspec.Struct):
    """TextsIn as far as its rows can be counted."""

    texts: msgspec.Raw = msgspec.Raw(b"")


class Usage(msgspec.Struct):
    """What embedding cost: texts that were embedded, their tokens, calls of the model. `unchanged` were so already.

    `estimated_tokens` are those of the tokens that the provider did not count.
    """

    texts: int
    tokens: int
    requests: int
    unchanged: int = 0
    estimated_tokens: int | UnsetType = UNSET

    def add(self, other: "Usage") -> None:
        """Adds what else was spent."""
        self.texts += other.texts
        self.tokens += other.tokens
        self.requests += other.requests
        self.unchanged += other.unchanged
        if other.estimated_tokens is not UNSET:
            self.estimated_tokens = other.estimated_tokens + (self.estimated_tokens or 0)


class TextBatch(Batch):
    """The rows of a batch of texts; vectors come later."""

    row_type = TextIn
    rows_name = "texts"


Embed: TypeAlias = Callable[[ProjectAccess, list[str]], Awaitable[Embedded]]


def usage_of(spent: Spent, unchanged: int = 0) -> Usage:
    """What embedding texts cost, as it is told."""
    return Usage(spent.texts, spent.tokens, spent.requests, unchanged, spent.estimated_tokens or UNSET)


async def add_vectors(pool: Pool, batch: TextBatch, rows: list[int], embed: Embed) -> Usage:
    """Gives rows their vectors: those that are stored with the same text, or new ones.

    Texts that cannot be embedded become problems of the batch. Raises what `embed` raises otherwise.
    """
    project, sent = batch.project, [text or "" for text in batch.texts]
    # The vectors are found by id: rows of a stream may repeat one, with another text.
    times = Counter(batch.ids[row] for row in rows)
    once = [row for row in rows if times[batch.ids[row]] == 1]
    stored = await embeddings.get_embedded_texts(
        pool,
        project_id=project.project_id,
        text_ids=[batch.ids[row] for row in once],
        texts=[sent[row] for row in once],
    )
    known = {row.text_id: row.vector.to_numpy() for row in stored}
    new = [row for row in rows if batch.ids[row] not in known]
    try:
        made = await embed(project, [sent[row] for row in new])
        vectors, spent = made.vectors, made.spent
    except BadTexts as error:
        for place, reason in error.reasons.items():
            batch.add_text_problem(new[place], reason)
        vectors, spent = error.vectors, error.spent
    halves: NDArray[np.float16] = np.zeros((len(sent), project.dimensions), np.float16)
    for row in rows:
        if batch.ids[row] in known:
            halves[row] = known[batch.ids[row]]
    if new:
        halves[new] = vectors
    batch.set_vectors(halves)
    return usage_of(spent, len(rows) - len(new))


async def checked(project: ProjectAccess, body: bytes, most: int, wire: Wire) -> TextBatch:
    """The rows of a body, and what is wrong with them in themselves. Raises ContentTooLarge for too many."""
    too_many = ContentTooLarge(f"A batch may have at most {most:,} texts: send several.")
    try:
        # Before lists of them are made.
        if wire is decoding.JSON and body.count(b"{") > OBJECTS_A_TEXT * most:
            raise too_many
        if wire is decoding.MESSAGE_PACK:
            counted = msgspec.msgpack.decode(body, type=_Counted)
            if (number_arrays.count_msgpack(memoryview(counted.texts)) or 0) > most:
                raise too_many
        rows = wire.module.decode(body, type=_RawTexts).texts
    except msgspec.ValidationError as error:
        raise Invalid(problems=decoding.problems(body, TextsIn, "body", error, wire)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise decoding.unreadable(error, wire) from None
    if len(rows) > most:
        raise too_many
    batch = TextBatch(project, wire=wire)
    await add_rows(batch, rows)
    return batch


async def add_rows(batch: TextBatch, rows: list[msgspec.Raw]) -> None:
    """Adds rows that are still undecoded, with what is wrong with each."""
    decoder = msgspec.json.Decoder(_RawText) if batch.wire is decoding.JSON else msgspec.msgpack.Decoder(_RawText)
    turns = Turns()
    for row, raw in enumerate(rows):
        try:
            sent = decoder.decode(raw)
            metadata = UNSET if sent.metadata is UNSET else await large_metadata(bytes(sent.metadata), batch.wire)
            batch.add_fields(row, sent.text_id, sent.text, metadata)
        except msgspec.ValidationError as error:
            batch.add_undecodable(row, raw, error)
        except ApiError as error:
            batch.add_malformed(row, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            batch.add_malformed(row, decoding.unreadable(error, batch.wire))
        await turns.give()
