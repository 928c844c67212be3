"""Statements of `sql/health.sql`: readiness."""

from service.database.statements import Db, Queries

query = Queries(__name__)


@query
async def is_read_only(db: Db) -> bool:
    """Whether sessions are read-only, by a setting, or on a standby."""


@query
async def get_applied_migrations(db: Db) -> list[str]:
    """The names of applied migrations, in order."""
