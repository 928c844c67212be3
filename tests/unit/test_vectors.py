"""Vectors: what can be stored, and how it looks outside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pgvector import HalfVector

from service import vectors


@pytest.mark.parametrize(
    ("vector", "reason", "component"),
    [
        ([1.0, np.nan], "finite", 1),
        ([np.inf, 1.0], "finite", 0),
        ([1.0, -np.inf], "finite", 1),
        ([1.0, 65505.0], "within half precision", 1),
        ([-70000.0, 1.0], "within half precision", 0),
        ([0.0, 0.0], "all zero", None),
        ([1e-9, -1e-9], "all zero", None),
    ],
)
def test_faults(vector: list[float], reason: str, component: int | None) -> None:
    (fault,) = vectors.to_halves(np.array([[1.0, 1.0], vector]))[1]
    assert (fault.row, fault.component) == (1, component)
    assert reason in fault.message
    assert component is None or repr(fault.value) == repr(vector[component])


@pytest.mark.parametrize("vector", [[1.0, 0.0], [65504.0, -65504.0], [6e-8, 0.0]])
def test_no_fault(vector: list[float]) -> None:
    assert vectors.to_halves(np.array([vector]))[1] == []


@pytest.mark.parametrize("width", [64, 32, 16])
@given(data=st.data())
def test_rows_without_a_fault_are_finite_within_halves_and_not_all_zero(width: int, data: st.DataObject) -> None:
    halves = st.integers(0, 0xFFFF).map(lambda bits: float(np.uint16(bits).view(np.float16)))
    number = halves if width == 16 else st.floats(allow_nan=True, allow_infinity=True, width=width)  # type: ignore[arg-type]
    rows = data.draw(st.lists(st.lists(number, min_size=3, max_size=3), min_size=1, max_size=20))
    faulty = [
        place
        for place, row in enumerate(rows)
        if not all(abs(one) <= 65504 for one in row) or (not any(np.float16(one) for one in row))
    ]
    assert [fault.row for fault in vectors.to_halves(np.array(rows, dtype=f"f{width // 8}"))[1]] == faulty


@given(st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_binary_is_what_pgvector_reads(values: list[float]) -> None:
    halves = np.array([values, values], dtype=np.float16)
    for binary in vectors.to_binary(halves):
        assert HalfVector.from_binary(binary).to_numpy().tobytes() == halves[0].tobytes()


@given(st.floats(width=16, allow_nan=False, allow_infinity=False))
def test_decimals_are_the_shortest_that_name_the_half(value: float) -> None:
    half = np.float16(value)
    (decimal,) = vectors.to_decimals(HalfVector(np.array([half])))
    assert np.float16(decimal) == half
    assert repr(decimal).lstrip("-") in (str(abs(half)), repr(float(str(abs(half)))))


def test_a_tenth_stays_a_tenth() -> None:
    assert vectors.to_decimals(HalfVector([0.1, 0.2, -3.0])) == [0.1, 0.2, -3.0]
