"""Lock order for concurrent changes to a user's resources, and the locks of the indexer.

A statement sees rows committed before it began, not those committed while it waited for a lock. So a transaction that
changes a user, an instance, a project, or a project's shares or owner, first locks the owner in a separate statement;
later statements see all earlier changes. The order is: owners (by handle), instances, projects, shares, tables. An
instance is locked because projects of other users may use it; storing such a project locks it FOR SHARE. A share locks
its resource FOR KEY SHARE, against deletion. Deletions of users also lock `_system`, which serializes them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.database.pool import Connection, Pool, transaction
from service.database.statements import Db
from service.queries import indexes, users

SYSTEM = "_system"
# The first keys of advisory locks; the second is the project.
INDEX_LOCK, MAPS_LOCK = 0x1DE8, 0x1DE9
WHOLE_INSTALLATION = 0  # in place of a project


@asynccontextmanager
async def locked(pool: Pool, *handles: str) -> AsyncIterator[Connection]:
    """A connection in a transaction with locks on these handles of users, which need not exist."""
    async with transaction(pool) as connection:
        await users.lock_owners(connection, user_handles=list(handles))
        yield connection


@asynccontextmanager
async def alone(connection: Db, project_id: int, lock: int = INDEX_LOCK) -> AsyncIterator[bool]:
    """Locks a project for the block; yields False if another indexer works on it."""
    locked = await indexes.lock_project_index(connection, lock=lock, project_id=project_id)
    try:
        yield locked
    finally:
        if locked:
            await indexes.unlock_project_index(connection, lock=lock, project_id=project_id)
