"""Decoding of samples of embeddings from the binary format of COPY (PostgreSQL's documentation of COPY)."""

from collections.abc import Iterable, Iterator
from struct import Struct

import msgspec
import numpy as np
from numpy.typing import NDArray

BATCH_BYTES = 4 * 1024 * 1024  # of vectors
HEADER_BYTES = 19
_HEAD = Struct(">hi")  # the number of columns, -1 at the end, and the bytes of the first, the id
_REST = Struct(">iqiqihh")  # sequence, place in the order of samples, bytes of the vector, its dimensions, unused


class Batch(msgspec.Struct, frozen=True):
    """Some embeddings: ids, sequences, places in the order of samples, and vectors `(n, dimensions) float32`.

    The vectors have unit length or are zero.
    """

    text_ids: list[str]
    sequences: NDArray[np.int64]
    order: NDArray[np.int64]
    vectors: NDArray[np.float32]


def batches(pieces: Iterable[bytes], dimensions: int) -> Iterator[Batch]:
    """Yields embeddings in batches of some megabytes."""
    data, start, size = bytearray(), HEADER_BYTES, 2 * dimensions
    rows: list[tuple[bytes, int, int, bytes]] = []
    for piece in pieces:
        data += piece
        while len(data) >= start + _HEAD.size:
            columns, length = _HEAD.unpack_from(data, start)
            end = start + _HEAD.size + length + _REST.size + size
            if columns < 0 or len(data) < end:
                break
            place = start + _HEAD.size
            _, sequence, _, order, _, _, _ = _REST.unpack_from(data, place + length)
            rows.append((bytes(data[place : place + length]), sequence, order, bytes(data[end - size : end])))
            start = end
            if len(rows) * size >= BATCH_BYTES:
                yield _batch(rows, dimensions)
                rows = []
        if start > HEADER_BYTES:
            del data[:start]
            start = 0
    if rows:
        yield _batch(rows, dimensions)


def _batch(rows: list[tuple[bytes, int, int, bytes]], dimensions: int) -> Batch:
    halves = np.frombuffer(b"".join(row[3] for row in rows), dtype=">f2").reshape(-1, dimensions)
    return Batch(
        [row[0].decode() for row in rows],
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.int64),
        unit(halves.astype(np.float32)),
    )


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalizes vectors in place; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0)
    return vectors
