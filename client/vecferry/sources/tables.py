"""Sources that are tables: Parquet and Arrow files, and objects that export themselves as Arrow. Needs pyarrow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.rows import BadRow, Loss, Rows, SourceError
from vecferry.sources.checks import CHUNK_BYTES, Checks, metadata_column
from vecferry.sources.columns import Columns
from vecferry.sources.values import column_of, gathered_of, metadata_of, pyarrow, texts_of

# Of Parquet less is read at once: pyarrow needs several times as much memory.
PARQUET_BYTES = 4 * 1024 * 1024
PAGE_BYTES = 1024 * 1024


class TableSource:
    """A table; `batches` begins with its record batches, of the columns that are named."""

    def __init__(
        self,
        name: str,
        schema: Any,
        batches: Callable[[list[str]], Iterator[Any]],
        columns: Columns,
        *,
        total: int | None,
        again: bool,
    ) -> None:
        self.total = total
        self.can_be_read_again = again
        self.loss = Loss()
        self._name, self._batches = name, batches
        self._found = columns.found_in(schema.names, name)
        self._begun = False
        for one in self._found.names:
            if schema.names.count(one) > 1:
                raise SourceError(f"{name} has several columns {one!r}: which one is meant?")
        if total != 0:  # an empty table often has no types
            self._check_types(schema)

    def chunks(self, skip_bad: Callable[[BadRow], None]) -> Iterator[Rows]:
        """All rows from the beginning; SourceError where they came from a reader, and have been read."""
        if self._begun and not self.can_be_read_again:
            raise SourceError(f"{self._name} can be read only once; give a table or a file instead")
        self._begun = True
        self.loss = Loss()
        checks, start = Checks(skip_bad, self.loss), 0
        batches = self._batches(self._found.names)
        while (batch := self._next(batches)) is not None:
            step = max(1, CHUNK_BYTES * batch.num_rows // max(1, batch.nbytes))
            for begin in range(0, batch.num_rows, step):
                part = batch.slice(begin, step)
                yield from self._rows(checks, start, part)
                start += part.num_rows

    def _next(self, batches: Iterator[Any]) -> Any:
        pa = pyarrow()
        try:
            return next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{self._name} is truncated or damaged: {error}") from None

    def _check_types(self, schema: Any) -> None:
        types = pyarrow().types

        def kind(name: str) -> Any:
            of = schema.field(name).type
            of = getattr(of, "storage_type", of)
            return of.value_type if types.is_dictionary(of) else of

        def fault(name: str, right: str) -> SourceError:
            return SourceError(f"the column {name!r} of {self._name} is {schema.field(name).type}; it must be {right}")

        def is_text(of: Any) -> bool:
            return bool(
                types.is_string(of) or types.is_large_string(of) or types.is_string_view(of) or types.is_null(of)
            )

        found = self._found
        if not is_text(kind(found.text_id)):
            raise fault(found.text_id, "texts: ids are texts, so numbers are to be written as texts first")
        if found.text is not None and not is_text(kind(found.text)):
            raise fault(found.text, "texts")
        if not found.gathers:
            for name in found.metadata:
                if not (is_text(kind(name)) or types.is_struct(kind(name)) or types.is_map(kind(name))):
                    what = "structs, maps, or texts of JSON; to make an object of it, name it in a list"
                    raise fault(name, f"{what}, Columns(metadata=[{name!r}]), or as --metadata-column")
        vector = kind(found.vector)
        if not types.is_null(vector):
            of = getattr(vector, "value_type", None) if _is_list(vector) else None
            if of is None or not (types.is_floating(of) or types.is_integer(of) or types.is_decimal(of)):
                raise fault(found.vector, "lists of float16, float32 or float64")

    def _rows(self, checks: Checks, start: int, batch: Any) -> Iterator[Rows]:
        found, faults = self._found, {}  # type: Any, dict[int, str]
        ids = texts_of(batch, found.text_id, "text_id", faults)
        for row, text_id in enumerate(ids):
            if text_id is None:
                faults.setdefault(row, "it has no text_id")
        vectors = _vectors(column_of(batch, found.vector), checks, faults)
        texts = None if found.text is None else texts_of(batch, found.text, "text", faults)
        metadata = None
        if found.gathers:
            metadata = metadata_column(gathered_of(batch, found.metadata, faults), faults)
        elif found.metadata:
            metadata = metadata_column(metadata_of(batch, found.metadata[0], faults), faults)
        yield from checks.rows(start, ids, vectors, texts, metadata, faults)


def parquet_source(path: Path, columns: Columns) -> TableSource:
    """A Parquet file, read page by page."""
    pa = pyarrow()
    import pyarrow.parquet as pq

    def opened() -> Any:
        # With a buffer a column is read page by page; without one, all of a row group at once.
        return pq.ParquetFile(pa.OSFile(os.fsencode(path)), pre_buffer=False, buffer_size=PAGE_BYTES)

    try:
        with opened() as file:
            schema, about = file.schema_arrow, file.metadata
            total, groups = about.num_rows, [about.row_group(number) for number in range(about.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not a Parquet file, or is truncated: {error}") from None

    def batches(names: list[str]) -> Iterator[Any]:
        with opened() as file:
            rows = _rows_a_batch(groups, names)
            for number, batch in enumerate(file.iter_batches(rows, columns=names, use_threads=False)):
                yield batch
                if number % 8 == 0:
                    pa.default_memory_pool().release_unused()

    return TableSource(str(path), schema, batches, columns, total=total, again=True)


def _rows_a_batch(groups: list[Any], names: list[str]) -> int:
    """How many rows are read at once, by the row group that has the largest rows."""
    bytes_a_row = 1.0
    for group in groups:
        chunks = (group.column(number) for number in range(group.num_columns))
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in names)
        bytes_a_row = max(bytes_a_row, size / max(1, group.num_rows))
    return max(1, int(PARQUET_BYTES / bytes_a_row))


def arrow_source(path: Path, columns: Columns) -> TableSource:
    """An Arrow file or stream, mapped into memory, so that of a large batch only what is used is read."""
    pa = pyarrow()

    def opened() -> Any:
        file = pa.memory_map(os.fsencode(path))
        try:
            return pa.ipc.open_file(file)
        except pa.ArrowInvalid:
            file.seek(0)
            return pa.ipc.open_stream(file)

    try:
        with opened() as reader:
            schema = reader.schema
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not an Arrow file or stream, or is truncated: {error}") from None

    def batches(names: list[str]) -> Iterator[Any]:
        with opened() as reader:
            if hasattr(reader, "num_record_batches"):
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number).select(names)
            else:
                for batch in reader:
                    yield batch.select(names)

    return TableSource(str(path), schema, batches, columns, total=None, again=True)


def exported_source(data: Any, columns: Columns) -> TableSource:
    """An object with `__arrow_c_stream__`: a frame of polars or pandas, a table of pyarrow, a relation of DuckDB."""
    pa = pyarrow()
    name = f"the {type(data).__name__}"

    def opened() -> Any:
        try:
            return pa.RecordBatchReader.from_stream(data)
        except (pa.ArrowException, OSError, TypeError, ValueError) as error:
            raise SourceError(f"{name} is not a table that can be read as Arrow: {error}") from None

    # What has a length is there as a whole. A reader has none, and gives its rows once: it is opened once.
    again = hasattr(data, "__len__")
    first = opened()
    schema = first.schema

    def batches(names: list[str]) -> Iterator[Any]:
        with opened() if again else first as reader:
            for batch in reader:
                yield batch.select(names)

    if again:
        first.close()
    total = int(data.shape[0]) if again and hasattr(data, "shape") else None
    return TableSource(name, schema, batches, columns, total=total, again=again)


def _is_list(of: Any) -> bool:
    types = pyarrow().types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(is_kind(of) for is_kind in kinds)


def _vectors(column: Any, checks: Checks, faults: dict[int, str]) -> NDArray[Any]:
    """`(n, dimensions)` floats of a column of lists; what is wrong with a row is among the faults."""
    pa = pyarrow()
    if pa.types.is_null(column.type):
        faults |= dict.fromkeys(range(len(column)), "it has no vector")
        return np.zeros((len(column), checks.dimensions or 0), np.float16)
    lengths = _numbers(pa.compute.list_value_length(column), -1).astype(np.int64)
    flat = column.flatten()
    if not pa.types.is_floating(flat.type):
        flat = flat.cast(pa.float64(), safe=False)  # of huge integers, which no half has
    if flat.null_count:
        ends = np.cumsum(np.maximum(lengths, 0))
        for place in pa.compute.indices_nonzero(flat.is_null()).to_pylist():
            row = int(np.searchsorted(ends, place, side="right"))
            component = place - int(ends[row] - lengths[row])
            faults.setdefault(row, f"component {component} of its vector is null; it must be a number")
    values = _numbers(flat, 0)
    if len(lengths) and lengths[0] > 0 and (lengths == lengths[0]).all() and not checks.length_fault(int(lengths[0])):
        return values.reshape(len(lengths), -1)
    fine = np.zeros(len(lengths), bool)
    for row, length in enumerate(lengths.tolist()):
        reason = "it has no vector" if length < 0 else checks.length_fault(length)
        if reason:
            faults.setdefault(row, reason)
        fine[row] = not reason
    vectors = np.zeros((len(lengths), checks.dimensions or 0), values.dtype)
    vectors[fine] = values[np.repeat(fine, np.maximum(lengths, 0))].reshape(int(fine.sum()), -1 if fine.any() else 0)
    return vectors


def _numbers(column: Any, null: int) -> NDArray[Any]:
    """A column `(n,)` of numbers, `null` where it has none. Not by `to_numpy`, which imports pandas, 50 MB."""
    if column.null_count:
        pa = pyarrow()
        column = pa.compute.fill_null(column.cast(pa.float64()), float(null))
    return np.from_dlpack(column)
