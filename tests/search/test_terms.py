"""Terms of stored metadata (`metadata_terms` in PostgreSQL) and of filters: each row that passes has one of them."""

import itertools
import json
import random
from typing import Any

import pytest

from service.database.pool import Pool
from service.search import filters
from service.search.terms import terms_of

pytestmark = pytest.mark.slow

NUMBERS = [
    *[
        0,
        -0.0,
        1,
        -1,
        0.1,
        -0.1,
        1.5,
        2,
        255,
        256,
        1776,
        1900.5,
        2**24,
        2**53 + 1,
        2**63,
        1_700_000_000,
        -1_700_000_000,
    ],
    *[1e300, -1e300, 1.1e300, 1.7e308, -1.7e308, 1e-300, -1e-300, 1e-301, 5e-324, -5e-324],
]
TEXTS = [
    *["", "a", "Kant", "~", "\U0010ffff", "2", "20", "2000", "2000-0", "2000-01", "2000-01-01", "2000-01-01T10:00:00Z"],
    *["2000-01-31", "2000-02-01", "2000-02-31", "2000-13-01", "1999-12-31", "1999-12-31\U0010ffff", "9999-12-31"],
    *["0000-01-01", "2000-01-011", "19991231", "\uff12000-01-01", "-2000-01-01"],
]
SCALARS = [*NUMBERS, *TEXTS, True, False, None]
STORED = [
    *[{"a": one} for one in SCALARS],
    *[{"b": one} for one in SCALARS],
    *[{"a": [one]} for one in SCALARS],
    *[
        {"a": [1, "Kant"]},
        {"a": [5, 9], "b": 1},
        {"a": []},
        {"a": {}},
        {"a": [[7]]},
        {"a": {"b": 7}},
        {"a.b": 7},
        {"": 7},
    ],
    *[
        {"a": {"b": [3, "2000-01-01"]}},
        {"a": [{"b": -3}]},
        {"a": {"b": {"c": {"d": {"e": 4}}}}},
        {"a": {"b": {"c": {"d": {"e": "2000-01-01"}}}}},
        {},
    ],
    *[{"a": {"b": {"c": {"d": {"e": {"f": 4}}}}}}, {"a" * 101: 7, "a": 7}],
    *[[{"a": 5}], [], 5, "a", None],  # of older versions: metadata is an object now
]


async def terms(pool: Pool, stored: list[Any]) -> list[set[str]]:
    texts = [json.dumps(one) for one in stored]
    rows = await pool.fetch("SELECT metadata_terms(stored::jsonb) FROM unnest($1::text[]) AS stored", texts)
    return [set(row[0]) for row in rows]


async def found(
    pool: Pool, stored: list[Any], of_rows: list[set[str]], document: dict[str, Any]
) -> tuple[set[int], set[int]]:
    """The places of the rows that pass, and of those that have a term of the filter."""
    only = filters.compiled(document)
    assert only.spans
    texts = [json.dumps(one) for one in stored]
    rows = await pool.fetch("SELECT stored::jsonb @@ $1::jsonpath FROM unnest($2::text[]) AS stored", only.path, texts)
    wanted = set(terms_of(only.spans))
    return {place for place, row in enumerate(rows) if row[0]}, {
        place for place, some in enumerate(of_rows) if some & wanted
    }


@pytest.mark.parametrize("field", ["a", "a.b", "a.b.c.d.e"])
@pytest.mark.parametrize("values", [NUMBERS, TEXTS], ids=["numbers", "texts"])
async def test_no_row_of_a_range_is_without_a_term(pool: Pool, values: list[Any], field: str) -> None:
    some = values if field == "a" else values[::4]
    documents: list[dict[str, Any]] = [{operator: one} for operator in ("$gt", "$gte", "$lt", "$lte") for one in some]
    documents += [{"$gte": low, "$lte": high} for low, high in itertools.product(some, some)]
    passed, of_rows = set(), await terms(pool, STORED)
    for document in documents:
        passing, with_term = await found(pool, STORED, of_rows, {field: document})
        assert passing <= with_term, (document, [STORED[place] for place in passing - with_term])
        passed |= passing
    assert passed


@pytest.mark.parametrize("field", ["a", "b", "a.b", "a.b.c.d.e", ".", "a" * 100])
async def test_no_row_with_a_field_is_without_a_term(pool: Pool, field: str) -> None:
    passing, with_term = await found(pool, STORED, await terms(pool, STORED), {field: {"$exists": True}})
    assert passing <= with_term


async def test_few_other_rows_have_a_term(pool: Pool) -> None:
    random.seed(5)
    numbers = [random.uniform(0, 1) for _ in range(4000)]
    stored = [
        {"a": number, "day": f"{2000 + row % 25}-{row % 12 + 1:02}-{row % 28 + 1:02}"}
        for row, number in enumerate(numbers)
    ]
    of_rows = await terms(pool, stored)
    for document in (
        {"a": {"$lt": 0.01}},
        {"a": {"$gte": 0.5, "$lt": 0.52}},
        {"day": {"$gte": "2003-02-03", "$lt": "2003-05-01"}},
        {"day": {"$gte": "2023-05-06T12:00"}},
    ):
        passing, with_term = await found(pool, stored, of_rows, document)
        assert passing
        assert passing <= with_term
        assert len(with_term) <= 1.05 * len(passing) + 3


async def test_terms_of_a_row(pool: Pool) -> None:
    of_fields, of_nothing, of_no_object = await terms(
        pool, [{"year": 1776, "tags": ["x"], "at": {"place": "Weimar", "on": "1776-07-04"}}, {}, [1]]
    )
    assert of_fields == {
        *["year\x01", "year\x01nc0", "year\x01nc09b", "year\x01nc09bc0"],
        *["tags\x01", "tags\x01a"],
        *["at\x01", "at.place\x01", "at.place\x01s", "at.on\x01"],
        *[f"at.on\x01d{start}" for start in ("17", "1776", "1776-07", "1776-07-04")],
    }
    assert (of_nothing, of_no_object) == (set(), {"\x01"})
    assert await pool.fetchval("SELECT metadata_terms(NULL) IS NULL")
