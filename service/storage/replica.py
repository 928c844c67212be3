"""Reads from a replica while its replication lag, measured every second, is within a limit.

Each second the primary's WAL position is recorded with the time. The lag is the age of the newest recorded position
that the replica has replayed. So the lag also grows if the replica has lost its primary, and reports no lag itself.

A name may lead to several replicas, as the `-ro` service of CloudNativePG does. A process reads only the one whose lag
it measures; another process may read another one.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import asyncpg

from service.database.errors import LOST
from service.database.pool import Connection, Pool, open_pool
from service.database.url import for_asyncpg
from service.errors import NotFound
from service.observability import metrics
from service.observability.logs import logger
from service.queries import replica as statements
from service.queries.replica import WalPosition
from service.settings import Settings
from service.turns import beside

T = TypeVar("T")

SECONDS_BETWEEN_POLLS = 1.0
PATIENCE = 2.0  # seconds to wait for a polled server
ATTEMPTS = 20  # to reach one of several servers behind a name
MAX_REMEMBERED = 3600


class Unanswered(Exception):
    """The replica cannot answer, or lacks the rows: read from the primary."""


class NoReplica(Exception):
    """The server is not a replica of the primary, or has another database."""


class Replica:
    """A replica and its lag. It is used while it is available and its lag is within `bound` seconds.

    The other options are those of `open_pool`.
    """

    def __init__(self, primary: str, replica: str, *, bound: float, **options: Any) -> None:
        self._primary, self._server, self._bound = _Server(primary), _Server(replica), bound
        self._open = partial(open_pool, replica, connect=self._connect, **options)
        self._pool: Pool | None = None  # only while the replica is available
        # Recorded positions that are not replayed yet.
        self._waiting: deque[tuple[float, int]] = deque(maxlen=MAX_REMEMBERED)
        self._replayed: float | None = None  # the time of the newest replayed position
        self._begin = time.monotonic()
        self._identity = ""  # the primary's
        self._of = ""  # the server whose lag is measured, and which alone is read
        self.is_used: bool | None = None  # None before the first poll

    @property
    def lag(self) -> float:
        """The lag in seconds; before the first measurement, the time since the start or a change of the server."""
        return time.monotonic() - (self._begin if self._replayed is None else self._replayed)

    async def ask(self, question: Callable[[Pool], Awaitable[T]]) -> T:
        """The result of `question` on the replica. Raises Unanswered if the primary must be used."""
        if self._pool is None:
            raise Unanswered
        try:
            return await question(self._pool)
        except asyncpg.QueryCanceledError:
            raise  # a timeout, likely on the primary too
        except (*LOST, NotFound) as error:
            # Unavailable, cancelled because of recovery, or a table or row is not replicated yet.
            raise Unanswered from error

    async def watch(self) -> None:
        """Polls every second until it is cancelled."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_POLLS)
            await self.poll()

    async def poll(self) -> None:
        """Reads the positions of both servers, and decides whether to use the replica."""
        problem = None
        now = time.monotonic()
        with contextlib.suppress(Exception):  # the lag grows while the primary is unavailable
            written = await self._primary.position()
            self._identity = written.identity
            while self._waiting and self._waiting[-1][1] > written.position:
                self._waiting.pop()  # lost in a failover or a restore, and never replayed
            self._waiting.append((now, written.position))
        try:
            there = await self._server.position()
            if there.identity != self._identity:
                raise NoReplica
            if there.server != self._of:  # the name leads to several, or it was restarted
                self._drop_pool()
                self._of, self._replayed, self._begin = there.server, None, now
            if self._pool is None:
                async with asyncio.timeout(2 * PATIENCE):
                    self._pool = await self._open()
        except Exception as error:  # any error: use the primary
            problem = type(error).__name__
            self._drop_pool()
        else:
            while self._waiting and self._waiting[0][1] <= there.position:
                self._replayed = self._waiting.popleft()[0]
        lag = self.lag
        used = self._pool is not None and self._replayed is not None and lag <= self._bound
        if used != self.is_used:
            log = logger.info if used else logger.warning
            log("reads", server="replica" if used else "primary", lag=round(lag, 2), problem=problem)
        self.is_used = used
        metrics.REPLICA_LAG.set(lag)
        metrics.REPLICA_USED.set(used)

    async def _connect(self, *arguments: Any, **named: Any) -> Any:
        """A connection to the server whose lag is measured."""
        for _ in range(ATTEMPTS):
            connection = await asyncpg.connect(*arguments, **{**named, "timeout": PATIENCE})
            try:
                if (await statements.retrieve_wal_position(connection)).server == self._of:
                    return connection
            except BaseException:
                connection.terminate()
                raise
            connection.terminate()
        raise ConnectionError("Another server answers.")

    async def aclose(self) -> None:
        """Closes all connections."""
        self._drop_pool()
        self._primary.drop()
        self._server.drop()

    def _drop_pool(self) -> None:
        """Also aborts running statements, which an unavailable server would never finish."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None


class _Server:
    """A separate connection, because the pool may be busy."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None

    async def position(self) -> WalPosition:
        """The identity and WAL position of the server. Raises any error of the connection, and TimeoutError."""
        try:
            async with asyncio.timeout(PATIENCE):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(**for_asyncpg(self._url))
                return await statements.retrieve_wal_position(self._connection)
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
    await replica.poll()
    async with aclosing(replica), beside(replica.watch()):
        yield replica
