"""Which changes of a project are visible for good: all up to a sequence, with none that comes later before it.

A row takes its sequence before its transaction ends, so a row of a lower sequence may become visible after one of a
higher. But a transaction that writes to a project's table holds a lock on it until its end. So: read the last sequence
that was given; see which transactions hold such a lock; and wait for their end. Then no lower sequence can appear.
"""

import asyncio
import time

from service.database.statements import Db
from service.errors import Busy
from service.queries import changes
from service.queries.changes import LogState

KEPT_DAYS = 30  # of deletions
WAIT_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.2


async def settled(db: Db, project_id: int) -> LogState:
    """The state of a project's log when all changes up to its `last_sequence` are visible to statements that follow.

    Raises Busy when a transaction that is writing to the project does not end in ten seconds.
    """
    state = await changes.retrieve_log_state(db, project_id=project_id)
    until, pause = time.monotonic() + WAIT_SECONDS, FIRST_PAUSE
    waited_for = set(await changes.get_writers(db, project_id=project_id))
    while waited_for:
        if time.monotonic() > until:
            raise Busy("Uploads to this project are under way that take long. Nothing was changed.")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        waited_for &= set(await changes.get_writers(db, project_id=project_id))
    return state
