"""Decompression of request bodies (gzip and zstd) in bounded memory."""

import sys
import zlib
from collections.abc import Iterator
from typing import Any

from service.errors import BadRequest, Problem
from service.http.limits import MAX_EMPTY_FRAMES, MAX_WINDOW_LOG

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS = ("gzip", "zstd")
OLDER_NAMES = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3
SLICE = 256 * 1024


def decompressor(encoding: str) -> "_Gzip | _Zstd":
    """A decompressor for `gzip` or `zstd`. Its methods raise BadRequest for invalid and for incomplete data."""
    return _Gzip() if encoding == "gzip" else _Zstd()


def _bad(encoding: str, what: str) -> BadRequest:
    return BadRequest(f"The body is not {encoding}: {what}.", [Problem(f"is not valid {encoding}: {what}", "body")])


class _Empty:
    """Counts consecutive empty frames."""

    def __init__(self, encoding: str) -> None:
        self._encoding, self._count = encoding, 0

    def note(self, out: bytes, ended: bool) -> None:
        """Counts members or frames without output. Raises BadRequest for too many in a row."""
        self._count = 0 if out else self._count + ended
        if self._count > MAX_EMPTY_FRAMES:
            raise _bad(self._encoding, f"more than {MAX_EMPTY_FRAMES:,} consecutive empty frames")


class _Gzip:
    """Consecutive members, like gzip."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._begun = False
        self._empty = _Empty("gzip")

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            self._begun = True
            try:
                out = self._member.decompress(data, SLICE)
            except zlib.error as error:
                raise _bad("gzip", str(error)) from None
            self._empty.note(out, self._member.eof)
            if out:
                yield out
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finish(self) -> None:
        if self._begun and not self._member.eof:
            raise _bad("gzip", "it ends too early")


class _Zstd:
    """Consecutive frames."""

    def __init__(self) -> None:
        self._frame = self._new()
        self._begun = False
        self._empty = _Empty("zstd")

    def _new(self) -> Any:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not self._frame.needs_input:
            if self._frame.eof:
                if not data:
                    return
                self._frame = self._new()
            self._begun = True
            try:
                out = self._frame.decompress(data, SLICE)
            except zstd.ZstdError as error:
                raise _bad("zstd", str(error)) from None
            data = self._frame.unused_data if self._frame.eof else b""
            self._empty.note(out, self._frame.eof)
            if out:
                yield out

    def finish(self) -> None:
        if self._begun and not self._frame.eof:
            raise _bad("zstd", "it ends too early")
