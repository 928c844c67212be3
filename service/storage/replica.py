"""Reads from a replica, as long as its replication lag, measured every second, is within a bound.

Each second the primary's WAL position is recorded with the time. The lag is the age of the newest recorded position
that the replica has replayed. So a replica that has lost its primary, and reports no lag itself, falls behind too.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from service.database.pool import Connection, Pool, open_pool
from service.database.url import for_asyncpg
from service.errors import NotFound
from service.observability import metrics
from service.observability.logs import logger
from service.queries import replica as statements
from service.settings import Settings
from service.turns import beside

T = TypeVar("T")

SECONDS_BETWEEN_LOOKS = 1.0
PATIENCE = 2.0  # seconds to wait for a server that is polled
MAX_REMEMBERED = 3600
_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class Unanswered(Exception):
    """The server has no answer, or does not have the rows yet: the primary is to be asked."""


class NoReplica(Exception):
    """The server is not a copy of the primary, or the database is another one."""


class Replica:
    """A replica and its lag. It is used while it answers and its lag is within `bound`, in seconds."""

    def __init__(
        self, primary: str, replica: str, *, bound: float, size: int, statement_timeout: float, share: float = 1.0
    ) -> None:
        self._primary, self._server = _Server(primary), _Server(replica)
        self._url, self._bound, self._size, self._share = replica, bound, size, share
        self._statement_timeout = statement_timeout
        self._pool: Pool | None = None  # only while the replica answers
        self._waiting: deque[tuple[float, int]] = deque(maxlen=MAX_REMEMBERED)  # positions that are not replayed yet
        self._replayed: float | None = None  # when the primary was at the newest that is
        self._begin = time.monotonic()
        self._identity = ""  # the primary's
        self._said: bool | None = None  # in the log
        self.is_used = False

    @property
    def lag(self) -> float:
        """How far the replica is behind, in seconds; before anything is known of it, how long that has been so."""
        return time.monotonic() - (self._begin if self._replayed is None else self._replayed)

    async def ask(self, question: Callable[[Pool], Awaitable[T]]) -> T:
        """What `question` finds on the replica. Raises Unanswered when the primary must be asked."""
        if self._pool is None:
            raise Unanswered
        try:
            return await question(self._pool)
        except asyncpg.QueryCanceledError:
            raise  # it would take too long on the primary too
        except (*_AWAY, NotFound) as error:
            # The replica is away, or cancelled the statement for its recovery, or lacks a table or row yet.
            raise Unanswered from error

    async def watch(self) -> None:
        """Looks every second, for ever."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            await self.look()

    async def look(self) -> None:
        """Asks both servers how far they are, and decides whether the replica is used."""
        problem = None
        now = time.monotonic()
        with contextlib.suppress(Exception):  # while the primary is away, its recorded positions get older
            self._identity, written = await self._primary.position()
            self._waiting.append((now, written))
        try:
            identity, position = await self._server.position()
            if identity != self._identity:
                raise NoReplica
            if self._pool is None:
                async with asyncio.timeout(2 * PATIENCE):
                    self._pool = await open_pool(
                        self._url,
                        size=self._size,
                        statement_timeout=self._statement_timeout,
                        connect_timeout=PATIENCE,
                        share=self._share,
                    )
        except Exception as error:  # of any kind: the primary serves
            problem = type(error).__name__
            self._drop_pool()
        else:
            while self._waiting and self._waiting[0][1] <= position:
                self._replayed = self._waiting.popleft()[0]
        lag = self.lag
        used = self._pool is not None and self._replayed is not None and lag <= self._bound
        if used != self._said:
            log = logger.info if used else logger.warning
            log("reads", server="replica" if used else "primary", lag=round(lag, 2), problem=problem)
        self.is_used = self._said = used
        metrics.note_replica(lag, used)

    async def close(self) -> None:
        """Ends all connections."""
        self._drop_pool()
        self._primary.drop()
        self._server.drop()

    def _drop_pool(self) -> None:
        """Also ends running statements, which a server that does not answer would never finish."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None


class _Server:
    """A connection of its own, because the pool may be busy with searches."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None

    async def position(self) -> tuple[str, int]:
        """Whose copy it is, and how far, as `retrieve_wal_position`. Raises what went wrong, or TimeoutError."""
        try:
            async with asyncio.timeout(PATIENCE):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(**for_asyncpg(self._url))
                row = await statements.retrieve_wal_position(self._connection)
                return row.identity, row.position
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


@asynccontextmanager
async def watching(primary: str, config: Settings) -> AsyncIterator[Replica | None]:
    """The replica of the settings, polled beside the block; None without one."""
    if config.service_database_read_url is None:
        yield None
        return
    replica = Replica(
        primary,
        config.service_database_read_url,
        bound=config.service_read_lag_seconds,
        size=config.service_pool_size,
        statement_timeout=config.service_statement_timeout,
        share=config.service_caller_share,
    )
    await replica.look()
    try:
        async with beside(replica.watch()):
            yield replica
    finally:
        await replica.close()
