"""Signing in and out, and the frame around all pages."""

import httpx2
import pytest
from playwright.async_api import expect

from tests.conftest import ADMIN_KEY
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


async def test_signing_in_and_out(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(http, admin)
    page = console.page
    await console.goto()
    await console.sign_in(ada.key)
    await expect(page.get_by_role("link", name=ada.handle)).to_be_visible()
    await expect(page.get_by_role("link", name="Users")).to_have_count(0)  # only the admin's
    assert await page.evaluate("sessionStorage.length + localStorage.length") == 2  # the key; the theme
    assert ada.key not in await page.evaluate("JSON.stringify(localStorage) + location.href + document.cookie")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Your key")).to_be_focused()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_a_wrong_key_is_refused_and_not_kept(console: Console) -> None:
    for key in ("wrong", "0" * 64, "ключ", "two words"):
        await console.goto()  # which loads the page anew
        await expect(console.page.get_by_role("alert")).to_have_count(0)
        await console.page.get_by_label("Your key").fill(key)
        await console.page.get_by_role("button", name="Sign in").click()
        await expect(console.page.get_by_role("alert")).to_be_visible()
        await expect(console.page.get_by_role("button", name="Sign out")).to_have_count(0)
        assert await console.page.evaluate("sessionStorage.length") == 0


async def test_the_key_stays_for_the_tab(console: Console) -> None:
    await console.goto()
    await console.sign_in(ADMIN_KEY)
    await console.page.reload()
    await expect(console.page.get_by_role("navigation").get_by_role("link", name="Users")).to_be_visible()


async def test_a_browser_whose_user_has_blocked_storage(console: Console) -> None:
    blocked = "{ get() { throw new DOMException('Access is denied for this document.', 'SecurityError'); } }"
    for name in ("localStorage", "sessionStorage"):
        await console.page.add_init_script(f"Object.defineProperty(window, '{name}', {blocked})")
    await console.goto()
    await console.sign_in(ADMIN_KEY)
    await console.page.get_by_role("link", name="Users").click()
    await expect(console.page.get_by_role("heading", name="Users", level=1)).to_be_visible()


async def test_a_stored_key_is_not_forgotten_while_the_service_is_busy(console: Console) -> None:
    page = console.page
    await console.goto()
    await console.sign_in(ADMIN_KEY)
    busy = '{"title": "Service Unavailable", "status": 503, "detail": "The database is unavailable."}'
    await page.route("**/v1/whoami", lambda route: route.fulfill(status=503, body=busy))
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("The database is unavailable.")
    await page.unroute("**/v1/whoami")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_pages_for_the_admin_are_not_shown_to_others(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    ada = await user(http, admin)
    await console.goto("#/users")
    await console.sign_in(ada.key)
    await expect(console.page.get_by_text("This page is for the admin.")).to_be_visible()


async def test_a_key_that_was_exchanged_meanwhile(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    """One signs in again over the page; a tab that is loaded anew asks for the key at the same address."""
    ada = await user(http, admin)
    page = console.page
    await console.goto("#/instances")
    await console.sign_in(ada.key)
    renewed = (await http.post(f"{ada.path}/key", headers=ada.headers)).json()["vdb_key"]
    await page.reload()
    await page.get_by_label("Your key").wait_for()
    assert page.url.endswith("#/instances")
    await console.sign_in(renewed)
    await expect(page.get_by_role("link", name=ada.handle)).to_be_visible()
