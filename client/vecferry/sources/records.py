"""Sources of one record after the other: iterables of Python objects, and JSON lines."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from vecferry.compression import damages, opened
from vecferry.rows import BadRow, Loss, Rows, SourceError
from vecferry.sources.checks import CHUNK_BYTES, Checks, kind_of, metadata_of, text_fault
from vecferry.sources.columns import Columns

MAX_LINE_BYTES = 64 * 1024 * 1024
_FIELDS = ("text_id", "vector", "text", "metadata")
_Record = Mapping[str, Any]


class Unreadable(msgspec.Struct, frozen=True):
    """A record of which nothing can be used, except perhaps its text_id."""

    reason: str
    text_id: str | None = None


class RecordSource:
    """Records, each with an id and a vector; `read` begins with them."""

    total: int | None = None

    def __init__(self, read: Callable[[], Iterator[_Record | Unreadable]], columns: Columns, *, again: bool) -> None:
        self.can_be_read_again = again
        self.loss = Loss()
        self._read = read
        self._columns = columns
        self._begun = False

    def chunks(self, skip_bad: Callable[[BadRow], None]) -> Iterator[Rows]:
        """All rows from the beginning; SourceError where the source was an iterator, and has been read."""
        if self._begun and not self.can_be_read_again:
            raise SourceError("an iterator can be read only once; give a list, an array or a file instead")
        self._begun = True
        self.loss = Loss()
        checks = Checks(skip_bad, self.loss)
        start, chunk = 0, _Chunk(checks, self._columns)
        for record in self._read():
            chunk.add(record)
            if chunk.size >= CHUNK_BYTES:
                yield from chunk.rows(start)
                start, chunk = start + len(chunk.ids), _Chunk(checks, self._columns)
        yield from chunk.rows(start)


class _Chunk:
    """Records that are read together."""

    def __init__(self, checks: Checks, columns: Columns) -> None:
        self.size = 0
        self.ids: list[Any] = []
        self._vectors: list[NDArray[Any] | None] = []
        self._texts: list[Any] = []
        self._metadata: list[Any] = []
        self._faults: dict[int, str] = {}
        self._checks, self._columns = checks, columns

    def add(self, record: _Record | Unreadable) -> None:
        row = len(self.ids)
        self.ids.append(None)
        self._vectors.append(None)
        self._texts.append(UNSET)
        self._metadata.append(UNSET)
        self.size += 100
        try:
            if isinstance(record, Unreadable):
                self.ids[row] = record.text_id
                raise ValueError(record.reason)
            self._take(row, record)
        except ValueError as error:
            self._faults[row] = str(error)

    def _take(self, row: int, record: _Record) -> None:
        text_id = _first(record, self._columns.text_ids)
        if text_id is UNSET:
            raise ValueError(f"it has no {' or '.join(self._columns.text_ids)}")
        if reason := text_fault("text_id", text_id):
            raise ValueError(reason)
        self.ids[row] = text_id
        sent = _first(record, self._columns.vectors)
        if sent is UNSET:
            raise ValueError(f"it has no {' or '.join(self._columns.vectors)}")
        vector = _vector(sent)
        if reason := self._checks.length_fault(len(vector)):
            raise ValueError(reason)
        text = record.get(self._columns.text or "text", UNSET)
        if _is_there(text):
            if reason := text_fault("text", text):
                raise ValueError(reason)
            self.size += len(text)
        metadata, size = self._metadata_of(record)
        self._vectors[row], self._texts[row], self._metadata[row] = vector, text, metadata
        self.size += vector.nbytes + size

    def _metadata_of(self, record: _Record) -> tuple[Any, int]:
        if (gathered := self._columns.gathered) is not None:
            found: Any = {name: record[name] for name in gathered if _is_there(record.get(name))}
        else:
            found = record.get(str(self._columns.metadata or "metadata"), UNSET)
        if not _is_there(found):
            return found, 0
        metadata = metadata_of(found)
        return metadata, len(msgspec.json.encode(metadata))

    def rows(self, start: int) -> Iterator[Rows]:
        if not self.ids:
            return
        dimensions = self._checks.dimensions or 0
        nothing = np.zeros(dimensions, np.float16)
        vectors = np.stack([nothing if vector is None else vector for vector in self._vectors])
        if vectors.dtype.kind != "f":
            vectors = vectors.astype(np.float64)
        yield from self._checks.rows(start, self.ids, vectors, self._texts, self._metadata, self._faults)


def _is_there(value: Any) -> bool:
    return value is not None and value is not UNSET


def _first(record: _Record, names: Iterable[str]) -> Any:
    return next((record[name] for name in names if record.get(name, UNSET) is not UNSET), UNSET)


def _vector(sent: Any) -> NDArray[Any]:
    """A vector `(dimensions,)` of what was sent as one. Raises ValueError."""
    try:
        if isinstance(sent, (list, tuple)):
            return np.frombuffer(array("d", sent), np.float64)  # thrice as fast as NumPy is with a list
        if isinstance(sent, (str, bytes, dict)) or sent is None:
            raise TypeError
        vector = np.asarray(sent)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        for place, component in enumerate(sent if isinstance(sent, (list, tuple)) else ()):
            if not isinstance(component, (int, float)):
                what = f"component {place} of its vector is {kind_of(component)}; it must be a number"
                raise ValueError(what) from None
        raise ValueError(f"its vector is {kind_of(sent)}; it must be a list or an array of numbers") from None
    if vector.ndim != 1 or vector.dtype.kind not in "fiu":
        raise ValueError(
            f"its vector is an array {vector.shape} of {vector.dtype}; it must be (dimensions,) of numbers"
        )
    return vector


def record_source(data: Iterable[Any], columns: Columns) -> RecordSource:
    """An iterable or iterator of records: mappings, objects with these attributes, or tuples in this order:
    text_id, vector, text, metadata, the last two of which may be left out.
    """

    def read() -> Iterator[_Record | Unreadable]:
        for record in data:
            if isinstance(record, Mapping):
                yield record
            elif isinstance(record, tuple) and not hasattr(record, "_fields"):
                if 2 <= len(record) <= 4:
                    yield _named(record, columns)
                else:
                    yield Unreadable(f"it is a tuple of {len(record)}; it must be (text_id, vector, text, metadata)")
            elif record is None or isinstance(record, (str, bytes, int, float, list, np.ndarray)):
                yield Unreadable(f"it is {kind_of(record)}; it must be a mapping, an object or a tuple")
            else:
                yield _Attributes(record)

    return RecordSource(read, columns, again=iter(data) is not data)


def _named(record: tuple[Any, ...], columns: Columns) -> _Record:
    names = (columns.text_ids[0], columns.vectors[0], columns.text or "text", str(columns.metadata or "metadata"))
    return dict(zip(names, record, strict=False))


class _Attributes(Mapping[str, Any]):
    """The attributes of an object as a mapping."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self._record, name)
        except AttributeError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)


