"""Decompression of request bodies (gzip and zstd) in bounded memory."""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from service.errors import BadRequest, Problem
from service.http.limits import MAX_EMPTY_FRAMES, MAX_WINDOW_LOG

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OLDER_NAMES = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3
SLICE = 256 * 1024


ENCODINGS: dict[str, Callable[[], Any]] = {  # the decompressor of one frame
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "zstd": lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG}),
}


class Decompressor:
    """Decompresses consecutive frames, like gzip and zstd. Raises BadRequest for invalid and for incomplete data."""

    def __init__(self, encoding: str) -> None:
        self._encoding, self._new = encoding, ENCODINGS[encoding]
        self._frame = self._new()
        self._begun = False
        self._empty = 0  # consecutive frames without output

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the output of the next piece of the input, in slices."""
        # zlib returns the input that is left in `unconsumed_tail`, zstd keeps it.
        while data or not getattr(self._frame, "needs_input", True):
            if self._frame.eof:
                if not data:
                    return
                self._frame = self._new()
            self._begun = True
            try:
                out = self._frame.decompress(data, SLICE)
            except (zlib.error, zstd.ZstdError) as error:
                raise self._bad(str(error)) from None
            data = self._frame.unused_data if self._frame.eof else getattr(self._frame, "unconsumed_tail", b"")
            self._empty = 0 if out else self._empty + self._frame.eof
            if self._empty > MAX_EMPTY_FRAMES:
                raise self._bad(f"more than {MAX_EMPTY_FRAMES:,} consecutive empty frames")
            if out:
                yield out

    def finish(self) -> None:
        """Ends the input."""
        if self._begun and not self._frame.eof:
            raise self._bad("it ends too early")

    def _bad(self, what: str) -> BadRequest:
        problem = Problem(f"is not valid {self._encoding}: {what}", "body")
        return BadRequest(f"The body is not {self._encoding}: {what}.", [problem])
