"""Files that are compressed as their names say."""

from __future__ import annotations

import gzip
import sys
import zlib
from pathlib import Path
from typing import IO, Any, Literal, cast

from vecferry.rows import SourceError

SUFFIXES = (".gz", ".zst")


def opened(path: Path, mode: Literal["rb", "wb"], suffix: str) -> IO[bytes]:
    """Opens a file that is compressed as `suffix` says: `.gz`, `.zst`, or anything else for as it is.

    Raises SourceError where Zstandard is missing, and OSError as `open` does.
    """
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, mode, compresslevel=6))
    if suffix == ".zst":
        return cast("IO[bytes]", _zstandard().open(path, mode))
    return path.open(mode)


def damages() -> tuple[type[Exception], ...]:
    """What reading a file raises that is truncated or damaged."""
    try:
        return (OSError, EOFError, zlib.error, _zstandard().ZstdError)
    except SourceError:
        return (OSError, EOFError, zlib.error)


def _zstandard() -> Any:
    """Python's own from 3.14 on, before that the package backports-zstd."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise SourceError("files of .zst need Zstandard: pip install 'vecferry[zstd]'") from None
    return zstd
