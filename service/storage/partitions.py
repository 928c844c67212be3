"""Drops the partitions that deleted users leave behind.

A user's rows go in one statement, but PostgreSQL cannot lock thousands of partitions in one transaction
(design section 3), so these go one by one. They cannot be reached meanwhile: their projects are gone.
"""

import asyncpg

from service.database.statements import Db
from service.observability.logs import logger
from service.queries import projects


async def drop_orphans(db: Db) -> None:
    """Drops every partition without a project, a transaction each. Harmless when others do it too.

    One that somebody still reads, a backup for example, stays for the next time.
    """
    for project_id in await projects.get_orphaned_partitions(db):
        try:
            await projects.drop_partition(db, project_id=project_id)
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            logger.warning("The partition of a deleted project is in use; it is dropped later.", project=project_id)
