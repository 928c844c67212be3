"""Statements of `sql/health.sql`: whether the service is able to serve."""

from service.database.statements import Db, Queries

query = Queries(__name__)


@query
async def is_read_only(db: Db) -> bool:
    """Whether sessions may change nothing at the moment."""


@query
async def get_applied_migrations(db: Db) -> list[str]:
    """The names of the migrations that the database has, in order."""


query.complete()
