"""Rows into the bodies of uploads: MessagePack with vectors as raw float16."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from vecferry.rows import BadRow, Rows

MOST_ROWS = 2000  # of a body: the service names 100 bad rows of it at a time
HEAD = b"\x82" + msgspec.msgpack.encode("encoding") + msgspec.msgpack.encode("f2")
HEAD += msgspec.msgpack.encode("embeddings") + b"\xdd"  # an array, of which the length follows
COUNT = slice(len(HEAD), len(HEAD) + 4)
_encoder = msgspec.msgpack.Encoder()


class Body(msgspec.Struct, frozen=True):
    """A body, the rows that are in it, and the place of each in the source."""

    content: bytes
    rows: Rows
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)


class _Row(msgspec.Struct):
    text_id: str
    vector: memoryview
    text: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


class Bodies:
    """The rows of a source in bodies of the wanted size.

    An id comes once in a body: of two rows of the same id the later one is in a later body.
    """

    def __init__(self, source: Iterator[Rows], skip_bad: Callable[[BadRow], None]) -> None:
        self._source, self._skip_bad = source, skip_bad
        self._rows: Rows | None = None
        self._done = 0  # rows of it that have been taken

    def next(self, size: int) -> Body | None:
        """The next body, of at most `size` bytes unless a row alone has more; None at the end."""
        while True:
            while self._rows is None or self._done == len(self._rows):
                self._rows, self._done = next(self._source, None), 0
                if self._rows is None:
                    return None
            start = self._rows.start
            end = min(self._done + MOST_ROWS, len(self._rows))
            places = range(start + self._done, start + end)
            body, taken = encoded(self._rows.part(self._done, end), places, size, self._skip_bad)
            self._done += taken
            if body is not None:
                return body

    def close(self) -> None:
        """Ends the source before its end."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


def encoded(
    rows: Rows, places: Sequence[int], size: int, skip_bad: Callable[[BadRow], None]
) -> tuple[Body | None, int]:
    """A body of the first of these rows, and how many it took; those that cannot be encoded are skipped."""
    width = 2 * rows.vectors.shape[1]
    halves = np.ascontiguousarray(rows.vectors, dtype="<f2")
    numbers = halves.reshape(-1).view(np.uint8).data
    texts, metadata = rows.texts, rows.metadata
    content = bytearray(HEAD + bytes(4))
    good: list[int] = []
    seen: set[str] = set()
    place = 0
    for place, text_id in enumerate(rows.ids):
        end = len(content)
        if text_id in seen:
            break
        row = _Row(text_id, numbers[place * width : (place + 1) * width])
        if texts is not None:
            row.text = texts[place]
        if metadata is not None:
            row.metadata = metadata[place]
        try:
            _encoder.encode_into(row, content, -1)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            del content[end:]
            skip_bad(BadRow(places[place], text_id, f"cannot be sent: {error}"))
            continue
        if len(content) > size and good:
            del content[end:]
            break
        good.append(place)
        seen.add(text_id)
    else:
        place += 1
    if not good:
        return None, place
    content[COUNT] = len(good).to_bytes(4, "big")
    is_whole = len(good) == place
    part = rows.part(0, place) if is_whole else rows.take(good)
    return Body(bytes(content), part, [places[one] for one in good]), place
