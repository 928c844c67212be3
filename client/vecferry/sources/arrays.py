"""Sources whose columns stand beside each other: arrays in memory, `.npy` and `.npz` files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vecferry.rows import BadRow, Loss, Rows, SourceError
from vecferry.sources.checks import CHUNK_BYTES, Checks, is_missing, metadata_column, text_fault
from vecferry.sources.npy import Lines, NpyFile


class Column(msgspec.Struct, frozen=True):
    """The values of a column in the order of the vectors: how to begin with them, and how many there are, if known."""

    name: str
    values: Callable[[], Iterator[Any]]
    total: int | None


class Vectors(msgspec.Struct, frozen=True):
    """Vectors `(n, dimensions)`: `reader` begins a generator that gives the next `n` rows at `send(n)`."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    reader: Callable[[], Generator[Any, int, None]]


class ArraySource:
    """Vectors, and beside them ids, texts and metadata in the same order."""

    can_be_read_again = True

    def __init__(self, vectors: Vectors, ids: Column, texts: Column | None, metadata: Column | None) -> None:
        if len(vectors.shape) != 2 or vectors.dtype.kind not in "fiu":
            raise SourceError(
                f"{vectors.name} must be numbers (n, dimensions), as float16, float32 or float64; "
                f"it is an array {vectors.shape} of {vectors.dtype}"
            )
        self.total: int | None = vectors.shape[0]
        self.loss = Loss()
        self._vectors, self._ids, self._texts, self._metadata = vectors, ids, texts, metadata
        for column in (ids, texts, metadata):
            if column is not None and column.total not in {None, self.total}:
                raise self._uneven(column, f"has {column.total:,}")

    def chunks(self, skip_bad: Callable[[BadRow], None]) -> Iterator[Rows]:
        """All rows from the beginning."""
        self.loss = Loss()
        checks = Checks(skip_bad, self.loss)
        columns = [c for c in (self._ids, self._texts, self._metadata) if c is not None]
        values = [column.values() for column in columns]
        vectors = self._vectors.reader()
        next(vectors)
        start, total = 0, self.total or 0
        while start < total:
            count, gathered = self._gather(values, total - start)
            for column, found in zip(columns, gathered, strict=True):
                if len(found) < count:
                    raise self._uneven(column, f"ends after {start + len(found):,}")
            piece = vectors.send(count)
            yield from self._rows(checks, start, piece, gathered)
            start += count
        for column, rest in zip(columns, values, strict=True):
            if next(rest, None) is not None:
                raise self._uneven(column, "has more")

    def _gather(self, values: list[Iterator[Any]], most: int) -> tuple[int, list[list[Any]]]:
        """The next values of each column, as many as are a chunk together with their vectors."""
        bytes_a_row = self._vectors.shape[1] * self._vectors.dtype.itemsize
        most = min(most, max(1, CHUNK_BYTES // max(1, bytes_a_row)))
        if len(values) == 1:
            return most, [list(islice(values[0], most))]
        size, count = 0, 0
        gathered: list[list[Any]] = [[] for _ in values]
        while count < most and size < CHUNK_BYTES:
            count, size = count + 1, size + bytes_a_row
            for column, rest in zip(gathered, values, strict=True):
                for value in islice(rest, 1):
                    column.append(value)
                    size += len(value) if isinstance(value, (str, bytes)) else 0
        return count, gathered

    def _rows(self, checks: Checks, start: int, vectors: Any, gathered: list[list[Any]]) -> Iterator[Rows]:
        columns = iter(gathered)
        ids = next(columns)
        texts = None if self._texts is None else next(columns)
        metadata = None if self._metadata is None else next(columns)
        if vectors.dtype.kind != "f":
            vectors = vectors.astype(np.float64)
        fault = checks.length_fault(vectors.shape[1])
        faults = dict.fromkeys(range(len(ids)), fault) if fault else {}
        for row, text_id in enumerate(ids):
            if reason := text_fault("text_id", text_id):
                faults.setdefault(row, reason)
        for row, text in enumerate(texts or ()):
            if text is not None and (reason := text_fault("text", text)):
                faults.setdefault(row, reason)
        if metadata is not None:
            metadata = metadata_column(metadata, faults)
        yield from checks.rows(start, ids, vectors, texts, metadata, faults)

    def _uneven(self, column: Column, what: str) -> SourceError:
        return SourceError(
            f"{column.name} {what} values, but there are {self.total:,} vectors in {self._vectors.name}: "
            "there must be one for each, in their order"
        )


def array_source(vectors: Any, ids: Any, texts: Any, metadata: Any) -> ArraySource:
    """An array `(n, dimensions)` in memory; ids, texts and metadata as `column` takes them."""
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError) as error:
        raise SourceError(f"the vectors are not an array (n, dimensions): {error}") from None

    def reader() -> Generator[Any, int, None]:
        place, count = 0, (yield)
        while True:
            place += count
            count = yield array[place - count : place]

    found = Vectors("the array", array.shape, array.dtype, reader)
    return ArraySource(found, *columns(ids, texts, metadata))


def npy_source(path: Path, ids: Any, texts: Any, metadata: Any) -> ArraySource:
    """A `.npy` file of an array `(n, dimensions)`, beside it ids, texts and metadata as `column` takes them."""
    file = _npy(path)
    return ArraySource(Vectors(file.name, file.shape, file.dtype, file.reader), *columns(ids, texts, metadata))


def npz_source(path: Path) -> ArraySource:
    """A `.npz` file with the arrays `ids`, `vectors`, and optionally `texts` and `metadata`."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise SourceError(f"{path} is not a file as numpy.savez writes it, or is truncated: {error}") from None
    for name in ("ids", "vectors"):
        if name not in members:
            raise SourceError(f"{path} has no array {name!r}; it has {', '.join(sorted(members)) or 'none'}")

    def member(name: str) -> NpyFile:
        info = members[name]
        return NpyFile(f"the array {name!r} of {path}", partial(zipfile.ZipFile(path).open, info), info.file_size)

    vectors = member("vectors")
    if vectors.by_columns and members["vectors"].compress_type != zipfile.ZIP_STORED:
        raise SourceError(f"{vectors.name} is compressed by columns; save numpy.ascontiguousarray(vectors)")
    found = Vectors(vectors.name, vectors.shape, vectors.dtype, vectors.reader)
    texts, metadata = (_npy_column(member(name)) if name in members else None for name in ("texts", "metadata"))
    return ArraySource(found, _npy_column(member("ids")), texts, metadata)


def columns(ids: Any, texts: Any, metadata: Any) -> tuple[Column, Column | None, Column | None]:
    """The three columns beside an array."""
    if ids is None:
        raise SourceError("vectors alone have no ids: give them as ids= (--ids), a list or a .txt, .json or .npy")
    return (
        column("ids", ids),
        None if texts is None else column("texts", texts),
        None if metadata is None else column("metadata", metadata),
    )


def column(name: str, values: Any) -> Column:
    """A column of a sequence or array, or of a path: `.txt` one a line, `.json` a list, `.npy` an array of texts."""
    if not isinstance(values, (str, Path)):
        if isinstance(values, (bytes, dict, set)) or not hasattr(values, "__len__"):
            raise SourceError(f"{name} must be a list, or the path of a file; not of the type {type(values).__name__}")
        listed: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
        return Column(name, partial(_present, listed), len(listed))
    path = Path(values)
    if path.suffix == ".npy":
        return _npy_column(_npy(path))
    if path.suffix == ".txt":
        return Column(str(path), partial(_lines, path), sum(1 for _ in _lines(path)))
    if path.suffix == ".json":
        try:
            listed = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=list[Any])
        except (OSError, msgspec.DecodeError, UnicodeError) as error:
            raise SourceError(f"{path} is not a JSON list: {error}") from None
        return Column(str(path), partial(iter, listed), len(listed))
    raise SourceError(f"{name} cannot be read from {path}: it must be a file of .txt, .json or .npy")


def _npy(path: Path) -> NpyFile:
    try:
        return NpyFile(str(path), lambda: path.open("rb"), path.stat().st_size)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None


def _npy_column(file: NpyFile) -> Column:
    if file.dtype == np.uint8 and len(file.shape) == 1:
        return Column(file.name, Lines(file).values, None)
    if file.dtype.kind != "U" or len(file.shape) != 1:
        raise SourceError(
            f"{file.name} must be texts (n,), as array.astype(str) makes them; "
            f"it is an array {file.shape} of {file.dtype}"
        )
    return Column(file.name, file.values, file.shape[0])


def _present(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        yield None if is_missing(value) else value


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                yield line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8: {error.reason} at byte {error.start} of a part of it") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