def json_source(path: Path, columns: Columns) -> RecordSource:
    """A file of JSON objects, one a line, as it is or compressed by gzip or Zstandard."""
    try:
        opened(path, "rb", path.suffix).close()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    return RecordSource(lambda: _json_records(path, columns), columns, again=True)


def _json_records(path: Path, columns: Columns) -> Iterator[_Record | Unreadable]:
    fields: dict[str, Any] = dict.fromkeys(columns.gathered or [str(columns.metadata or "metadata")], Any)
    fields[columns.text or "text"] = str | None
    fields |= dict.fromkeys(columns.vectors, list[float]) | dict.fromkeys(columns.text_ids, str)
    names = list(fields)
    line_type = msgspec.defstruct(
        "Line",
        [
            (f"field_{number}", of | UnsetType, msgspec.field(default=UNSET, name=name))
            for number, (name, of) in enumerate(fields.items())
        ],
    )
    typed = msgspec.json.Decoder(line_type)
    with opened(path, "rb", path.suffix) as file:
        for number, line in _lines(path, file):
            if line is None:
                yield Unreadable(f"line {number}: it is longer than {MAX_LINE_BYTES:,} bytes")
                continue
            try:
                yield dict(zip(names, msgspec.structs.astuple(typed.decode(line)), strict=True))
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                yield _loosely(number, line)


def _loosely(number: int, line: bytes) -> _Record | Unreadable:
    """A record that is not of the right types, so that what is wrong with it can be said."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        hint = "; JSON has no NaN and no Infinity" if b"NaN" in line or b"Infinity" in line else ""
        return Unreadable(f"line {number}: it is not JSON: {error}{hint}")
    if isinstance(record, dict):
        return record
    return Unreadable(f"line {number}: it is a {type(record).__name__}, not a JSON object")


def _lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """The lines that are not blank, with their numbers from 1; None for one that is too long."""
    number = 0
    try:
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line
    except damages() as error:
        raise SourceError(f"{path} is truncated or damaged after line {number}: {error}") from None
