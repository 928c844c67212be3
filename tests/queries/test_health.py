"""Statements of sql/health.sql on real rows."""

from service.database.pool import Connection
from service.queries import health
from service.schema import migrate


class TestGetAppliedMigrations:
    async def test_all_are_applied(self, connection: Connection) -> None:
        assert await health.get_applied_migrations(connection) == migrate.names()


class TestIsReadOnly:
    async def test_as_the_session_is(self, connection: Connection) -> None:
        assert await health.is_read_only(connection) is False
        await connection.execute("SET TRANSACTION READ ONLY")
        assert await health.is_read_only(connection) is True
