"""JSON objects, one a line."""

from __future__ import annotations

from functools import cache
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecferry.compression import opened
from vecferry.rows import Rows
from vecferry.sinks.files import Sink

_BLOCK = 64  # rows whose vectors are Python numbers at a time


class JsonSink(Sink):
    """A `.jsonl` file, compressed as its name says."""

    _file: IO[bytes]

    def _open(self) -> None:
        self._file = opened(self._temporary, "wb", self.path.suffix)
        self._file.write(b"")  # Zstandard begins a frame, so that a file without rows is one that can be read

    def _write(self, rows: Rows) -> None:
        encoder = msgspec.json.Encoder()
        for begin in range(0, len(rows), _BLOCK):
            part = rows.part(begin, begin + _BLOCK)
            columns: dict[str, list[Any]] = {"text_id": part.ids, "vector": _decimals()[_bits(part.vectors)].tolist()}
            if part.texts is not None:
                columns["text"] = part.texts
            if part.metadata is not None:
                columns["metadata"] = part.metadata
            records = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            self._file.write(encoder.encode_lines(records))

    def _close(self, *, complete: bool) -> None:
        self._file.close()


@cache
def _decimals() -> NDArray[np.float64]:
    """For each float16, by its bits, the number with the fewest digits that is rounded to it."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    return np.array([float(str(half)) for half in halves])


def _bits(halves: NDArray[np.float16]) -> NDArray[np.uint16]:
    return np.ascontiguousarray(halves, np.float16).view(np.uint16)
