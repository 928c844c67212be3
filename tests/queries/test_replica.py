"""Statements of sql/replica.sql on a real server; tests/test_replica.py asks a replica."""

from service.db import Connection
from service.queries import replica


class TestRetrieveWalPosition:
    async def test_it_grows_with_what_is_written(self, connection: Connection) -> None:
        before = await replica.retrieve_wal_position(connection)
        assert before is not None
        # What is flushed is written, whatever the server's synchronous_commit.
        await connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 100_000), true)")
        after = await replica.retrieve_wal_position(connection)
        assert after is not None
        assert after - before >= 100_000
