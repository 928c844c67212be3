"""The trustworthiness of a map (Venna and Kaski): whether neighbours in the plane are also neighbours as vectors.

It is 1 if the ten nearest points of each point are its ten nearest vectors, and less for more distant vectors.
"""

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
MOST_SAMPLED = 1000  # points
COMPARISONS = 25_000_000  # of them with all points, at most: 100 MB
EQUAL = 1e-6  # the tolerance for products of float32 in another order


class Trust:
    """The similarities of sampled vectors, identified by their `sequences`, with all others."""

    def __init__(self, sequences: NDArray[np.int64], vectors: NDArray[np.float32], rows: int) -> None:
        sampled = min(len(sequences), MOST_SAMPLED, COMPARISONS // max(rows, 1))
        self._sequences = sequences[:sampled]
        self._vectors = vectors[:sampled].copy()  # not a view, which would keep all vectors
        self._similar: list[NDArray[np.float32]] = []

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Adds a batch of all vectors."""
        self._similar.append(self._vectors @ vectors.T)

    def finish(self, sequences: NDArray[np.int64], order: NDArray[np.int64]) -> None:
        """Ends the input, with the sequences of all added vectors, and the order of the map."""
        similar = np.concatenate(self._similar, axis=1) if self._similar else np.empty((0, 0), dtype=np.float32)
        self._similar = []
        # Without vectors that were changed meanwhile.
        _, kept, self._own = np.intersect1d(self._sequences, sequences[order], return_indices=True)
        self._rows = [similar[row, order] for row in kept]
        for row, own in zip(self._rows, self._own, strict=True):
            row[own] = -np.inf

    @property
    def sampled(self) -> int:
        """The number of sampled points."""
        return len(self._own)

    def of(self, plane: NDArray[np.float32]) -> float | None:
        """The trustworthiness of a map, `(n, 2)` in the order of `finish`; None for too few points."""
        count = len(plane)
        if count < 3 * NEIGHBOURS or not len(self._own):
            return None
        beyond = 0
        for own, similar in zip(self._own, self._rows, strict=True):
            apart = np.square(plane - plane[own]).sum(axis=1)
            apart[own] = np.inf
            nearest = np.argpartition(apart, NEIGHBOURS)[:NEIGHBOURS]
            ranks = 1 + count - np.searchsorted(np.sort(similar), similar[nearest] + EQUAL, side="right")
            beyond += int(np.maximum(ranks - NEIGHBOURS, 0).sum())
        worst = len(self._own) * NEIGHBOURS * (2 * count - 3 * NEIGHBOURS - 1) / 2
        return round(1 - beyond / worst, 4)
