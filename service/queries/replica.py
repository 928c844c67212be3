"""Statements of `sql/replica.sql`: how far a server is."""

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class WalPosition(msgspec.Struct, frozen=True):
    """How far a server is in its WAL, in bytes; 0 for a replica that has not replayed anything.

    `identity` is the same for a database and its physical copies only.
    """

    identity: str
    position: int


@query
async def retrieve_wal_position(db: Db) -> WalPosition:
    """What a replica has replayed, or any other server has written."""


query.complete()
