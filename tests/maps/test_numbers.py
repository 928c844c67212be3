"""The computations of maps, against independent ones."""

import struct
from typing import Any

import numpy as np
import pytest

from service.maps import neighbours, projection, samples
from service.maps.quality import Trust

pytestmark = pytest.mark.slow

random = np.random.default_rng(5)
STATE = random.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_numbers() -> None:
    """Each test draws the same ones, whichever was before it."""
    random.bit_generator.state = STATE


def unit(vectors: Any) -> Any:
    return samples.unit(np.asarray(vectors, dtype=np.float32))


def clustered(rows: int, dimensions: int) -> Any:
    """Vectors around ten centres."""
    centres = random.normal(size=(10, dimensions))
    return unit(centres[random.integers(0, 10, rows)] + 0.2 * random.normal(size=(rows, dimensions)))


def trustworthiness(vectors: Any, plane: Any) -> float:
    """As scikit-learn computes it, whose import takes seconds in each process of the tests if it is not here."""
    from sklearn import manifold

    return float(manifold.trustworthiness(vectors, plane, n_neighbors=10))


def encoded(rows: list[tuple[str, int, int, list[float]]]) -> bytes:
    """As COPY sends them."""
    made = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for text_id, sequence, order, vector in rows:
        name = text_id.encode()
        halves = struct.pack(">hh", len(vector), 0) + np.array(vector, dtype=">f2").tobytes()
        made += struct.pack(">hi", 4, len(name)) + name
        made += struct.pack(">iqiqi", 8, sequence, 8, order, len(halves)) + halves
    return made + b"\xff\xff"


class TestSamples:
    @pytest.mark.parametrize("size", [1, 7, 19, 64, 10_000])
    def test_pieces_of_any_size(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(samples, "BATCH_BYTES", 20)
        rows = [(f"ä{place}" * (place + 1), place - 3, 2**62 + place, [place, 0.0, 3.0]) for place in range(9)]
        data = encoded(rows)
        pieces = (data[start : start + size] for start in range(0, len(data), size))
        found = list(samples.batches(pieces, 3))
        assert [one for batch in found for one in batch.text_ids] == [row[0] for row in rows]
        assert np.concatenate([batch.sequences for batch in found]).tolist() == [row[1] for row in rows]
        assert np.concatenate([batch.order for batch in found]).tolist() == [row[2] for row in rows]
        expected = unit([row[3] for row in rows])
        assert np.array_equal(np.concatenate([batch.vectors for batch in found]), expected)
        assert len(found) > 1

    def test_none(self) -> None:
        assert list(samples.batches([encoded([])], 3)) == []

    def test_zero_vectors_stay(self) -> None:
        assert unit([[0, 0], [0, 5]]).tolist() == [[0, 0], [0, 1]]


class TestProjection:
    def test_the_axes_are_those_of_the_covariance(self) -> None:
        vectors = clustered(2000, 40)
        basis = projection.fitted(vectors)
        values, axes = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
        for place in range(5):
            assert abs(float(axes[:, -1 - place] @ basis.axes[place])) > 0.999
        plane = projection.in_plane(basis.project(vectors))
        variance = projection.Variance(basis)
        for start in range(0, 2000, 300):
            variance.add(vectors[start : start + 300])
        expected = values[::-1][:2] / values.sum()
        assert variance.explained(plane) == pytest.approx(expected, abs=2e-3)

    def test_the_same_vectors_have_the_same_basis_which_can_be_stored(self) -> None:
        vectors = clustered(500, 30)
        basis = projection.fitted(vectors)
        assert basis.to_bytes() == projection.fitted(vectors.copy()).to_bytes()
        again = projection.stored(basis.to_bytes(), 30)
        assert np.array_equal(again.mean, basis.mean)
        assert np.array_equal(again.axes, basis.axes)

    @pytest.mark.parametrize("rows", [0, 1, 2, 5])
    @pytest.mark.parametrize("dimensions", [1, 2, 3, 100])
    @pytest.mark.parametrize("kind", ["equal", "zero", "random"])
    def test_few_and_equal_vectors(self, rows: int, dimensions: int, kind: str) -> None:
        made = (
            random.normal(size=(rows, dimensions)) if kind == "random" else np.full((rows, dimensions), kind != "zero")
        )
        vectors = unit(made)
        basis = projection.fitted(vectors)
        variance = projection.Variance(basis)
        variance.add(vectors)
        plane = projection.in_plane(basis.project(vectors))
        assert plane.shape == (rows, 2)
        assert np.isfinite(plane).all()
        explained = variance.explained(plane)
        assert np.isfinite(explained).all()
        assert 0 <= sum(explained) <= 1.001
        if kind != "random":
            assert np.abs(plane).max(initial=0) < 1e-5
            assert explained == [0, 0]


class TestTrust:
    def of(self, vectors: Any, plane: Any, sampled: int) -> float | None:
        """With all rows in batches and in another order than they came in."""
        count = len(vectors)
        sequences, order = random.permutation(count) * 7, random.permutation(count)
        trust = Trust(sequences[:sampled], vectors[:sampled].copy(), count)
        for start in range(0, count, 170):
            trust.add(vectors[start : start + 170])
        trust.finish(sequences, order)
        assert trust.sampled == min(sampled, 1000)
        return trust.of(np.asarray(plane, dtype=np.float32)[order])

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["projection", "noise", "neighbours"])
    def test_it_is_what_scikit_learn_finds(self, kind: str) -> None:
        vectors = clustered(700, 20)
        plane = vectors[:, :2]
        if kind == "noise":
            plane = random.normal(size=(700, 2))
        if kind == "neighbours":
            coordinates = projection.fitted(vectors).project(vectors)
            plane = neighbours.laid_out(coordinates, lambda _: None)
        expected = trustworthiness(vectors, plane)
        assert self.of(vectors, plane, 700) == pytest.approx(expected, abs=1e-4)
        assert (expected > 0.6) == (kind != "noise")

    def test_a_sample_is_near_the_whole(self) -> None:
        vectors = clustered(1500, 20)
        expected = trustworthiness(vectors, vectors[:, :2])
        assert self.of(vectors, vectors[:, :2], 300) == pytest.approx(expected, abs=0.05)

    def test_equal_vectors_are_neighbours_of_all(self) -> None:
        assert self.of(unit(np.ones((100, 8))), random.normal(size=(100, 2)), 100) == 1

    def test_of_few_points_nothing_is_said(self) -> None:
        assert self.of(clustered(29, 8), random.normal(size=(29, 2)), 29) is None


