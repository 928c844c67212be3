"""Embeddings on their way from a source to the service, and from the service to a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecferry.errors import VecferryError

HALF_MAX = 65504.0
ROUNDS_TO_ZERO = 2.0**-25
_BLOCK = 64  # rows that are converted at a time, so that intermediate values stay in the processor's cache


class SourceError(VecferryError, ValueError):
    """A source cannot be read, or is invalid as a whole; the message says what is expected."""


class NoRows(SourceError):
    """A push that deletes has a source without rows."""


class OtherDimensions(SourceError):
    """The vectors of a source have other dimensions than those of the project."""


class BadRow(msgspec.Struct, frozen=True):
    """A row of a source that cannot be uploaded.

    `place` is its number in the source, from 0; `text_id` is None where it has none that can be read.
    """

    place: int
    text_id: str | None
    reason: str


class Loss(msgspec.Struct):
    """The loss by rounding the vectors to float16.

    The loss of a vector is its largest absolute error divided by its largest absolute value. It is below 0.0005
    unless all components are so small (below 0.00003) that float16 keeps only a few of their digits.
    """

    largest: float = 0.0


class Rows(msgspec.Struct, frozen=True):
    """Some embeddings of a source, in its order.

    Rows that come from a source follow each other in it: row `i` is at the place `start + i`.
    """

    start: int
    """Place of the first in the source, from 0."""
    ids: list[str]
    vectors: NDArray[np.float16]
    """`(n, dimensions) float16`, C order."""
    texts: list[str | None] | None
    """None: the source has no texts, so those stored stay."""
    metadata: list[dict[str, Any] | None] | None
    """None: the source has no metadata, so those stored stay."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: Sequence[int]) -> Rows:
        """The rows at these places of this object (from 0), in that order.

        `start` becomes the place of the first of them in the source; where others lie between them, only the caller
        knows the places of the rest.
        """
        return Rows(
            start=self.start + (places[0] if len(places) else 0),
            ids=[self.ids[place] for place in places],
            vectors=self.vectors[np.asarray(places, dtype=np.intp)],
            texts=None if self.texts is None else [self.texts[place] for place in places],
            metadata=None if self.metadata is None else [self.metadata[place] for place in places],
        )

    def part(self, begin: int, end: int) -> Rows:
        """The rows from `begin` to before `end` of this object, whose vectors are a view of these."""
        return Rows(
            start=self.start + begin,
            ids=self.ids[begin:end],
            vectors=self.vectors[begin:end],
            texts=None if self.texts is None else self.texts[begin:end],
            metadata=None if self.metadata is None else self.metadata[begin:end],
        )


def check_dimensions(rows: Rows, dimensions: int) -> None:
    """Raises OtherDimensions for rows that a project of these dimensions cannot take."""
    if rows.vectors.shape[1] != dimensions:
        raise OtherDimensions(
            f"The vectors have {rows.vectors.shape[1]} dimensions, but the project takes {dimensions}."
        )


def to_halves(vectors: NDArray[Any]) -> tuple[NDArray[np.float16], NDArray[np.float64], NDArray[np.float64]]:
    """Rounds `(n, dimensions)` floats to `(n, dimensions) float16`, C order, the nearest and in a tie the even one.

    Beside them `(n,) float64` twice: the largest absolute value of each vector before, NaN or infinite where it has
    such a component; and its largest absolute error, which has no meaning where the largest value is beyond float16.
    """
    count = len(vectors)
    largest, errors = np.zeros(count), np.zeros(count)
    if not vectors.shape[1]:
        return np.empty(vectors.shape, np.float16), largest, errors
    if vectors.dtype == np.float16:
        halves = np.ascontiguousarray(vectors)
        # As integers, because few machines calculate with halves; without the sign their order is that of the values.
        largest[:] = (halves.view(np.uint16) & np.uint16(0x7FFF)).max(axis=1).view(np.float16)
        return halves, largest, errors
    halves = np.empty(vectors.shape, np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in range(0, count, _BLOCK):
            block = slice(begin, begin + _BLOCK)
            absolute, rounded = np.abs(vectors[block]), halves[block]
            rounded[...] = vectors[block]
            # The absolute values of the halves, exactly, three times as fast as by a conversion: their bits moved to
            # where float32 has them, and the bias of the exponent made up for.
            bits = (rounded.view(np.uint16) & np.uint16(0x7FFF)).astype(np.uint32) << np.uint32(13)
            back = bits.view(np.float32) * np.float32(2.0**112)
            largest[block] = absolute.max(axis=1)
            absolute -= back
            errors[block] = np.abs(absolute, out=absolute).max(axis=1)
    return halves, largest, errors


def vector_fault(vector: NDArray[Any]) -> str | None:
    """Says why a vector `(dimensions,)` cannot be stored as float16, and at which component; None when it can."""
    finite = np.isfinite(vector)
    if not finite.all():
        place = int(np.argmin(finite))
        return f"component {place} of its vector is {vector[place]}; it must be a finite number"
    beyond = np.abs(vector) > HALF_MAX
    if beyond.any():
        place = int(np.argmax(beyond))
        return f"component {place} of its vector is {vector[place]:g}; float16 goes from -65504 to 65504"
    with np.errstate(under="ignore"):
        if not vector.astype(np.float16).any():
            return "all components of its vector are 0 in float16, so it has no direction"
    return None
