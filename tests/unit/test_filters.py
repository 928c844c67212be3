"""Filter documents: what is refused, where. What PostgreSQL makes of them is in tests/search/test_filters.py."""

from typing import Any

import pytest

from service.errors import Invalid
from service.search import filters


@pytest.mark.parametrize(
    ("document", "location", "says"),
    [
        ({"a": {"$like": "x"}}, "body.filter.a.$like", "unknown operator; expected one of $eq, $ne"),
        ({"$nor": []}, "body.filter.$nor", "unknown operator; expected $and, $or, $not"),
        ({"$and": []}, "body.filter.$and", "must be a list of one filter or more"),
        ({"$or": {"a": 1}}, "body.filter.$or", "must be a list of one filter or more"),
        ({"$or": [{"a": 1}, 5]}, "body.filter.$or[1]", "must be an object"),
        ({"$not": 5}, "body.filter.$not", "must be an object"),
        ({"a": {"$not": 5}}, "body.filter.a.$not", "must be an object of operators"),
        ({"a": {}}, "body.filter.a", "must have an operator"),
        ({"a": [1]}, "body.filter.a", "must be a text, a number, true, false or null"),
        ({"a": {"$eq": {"b": 1}}}, "body.filter.a.$eq", "must be a text, a number, true, false or null"),
        ({"a": {"$gt": True}}, "body.filter.a.$gt", "must be a text or a number"),
        ({"a": {"$lte": None}}, "body.filter.a.$lte", "must be a text or a number"),
        ({"a": {"$in": "x"}}, "body.filter.a.$in", "must be a list of at most 1000"),
        ({"a": {"$nin": [[]]}}, "body.filter.a.$nin", "must be a list of at most 1000"),
        ({"a": {"$in": list(range(1001))}}, "body.filter.a.$in", "must be a list of at most 1000"),
        ({"a": {"$exists": 1}}, "body.filter.a.$exists", "must be true or false"),
        ({"": 1}, "body.filter.", "must be a name of 1 to 1000 characters without NUL"),
        ({"$and": [{1: 2}]}, "body.filter.$and[0].1", "must have texts as names only"),
        ({"$not": {b"x": 2}}, "body.filter.$not.b'x'", "must have texts as names only"),
        ({"a\0": 1}, "body.filter.a\0", "must be a name of 1 to 1000 characters without NUL"),
        ({"a": "\0"}, "body.filter.a", "must not contain a NUL"),
        ({f"f{number}": 1 for number in range(101)}, "body.filter.f100", "exceeds the limit of 100 conditions"),
    ],
)
def test_what_is_wrong_is_said_and_where(document: dict[str, Any], location: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        filters.compiled(document)
    (problem,) = caught.value.problems
    assert problem.location == location
    assert says in problem.message


def test_all_problems_are_listed() -> None:
    with pytest.raises(Invalid) as caught:
        filters.compiled({"a": {"$x": 1, "$gt": None}, "$or": [{"b": []}]})
    assert [problem.location for problem in caught.value.problems] == [
        "body.filter.a.$x",
        "body.filter.a.$gt",
        "body.filter.$or[0].b",
    ]


@pytest.mark.parametrize("name", ["$and", "$not", "field"])
def test_nesting_is_limited(name: str) -> None:
    document: Any = {"a": 1}
    for _ in range(5000):
        document = {"$and": [document]} if name == "$and" else {"$not": document}
    if name == "field":
        document = {"a": document}
    with pytest.raises(Invalid) as caught:
        filters.compiled(document)
    assert "nested more than 10 deep" in caught.value.problems[0].message


def test_values_and_names_are_quoted() -> None:
    hostile = '"); DROP TABLE users; --'
    found = filters.compiled({hostile: hostile, 'a"b.c\\d': {"$in": [1, "x"]}})
    quoted = '"\\"); DROP TABLE users; --"'
    assert (
        found.path == f'(exists($.{quoted} ? (@ == {quoted})) && exists($."a\\"b"."c\\\\d" ? ((@ == 1) || (@ == "x"))))'
    )


@pytest.mark.parametrize(
    ("document", "indexed"),
    [
        ({"a": 1}, '(exists($."a" ? (@ == 1)))'),
        ({"a": None, "b": {"$gt": 1}}, '(exists($."a" ? (@ == null)))'),
        ({"a": {"$in": [True, 2.5], "$ne": 2}}, '((exists($."a" ? ((@ == true) || (@ == 2.5)))))'),
        ({"$or": [{"a": 1}, {"b": "x"}]}, '(((exists($."a" ? (@ == 1))) || (exists($."b" ? (@ == "x")))))'),
        ({"$or": [{"a": 1}, {"b": {"$gt": 1}}]}, None),
        ({"$and": [{"a": 1}, {"b": {"$ne": 1}}]}, '(((exists($."a" ? (@ == 1)))))'),
        ({"a": -1}, None),
        ({"a": -0.0}, None),
        ({"a": {"$in": [1, -1]}}, None),
        ({"a": {"$in": []}}, None),
        ({"a": {"$not": {"$eq": 1}}}, None),
        ({"$not": {"a": 1}}, None),
        ({"a": {"$exists": True}}, None),
        ({}, None),
    ],
)
def test_what_the_index_of_the_metadata_finds(document: dict[str, Any], indexed: str | None) -> None:
    found = filters.compiled(document).indexed
    assert (None if found is None else bare(found)) == (None if indexed is None else bare(indexed))


def bare(path: str) -> str:
    """Without the parentheses around a single one."""
    return path.replace("(", "").replace(")", "")
