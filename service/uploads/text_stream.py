"""Streams of texts: chunks are embedded concurrently, and stored in order."""

from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from msgspec.structs import asdict

from service.uploads.batch import Batch
from service.uploads.limits import TEXT_CHUNKS_AT_ONCE
from service.uploads.stream import Line, Upload, ahead
from service.uploads.texts import Embed, TextBatch, Usage, add_vectors_in_groups


class TextLine(Line, omit_defaults=True, kw_only=True):
    """A line of the answer, with the total cost of embedding, including texts that were not stored."""

    usage: Usage


class TextUpload(Upload):
    """A stream of texts into a project; `embed` makes their vectors."""

    batch_type = TextBatch
    embed: Embed
    _line: TextLine

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._line = TextLine(**asdict(self._line), usage=Usage(0, 0, 0, 0))
        # The ids of chunks that were perhaps not yet stored when a later one looked for its stored texts.
        self._recent: deque[set[str]] = deque(maxlen=TEXT_CHUNKS_AT_ONCE)

    def _batches(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[Batch, None]:
        """Embeds chunks concurrently."""
        return ahead(self.chunks.of(body), self._prepared, TEXT_CHUNKS_AT_ONCE)

    async def _prepared(self, records: list[bytes]) -> Batch:
        batch = await super()._prepared(records)
        assert isinstance(batch, TextBatch)  # noqa: S101 (as decoded above)
        batch.usage = self._line.usage
        await add_vectors_in_groups(self._pool, batch, self._good(batch), self.embed)
        return batch

    async def _store(self, batch: Batch) -> None:
        """Stores the good records of a chunk, and reports bad ones. Raises the error of the embedding, if any."""
        assert isinstance(batch, TextBatch)  # noqa: S101 (as in all of this stream)
        again = [row for row in batch.same if any(batch.ids[row] in ids for ids in self._recent)]
        if again:
            batch.same.difference_update(again)
            batch.usage.unchanged -= len(again)
            await add_vectors_in_groups(self._pool, batch, again, self.embed)
        await batch.check_model(self._pool)
        await super()._store(batch)
        self._recent.append(set(batch.ids))
        if batch.fault is not None:
            raise batch.fault
