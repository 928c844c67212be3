"""Statements of sql/replica.sql on a real server; tests/storage/test_replica.py asks a replica."""

import asyncpg

from service.database.pool import Connection
from service.queries import replica


class TestRetrieveWalPosition:
    async def test_it_grows_with_what_is_written(self, connection: Connection) -> None:
        before = await replica.retrieve_wal_position(connection)
        assert before is not None
        assert before.position is not None
        # More than the buffers of the WAL hold is written out, whatever the server's synchronous_commit.
        for _ in range(20):
            await connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000))")
        after = await replica.retrieve_wal_position(connection)
        assert after is not None
        assert after.position is not None
        assert after.position - before.position >= 1_000_000
        assert after.identity == before.identity

    async def test_databases_differ(self, connection: Connection, server: str) -> None:
        here = await replica.retrieve_wal_position(connection)
        other = await asyncpg.connect(server)
        there = await replica.retrieve_wal_position(other)
        await other.close()
        assert here is not None
        assert there is not None
        assert here.identity != there.identity
        assert here.identity.partition("/")[0] == there.identity.partition("/")[0]

    async def test_whoever_may_connect_may_ask(self, connection: Connection) -> None:
        await connection.execute("CREATE ROLE somebody; SET LOCAL ROLE somebody")
        assert await replica.retrieve_wal_position(connection) is not None
