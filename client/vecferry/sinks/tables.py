"""Parquet and Arrow files."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any

import msgspec
import numpy as np

from vecferry.rows import Rows
from vecferry.sinks.files import Sink
from vecferry.sources.values import pyarrow

GROUP_BYTES = 8 * 1024 * 1024
"""About how much becomes one row group, or one record batch: writing takes a dozen times as much memory."""


class TableSink(Sink):
    """Rows gathered until they are a row group."""

    _writer: Any = None

    def _open(self) -> None:
        self._file = pyarrow().OSFile(os.fsencode(self._temporary), "wb")
        self._waiting: list[Any] = []
        self._bytes = 0

    def _write(self, rows: Rows) -> None:
        batch = _batch(rows)
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= GROUP_BYTES:
            self._write_waiting()

    def _close(self, *, complete: bool) -> None:
        try:
            if complete:
                if self._writer is None and not self._waiting:
                    self._waiting.append(_batch(Rows(0, [], np.empty((0, 0), np.float16), None, None)))
                self._write_waiting()
            if self._writer is not None:
                self._writer.close()
        finally:
            self._file.close()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        table = pyarrow().Table.from_batches(self._waiting).combine_chunks()
        self._waiting, self._bytes = [], 0
        if self._writer is None:
            self._writer = self._opened_writer(table.schema)
        self._write_table(table)

    @abstractmethod
    def _opened_writer(self, schema: Any) -> Any: ...

    @abstractmethod
    def _write_table(self, table: Any) -> None: ...


class ParquetSink(TableSink):
    """A `.parquet` file."""

    def _opened_writer(self, schema: Any) -> Any:
        import pyarrow.parquet as pq

        # Vectors do not repeat, so dictionaries of them only cost.
        return pq.ParquetWriter(self._file, schema, compression="zstd", use_dictionary=False)

    def _write_table(self, table: Any) -> None:
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))


class ArrowSink(TableSink):
    """An `.arrow` file."""

    def _opened_writer(self, schema: Any) -> Any:
        return pyarrow().ipc.new_file(self._file, schema)

    def _write_table(self, table: Any) -> None:
        self._writer.write_table(table)


def _batch(rows: Rows) -> Any:
    pa = pyarrow()
    count, dimensions = rows.vectors.shape
    flat = pa.array(np.ascontiguousarray(rows.vectors, np.float16).reshape(-1))
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * dimensions)
    columns = {"text_id": pa.array(rows.ids, pa.string()), "vector": pa.ListArray.from_arrays(offsets, flat)}
    if rows.texts is not None:
        columns["text"] = pa.array(rows.texts, pa.large_string())
    if rows.metadata is not None:
        encoded = [None if value is None else msgspec.json.encode(value).decode() for value in rows.metadata]
        columns["metadata"] = pa.array(encoded, pa.large_string())
    return pa.RecordBatch.from_pydict(columns)
