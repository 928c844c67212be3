"""Rows: rounding to float16, what it takes, and which vectors cannot be stored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from vecferry.rows import HALF_MAX, ROUNDS_TO_ZERO, Rows, to_halves, vector_fault

TYPES = [np.float16, np.float32, np.float64]


def rows_of(count: int) -> Rows:
    return Rows(
        start=7,
        ids=[f"id{row}" for row in range(count)],
        vectors=np.arange(count * 2, dtype=np.float16).reshape(count, 2),
        texts=[None if row % 2 else f"text {row}" for row in range(count)],
        metadata=[{"row": row} for row in range(count)],
    )


@given(
    st.sampled_from(TYPES).flatmap(
        lambda of: arrays(
            of, array_shapes(min_dims=2, max_dims=2, max_side=150), elements={"min_value": -60000, "max_value": 60000}
        )
    )
)
def test_halves_are_numpys_and_what_was_lost_is_measured(vectors: np.ndarray) -> None:
    halves, largest, errors = to_halves(vectors)
    assert halves.dtype == np.float16
    assert halves.flags.c_contiguous
    assert halves.tobytes() == vectors.astype(np.float16).tobytes()
    assert largest.tolist() == np.abs(vectors).max(axis=1).tolist()
    lost = np.abs(vectors.astype(np.float64) - halves.astype(np.float64)).max(axis=1)
    np.testing.assert_allclose(errors, lost, rtol=1e-6, atol=0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_every_half_comes_back_without_loss(order: str) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    finite = every[np.isfinite(every).all(axis=1)]
    for of in TYPES:
        halves, _, errors = to_halves(np.asarray(finite, of, order=order))
        assert halves.tobytes() == finite.tobytes()
        assert not errors.any()


@given(st.lists(st.floats(width=64), min_size=1, max_size=5), st.sampled_from(TYPES))
def test_the_largest_value_tells_which_vectors_have_a_fault(vector: list[float], of: type) -> None:
    with np.errstate(all="ignore"):
        numbers = np.array(vector).astype(of)
    _, largest, _ = to_halves(numbers[None])
    assert bool((largest > ROUNDS_TO_ZERO) & (largest <= HALF_MAX)) == (vector_fault(numbers) is None)


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([1.0, np.nan], "component 1 of its vector is nan; it must be a finite number"),
        ([-np.inf, 1.0], "component 0 of its vector is -inf"),
        ([1.0, 65504.5], "component 1 of its vector is 65504.5; float16 goes from -65504 to 65504"),
        ([0.0, 2.0**-25], "all components of its vector are 0 in float16"),
        ([0.0, np.nextafter(2.0**-25, 1)], None),
        ([65504.0, -65504.0], None),
    ],
)
def test_faults_say_what_and_where(vector: list[float], reason: str | None) -> None:
    fault = vector_fault(np.array(vector))
    assert fault is None if reason is None else fault is not None and fault.startswith(reason)


def test_taken_rows_have_all_that_belongs_to_them() -> None:
    taken = rows_of(5).take([3, 1])
    assert (taken.start, taken.ids, taken.texts) == (10, ["id3", "id1"], [None, None])
    assert taken.vectors.tolist() == [[6.0, 7.0], [2.0, 3.0]]
    assert taken.metadata == [{"row": 3}, {"row": 1}]
    assert len(rows_of(5).take([])) == 0


def test_a_part_is_a_view() -> None:
    rows = rows_of(5)
    part = rows.part(2, 4)
    assert (part.start, part.ids, part.texts, len(part)) == (9, ["id2", "id3"], ["text 2", None], 2)
    assert np.shares_memory(part.vectors, rows.vectors)
    bare = Rows(0, rows.ids, rows.vectors, None, None)
    assert bare.part(0, 1).texts is None
    assert bare.take([0]).metadata is None
