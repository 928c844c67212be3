"""Bodies of uploads of texts: split into rows, which are checked and embedded."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from service.database.pool import Pool
from service.decoding import Wire
from service.errors import Conflict
from service.grouping import grouped
from service.providers.embedder import Embedded
from service.providers.ledger import OverBudget, OverWholeBudget, Spent
from service.queries import embeddings, llm_instances
from service.queries.projects import ProjectAccess
from service.uploads.batch import Batch, TextId
from service.uploads.json_metadata import large_metadata
from service.uploads.limits import GROUP_CHARACTERS, GROUP_TEXTS, MAX_TEXT_CHARACTERS, OBJECTS_A_TEXT
from service.uploads.parse import split

SentText = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=r"^[^\u0000]*$")]


class TextIn(msgspec.Struct, forbid_unknown_fields=True):
    """A text to embed and store. `metadata`: if omitted, the stored value stays; null removes it."""

    text_id: TextId
    text: SentText
    metadata: dict[str, Any] | UnsetType | None = UNSET


class TextsIn(msgspec.Struct, forbid_unknown_fields=True):
    """A batch of texts, all or nothing."""

    texts: list[TextIn]


class _RawText(TextIn, forbid_unknown_fields=True):
    """TextIn with undecoded metadata. The batch checks texts for NUL, which is faster than a pattern."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
    metadata: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


class _RawTexts(msgspec.Struct, forbid_unknown_fields=True):
    """TextsIn with undecoded rows."""

    texts: list[msgspec.Raw]


class Usage(msgspec.Struct, omit_defaults=True):
    """The cost of embedding: texts, their tokens, and calls of the model; `unchanged` texts cost nothing.

    `estimated_tokens` is the part of the tokens that the provider did not count.
    """

    texts: int
    tokens: int
    requests: int
    unchanged: int
    estimated_tokens: int = 0

    def add(self, spent: Spent) -> None:
        """Adds a cost."""
        self.texts += spent.texts
        self.tokens += spent.tokens
        self.requests += spent.requests
        self.estimated_tokens += spent.estimated_tokens


class TextBatch(Batch):
    """The rows of a batch of texts; vectors are added later.

    `models` made the vectors, for a cost of `usage`. In a stream, the batch ends before the first row that could not be
    embedded, with the `fault`.
    """

    row_type = TextIn
    decoded_type = _RawText
    rows_name = "texts"
    fault: Exception | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.models: set[str] = set()
        self.usage = Usage(0, 0, 0, 0)

    async def _decoded(self, raw: msgspec.Raw, decoder: Any) -> Any:
        sent = decoder.decode(raw)
        if sent.metadata is not UNSET:
            sent.metadata = await large_metadata(bytes(sent.metadata), self.wire)
        return sent

    def _add(self, row: int, sent: Any) -> None:
        self._add_fields(row, sent.text_id, sent.text, sent.metadata)

    async def check_model(self, pool: Pool) -> None:
        """Call before storing. Raises Conflict if another model than the project's made the vectors.

        Calls of a model take long. When it is replaced, its vectors are deleted, and must not be stored afterwards.
        """
        now = await llm_instances.get_llm_instances_by_project(pool, project_id=self.project.project_id)
        was = (self.project.instance_owner, self.project.instance_handle)
        if now is not None and ((now.owner, now.instance_handle) != was or self.models - {now.model or ""}):
            raise Conflict("The project's instance, or its model, has just changed: try again.")


Embed: TypeAlias = Callable[[ProjectAccess, list[str]], Awaitable[Embedded]]


async def add_vectors(pool: Pool, batch: TextBatch, rows: list[int], embed: Embed) -> None:
    """Adds the vectors of rows: those stored with the same text, or new ones.

    Texts that cannot be embedded become problems of the batch. Raises other errors of `embed`.
    """
    new = await _known(pool, batch, rows)
    if new:
        _fill(batch, new, (await _embedded(batch, [new], embed))[0])


