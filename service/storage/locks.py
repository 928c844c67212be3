"""Lock order for concurrent changes to a user's resources.

A statement sees rows committed before it began, not those committed while it waited for a lock. So a transaction that
changes a user, an instance, a project, or a project's shares or owner, first locks the owner in a separate statement;
later statements see all earlier changes. The order is: owners (by handle), instances, projects, shares, tables. An
instance is locked because projects of other users may use it; storing such a project locks it FOR SHARE. A share locks
its resource FOR KEY SHARE, against deletion. Deletions of users also lock `_system`, which serializes them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.database.pool import Connection, Pool, transaction
from service.queries import users

SYSTEM = "_system"


@asynccontextmanager
async def locked(pool: Pool, *handles: str) -> AsyncIterator[Connection]:
    """A connection in a transaction with locks on these handles of users, which need not exist."""
    async with transaction(pool) as connection:
        await users.lock_owners(connection, user_handles=list(handles))
        yield connection
