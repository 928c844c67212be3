"""Drops the tables of deleted users' projects.

A user's rows are deleted in one statement. But PostgreSQL cannot lock thousands of tables in one transaction
(design section 3), so tables are dropped one by one afterwards. Without their projects they cannot be reached.
"""

import asyncpg

from service.database.statements import Db
from service.observability.logs import logger
from service.queries import projects


async def drop_orphans(db: Db) -> None:
    """Drops every table without a project, a transaction each. Several processes may do so at once.

    A table that is being read, by a backup for example, is left for the next time.
    """
    for project_id in await projects.get_orphaned_tables(db):
        try:
            await projects.drop_table(db, project_id=project_id)
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            logger.warning("The table of a deleted project is in use; it is dropped later.", project=project_id)
