"""Database connections and pools, with their codecs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import asyncpg
import msgspec
from pgvector import HalfVector

from service.admission import Shares, caller, for_callers
from service.database import session
from service.database.url import for_asyncpg

CLOSE_SECONDS = 5

if TYPE_CHECKING:  # the classes are generic in the stubs only
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


@asynccontextmanager
async def connected(url: str, **settings: str) -> AsyncIterator[Connection]:
    """A separate connection to a migrated database during the block, with `settings` of the session."""
    connection = await asyncpg.connect(**for_asyncpg(url), connection_class=ServiceConnection)
    try:
        await _prepare(connection, 0, settings)
        yield connection
    finally:
        await connection.close(timeout=CLOSE_SECONDS)


async def open_pool(
    url: str,
    *,
    size: int,
    statement_timeout: float,
    wait: float = 60.0,
    share: float = 1.0,
    connect: Callable[..., Awaitable[Any]] = asyncpg.connect,
) -> Pool:
    """A pool of up to `size` connections to a migrated database.

    `share` is the part of them that one caller (`service.admission`) may use. `wait` for a connection and
    `statement_timeout` are in seconds. `connect` makes connections.
    """

    async def init(connection: Any) -> None:
        pool.schema = await _prepare(connection, statement_timeout, {})

    pool = BoundedPool(
        wait=wait,
        shares=for_callers(size, share, wait=wait, what="requests in the database"),
        record_class=asyncpg.Record,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        loop=None,
        connect=connect,
        setup=None,
        connection_class=ServiceConnection,
        min_size=min(2, size),
        max_size=size,
        init=init,
        reset=_keep,
        **for_asyncpg(url),
    )
    return cast("Pool", await pool)


async def _prepare(connection: Any, statement_timeout: float, settings: dict[str, str]) -> str:
    """Prepares a new connection, and returns the schema of the installation."""
    installation = await session.prepare(connection, statement_timeout=statement_timeout, **settings)
    connection.schema = installation.schema
    if installation.vector_schema is not None:
        # service.vectors makes the binary format.
        await connection.set_type_codec(
            "halfvec", schema=installation.vector_schema, format="binary", encoder=bytes, decoder=HalfVector.from_binary
        )
    # The binary format of jsonb is the version 1, then the text.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda data: msgspec.Raw(memoryview(data)[1:]),
    )
    return installation.schema


@asynccontextmanager
async def closing(pool: Pool) -> AsyncIterator[None]:
    """Closes the pool after the block; terminates it if the database is unavailable."""
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()


class BoundedPool(asyncpg.Pool):
    """A pool that limits the wait for a connection, in seconds, and the share of a caller.

    `acquire` raises Busy for a caller, TimeoutError in background work. `schema` is the schema of the installation, for
    `service.database.statements`.
    """

    schema: str

    def __init__(self, *arguments: Any, wait: float, shares: Shares, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._wait, self._shares = wait, shares

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:  # type: ignore[override]  # not with `await`
        """A connection during the block, which counts against the share of its caller, if any."""
        who = caller.get(None)
        async with self._shares.held(who) if who is not None else nullcontext():
            async with asyncio.timeout(self._wait):  # asyncpg's own timeout starts a task
                connection = await super().acquire()
            try:
                yield connection
            finally:
                await self.release(connection)


class Scan(msgspec.Struct, frozen=True):
    """The parameters of an index scan: `effort` candidates of a graph (1 to 1,000), or lists of a coarse index.

    A scan that `goes_on` is iterative: it ends when enough rows pass the filter, and takes 0.07 ms of 1.1 more.
    Processes of PostgreSQL help a scan `in_parallel`; to start two took 8 ms.
    """

    effort: int
    goes_on: bool
    is_coarse: bool = False
    in_parallel: bool = True


UNKNOWN = Scan(0, goes_on=False)


class ServiceConnection(asyncpg.Connection):
    """A connection with the schema of the installation and the scan parameters of its session."""

    schema: str
    _scan: Scan | None = None

    async def use(self, scan: Scan | None) -> None:
        """Sets the scan of the session, if it changes; None is for reading all rows.

        pgvector's cost estimate grows with ef_search, until the planner prefers to read and sort all rows. So
        sequential scans and sorts are disabled for index searches, which affects no other statement on the connection.
        A generic plan is enforced, because all that the plan depends on is in the text of the statement
        (sql/similars.sql): planning each search takes 0.3 ms of 1.4. Later statements on the connection get generic
        plans too (tests/queries/test_generic_plans.py).
        """
        if self._scan != scan:
            effort, iterative, goes_on = "hnsw.ef_search", "hnsw.iterative_scan", "strict_order"
            if scan is not None and scan.is_coarse:
                effort, iterative, goes_on = "ivfflat.probes", "ivfflat.iterative_scan", "relaxed_order"
            self._scan = UNKNOWN  # a cancelled statement may have been executed
            others = "on" if scan is None else "off"
            workers = "RESET max_parallel_workers_per_gather"
            if scan is not None and not scan.in_parallel:
                workers = "SET max_parallel_workers_per_gather = 0"
            await self.execute(
                f"SET {effort} = {scan.effort if scan is not None else 200}; "
                f"SET {iterative} = {goes_on if scan is not None and scan.goes_on else 'off'}; "
                f"SET enable_seqscan = {others}; SET enable_sort = {others}; {workers}; "
                f"SET plan_cache_mode = {'auto' if scan is None else 'force_generic_plan'}"
            )
            self._scan = scan


@asynccontextmanager
async def searching(pool: Pool, scan: Scan | None) -> AsyncIterator[Connection]:
    """A connection of a pool with this scan (`ServiceConnection.use`)."""
    async with pool.acquire() as connection:
        await cast("ServiceConnection", connection).use(scan)  # through the proxy
        yield connection


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction, which an error in the block rolls back."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection


async def _keep(_: Connection) -> None:
    """Replaces asyncpg's reset, which costs a round trip; it rolls back open transactions anyway."""
