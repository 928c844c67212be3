"""Drops the partitions of deleted users' projects.

A user's rows are deleted in one statement. But PostgreSQL cannot lock thousands of partitions in one transaction
(design section 3), so partitions are dropped one by one afterwards. Without their projects they cannot be reached.
"""

import asyncpg

from service.database.statements import Db
from service.observability.logs import logger
from service.queries import projects


async def drop_orphans(db: Db) -> None:
    """Drops every partition without a project, a transaction each. Several processes may do so at once.

    A partition that is being read, by a backup for example, is left for the next time.
    """
    for project_id in await projects.get_orphaned_partitions(db):
        try:
            await projects.drop_partition(db, project_id=project_id)
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            logger.warning("The partition of a deleted project is in use; it is dropped later.", project=project_id)
