"""A service, and a tab with its console for each test."""

from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from playwright.async_api import Browser

from tests.conftest import serving, settings_for
from tests.support.browser import Console, opened


@pytest.fixture(scope="session")
def database(new_database: Callable[..., str]) -> str:
    """The URL of that service's database."""
    return new_database()


@pytest.fixture(scope="session")
async def url(database: str) -> AsyncIterator[str]:
    """Where the service runs whose console is tested."""
    async with serving(settings_for(database)) as url:
        yield url


@pytest.fixture(scope="session")
async def http(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that service, to make things and to look at what was stored."""
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
async def console(chromium: Browser, url: str) -> AsyncIterator[Console]:
    """A tab for this test."""
    async with opened(chromium, url) as console:
        yield console
