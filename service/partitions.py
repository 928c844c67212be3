"""Drops the partitions that deleted users leave behind.

A user's rows go in one statement, but PostgreSQL cannot lock thousands of partitions in one transaction
(design section 3), so these go one by one. They cannot be reached meanwhile: their projects are gone.
"""

from service.queries import projects
from service.sql import Db


async def drop_orphans(db: Db) -> None:
    """Drops every partition without a project, a transaction each. Harmless when others do it too."""
    for project_id in await projects.get_orphaned_partitions(db):
        await projects.drop_orphaned_partition(db, project_id=project_id)
