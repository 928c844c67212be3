"""Compilation of metadata filters, like `{"year": {"$gte": 1900}}`, to JSON paths.

PostgreSQL evaluates the path, a bound parameter, on the metadata of rows. Names and values become JSON literals in it,
because the metadata index supports literals only. The rules are those of other vector stores:

- a name is a path with dots between its steps; a step into an array matches all of its elements;
- a condition holds if any value at the path satisfies it; values of other types do not;
- `$ne`, `$nin` and `$not` are negations, so they hold if the field is missing.

No SQL, no HTTP, no database.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from service.errors import Invalid, Problem, show
from service.search import terms
from service.search.limits import MAX_COMPARED, MAX_CONDITIONS, MAX_FILTER_DEPTH, MAX_PATH_LENGTH, MAX_VALUES
from service.search.terms import Spans, span

_COMPARISONS = {"$eq": "==", "$ne": "==", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_ORDERED = ("$gt", "$gte", "$lt", "$lte")
_OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not")


class Filter(msgspec.Struct, frozen=True):
    """A predicate in PostgreSQL's JSON path language.

    Two necessary conditions find rows by an index: `indexed` has the equalities with one or several values; None if
    there is none. (PostgreSQL parses a negative number as an expression, which this index does not support.) `spans`
    are a range or a field that exists, or several of which one must match.
    """

    path: str
    indexed: str | None = None
    spans: Spans = ()


def compiled(document: dict[str, Any], location: str = "body.filter") -> Filter:
    """Compiles a filter. Raises Invalid with all problems."""
    compiler = _Compiler()
    found = compiler.document(document, location, 1)
    if compiler.problems:
        raise Invalid(problems=compiler.problems)
    return found


def field_path(name: str) -> str:
    """The JSON path of a field, from a name with dots between the steps."""
    return "$" + "".join("." + _literal(step) for step in name.split("."))


class _Compiler:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.conditions = 0
        self.compared = 0

    def document(self, document: Any, location: str, depth: int) -> Filter:
        if not isinstance(document, dict):
            return self._wrong('must be an object like {"field": value}', location, document)
        if depth > MAX_FILTER_DEPTH:
            return self._wrong(f"must not be nested more than {MAX_FILTER_DEPTH} deep", location)
        if not document:
            self._count(location)
        parts = [self._member(name, value, f"{location}.{name}", depth) for name, value in document.items()]
        return _all(parts)

    def _member(self, name: Any, value: Any, location: str, depth: int) -> Filter:
        if not isinstance(name, str):  # possible in MessagePack
            return self._wrong("must have texts as names only", location)
        if name in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                return self._wrong("must be a list of one filter or more", location, value)
            parts = [self.document(each, f"{location}[{place}]", depth + 1) for place, each in enumerate(value)]
            return _all(parts) if name == "$and" else _any(parts)
        if name == "$not":
            return _not(self.document(value, location, depth + 1))
        if name.startswith("$"):
            return self._wrong("unknown operator; expected $and, $or, $not or the name of a field", location)
        if not name or len(name) > MAX_PATH_LENGTH or "\0" in name:
            return self._wrong(f"must be a name of 1 to {MAX_PATH_LENGTH} characters without NUL", location)
        return self._field(name, value, location, depth)

    def _field(self, field: str, condition: Any, location: str, depth: int) -> Filter:
        if not isinstance(condition, dict):
            return self._compare(field, "$eq", condition, location)
        if depth > MAX_FILTER_DEPTH:
            return self._wrong(f"must not be nested more than {MAX_FILTER_DEPTH} deep", location)
        if not condition:
            return self._wrong(f"must have an operator: {', '.join(_OPERATORS)}", location)
        return _all(
            [self._operator(field, name, value, f"{location}.{name}", depth) for name, value in condition.items()]
        )

    def _operator(self, field: str, name: str, value: Any, location: str, depth: int) -> Filter:
        if name in _COMPARISONS:
            holds = self._compare(field, name, value, location)
            return _not(holds) if name == "$ne" else holds
        if name in ("$in", "$nin"):
            holds = self._among(field, value, location)
            return _not(holds) if name == "$nin" else holds
        if name == "$exists":
            if not isinstance(value, bool):
                return self._wrong("must be true or false", location, value)
            self._count(location)
            path = f"exists({field_path(field)})"
            return Filter(path, spans=span(field, path)) if value else Filter(f"!({path})")
        if name == "$not":
            if not isinstance(value, dict):
                return self._wrong("must be an object of operators", location, value)
            return _not(self._field(field, value, location, depth + 1))
        return self._wrong(f"unknown operator; expected one of {', '.join(_OPERATORS)}", location)

    def _compare(self, field: str, name: str, value: Any, location: str) -> Filter:
        self._count(location)
        if not _is_scalar(value):
            return self._wrong("must be a text, a number, true, false or null", location)
        if name in _ORDERED and (isinstance(value, bool) or value is None):
            return self._wrong("must be a text or a number", location, value)
        if isinstance(value, str) and "\0" in value:
            return self._wrong("must not contain a NUL", location)
        path = f"exists({field_path(field)} ? (@ {_COMPARISONS[name]} {_literal(value)}))"
        if name in ("$eq", "$ne"):
            return _equality(field, path, [value])
        return Filter(path, spans=span(field, path, **{"low" if name in ("$gt", "$gte") else "high": value}))

    def _among(self, field: str, values: Any, location: str) -> Filter:
        self._count(location)
        if not isinstance(values, list) or len(values) > MAX_VALUES or not all(map(_is_scalar, values)):
            return self._wrong(f"must be a list of at most {MAX_VALUES} texts, numbers, true, false or null", location)
        self._compare_with(len(values), location)
        if any(isinstance(value, str) and "\0" in value for value in values):
            return self._wrong("must not contain a NUL", location)
        if not values:
            return Filter("(1 == 0)")
        path = f"exists({field_path(field)} ? {_or([f'@ == {_literal(value)}' for value in values])})"
        return _equality(field, path, values)

    def _count(self, location: str) -> None:
        self.conditions += 1
        if self.conditions == MAX_CONDITIONS + 1:
            self._wrong(f"exceeds the limit of {MAX_CONDITIONS} conditions", location)

    def _compare_with(self, values: int, location: str) -> None:
        before = self.compared
        self.compared += values
        if before <= MAX_COMPARED < self.compared:
            self._wrong(f"exceeds the limit of {MAX_COMPARED:,} values in all $in and $nin of a filter", location)

    def _wrong(self, message: str, location: str, value: Any = None) -> Filter:
        shown = show(value) if isinstance(value, str | int | float | bool) else None
        self.problems.append(Problem(message, location, shown))
        return Filter("")


def _all(parts: list[Filter]) -> Filter:
    """The conjunction; an empty filter holds for every row."""
    if len(parts) == 1:
        return parts[0]
    indexed = [part.indexed for part in parts if part.indexed is not None]
    path = f"({' && '.join(part.path for part in parts)})" if parts else "(1 == 1)"
    spans = terms.all_of([part.spans for part in parts])
    return Filter(path, f"({' && '.join(indexed)})" if indexed else None, spans)


def _any(parts: list[Filter]) -> Filter:
    indexed = [part.indexed for part in parts if part.indexed is not None]
    path = f"({' || '.join(part.path for part in parts)})"
    spans = terms.any_of([part.spans for part in parts])
    return Filter(path, f"({' || '.join(indexed)})" if len(indexed) == len(parts) else None, spans)


def _not(part: Filter) -> Filter:
    return Filter(f"!({part.path})")


def _equality(field: str, path: str, values: list[Any]) -> Filter:
    if all(map(_is_indexed, values)):
        return Filter(path, path)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return Filter(path)
    return Filter(path, spans=span(field, path, min(numbers), max(numbers)))


def _or(paths: Sequence[str]) -> str:
    """The disjunction as a balanced tree, because PostgreSQL recurses into it."""
    if len(paths) == 1:
        return f"({paths[0]})"
    half = len(paths) // 2
    return f"({_or(paths[:half])} || {_or(paths[half:])})"


def _literal(value: Any) -> str:
    # The JSON path language writes strings and numbers as JSON does.
    return msgspec.json.encode(value).decode()


def _is_indexed(value: Any) -> bool:
    return isinstance(value, bool | str) or value is None or not _literal(value).startswith("-")  # -0.0 is one, too


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)  # other floats are possible in MessagePack, and would become null
    return value is None or isinstance(value, str | int | bool)
