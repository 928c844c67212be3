"""Digests of embeddings as the service defines them (its docs/API.md), to find differences without sending the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from json.encoder import encode_basestring  # the C function where there is one
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecferry.rows import Rows

BUCKETS = 4096
PARTS = 3  # vector, text, metadata, in this order


class Digested(msgspec.Struct, frozen=True):
    """Of each row of some Rows: a hash of its id, and the digests of its parts.

    `ids`: `(n,) uint64`, whose first twelve bits are the bucket. `parts`: `(3, n) uint64`, 0 for no text or metadata.
    """

    ids: NDArray[np.uint64]
    parts: NDArray[np.uint64]


class Totals:
    """The digests of many rows, combined in buckets: `rows` `(4096,) int64`, `parts` `(3, 4096) uint64`."""

    def __init__(self) -> None:
        self.rows = np.zeros(BUCKETS, np.int64)
        self.parts = np.zeros((PARTS, BUCKETS), np.uint64)

    def add(self, digested: Digested) -> None:
        """Adds rows."""
        buckets = buckets_of(digested.ids)
        np.add.at(self.rows, buckets, 1)
        for total, part in zip(self.parts, digested.parts, strict=True):
            np.bitwise_xor.at(total, buckets, part)

    def are(self, others: Totals) -> bool:
        """Whether they are of the same rows."""
        return np.array_equal(self.rows, others.rows) and np.array_equal(self.parts, others.parts)


class Ids:
    """The ids of a source, 16 bytes each, to find those that come again."""

    def __init__(self) -> None:
        self._hashes: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]

    def add(self, ids: list[str]) -> None:
        """Adds the ids of rows."""
        # Two hashes, as different ids that were taken for one would cost a row.
        self._hashes.append(np.array([(hash(one), hash(one + "\0")) for one in ids], np.int64).reshape(-1, 2))

    def replaced(self) -> NDArray[np.bool_]:
        """For each row whether a later one has its id: `(n,) bool`, in their order."""
        hashes = np.concatenate(self._hashes)
        order = np.lexsort(hashes.T)  # rows of one id stay in their order
        found = np.zeros(len(hashes), np.bool_)
        found[order[:-1]] = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
        return found


def buckets_of(ids: NDArray[np.uint64]) -> NDArray[np.intp]:
    """The buckets of hashes of ids."""
    return (ids >> np.uint64(52)).astype(np.intp)


def id_hash(text_id: str) -> int:
    """The first eight bytes of SHA-256 of an id."""
    return int.from_bytes(hashlib.sha256(text_id.encode()).digest()[:8], "big")


def digested(rows: Rows) -> Digested:
    """The digests of rows."""
    count, dimensions = rows.vectors.shape
    binary = np.zeros((count, dimensions + 2), ">u2")
    binary[:, 0] = dimensions
    binary[:, 2:] = rows.vectors.view(np.uint16)
    content, width = binary.reshape(-1).view(np.uint8).data, 2 * (dimensions + 2)
    sha256, keys = hashlib.sha256, [text_id.encode() for text_id in rows.ids]
    found = bytearray(32 * count)
    for row, key in enumerate(keys):
        vector = sha256(key + b"\0v")
        vector.update(content[row * width : (row + 1) * width])
        found[32 * row : 32 * row + 16] = sha256(key).digest()[:8] + vector.digest()[:8]
    for row, text in enumerate(rows.texts or ()):
        if text is not None:
            digest = sha256(keys[row] + b"\0t" + text.encode("utf-8", "surrogatepass")).digest()
            found[32 * row + 16 : 32 * row + 24] = digest[:8]
    for row, metadata in enumerate(rows.metadata or ()):
        if metadata is not None:
            try:
                written = canonical(metadata).encode("utf-8", "surrogatepass")
            except RecursionError:  # too deep for the service, which names the row when it is sent
                written = b""
            found[32 * row + 24 : 32 * row + 32] = sha256(keys[row] + b"\0m" + written).digest()[:8]
    numbers = np.frombuffer(found, ">u8").reshape(count, 1 + PARTS).astype(np.uint64).T
    return Digested(np.ascontiguousarray(numbers[0]), np.ascontiguousarray(numbers[1:]))


def canonical(value: Any) -> str:
    """JSON as PostgreSQL writes a jsonb.

    A number that it writes differently only makes an equal row look changed: it is sent once more.
    """
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        names = sorted(value, key=_length_first)
        return "{" + ", ".join([f"{encode_basestring(name)}: {canonical(value[name])}" for name in names]) + "}"
    return "[" + ", ".join([canonical(one) for one in value]) + "]"


def _length_first(name: str) -> tuple[int, bytes]:
    encoded = name.encode("utf-8", "surrogatepass")
    return len(encoded), encoded


def _number(value: float) -> str:
    text = repr(value + 0.0)  # no negative zero
    return format(Decimal(text), "f") if "e" in text else text
