"""Lock order for concurrent changes to a user's resources.

A statement sees rows committed before it began, not those committed while it waited for a lock. So a transaction
that changes a user, an instance, a project, or a project's shares or owner, first locks the owner in a statement of its
own; the statements after it see all earlier changes. The order is: owners (by handle), instances, projects, shares,
tables. An instance is locked because projects of other users may be on it; storing such a project locks it FOR
SHARE. A share locks its resource FOR KEY SHARE, so that it is not deleted meanwhile. Deletions of users also lock
`_system`, so that they run one after the other.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.database.pool import Connection, Pool, transaction
from service.queries import users

SYSTEM = "_system"


@asynccontextmanager
async def locked(pool: Pool, *handles: str) -> AsyncIterator[Connection]:
    """A connection in a transaction that holds the locks of these users, or of these unused handles."""
    async with transaction(pool) as connection:
        await users.lock_owners(connection, user_handles=list(handles))
        yield connection