class TestNeighbours:
    @pytest.mark.slow
    def test_the_same_points_have_the_same_positions(self) -> None:
        coordinates = clustered(400, 20)
        told: list[float] = []
        first = neighbours.laid_out(coordinates, told.append)
        assert np.array_equal(first, neighbours.laid_out(coordinates.copy(), told.append))
        assert first.dtype == np.float32
        assert 0 < told[0] < told[len(told) // 2 - 1] <= 1

    @pytest.mark.parametrize("rows", [0, 1, 49, 50, 60, pytest.param(1000, marks=pytest.mark.slow)])
    def test_few_and_equal_points(self, rows: int) -> None:
        for coordinates in (np.zeros((rows, 20), np.float32), clustered(rows, 1), clustered(rows, 3)):
            plane = neighbours.laid_out(coordinates, lambda _: None)
            assert plane.shape == (rows, 2)
            assert np.isfinite(plane).all()

    def test_later_points_are_placed_beside_their_neighbours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(neighbours, "COMPARED_AT_ONCE", 1000)
        known = clustered(300, 20)
        positions = random.normal(size=(300, 2)).astype(np.float32)
        assert neighbours.placed(known[:50], known, positions) == pytest.approx(positions[:50], abs=1e-2)
        between = unit(known[:1] + known[1:2])
        made = neighbours.placed(between, known[:2], positions[:2])
        assert made[0] == pytest.approx(positions[:2].mean(axis=0), abs=1e-3)
        assert neighbours.placed(known[:0], known, positions).shape == (0, 2)
        assert neighbours.placed(known[:5], known[:1], positions[:1]).tolist() == [positions[0].tolist()] * 5
