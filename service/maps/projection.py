"""The projection of unit vectors onto the axes along which they differ most (principal component analysis)."""

import msgspec
import numpy as np
from numpy.typing import NDArray

AXES = 50  # two are shown; by all of them neighbours are found
SPARE_AXES = 10  # beside them while they are looked for
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
        """As it is stored."""
        return np.concatenate([self.mean[None], self.axes]).astype(STORED).tobytes()


def stored(content: bytes, dimensions: int) -> Basis:
    """A basis as it was stored."""
    numbers = np.frombuffer(content, STORED).reshape(-1, dimensions).astype(np.float32)
    return Basis(numbers[0], numbers[1:])


def fitted(vectors: NDArray[np.float32]) -> Basis:
    """The basis of these vectors, `(n, dimensions)`, by subspace iteration: it takes no square of the dimensions.

    The same vectors have the same basis.
    """
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
    """The first two coordinates; zero in place of one that there is not."""
    plane = np.zeros((len(coordinates), 2), dtype=np.float32)
    plane[:, : coordinates.shape[1]] = coordinates[:, :2]
    return plane


class Variance:
    """How much of the variance of many vectors the axes of the plane show, from batches of them."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._count, self._squares, self._sum = 0, 0.0, np.zeros(len(basis.mean))

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Counts these vectors."""
        apart = vectors - self._basis.mean
        self._count += len(vectors)
        self._squares += float(np.square(apart).sum(dtype=np.float64))
        self._sum += apart.sum(axis=0, dtype=np.float64)

    def explained(self, plane: NDArray[np.float32]) -> list[float]:
        """The part of each of the two axes, on which all vectors have the coordinates `plane`."""
        if not self._count:
            return [0.0, 0.0]
        total = self._squares / self._count - float(np.square(self._sum / self._count).sum())
        shown = plane.var(axis=0, dtype=np.float64)
        return [round(float(one / total), 4) if total > 1e-9 else 0.0 for one in shown]
