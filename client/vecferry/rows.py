"""Embeddings on their way from a source to the service, and from the service to a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

HALF_MAX = 65504.0


class SourceError(ValueError):
    """A source as a whole cannot be read, or is not what it must be; the message says what would be right."""


class BadRow(msgspec.Struct, frozen=True):
    """A row of a source that cannot be uploaded.

    `place` is its number in the source, from 0; `text_id` is None where it has none that can be read.
    """

    place: int
    text_id: str | None
    reason: str


class Loss(msgspec.Struct):
    """What rounding to float16 took from the vectors.

    The loss of a vector is its largest absolute error divided by its largest absolute value. It is below 0.0005
    unless all components are so small (below 0.00003) that float16 keeps only a few of their digits.
    """

    largest: float = 0.0
    rows: int = 0
    """How many vectors lost more than 0.001."""


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
