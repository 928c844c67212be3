"""Filters as PostgreSQL evaluates them, compared with a plain reading of the same documents in Python."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.database.pool import Pool
from service.search import filters
from service.search.terms import path_of, terms_of

names = st.sampled_from(["a", "b", "ä ö", 'quo"te', "back\\slash", "tab\t", "x y", "@", "'", "{}", "\U0001f600", "?"])
numbers = st.one_of(
    st.integers(-(2**53), 2**53),
    st.sampled_from([0, 1, -1, 0.1, 1.5, 1e300, 1e-300, 2**53 + 1, -0.0, 1900, 1950]),
    st.sampled_from([-1e-301, 1e-308, 5e-324, 1.7e308, -1.7e308, 2**63, -0.5, -1950, 1.0000001]),
)
texts = st.one_of(
    st.sampled_from(["", "Kant", "kant", '"', "\\", "$v0", "1900", "ä", "a.b"]),
    st.sampled_from(
        ["1999-12-31", "2000-01-01", "2000-01-01T12:00:00Z", "2000-01", "2000-02-31x", "2000-13-01", "20", "2"]
    ),
    st.dates().map(str),
    st.text(max_size=3),
).filter(lambda text: "\0" not in text)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
metadata = st.one_of(st.none(), st.dictionaries(names, values, max_size=4))
paths = st.lists(names, min_size=1, max_size=3).map(".".join)
ordered = st.one_of(numbers, texts)
operators = st.fixed_dictionaries(
    {},
    optional={
        "$eq": scalars,
        "$ne": scalars,
        "$gt": ordered,
        "$gte": ordered,
        "$lt": ordered,
        "$lte": ordered,
        "$in": st.lists(scalars, max_size=3),
        "$nin": st.lists(scalars, max_size=3),
        "$exists": st.booleans(),
    },
).filter(bool)
conditions = st.one_of(scalars, operators, operators.map(lambda inner: {"$not": inner}))
documents = st.recursive(
    st.dictionaries(paths, conditions, max_size=2),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=4,
)


def reached(value: Any, steps: list[str]) -> Iterator[Any]:
    """What a path leads to: a step into an array looks at its elements."""
    if not steps:
        yield value
        return
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and steps[0] in one:
            yield from reached(one[steps[0]], steps[1:])


def unwrapped(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def kind(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "other"


def compares(found: Any, operator: str, wanted: Any) -> bool:
    if kind(found) != kind(wanted):
        return False
    match operator:
        case "$gt":
            return bool(found > wanted)
        case "$gte":
            return bool(found >= wanted)
        case "$lt":
            return bool(found < wanted)
        case "$lte":
            return bool(found <= wanted)
        case _:
            return bool(found == wanted)


def satisfies(stored: Any, path: str, operator: str, wanted: Any) -> bool:
    ends = list(reached(stored, path.split(".")))
    each = [inner for end in ends for inner in unwrapped(end)]
    each = [inner for one in each for inner in unwrapped(one)]  # arrays in arrays too
    match operator:
        case "$exists":
            return bool(ends) == wanted
        case "$ne":
            return not satisfies(stored, path, "$eq", wanted)
        case "$in":
            return any(compares(one, "$eq", value) for one in each for value in wanted)
        case "$nin":
            return not satisfies(stored, path, "$in", wanted)
        case "$not":
            return not all(satisfies(stored, path, name, value) for name, value in wanted.items())
        case _:
            return any(compares(one, operator, wanted) for one in each)


def holds(stored: dict[str, Any], document: dict[str, Any]) -> bool:
    for name, condition in document.items():
        match name:
            case "$and":
                fits = all(holds(stored, part) for part in condition)
            case "$or":
                fits = any(holds(stored, part) for part in condition)
            case "$not":
                fits = not holds(stored, condition)
            case _:
                wanted = condition if isinstance(condition, dict) else {"$eq": condition}
                fits = all(satisfies(stored, name, operator, value) for operator, value in wanted.items())
        if not fits:
            return False
    return True


@pytest.mark.slow
@given(st.lists(metadata, min_size=1, max_size=6), st.lists(documents, min_size=1, max_size=4))
@example([{"a": [{"b": [1, 2]}, {"b": 3}]}], [{"a.b": 2}, {"a.b": {"$gt": 2}}, {"a.b": {"$not": {"$lt": 0}}}])
@example(
    [{"a": [1, 9]}, {"a": []}, {"a": [[5]]}], [{"a": {"$gt": 8, "$lt": 2}}, {"a": {"$exists": True}}, {"a": {"$gt": 4}}]
)
@example(
    [{"a": {"b": -2}}, {"a": [{"b": -2}]}, {"a.b": -2}], [{"a.b": -2}, {"a.b": {"$exists": True}}, {"a.b": {"$lt": -1}}]
)
@example([{"a": 1}, {"a": "1"}, {"a": None}, None, {}], [{"a": None}, {"a": {"$ne": 1}}, {"a": {"$exists": False}}, {}])
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_postgresql_agrees(pool: Pool, stored: list[Any], asked: list[dict[str, Any]]) -> None:
    for document in asked:
        only = filters.compiled(document)
        rows = await pool.fetch(
            "SELECT coalesce(nullif(stored, 'null'), '{}') @@ $1::jsonpath AS fits, stored @@ $2::jsonpath AS indexed, "
            "metadata_terms(nullif(stored, 'null')) && $3::text[] AS has_term, "
            "coalesce(nullif(stored, 'null'), '{}') @@ $4::jsonpath AS is_in_spans "
            "FROM unnest($5::jsonb[]) WITH ORDINALITY AS rows (stored, place) ORDER BY place",
            only.path,
            only.indexed,
            terms_of(only.spans),
            path_of(only.spans) if only.spans else "(1 == 1)",
            stored,
        )
        passing = [row for row in rows if row["fits"]]
        assert all(row["indexed"] or only.indexed is None for row in passing)
        assert all((row["has_term"] or not only.spans) and row["is_in_spans"] for row in passing)
        assert [row["fits"] for row in rows] == [holds(one or {}, document) for one in stored], (document, only.path)
