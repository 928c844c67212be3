"""The console in a headless Chromium, and what must hold on every page of it."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, expect

# The headless shell draws pages in half of the time, since it has no windows.
_BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, _BROWSERS) if path), None)
NEEDS_CHROMIUM = pytest.mark.skipif(not CHROMIUM, reason="LEFT OUT: the console in a browser; it needs chromium")

# Playwright looks for five seconds, which is little where other tests run in several browsers.
expect.set_options(timeout=30_000)

# Messages of the browser itself: error statuses of answers, and slow reading of pixels without a graphics card.
REMARKS = re.compile(r"Failed to load resource|\[\.WebGL-\w+\]GL Driver Message \(OpenGL, Performance,")

# Logs what the Content-Security-Policy has refused, and what users' texts would do if they were run: the log is read
# outside of the page, so it stays when the page is loaded again.
WATCH = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`refused ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
window.alert = (text) => console.error(`alert ${text}`);
window.attacked = (text) => console.error(`attacked ${text}`);
"""


class Console:
    """A tab with the console of the service at `url`.

    `page` is Playwright's. `errors` are what the console's own code has thrown or logged, without `REMARKS`.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("pageerror", lambda error: self.errors.append(f"{error.name}: {error.message}"))
        page.on("console", self._logged)
        page.on("request", self._requested)

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not REMARKS.match(message.text):
            self.errors.append(message.text)

    def _requested(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.hosts.add("/".join(request.url.split("/")[:3]))

    async def goto(self, address: str = "") -> None:
        """Opens a page by its address in the console, like `#/projects/ada/poems`."""
        await self.page.goto(f"{self.url}/console/{address}")

    async def sign_in(self, key: str) -> None:
        """Signs in at the form that is shown."""
        await self.page.get_by_label("Your key").fill(key)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("button", name="Sign out").wait_for()

    async def serious(self) -> list[str]:
        """What axe-core finds on the page as it is, serious or critical."""
        found: Any = (await Axe().run(self.page)).response
        return [
            f"{one['id']}: {node['html']}: {node['failureSummary']}"
            for one in found["violations"]
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
        ]

    async def check(self) -> None:
        """Nothing was refused by the policy, nothing was thrown, and no other host was asked."""
        await self.page.evaluate("0")  # what was logged before has arrived when this has
        assert self.errors == [], self.errors
        assert self.hosts <= {"/".join(self.url.split("/")[:3])}


async def tried_out(page: Page, block: str) -> Locator:
    """The answer to a call that is tried in the page at /docs; `block` selects its operation."""
    operation = page.locator(block)
    await operation.locator(".opblock-summary-control").click()
    await operation.locator(".try-out__btn").click()
    await operation.locator(".execute").click()
    answer = operation.locator(".live-responses-table .response")
    await expect(answer.locator(".response-col_status")).to_contain_text("200")
    return answer


@asynccontextmanager
async def opened(chromium: Browser, url: str, **options: Any) -> AsyncIterator[Console]:
    """A new tab with no memory of others, checked at the end. `options` are those of Playwright's `new_context`."""
    context = await chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    try:
        await context.add_init_script(WATCH)
        page = await context.new_page()
        page.set_default_timeout(30_000)
        console = Console(page, url)
        yield console
        await console.check()
    finally:
        await context.close()
