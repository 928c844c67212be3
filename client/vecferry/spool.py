"""The answers of a pull, on disk until the file is written: an interrupted pull continues from there.

A header of JSON in a line, then answers of the service one after the other, each with its kind, its length and its CRC
before it. Anything behind the last complete answer is cut off.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from vecferry.rows import SourceError

PAGE, CHANGES, END = b"p", b"c", b"e"
HEAD = struct.Struct(">cLL")  # of each answer: its kind, its length, and its CRC-32
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
SYNCED = 64 * 1024 * 1024  # bytes that are written before they are made safe


class Header(msgspec.Struct, frozen=True):
    """The subject of a pull. `sequence` is that of the project at its beginning: the next pull continues there."""

    url: str
    log: str | None
    dimensions: int
    sequence: int
    since_last: bool


class Spool:
    """The answers of one pull, in a file beside the one that is to be written.

    `header`: what is pulled, from the sequence with which the first of these pulls began.
    """

    header: Header

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.pull")
        self._file: IO[bytes] | None = None
        self._begin = self._unsafe = 0

    def open(self, header: Header) -> None:
        """Opens it, with the answers of an interrupted pull of the same.

        Raises SourceError while another process pulls into the same file.
        """
        while True:
            # Not through a link, which somebody may have put there.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.fdopen(os.open(self.path, flags, 0o600), "rb+")
            _lock(self._file, self.path)
            if self.path.exists() and os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                break  # else the pull before has removed it meanwhile
            self._file.close()
        first = self._file.readline()
        found = None
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.json.decode(first, type=Header)
        # The sequence of the interrupted pull counts: its pages may be older than the new one.
        if found is not None and msgspec.structs.replace(found, sequence=header.sequence) == header:
            self.header, self._begin = found, len(first)
            self._file.truncate(self._end())
        else:
            self._file.seek(0)
            self._file.truncate()
            self.header, self._begin = header, self._file.write(msgspec.json.encode(header) + b"\n")
        self._file.seek(0, os.SEEK_END)

    def add(self, kind: bytes, answer: bytes) -> None:
        """Keeps an answer."""
        file = self._opened()
        file.write(HEAD.pack(kind, len(answer), zlib.crc32(answer)) + answer)
        file.flush()
        self._unsafe += len(answer)
        if self._unsafe > SYNCED:
            os.fsync(file.fileno())
            self._unsafe = 0

    def answers(self) -> Iterator[tuple[bytes, bytes, int]]:
        """All answers with their kinds and places. Raises SourceError where one is damaged."""
        end = self._begin
        for kind, content, place in self._whole():
            end = place + HEAD.size + len(content)
            yield kind, content, place
        if end < os.fstat(self._opened().fileno()).st_size:
            raise SourceError(f"{self.path} is damaged. Pull again.")

    def _whole(self) -> Iterator[tuple[bytes, bytes, int]]:
        """The answers before the first one that is not whole."""
        file = self._opened()
        place = self._begin
        while True:
            file.seek(place)
            head = file.read(HEAD.size)
            if len(head) < HEAD.size:
                break
            kind, length, crc = HEAD.unpack(head)
            content = file.read(length)
            if kind not in (PAGE, CHANGES, END) or len(content) < length or zlib.crc32(content) != crc:
                break
            yield kind, content, place
            place += len(head) + length
        file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Closes it; it stays for the next pull."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Removes it, when the file is written."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _end(self) -> int:
        """Where the last whole answer ends."""
        end = self._begin
        for _, content, place in self._whole():
            end = place + HEAD.size + len(content)
        return end

    def _opened(self) -> IO[bytes]:
        assert self._file is not None  # noqa: S101 (opened before)
        return self._file


def _lock(file: IO[bytes], path: Path) -> None:
    """Keeps other processes from pulling into the same file; the lock ends with the process.

    Not on Windows, and not on file systems without locks, such as Lustre: there the answers of two would be damaged,
    which is noticed.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise SourceError(f"Another process is pulling into the same file: it holds {path}.") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
