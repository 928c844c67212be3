"""A service, a Chromium for all tests, and a tab for each."""

from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from playwright.async_api import Browser, async_playwright

from tests.conftest import serving, settings_for
from tests.support.browser import CHROMIUM, Console, opened


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """A browser, in which each tab is a context of its own."""
    async with async_playwright() as playwright:
        # Without a graphics card, WebGL is computed by the processor.
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def url(new_database: Callable[..., str]) -> AsyncIterator[str]:
    """Where the service runs whose console is tested."""
    async with serving(settings_for(new_database())) as url:
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
