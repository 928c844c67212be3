"""The base of all files: complete, or absent."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType

from vecferry.rows import Rows


class Sink(ABC):
    """A file that embeddings are written to, as `open_sink` opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Beside the target, because a file can replace another atomically only within one file system.
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._first: Rows | None = None

    def __enter__(self) -> Sink:
        try:
            self._open()
            with contextlib.suppress(OSError):  # the file does not exist yet
                # Nobody may read the new file who may not read the old one.
                self._temporary.chmod(stat.S_IMODE(self.path.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._close(complete=error is None)
            if error is None:
                self._put_in_place()
        finally:
            self._temporary.unlink(missing_ok=True)

    def write(self, rows: Rows) -> None:
        """Adds rows to the file.

        Raises ValueError when they have other dimensions than the first, or texts or metadata where those had none or
        the other way round.
        """
        if not len(rows):
            return
        if self._first is None:
            self._first = rows.part(0, 0)
        first = self._first
        if rows.vectors.shape[1] != first.vectors.shape[1]:
            dimensions = f"{rows.vectors.shape[1]} dimensions, the first of {self.path} {first.vectors.shape[1]}"
            raise ValueError(f"all vectors of a file have the same dimensions; these have {dimensions}")
        for name, now, before in (("texts", rows.texts, first.texts), ("metadata", rows.metadata, first.metadata)):
            if (now is None) != (before is None):
                raise ValueError(f"either all rows of a file have {name} or none: these differ from the first")
        self._write(rows)

    @abstractmethod
    def _open(self) -> None:
        """Opens `self._temporary`."""

    @abstractmethod
    def _write(self, rows: Rows) -> None:
        """Writes rows, at least one."""

    @abstractmethod
    def _close(self, *, complete: bool) -> None:
        """Writes the rest if the file is to be complete, and closes it."""

    def _put_in_place(self) -> None:
        with self._temporary.open("rb+") as file:
            os.fsync(file.fileno())
        self._temporary.replace(self.path)
        if os.name == "posix":  # the name, too, is to survive a loss of power
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
