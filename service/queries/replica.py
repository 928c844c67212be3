"""Statements of `sql/replica.sql`: how far a server is."""

from service.sql import Db, Queries

query = Queries(__name__)


@query
async def retrieve_wal_position(db: Db) -> int | None:
    """What a replica has replayed, or any other server has written, as a position in the WAL, in bytes.

    None when a replica has not replayed anything.
    """


query.complete()
