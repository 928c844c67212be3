"""One real PostgreSQL for the whole run, one database migrated once as a template, and the real service.

`connection` is for statements: a connection in a transaction that is rolled back. `api` is for HTTP: the
real application behind a real uvicorn on a loopback port. Its tests share a database, so they make users of
their own.
"""

import asyncio
import functools
import gc
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import psycopg
import pytest
import uvicorn
from hypothesis import settings as hypothesis_settings
from playwright.async_api import Browser, async_playwright

from service.app import create_app
from service.database import embedded
from service.database.pool import Connection, Pool, open_pool
from service.memory import this_machine
from service.schema import migrate
from service.server.protocol import Protocol
from service.settings import Settings
from service.storage import calibration
from tests.support.browser import CHROMIUM
from tests.support.world import Headers, Project, User, project, user

ADMIN_KEY = "admin-key-of-the-tests"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
ENCRYPTION_KEY = "test-encryption-key"
TEMPLATE = f"embedding_service_template_{os.getpid()}"  # each process of a parallel run has its own

QUERIES = calibration.QUERIES

# A file system in memory: PostgreSQL creates a database there in 20 ms, on a disk in 220.
IN_MEMORY = Path("/dev/shm")
ROOM = 8 * 2**30  # bytes; a run of all tests took 5.1 GB


def _is_usable(folder: Path) -> bool:
    """Whether this file system has room, and lets programs run."""
    if not folder.is_dir():
        return False
    state = os.statvfs(folder)
    return min(state.f_bavail * state.f_frsize, this_machine() // 2) >= ROOM and not state.f_flag & os.ST_NOEXEC


if "TMPDIR" not in os.environ and _is_usable(IN_MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)  # here, because the processes of a parallel run inherit it

gc.disable()  # until the tests are collected, which takes half as long without
hypothesis_settings.register_profile("tests", deadline=None, max_examples=50)
hypothesis_settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take the longest come first, so that none is left when all others are done."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """From here on garbage is collected again, but not looked for in what stays until the end."""
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Twice as many processes as there are processors: many tests wait for something most of their time."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """All HTTP clients share one: to read its certificates takes 23 ms of a processor, and most tests make a client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "default_ssl_context", functools.cache(httpcore2.default_ssl_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def fewer_queries() -> Iterator[None]:
    """For tests of what an index is used for: to measure its recall takes longer than to build a small one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "QUERIES", calibration.LEAST_QUERIES)
        yield


@pytest.fixture
def every_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the recall itself: it is measured with as many queries as the service takes."""
    monkeypatch.setattr(calibration, "QUERIES", QUERIES)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """URL of a PostgreSQL server: TEST_DATABASE_URL, or else the embedded one with throw-away data."""
    if named := os.environ.get("TEST_DATABASE_URL"):
        yield named
        return
    with tempfile.TemporaryDirectory() as folder, embedded.running(Path(folder) / "data", durable=False) as url:
        yield url


def of_database(server: str, name: str) -> str:
    """The URL of another database of the same server."""
    before, _, query = server.partition("?")
    base = before.rpartition("/")[0]
    return f"{base}/{name}?{query}" if query else f"{base}/{name}"


@pytest.fixture(scope="session")
def new_database(server: str) -> Iterator[Callable[..., str]]:
    """Makes a database, from the migrated template or empty, and returns its URL."""
    made: list[str] = []

    def make(*, template: str | None = TEMPLATE) -> str:
        name = f"embedding_service_test_{os.getpid()}_{len(made)}"
        with psycopg.connect(server, autocommit=True) as connection:
            # The files are copied: to log all their pages takes 1.6 times as long.
            source = f"TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
            connection.execute(f"CREATE DATABASE {name} {source}")  # type: ignore[call-overload]
        made.append(name)
        return of_database(server, name)

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate.upgrade(of_database(server, TEMPLATE))
    yield make
    if "TEST_DATABASE_URL" not in os.environ:  # the server goes with its data
        return
    with psycopg.connect(server, autocommit=True) as connection:
        for name in [*made, TEMPLATE]:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # type: ignore[call-overload]


@pytest.fixture
def url(new_database: Callable[..., str]) -> str:
    """The URL of a migrated database of a test's own."""
    return new_database()


@pytest.fixture(scope="session")
async def pool(new_database: Callable[..., str]) -> AsyncIterator[Pool]:
    """A pool on a migrated database of its own."""
    async with await open_pool(new_database(), size=4, statement_timeout=30) as pool:
        yield pool


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction that is rolled back."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()


def settings_for(database_url: str, **overrides: object) -> Settings:
    """Settings of a service for tests."""
    values = {"service_adminkey": ADMIN_KEY, "encryption_key": ENCRYPTION_KEY, "service_database_url": database_url}
    return Settings(**{**values, **overrides})  # type: ignore[arg-type]


def variables_for(database_url: str, **more: str) -> dict[str, str]:
    """The same as variables of the environment, for a process."""
    secrets = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": ENCRYPTION_KEY}
    return {**secrets, "SERVICE_DATABASE_URL": database_url, **more}


@asynccontextmanager
async def serving(config: Settings) -> AsyncIterator[str]:
    """Runs the service on a free port, and yields its URL."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            port=0,
            loop="none",
            http=Protocol,
            lifespan="on",
            log_level="warning",
            ws="none",
            timeout_keep_alive=config.service_keepalive_seconds,
        )
    )
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        if running.done():
            running.result()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await running


@asynccontextmanager
async def client_of(config: Settings, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Runs the service on a free port, and yields a client of it with these options."""
    async with serving(config) as url, httpx2.AsyncClient(base_url=url, **{"timeout": 60, **options}) as client:
        yield client


@pytest.fixture(scope="session")
def service_database(new_database: Callable[..., str]) -> str:
    """The URL of the database behind `api`."""
    return new_database()


@pytest.fixture(scope="session")
async def api(service_database: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running service."""
    async with client_of(settings_for(service_database, service_max_body_bytes=4 * 1024 * 1024)) as client:
        yield client


@pytest.fixture(scope="session")
def admin() -> Headers:
    """The admin's headers."""
    return ADMIN


@pytest.fixture
async def ada(api: httpx2.AsyncClient, admin: Headers) -> User:
    """A new user."""
    return await user(api, admin)


@pytest.fixture
async def bob(api: httpx2.AsyncClient, admin: Headers) -> User:
    """Another new user."""
    return await user(api, admin)


@pytest.fixture
async def own(api: httpx2.AsyncClient, admin: Headers) -> Project:
    """A new and empty project of a third new user, of three dimensions."""
    return await project(api, await user(api, admin))


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """A browser, in which each tab is a context of its own."""
    async with async_playwright() as playwright:
        # Without a graphics card, WebGL is computed by the processor. That pages are not put together by WebGL, too,
        # saves half of the time of all tests in the browser.
        flags = [
            "--no-sandbox",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--disable-gpu-compositing",
        ]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        await browser.close()
