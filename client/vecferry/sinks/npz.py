"""Arrays in one file, as numpy.load reads them."""

from __future__ import annotations

import shutil
import zipfile
from contextlib import ExitStack
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec
import numpy as np

from vecferry.rows import Rows
from vecferry.sinks.files import Sink
from vecferry.sources.checks import CHUNK_BYTES


class NpzSink(Sink):
    """A `.npz` file, not compressed.

    An array begins with how many rows it has, and the arrays follow each other: so each is kept in a temporary file
    until the end is known.
    """

    def _open(self) -> None:
        self._temporary.touch()
        self._open_files = ExitStack()
        self._columns: dict[str, IO[bytes]] = {}
        self._rows, self._dimensions, self._longest_id = 0, 0, 1

    def _write(self, rows: Rows) -> None:
        if any(text_id.endswith("\0") for text_id in rows.ids):
            raise ValueError("an id ends with the character U+0000, which arrays of texts lose; use another format")
        self._rows += len(rows)
        self._dimensions = rows.vectors.shape[1]
        self._longest_id = max(self._longest_id, *map(len, rows.ids))
        self._column("ids").write(msgspec.json.Encoder().encode_lines(rows.ids))
        self._column("vectors").write(np.ascontiguousarray(rows.vectors, "<f2").data)
        if rows.texts is not None:
            self._column("texts").write(msgspec.json.Encoder().encode_lines(rows.texts))
        if rows.metadata is not None:
            self._column("metadata").write(msgspec.json.Encoder().encode_lines(rows.metadata))

    def _close(self, *, complete: bool) -> None:
        with self._open_files:
            if not complete:
                return
            with zipfile.ZipFile(self._temporary, "w", allowZip64=True) as archive:
                self._add_ids(archive)
                self._add(archive, "vectors", np.dtype("<f2"), (self._rows, self._dimensions))
                for name in ("texts", "metadata"):
                    if name in self._columns:
                        self._add(archive, name, np.dtype("u1"), (self._columns[name].tell(),))

    def _column(self, name: str) -> IO[bytes]:
        if name not in self._columns:
            self._columns[name] = self._open_files.enter_context(TemporaryFile(dir=self.path.parent))  # noqa: SIM115
        return self._columns[name]

    def _add(self, archive: zipfile.ZipFile, name: str, of: np.dtype[Any], shape: tuple[int, ...]) -> None:
        column = self._column(name)
        column.seek(0)
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            _write_header(member, of, shape)
            shutil.copyfileobj(column, member, CHUNK_BYTES)

    def _add_ids(self, archive: zipfile.ZipFile) -> None:
        column, of = self._column("ids"), np.dtype(f"<U{self._longest_id}")
        column.seek(0)
        with archive.open("ids.npy", "w", force_zip64=True) as member:
            _write_header(member, of, (self._rows,))
            while lines := list(islice(column, max(1, CHUNK_BYTES // of.itemsize))):
                member.write(np.array(msgspec.json.decode(b"[" + b",".join(lines) + b"]"), of).tobytes())


def _write_header(member: IO[bytes], of: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(of), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
