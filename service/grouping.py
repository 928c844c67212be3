"""Grouping of items for batches of bounded size."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def grouped(
    items: Iterable[T], size: Callable[[T], int], most_size: int, most_items: float = math.inf
) -> Iterator[list[T]]:
    """Yields the items in groups within both limits; an item larger than `most_size` is alone in its group."""
    group: list[T] = []
    total = 0
    for item in items:
        length = size(item)
        if group and (len(group) == most_items or total + length > most_size):
            yield group
            group, total = [], 0
        group.append(item)
        total += length
    if group:
        yield group
