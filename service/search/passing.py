"""Pages of the embeddings that pass a filter, in the order of their ids and in bounded time.

Rows are read in order. For a selective filter a page might need all rows of a large project, so it ends after
MAX_SECONDS, with the id from which to continue.
"""

import time

from service.database.pool import Pool
from service.queries import embeddings
from service.queries.embeddings import PassingIds
from service.search.filters import Filter

MAX_SECONDS = 1.0
FIRST_ROWS = 200  # with up to a megabyte of metadata each
MAX_ROWS = 50_000
QUICK_SECONDS = 0.1  # below which more rows are read at once


async def passing(db: Pool, project_id: int, only: Filter, after: str | None, max_rows: int) -> PassingIds:
    """The first `max_rows` ids after `after` that pass, or fewer if that takes too long.

    The `last` id is that from which to continue.
    """
    found: list[str] = []
    last, rows, end = after or "", FIRST_ROWS, time.monotonic() + MAX_SECONDS
    while True:
        start = time.monotonic()
        some = await embeddings.get_passing_ids(
            db, project_id=project_id, after=last, only=only.path, rows=rows, max_rows=max_rows - len(found)
        )
        found += some.text_ids
        if len(found) == max_rows:
            return PassingIds(found, found[-1])
        if some.last is None:
            return PassingIds(found, None)
        last, now = some.last, time.monotonic()
        if now > end:
            return PassingIds(found, last)
        if now - start < QUICK_SECONDS:
            rows = min(4 * rows, MAX_ROWS)
