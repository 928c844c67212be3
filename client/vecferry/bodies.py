"""Rows into the bodies of uploads: MessagePack with vectors as raw float16."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from vecferry.rows import BadRow, Rows, check_dimensions

MOST_ROWS = 1000  # of a body: the service names 100 bad rows of it at a time
# {"encoding": "f2", "embeddings": [...]}, up to the length of the array.
HEAD = b"\x82" + b"".join(msgspec.msgpack.encode(text) for text in ("encoding", "f2", "embeddings")) + b"\xdd"
START = len(HEAD) + 4
_encoder = msgspec.msgpack.Encoder()


class Body(msgspec.Struct, frozen=True):
    """A body, and of each row in it the id, the place in the source, and where it ends."""

    content: bytes
    ids: list[str]
    places: list[int]
    ends: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Body:
        """A body of some of these rows."""
        content, ends = bytearray(START), []
        for row in rows:
            content += self.content[self.ends[row - 1] if row else START : self.ends[row]]
            ends.append(len(content))
        return _body(content, [self.ids[row] for row in rows], [self.places[row] for row in rows], ends)

    def parts(self, size: int) -> list[Body]:
        """The same rows in bodies of at most `size` bytes, unless a row alone has more."""
        groups: list[list[int]] = []
        begin = 0
        for row, end in enumerate(self.ends):
            if not groups or START + end - begin > size:
                groups.append([])
                begin = self.ends[row - 1] if row else START
            groups[-1].append(row)
        return [self.take(group) for group in groups]


class _Row(msgspec.Struct):
    text_id: str
    vector: memoryview
    text: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


class Bodies:
    """The rows of a source in bodies of the wanted size.

    An id comes once in a body: of two rows of the same id the later one is in a later body. Vectors of another number
    of dimensions raise OtherDimensions.
    """

    def __init__(self, source: Iterator[Rows], dimensions: int, skip_bad: Callable[[BadRow], None]) -> None:
        self._source, self._dimensions = source, dimensions
        self._rows = self._encoded(skip_bad)
        self._following: tuple[bytes, str, int] | None = None  # a row that belongs to the next body

    def next(self, size: int) -> Body | None:
        """The next body, of at most `size` bytes unless a row alone has more; None at the end."""
        content, places, ends = bytearray(START), [], []
        ids: dict[str, None] = {}
        while (row := self._following or next(self._rows, None)) is not None:
            encoded, text_id, place = self._following = row
            if ids and (len(content) + len(encoded) > size or text_id in ids or len(ids) == MOST_ROWS):
                break
            self._following = None
            content += encoded
            ids[text_id] = None
            places.append(place)
            ends.append(len(content))
        return _body(content, list(ids), places, ends) if ids else None

    def close(self) -> None:
        """Ends the source before its end."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def _encoded(self, skip_bad: Callable[[BadRow], None]) -> Iterator[tuple[bytes, str, int]]:
        """Each row that can be encoded, with its id and its place."""
        for rows in self._source:
            check_dimensions(rows, self._dimensions)
            halves = np.ascontiguousarray(rows.vectors, dtype="<f2")
            numbers, width = halves.reshape(-1).view(np.uint8).data, 2 * halves.shape[1]
            texts, metadata = rows.texts, rows.metadata
            for row, text_id in enumerate(rows.ids):
                fields = _Row(text_id, numbers[row * width : (row + 1) * width])
                if texts is not None:
                    fields.text = texts[row]
                if metadata is not None:
                    fields.metadata = metadata[row]
                try:
                    encoded = _encoder.encode(fields)
                except (TypeError, ValueError, OverflowError, RecursionError) as error:
                    skip_bad(BadRow(rows.start + row, text_id, f"cannot be sent: {error}"))
                else:
                    yield encoded, text_id, rows.start + row


def _body(content: bytearray, ids: list[str], places: list[int], ends: list[int]) -> Body:
    content[:START] = HEAD + len(ids).to_bytes(4, "big")
    return Body(bytes(content), ids, places, ends)
