"""Rows for uploads, the same ones each time."""

from collections.abc import Iterator

import numpy as np
from vecferry import AsyncClient, Rows

from tests.client.conftest import DIMENSIONS


def rows(count: int, *, start: int = 0, dimensions: int = DIMENSIONS, text_size: int = 0) -> Rows:
    """Rows with texts and metadata, of which no two are alike."""
    numbers = np.random.default_rng(start).normal(size=(count, dimensions)).astype(np.float16)
    places = range(start, start + count)
    return Rows(
        start,
        [f"text-{place:07}" for place in places],
        numbers,
        [f"The text {place}".ljust(text_size, ".") if place % 3 else None for place in places],
        [{"place": place, "odd": bool(place % 2)} if place % 5 else None for place in places],
    )


def chunks(count: int, size: int, **others: int) -> Iterator[Rows]:
    """The same in chunks."""
    for start in range(0, count, size):
        yield rows(min(size, count - start), start=start, **others)


async def assert_stored(client: AsyncClient, project: str, expected: list[Rows]) -> None:
    """That a project has exactly these rows."""
    wanted = {text_id: (part, place) for part in expected for place, text_id in enumerate(part.ids)}
    stored = [one async for one in client.embeddings(project)]
    assert [one.text_id for one in stored] == sorted(wanted)
    for one in stored:
        part, place = wanted[one.text_id]
        assert one.vector is not None
        assert np.array_equal(one.vector, part.vectors[place])
        assert one.text == (part.texts or [])[place]
        assert (one.metadata or None) == (part.metadata or [])[place]