async def add_vectors_in_groups(pool: Pool, batch: TextBatch, rows: list[int], embed: Embed) -> None:
    """Like `add_vectors`, in concurrent groups. If one fails, the batch ends before it, with the error.

    If a budget is too small for a group, it is used for the first of its texts.
    """
    new = await _known(pool, batch, rows)
    groups = list(grouped(new, lambda row: len(batch.rows[row].text or ""), GROUP_CHARACTERS, GROUP_TEXTS))
    for group, made in zip(groups, await _embedded(batch, groups, embed), strict=True):
        await _fill_group(batch, group, made, embed)


async def _fill_group(batch: TextBatch, rows: list[int], made: Embedded | BaseException, embed: Embed) -> None:
    """Adds the vectors and cost of a group; if it exceeds a budget, those of its halves, until one fails."""
    is_first_fault = rows[0] < batch.end
    if is_first_fault and len(rows) > 1 and isinstance(made, OverBudget | OverWholeBudget):
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            if half[0] < batch.end:
                await _fill_group(batch, half, (await _embedded(batch, [half], embed))[0], embed)
        return
    try:
        _fill(batch, rows, made)
    except OverWholeBudget as error:
        if is_first_fault:
            batch.add_problem(rows[0], ".text", error.problems[0].message)
    except Exception as error:
        if is_first_fault:
            batch.end, batch.fault = rows[0], error


async def _known(pool: Pool, batch: TextBatch, rows: list[int]) -> list[int]:
    """Adds the vectors that are stored with the same text, and returns the other rows."""
    # Without repeated ids, which a stream may have with different texts.
    times = Counter(batch.ids[row] for row in rows)
    once = {row: batch.rows[row] for row in rows if times[batch.ids[row]] == 1}
    stored = await embeddings.get_embedded_texts(
        pool,
        project_id=batch.project.project_id,
        text_ids=[one.text_id for one in once.values()],
        texts=[one.text or "" for one in once.values()],
        metadata=[None if one.metadata is UNSET else one.metadata for one in once.values()],
        keep_metadata=[one.metadata is UNSET for one in once.values()],
        # If the schema requires metadata, storing the rows checks for them.
        with_all_vectors=batch.absent_fault is not None,
    )
    row_of, known = {one.text_id: row for row, one in once.items()}, {one.text_id for one in stored}
    for one in stored:
        if one.vector is None:
            batch.same.add(row_of[one.text_id])
        else:
            batch.rows[row_of[one.text_id]].vector = one.vector.to_binary()
    new = [row for row in rows if batch.ids[row] not in known]
    batch.usage.unchanged += len(rows) - len(new)
    return new


async def _embedded(batch: TextBatch, groups: list[list[int]], embed: Embed) -> list[Embedded | BaseException]:
    """Embeds each group; returns the results or errors."""
    texts = [[batch.rows[row].text or "" for row in group] for group in groups]
    return await asyncio.gather(*(embed(batch.project, some) for some in texts), return_exceptions=True)


def _fill(batch: TextBatch, rows: list[int], made: Embedded | BaseException) -> None:
    """Adds the vectors of rows and their cost. Raises the error instead, if there is one."""
    if isinstance(made, BaseException):
        raise made
    for place, reason in made.bad.items():
        batch.add_problem(rows[place], ".text", reason)
    if made.vectors.shape[1] != batch.project.dimensions:  # since the request was authorized
        raise Conflict("The dimensions of the project's instance have just changed: try again.")
    batch.set_vectors(rows, made.vectors.astype(np.float16))
    batch.models.add(made.model)
    batch.usage.add(made.spent)


async def checked(project: ProjectAccess, body: bytes, most: int, wire: Wire) -> TextBatch:
    """The rows of a body with their problems. Raises ContentTooLarge for too many."""
    sent = await split(body, wire, _RawTexts, TextsIn, most, OBJECTS_A_TEXT)
    batch = TextBatch(project, wire=wire)
    await batch.decode(sent.texts)
    return batch
