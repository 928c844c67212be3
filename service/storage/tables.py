"""Drops the tables of deleted users' projects.

A user's rows are deleted in one statement. But PostgreSQL cannot lock thousands of tables in one transaction (design
section 3), so the tables, already inaccessible, are dropped one by one afterwards.
"""

import asyncpg

from service.database.statements import Db
from service.observability.logs import logger
from service.queries import projects

_FOR_LATER = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.ReadOnlySQLTransactionError)


async def drop_orphans(db: Db) -> None:
    """Drops all tables without a project, in a transaction each. It may run concurrently.

    A table in use, for example by a backup, is left for the next call; so are all of a read-only database.
    """
    for project_id in await projects.get_orphaned_tables(db):
        try:
            await projects.drop_table(db, project_id=project_id)
        except _FOR_LATER as error:
            kind = type(error).__name__
            logger.warning("The table of a deleted project will be dropped later.", project=project_id, kind=kind)
