"""Statements of `sql/replica.sql`: WAL positions."""

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class WalPosition(msgspec.Struct, frozen=True):
    """A WAL position in bytes. `identity` is the same only for a database and its physical replicas.

    `server` differs for each of these, and after a restart.
    """

    identity: str
    position: int
    server: str


@query
async def retrieve_wal_position(db: Db) -> WalPosition:
    """The position replayed by a replica, or written by a primary."""
