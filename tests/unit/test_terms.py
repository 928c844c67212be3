"""Spans and terms of filters. That they find each row that passes is in tests/search/test_filters.py."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search import filters
from service.search.terms import BYTE_BY_BYTE, DAYS_MONTHS_YEARS, _cover, path_of, terms_of

MANY = [{f"f{number}": {"$gt": 1}} for number in range(11)]


def bounds(document: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(".".join(one.steps), one.low, one.high) for one in filters.compiled(document).spans]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a": {"$gte": 1, "$lt": 2}}, [("a", 1, 2)]),
        ({"$and": [{"a": {"$gte": 1}}, {"b": {"$exists": True}}, {"a": {"$lt": 2}}, {"a": {"$lt": 3}}]}, [("a", 1, 2)]),
        ({"a": {"$exists": True, "$lte": "x"}}, [("a", None, "x")]),
        ({"a": {"$gt": "x", "$lt": 5}}, [("a", "x", None)]),
        ({"a": {"$exists": True}, "b": {"$gt": 1}, "c": {"$gt": 1, "$lt": 2}}, [("c", 1, 2)]),
        ({"$or": [{"a": {"$lt": 1}}, {"b.c": {"$gt": 5}}]}, [("a", None, 1), ("b.c", 5, None)]),
        ({"$or": [{"a": {"$lt": 1}}, {"b": 5}]}, []),
        ({"$or": MANY[:10]}, [(f"f{number}", 1, None) for number in range(10)]),
        ({"$or": MANY}, []),
        ({"a": -1}, [("a", -1, -1)]),
        ({"a": {"$in": [3, -1, -0.5]}}, [("a", -1, 3)]),
        ({"a": {"$in": [-1, "x"]}}, []),
        ({"a": {"$in": []}}, []),
        ({"a": {"$gt": 10**400}}, [("a", 1e300, None)]),
        ({"a": {"$lt": -(10**400)}}, [("a", None, -1e300)]),
        ({"a": 1}, []),
        ({"a": {"$ne": -1}}, []),
        ({"a": {"$not": {"$gt": 1}}}, []),
        ({"$not": {"a": {"$gt": 1}}}, []),
        ({"a": {"$exists": False}}, []),
        ({"a.b.c.d.e": {"$gt": 1}}, [("a.b.c.d.e", 1, None)]),
        ({"a.b.c.d.e.f": {"$gt": 1}}, []),
        ({"a" * 101: {"$gt": 1}}, []),
        ({}, []),
    ],
)
def test_spans_of_a_filter(document: dict[str, Any], expected: list[tuple[str, Any, Any]]) -> None:
    assert bounds(document) == expected


@pytest.mark.parametrize(
    "document", [{"a": {"$gt": 1}}, {"a": {"$gt": 1, "$lte": 2}}, {"a": {"$exists": True}}, {"$or": MANY[:2]}]
)
def test_a_filter_of_spans_only_is_estimated_once(document: dict[str, Any]) -> None:
    only = filters.compiled(document)
    assert path_of(only.spans) == only.path


@pytest.mark.parametrize(
    ("document", "least", "most"),
    [
        ({"a.b": {"$exists": True}}, 4, 4),
        ({"year": {"$gte": 1990, "$lt": 2000}}, 10, 50),
        ({"year": {"$gte": 1990}}, 100, 1300),
        ({"x": {"$gt": -1.23456789, "$lt": 1.23456789}}, 100, 1300),
        ({"x": {"$gt": 5, "$lt": 4}}, 2, 3),
        ({"day": {"$gte": "2000-01-01", "$lt": "2001-01-01"}}, 9, 9),
        ({"day": {"$gte": "1999-12-31", "$lte": "2000-02-02"}}, 12, 12),
        ({"day": {"$lt": "2000"}}, 60, 70),
        ({"day": {"$gt": "1995-06-15"}}, 250, 300),
        ({"name": {"$gt": "Kant"}}, 3, 3),
    ],
)
def test_a_range_has_few_terms(document: dict[str, Any], least: int, most: int) -> None:
    assert least <= len(terms_of(filters.compiled(document).spans)) <= most


def test_terms_of_a_range_of_days() -> None:
    spans = filters.compiled({"day": {"$gte": "1999-11-30T05:00", "$lte": "2001-01"}}).spans
    assert sorted(terms_of(spans)) == sorted(
        [
            "\x01",
            "day\x01a",
            "day\x01s",
            "day\x01d1999-11-30",
            "day\x01d1999-11-31",  # not a date
            "day\x01d1999-12",
            "day\x01d2000",
            *["day\x01m1999-11", "day\x01m1999-12", "day\x01m2000", "day\x01m2001-01"],
            *["day\x01y1999", "day\x01y2000", "day\x01y2001"],
        ]
    )


SIZES = st.sampled_from([BYTE_BY_BYTE, DAYS_MONTHS_YEARS])


@given(st.integers(0, 2**24 - 1), st.integers(0, 30_000), SIZES)
def test_a_cover_has_each_leaf_once_and_no_other(low: int, more: int, sizes: tuple[int, ...]) -> None:
    leaves: list[int] = []
    for level, place in _cover(low, low + more, sizes):
        leaves_of_a_place = 1
        for size in sizes[:level]:
            leaves_of_a_place *= size
        leaves += range(place * leaves_of_a_place, (place + 1) * leaves_of_a_place)
    assert sorted(leaves) == list(range(low, low + more + 1))


@given(st.dates(date(1000, 1, 1), date(9900, 1, 1)), st.integers(0, 5000))
def test_a_range_of_days_has_only_its_days(first: date, more: int) -> None:
    last = first + timedelta(days=more)
    found = terms_of(filters.compiled({"day": {"$gte": str(first), "$lte": str(last)}}).spans)
    codes = [term.removeprefix("day\x01d") for term in found if term.startswith("day\x01d")]
    for day in (first, last):
        assert sum(str(day).startswith(code) for code in codes) == 1
    for day in (first - timedelta(days=1), last + timedelta(days=1)):
        assert not any(str(day).startswith(code) for code in codes)
