"""The embeddings that pass a filter, in the order of their ids, a page at a time and in bounded time.

Rows are looked at one after the other. A filter that few of them pass would take a page through all of a large project:
after MAX_SECONDS the page is as long as it is, and says where to go on.
"""

import time

import msgspec

from service.database.pool import Pool
from service.queries import embeddings
from service.search.filters import Filter

MAX_SECONDS = 1.0
FIRST_ROWS = 200  # which may have a megabyte of metadata each
MAX_ROWS = 50_000
QUICK_SECONDS = 0.1  # when rows are looked at faster, more are looked at together


class Passing(msgspec.Struct, frozen=True):
    """The ids of a page; `looked_up_to` is where to go on, None when there are no more rows."""

    text_ids: list[str]
    looked_up_to: str | None


async def passing(db: Pool, project_id: int, only: Filter, after: str | None, max_rows: int) -> Passing:
    """The first `max_rows` ids behind `after` that pass, or fewer when that takes long."""
    found: list[str] = []
    last, rows, end = after or "", FIRST_ROWS, time.monotonic() + MAX_SECONDS
    while True:
        start = time.monotonic()
        some = await embeddings.get_passing_ids(
            db, project_id=project_id, after=last, only=only.path, rows=rows, max_rows=max_rows - len(found)
        )
        found += some.text_ids
        if len(found) == max_rows:
            return Passing(found, found[-1])
        if some.last is None:
            return Passing(found, None)
        last, now = some.last, time.monotonic()
        if now > end:
            return Passing(found, last)
        if now - start < QUICK_SECONDS:
            rows = min(4 * rows, MAX_ROWS)
