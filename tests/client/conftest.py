"""The real service, and projects in it that tests have to themselves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest
from vecferry import AsyncClient

from tests.client.commands import Ferry
from tests.conftest import ADMIN_KEY, serving, settings_for

DIMENSIONS = 8
_numbers = count(1)


@pytest.fixture(scope="session")
async def service_url(new_database: Callable[..., str]) -> AsyncIterator[str]:
    """The URL of a service that takes bodies of 4 MiB.

    It builds no indexes: these tests do not need one, and a build takes a processor for seconds.
    """
    config = settings_for(new_database(), service_max_body_bytes=4 * 1024 * 1024, service_index_threshold=10**9)
    async with serving(config) as url:
        yield url


@pytest.fixture(scope="session")
async def admin_client(service_url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(service_url, ADMIN_KEY) as client:
        yield client


@pytest.fixture
def new_user(admin_client: AsyncClient) -> Callable[[], Awaitable[tuple[str, str]]]:
    """Makes a user with an instance `inst`, and returns their handle and key."""

    async def make() -> tuple[str, str]:
        handle = f"ferry{next(_numbers)}"
        made = await admin_client.users.put(handle, email=f"{handle}@example.org")
        await admin_client.instances.put(f"{handle}/inst", dimensions=DIMENSIONS)
        return handle, made.key

    return make


@pytest.fixture
async def user(new_user: Callable[[], Awaitable[tuple[str, str]]]) -> tuple[str, str]:
    return await new_user()


@pytest.fixture
async def client(service_url: str, user: tuple[str, str]) -> AsyncIterator[AsyncClient]:
    """A client with the key of a new user."""
    async with AsyncClient(service_url, user[1]) as client:
        yield client


@pytest.fixture
async def project(client: AsyncClient, user: tuple[str, str]) -> str:
    """The name of an empty project of that user."""
    return (await client.projects.put(f"{user[0]}/poems", instance=f"{user[0]}/inst")).name


@pytest.fixture
def ferry(service_url: str, user: tuple[str, str], tmp_path: Path) -> Ferry:
    """Commands with the key of the new user."""
    return Ferry(tmp_path, VECFERRY_URL=service_url, VECFERRY_KEY=user[1])
