"""Statements of sql/health.sql on real rows."""

from service import migrate
from service.db import Connection
from service.queries import health


class TestGetAppliedMigrations:
    async def test_all_are_applied(self, connection: Connection) -> None:
        assert await health.get_applied_migrations(connection) == migrate.names()
