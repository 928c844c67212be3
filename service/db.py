"""The pool of connections: codecs, session settings, and what rests between two searches."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import asyncpg
import msgspec
from pgvector import HalfVector

CLOSE_SECONDS = 5
REST_SECONDS = 1.0

if TYPE_CHECKING:  # the classes are generic in the stubs only
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


async def open_pool(
    url: str, *, size: int, statement_timeout: float, wait: float = 60.0, connect_timeout: float = 60.0
) -> Pool:
    """Connects to a migrated database.

    `size` is the most connections that are open at once, `wait` the seconds that somebody may wait for one;
    `statement_timeout` and `connect_timeout` are in seconds.
    """
    vector_schema = await _vector_schema(url)
    pool: Pool = await BoundedPool(
        url,
        wait=wait,
        record_class=asyncpg.Record,
        init_size=min(2, size),
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        loop=None,
        connect=None,
        setup=None,
        connection_class=SearchConnection,
        min_size=min(2, size),
        max_size=size,
        timeout=connect_timeout,
        init=_codecs(vector_schema),
        reset=_keep,
        server_settings={
            "application_name": "embedding-service",
            "jit": "off",
            "statement_timeout": str(round(statement_timeout * 1000)),
            "timezone": "UTC",
        },
    )
    return pool


@asynccontextmanager
async def closing(pool: Pool) -> AsyncIterator[None]:
    """Closes the pool after the block; a database that does not answer any more is not waited for."""
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()


class BoundedPool(asyncpg.Pool):
    """A pool in which nobody waits longer for a connection than `wait` seconds. Raises TimeoutError then.

    A connection that has served a search rests: the next search takes it as it is, which spares the 0.1 ms of giving it
    back and taking it again. Only where nobody waits for one; whoever finds no other one free gets those that rest.
    """

    def __init__(self, *arguments: Any, wait: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._wait = wait
        self._resting: list[Connection] = []
        self._waking: asyncio.TimerHandle | None = None
        self._waiting = 0  # how many, for a connection
        self._is_closing = False
        self._releases: set[asyncio.Task[None]] = set()  # or they would be forgotten before they are done

    def acquire(self, *, timeout: float | None = None) -> Any:
        """A connection, as asyncpg's own gives it."""
        if timeout is None and not super().get_idle_size():  # a clock costs more than to take one that is free
            timeout = self._wait
            self._wake()
        return super().acquire(timeout=timeout)

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 (as asyncpg calls it)
        # asyncpg's, which waits in here, and has no other way to know who does.
        self._waiting += 1
        try:
            return await super()._acquire(timeout)  # type: ignore[misc]
        finally:
            self._waiting -= 1

    def get_idle_size(self) -> int:
        """How many connections are open and free."""
        return super().get_idle_size() + len(self._resting)

    def rested(self) -> Connection | None:
        """A connection that rests, if there is one; it is to be given back by `rest` or `let_go`."""
        while self._resting:
            connection = self._resting.pop()
            if not connection.is_closed():
                return connection
            self.let_go(connection)
        return None

    def rest(self, connection: Connection) -> None:
        """Keeps a connection of this pool, whose session is as it was, for the next search; for a second at most."""
        if self._is_closing or self._waiting:
            self.let_go(connection)
            return
        self._resting.append(connection)
        if self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(REST_SECONDS, self._wake)

    def let_go(self, connection: Connection) -> None:
        """Gives a connection back. Nobody has to wait for it; the pool does when it is closed."""
        release = asyncio.ensure_future(self.release(cast("Any", connection)))
        self._releases.add(release)
        release.add_done_callback(self._releases.discard)

    def _wake(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        while self._resting:
            self.let_go(self._resting.pop())

    async def close(self) -> None:
        """Closes all connections when they are given back."""
        self._is_closing = True
        self._wake()
        await super().close()


class Scan(msgspec.Struct, frozen=True):
    """How an index is searched: how many candidates are kept, from 1 to 1,000, and whether it `goes_on`.

    Then it goes on until it has found as many rows as are asked for that pass the filter; to be ready for that takes
    0.07 ms of 1.1.
    """

    ef_search: int
    goes_on: bool


class SearchConnection(asyncpg.Connection):
    """A connection that knows how its session searches, and sets it only when it differs."""

    _scan: Scan | None = None

    async def use(self, scan: Scan) -> None:
        """Has the session search so."""
        if self._scan != scan:
            await self.execute(
                "SELECT set_config('hnsw.ef_search', $1, false), set_config('hnsw.iterative_scan', $2, false)",
                str(scan.ef_search),
                "strict_order" if scan.goes_on else "off",
            )
            self._scan = scan


class searching:  # noqa: N801 (it reads as a function; a generator would take longer)
    """A connection of a pool whose session searches indexes so."""

    def __init__(self, pool: Pool, scan: Scan) -> None:
        self._pool = cast("BoundedPool", pool)
        self._scan = scan

    async def __aenter__(self) -> Connection:
        self._connection = self._pool.rested() or await self._pool.acquire()
        try:
            await cast("SearchConnection", self._connection).use(self._scan)  # the proxy passes it on
        except BaseException:
            self._pool.let_go(self._connection)
            raise
        return self._connection

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._pool.rest(self._connection)
        else:
            self._pool.let_go(self._connection)


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction, which is committed at the end of the block, or rolled back by an error."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection


async def _keep(_: Connection) -> None:
    """In place of asyncpg's reset, a round trip after each statement: no handler changes its session.

    A transaction that was left open is rolled back before this is called.
    """


async def _vector_schema(url: str) -> str:
    """The schema that pgvector's types are in: its extension may have been created in any."""
    connection: Connection = await asyncpg.connect(url)
    try:
        schema: str = await connection.fetchval(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
        )
        return schema
    finally:
        await connection.close()


def _codecs(vector_schema: str) -> Callable[[Connection], Awaitable[None]]:
    """What is done with each new connection: registering codecs on one only is the classic mistake."""

    async def init(connection: Connection) -> None:
        # bytes are what service.vectors made; they are what PostgreSQL reads.
        await connection.set_type_codec(
            "halfvec", schema=vector_schema, format="binary", encoder=bytes, decoder=HalfVector.from_binary
        )
        # The binary form of jsonb is a version number, 1, and the text. msgspec.Raw is text already.
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            format="binary",
            encoder=lambda value: b"\x01" + msgspec.json.encode(value),
            decoder=lambda data: msgspec.json.decode(memoryview(data)[1:]),
        )

    return init
