"""The projection of unit vectors onto their principal components (PCA)."""

import msgspec
import numpy as np
from numpy.typing import NDArray

AXES = 50  # two are shown; all are used to find neighbours
SPARE_AXES = 10  # in addition, during the iteration
ROUNDS = 8  # of the iteration
STORED = np.dtype("<f4")


class Basis(msgspec.Struct, frozen=True):
    """A projection: the `mean` of the vectors, `(dimensions,)`, and the `axes`, `(n, dimensions)`, longest first."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    def project(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The coordinates of vectors on the axes, `(n, axes)`."""
        return np.asarray((vectors - self.mean) @ self.axes.T, dtype=np.float32)

    def to_bytes(self) -> bytes:
        """The stored format."""
        return np.concatenate([self.mean[None], self.axes]).astype(STORED).tobytes()


def stored(content: bytes, dimensions: int) -> Basis:
    """Reads a stored basis."""
    numbers = np.frombuffer(content, STORED).reshape(-1, dimensions).astype(np.float32)
    return Basis(numbers[0], numbers[1:])


def fitted(vectors: NDArray[np.float32]) -> Basis:
    """The basis of vectors `(n, dimensions)` by subspace iteration, without a covariance matrix. Deterministic."""
    mean = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], dtype=np.float32)
    centred = vectors - mean
    width = min(vectors.shape[1], AXES + SPARE_AXES)
    axes = np.random.default_rng(0).standard_normal((vectors.shape[1], width), dtype=np.float32)
    for _ in range(ROUNDS):
        axes = np.linalg.qr(centred.T @ (centred @ axes))[0]
    along = (centred @ axes).astype(np.float64)
    _, turned = np.linalg.eigh(along.T @ along)
    axes = (axes @ turned[:, ::-1].astype(np.float32)).T[:AXES]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    return Basis(mean, axes * np.where(largest < 0, np.float32(-1), np.float32(1)))


def in_plane(coordinates: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first two coordinates, zero for missing ones."""
    plane = np.zeros((len(coordinates), 2), dtype=np.float32)
    plane[:, : coordinates.shape[1]] = coordinates[:, :2]
    return plane


class Variance:
    """The explained variance of the two axes of the plane, from batches of vectors."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._count, self._squares, self._sum = 0, 0.0, np.zeros(len(basis.mean))

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Adds a batch of vectors."""
        apart = vectors - self._basis.mean
        self._count += len(vectors)
        self._squares += float(np.square(apart).sum(dtype=np.float64))
        self._sum += apart.sum(axis=0, dtype=np.float64)

    def explained(self, plane: NDArray[np.float32]) -> list[float]:
        """The share of each axis, with the coordinates `plane` of all vectors."""
        if not self._count:
            return [0.0, 0.0]
        total = self._squares / self._count - float(np.square(self._sum / self._count).sum())
        shown = plane.var(axis=0, dtype=np.float64)
        return [round(float(one / total), 4) if total > 1e-9 else 0.0 for one in shown]
