"""Arrays in NumPy's file format, read in pieces by plain reads: mapped pages would count as memory of the process."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecferry.rows import SourceError
from vecferry.sources.checks import CHUNK_BYTES

DAMAGED = (EOFError, OSError, zipfile.BadZipFile, zlib.error)


class NpyFile:
    """One array of a `.npy` file, or of a member of a `.npz` file.

    `opened` opens it anew, at its beginning; `size` is its length in bytes; `name` is what messages call it.
    """

    def __init__(self, name: str, opened: Callable[[], IO[bytes]], size: int) -> None:
        self.name = name
        self._opened = opened
        with opened() as file:
            try:
                # Version 3.0 differs from 2.0 only in the names of fields, which neither vectors nor texts have.
                first = np.lib.format.read_magic(file) == (1, 0)
                read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
                self.shape, by_columns, self.dtype = read_header(file)
            except (ValueError, *DAMAGED) as error:
                raise SourceError(f"{name} is not an array as numpy.save writes it: {error}") from None
            self._begin = file.tell()
        if self.dtype.hasobject:
            raise SourceError(
                f"{name} holds Python objects, which may run code when they are read; save it with a type such as "
                "float32 for vectors, or with array.astype(str) for texts"
            )
        expected = self._begin + self.dtype.itemsize * int(np.prod(self.shape, dtype=object))
        if size < expected:
            raise SourceError(
                f"{name} is truncated: an array {self.shape} of {self.dtype} needs {expected:,} bytes, it has {size:,}"
            )
        self.by_columns = by_columns and len(self.shape) > 1
        """Whether the values of a column, not of a row, stand together (Fortran order)."""

    def reader(self) -> Generator[Any, int, None]:
        """A generator of pieces `(n, …)` from the beginning: `send(n)` gives the next `n` rows, less at the end.

        As with any generator, the first `next` only starts it.
        """
        with self.bytes_read() as file:
            place, count = 0, (yield)
            while True:
                count = min(count, self.shape[0] - place)
                if self.by_columns:
                    piece = self._rows_of_columns(file, place, count)
                else:
                    piece = self._read(file, (count, *self.shape[1:]))
                place += count
                count = yield piece

    def values(self) -> Iterator[Any]:
        """All values of an array `(n,)`, one by one, as Python has them."""
        reader = self.reader()
        next(reader)
        most = max(1, CHUNK_BYTES // max(1, self.dtype.itemsize))
        while len(piece := reader.send(most)):
            yield from piece.tolist()

    def bytes_read(self) -> IO[bytes]:
        """The file, at the first byte of the array."""
        file = self._opened()
        file.read(self._begin)
        return file

    def _rows_of_columns(self, file: IO[bytes], place: int, count: int) -> NDArray[Any]:
        rows = np.empty((count, *self.shape[1:]), self.dtype)
        for column in range(self.shape[1]):
            file.seek(self._begin + (column * self.shape[0] + place) * self.dtype.itemsize)
            rows[:, column] = self._read(file, (count,))
        return rows

    def _read(self, file: IO[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
        size = self.dtype.itemsize * int(np.prod(shape))
        try:
            raw = file.read(size)
        except DAMAGED as error:
            raise SourceError(f"{self.name} is damaged: {error}") from None
        if len(raw) < size:
            raise SourceError(f"{self.name} became shorter while it was read")
        return np.frombuffer(raw, self.dtype).reshape(shape)


class Lines(msgspec.Struct, frozen=True):
    """JSON values, one a line, in an array of bytes."""

    file: NpyFile

    def values(self) -> Iterator[Any]:
        """All of them, one by one."""
        with self.file.bytes_read() as file:
            number = 0
            try:
                for line in file:
                    number += 1
                    yield msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                raise SourceError(f"line {number} of the JSON in {self.file.name} is not JSON: {error}") from None
            except DAMAGED as error:
                raise SourceError(f"{self.file.name} is damaged: {error}") from None
