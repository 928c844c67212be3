"""Terms of a filter: what finds ranges and fields in the index of the terms of metadata.

The terms of stored metadata are in the function metadata_terms (migration 0023), which explains them.
"""

import math
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from service.search.limits import MAX_INDEXED_PATH, MAX_INDEXED_STEPS, MAX_SPANS

NOT_AN_OBJECT = "\x01"  # the term of metadata that are not an object
LARGEST, SMALLEST = 1e300, 1e-300
BYTE_BY_BYTE = (256, 256)  # of three bytes of a number
DAYS_MONTHS_YEARS = (31, 12, 100)


class Span(msgspec.Struct, frozen=True):
    """A condition on the values of a field: all numbers or texts between two bounds, or any value without bounds.

    `steps` lead to the field; `path` is the condition as a JSON path. The bounds are included, because the terms of a
    row are rounded anyway.
    """

    steps: tuple[str, ...]
    path: str
    low: float | str | None = None
    high: float | str | None = None

    def overlap(self, other: "Span") -> "Span":
        """The values in both. If one has texts and the other numbers, this one: both are necessary."""
        if self.kind is None or other.kind is None:
            return self if other.kind is None else other
        if self.kind is not other.kind:
            return self
        bounds = {"low": max(_known(self.low, other.low), default=None)}
        bounds["high"] = min(_known(self.high, other.high), default=None)
        return Span(self.steps, f"({self.path} && {other.path})", **bounds)

    @property
    def kind(self) -> type | None:
        """Whether the bounds are texts or numbers; None without bounds."""
        if self.low is None and self.high is None:
            return None
        return str if isinstance(self.low, str) or isinstance(self.high, str) else float

    @property
    def width(self) -> int:
        """The number of sides without a bound."""
        return (self.low is None) + (self.high is None)

    def terms(self) -> Iterator[str]:
        """The terms of which each row with such a value has one. Any value of an array may be the one."""
        path = ".".join(self.steps)
        yield NOT_AN_OBJECT
        yield from (".".join(self.steps[:step]) + "\x01a" for step in range(1, len(self.steps) + 1))
        yield from (f"{path}\x01{code}" for code in self._codes())

    def _codes(self) -> Iterator[str]:
        if self.kind is None:
            yield ""
        elif self.kind is float:
            low = self.low if isinstance(self.low, float) else -LARGEST
            high = self.high if isinstance(self.high, float) else LARGEST
            for level, place in _cover(_first_bytes(low), _first_bytes(high), BYTE_BY_BYTE):
                yield f"n{place:0{6 - 2 * level}x}"
        else:
            yield "s"
            for skipped, kind in enumerate("dmy"):
                sizes, starts = DAYS_MONTHS_YEARS[skipped:], STARTS[skipped:]
                places, shown = range(100 * math.prod(sizes)), starts[0]
                # A text with this start may be in the range unless the start is before that of the low bound.
                first = bisect_left(places, str(self.low or "")[: len(shown(0))], key=shown)
                last = len(places) if self.high is None else bisect_right(places, str(self.high), key=shown)
                yield from (kind + starts[level](place) for level, place in _cover(first, last - 1, sizes))


# Each row that passes has a value in one of the spans; none if no spans are known.
Spans: TypeAlias = tuple[Span, ...]


def span(name: str, path: str, low: float | str | None = None, high: float | str | None = None) -> Spans:
    """The span of a field with dots between its steps; none if the index does not have it."""
    steps = tuple(name.split("."))
    if len(name) > MAX_INDEXED_PATH or len(steps) > MAX_INDEXED_STEPS:
        return ()
    return (Span(steps, path, _bound(low), _bound(high)),)


def all_of(parts: Sequence[Spans]) -> Spans:
    """The narrowest of the spans, after those of the same field are made one."""
    of_fields: dict[tuple[str, ...], Span] = {}
    for one in (part[0] for part in parts if len(part) == 1):
        of_fields[one.steps] = of_fields[one.steps].overlap(one) if one.steps in of_fields else one
    known = [(one,) for one in of_fields.values()] + [part for part in parts if len(part) > 1]
    return min(known, key=lambda spans: max(one.width for one in spans), default=())


def any_of(parts: Sequence[Spans]) -> Spans:
    """The spans of all parts; none if those of a part are not known, or if they are too many."""
    spans = tuple(one for part in parts for one in part)
    return spans if all(parts) and len(spans) <= MAX_SPANS else ()


def path_of(spans: Spans) -> str:
    """The condition as a JSON path."""
    return spans[0].path if len(spans) == 1 else f"({' || '.join(one.path for one in spans)})"


def terms_of(spans: Spans) -> list[str]:
    """The terms of which each row that passes has one: at most 1,300 a span."""
    return list({term for one in spans for term in one.terms()})


def _known(*bounds: float | str | None) -> list[float | str]:
    return [bound for bound in bounds if bound is not None]


def _bound(value: float | str | None) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    return 0.0 if abs(value) < SMALLEST else float(min(max(value, -LARGEST), LARGEST))


def _first_bytes(number: float) -> int:
    """The first three bytes of a float8, in the order of the numbers."""
    bits = int.from_bytes(struct.pack(">d", number))
    return (~bits & (2**64 - 1) if bits >> 63 else bits | 1 << 63) >> 40


def _day(place: int) -> str:
    return f"{_month(place // 31)}-{place % 31 + 1:02}"


def _month(place: int) -> str:
    return f"{place // 12:04}-{place % 12 + 1:02}"


STARTS = (_day, _month, "{:04}".format, "{:02}".format)  # of day, month, year, century


def _cover(low: int, high: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The fewest places of a tree that cover the leaves from `low` to `high`, with the level above the leaves of each.

    `sizes` are the numbers of children by level, the parents of leaves first.
    """
    for level, size in enumerate(sizes):
        while low <= high and low % size:
            yield level, low
            low += 1
        while low <= high and (high + 1) % size:
            yield level, high
            high -= 1
        if low > high:
            return
        low, high = low // size, high // size
    yield from ((len(sizes), place) for place in range(low, high + 1))
