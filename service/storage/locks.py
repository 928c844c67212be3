"""Changes of what a user owns, so that two of them at the same time do not miss each other.

A statement sees what was committed when it began, not what it has waited for. So whoever changes a user, a user's
instance or project, or a project's shares or owner, locks the owner first, in a statement of its own; what follows sees
what the one before has done. An instance's row is locked next, because the projects on it may be others': those lock it
FOR SHARE. In this order: owners (by handle), instances, projects, shares, partitions. A share alone locks what it is of
FOR KEY SHARE, so that it is not deleted meanwhile. Whoever deletes users locks `_system` as well: one after the other.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.database.pool import Connection, Pool, transaction
from service.queries import users

SYSTEM = "_system"


@asynccontextmanager
async def locked(pool: Pool, *handles: str) -> AsyncIterator[Connection]:
    """A connection in a transaction in which nobody else changes what these users own, or takes one of these names."""
    async with transaction(pool) as connection:
        await users.lock_owners(connection, user_handles=list(handles))
        yield connection
