"""Vectors in requests and in PostgreSQL. No SQL, no HTTP.

Vectors are stored as halves (IEEE 754 half precision). pgvector's binary format of a vector is a header of two 16-bit
numbers (dimensions, unused) and the halves, all big-endian.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

HALF_MAX = 65504.0
MAX_DIMENSIONS = 16_000  # of pgvector's halfvec


class Fault(msgspec.Struct, frozen=True):
    """Why the vector in a row cannot be stored; `value` is that of the component, if it has a single cause."""

    row: int
    message: str
    component: int | None = None
    value: float | None = None


def to_halves(vectors: NDArray[Any]) -> tuple[NDArray[np.float16], list[Fault]]:
    """The halves of `(n, dimensions)` floats, and the faults: not finite, beyond half precision, or all zero in it."""
    if vectors.dtype == np.float16:
        # As integers, which are faster: few CPUs compute with halves. An exponent of all ones is infinity or NaN.
        largest = (vectors.view(np.uint16) & 0x7FFF).max(axis=1)
        halves, fine = vectors, (largest > 0) & (largest < 0x7C00)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            halves = vectors.astype(np.float16)
        # Compares for valid numbers, because a NaN fails every comparison.
        fine = (np.abs(vectors) <= HALF_MAX).all(axis=1) & halves.any(axis=1)
    return halves, [_explained(row, vectors[row]) for row in np.flatnonzero(~fine).tolist()]


def _explained(row: int, vector: NDArray[Any]) -> Fault:
    """The fault of a faulty row."""
    if not np.isfinite(vector).all():
        message, place = "must be finite", int(np.argmin(np.isfinite(vector)))
    elif (beyond := np.abs(vector) > HALF_MAX).any():
        message, place = (
            f"must be within half precision, from -{HALF_MAX:.0f} to {HALF_MAX:.0f}",
            int(np.argmax(beyond)),
        )
    else:
        return Fault(row, "must not be all zero in half precision: it has no direction")
    return Fault(row, message, place, float(vector[place]))


Encoding = Literal["f4", "f2"]
_TYPES: dict[Encoding, np.dtype[Any]] = {"f4": np.dtype("<f4"), "f2": np.dtype("<f2")}


def length(sent: list[float] | bytes, encoding: Encoding) -> int | None:
    """The dimensions of a sent vector; None for bytes that are not a whole number of components."""
    if isinstance(sent, list):
        return len(sent)
    whole, rest = divmod(len(sent), _TYPES[encoding].itemsize)
    return None if rest else whole


def from_sent(sent: Sequence[list[float] | bytes], encoding: Encoding) -> NDArray[Any]:
    """Sent vectors of equal length, numbers or little-endian bytes, as an array `(n, dimensions)`."""
    if all(type(one) is bytes for one in sent):
        return np.frombuffer(b"".join(cast("Sequence[bytes]", sent)), _TYPES[encoding]).reshape(len(sent), -1)
    numbers = [one if isinstance(one, list) else np.frombuffer(one, _TYPES[encoding]) for one in sent]
    return np.array(numbers, dtype=np.float64)


def to_binary(halves: NDArray[np.float16]) -> list[bytes]:
    """pgvector's binary format of each row of `(n, dimensions) float16`."""
    rows, dimensions = halves.shape
    buffer = np.zeros((rows, dimensions + 2), dtype=">u2")
    buffer[:, 0] = dimensions
    buffer[:, 2:] = halves.view(np.uint16)
    return [row.tobytes() for row in buffer]


def in_bytes(vector: HalfVector, encoding: Encoding) -> bytes:
    """The components as raw little-endian bytes."""
    return vector.to_numpy().astype(_TYPES[encoding]).tobytes()


@cache
def _shortest_decimals() -> NDArray[np.float64]:
    """For each of the 65,536 halves, the double with the same shortest decimal."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return np.array([float(str(half)) for half in halves])


def to_decimals(vector: HalfVector) -> list[float]:
    """The components as the shortest decimals that identify the halves: 0.1, not 0.0999755859375."""
    decimals: list[float] = _shortest_decimals()[vector.to_numpy().view(np.uint16)].tolist()
    return decimals
