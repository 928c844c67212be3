"""The sequence up to which the changes of a project are complete.

A row gets its sequence before its transaction commits, so rows may become visible out of order. But a transaction that
writes to a project's table holds a lock on it until its end. So this reads the last sequence, lists the transactions
with such a lock, and waits for their end. After that, no lower sequence can appear.
"""

import asyncio
import time

from service.database.statements import Db
from service.errors import Busy
from service.queries import changes
from service.queries.changes import LogState

KEPT_DAYS = 30  # for deletions
WAIT_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.2


async def settled(db: Db, project_id: int) -> LogState:
    """The state of a project's log, once all changes up to its `last_sequence` are visible.

    Raises Busy if a transaction that writes to the project does not end within ten seconds.
    """
    state = await changes.retrieve_log_state(db, project_id=project_id)
    until, pause = time.monotonic() + WAIT_SECONDS, FIRST_PAUSE
    waited_for = set(await changes.get_writers(db, project_id=project_id))
    while waited_for:
        if time.monotonic() > until:
            raise Busy("Long uploads to this project are in progress. Nothing was changed.")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        waited_for &= set(await changes.get_writers(db, project_id=project_id))
    return state
