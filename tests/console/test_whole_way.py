"""A new user's whole way, and what those see with whom a project is shared."""

import httpx2
import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import ADMIN_KEY
from tests.console.parts import LINES
from tests.support.browser import NEEDS_CHROMIUM, Console, opened
from tests.support.world import Headers, unique, user

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), NEEDS_CHROMIUM]


async def new_user(console: Console, handle: str) -> str:
    """The admin makes a user, and copies the key, which is shown once."""
    page = console.page
    await console.goto("#/users")
    await console.sign_in(ADMIN_KEY)
    await page.get_by_role("button", name="Make a user").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Handle").fill(handle)
    await dialog.get_by_label("E-mail").fill(f"{handle}@example.org")
    await dialog.get_by_role("button", name="Make", exact=True).click()
    key = await dialog.get_by_role("code").inner_text()
    await dialog.get_by_role("button", name="I have copied the key").click()
    await page.get_by_role("button", name="Sign out").click()
    return key


async def make_project(page: Page, handle: str, instance: str) -> None:
    """First an instance of the model inside the service, then a project on it."""
    await page.get_by_role("link", name="Definitions", exact=True).click()
    await page.get_by_role("link", name="Make an instance of _system/local-small").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill(instance)
    await dialog.get_by_role("button", name="Make", exact=True).click()
    await expect(page.get_by_role("heading", level=1, name=instance)).to_be_visible()
    await page.get_by_role("button", name="Embed it").click()
    await expect(page.get_by_text("256").first).to_be_visible()
    await page.get_by_role("link", name="Projects", exact=True).click()
    await page.get_by_role("button", name="Make a project").first.click()
    await dialog.get_by_label("Name").fill(handle)
    await dialog.get_by_role("button", name="Make", exact=True).click()
    await expect(page.get_by_text("This project holds no texts yet.")).to_be_visible()


async def add_texts(page: Page, *lines: str) -> None:
    """Pastes a text a line."""
    await page.get_by_role("button", name="Add texts").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Texts", exact=True).fill("\n".join(lines))
    await dialog.get_by_role("button", name=f"Add {len(lines)} text").click()
    await expect(dialog.get_by_text(f"{len(lines)} new")).to_be_visible()
    await dialog.get_by_role("button", name="Close").last.click()


async def search(page: Page, text: str, first: str) -> None:
    """Searches by a text, and finds another first."""
    await page.get_by_role("link", name="Search", exact=True).click()
    await page.get_by_label("Text", exact=True).last.fill(text)
    await page.get_by_role("button", name="Search", exact=True).click()
    await expect(page.get_by_role("listitem").first).to_contain_text(first)


async def test_the_whole_way(
    console: Console, chromium: Browser, url: str, http: httpx2.AsyncClient, admin: Headers
) -> None:
    ada, handle, instance = unique("ada"), unique("poems"), unique("here")
    bob = await user(http, admin)
    key = await new_user(console, ada)
    page = console.page
    await console.sign_in(key)
    await make_project(page, handle, instance)
    await add_texts(page, *LINES)
    await expect(page.get_by_role("rowheader")).to_have_count(3)
    await search(page, "a tiger in flames", LINES[1])
    await page.get_by_role("link", name="Map", exact=True).click()
    await expect(page.get_by_text("3 of 3 texts")).to_be_visible(timeout=60_000)

    sharing = f"#/projects/{ada}/{handle}/sharing"
    await console.goto(sharing)
    await page.get_by_label("User", exact=True).fill(bob.handle)
    await page.get_by_role("button", name="Share", exact=True).click()
    await expect(page.get_by_role("row", name=bob.handle)).to_be_visible()

    async with opened(chromium, url) as others, opened(chromium, url) as public:
        await others.goto()
        await others.sign_in(bob.key)
        await others.page.get_by_role("link", name=handle).click()
        await expect(others.page.get_by_role("rowheader")).to_have_count(3)
        for name in ("Add texts", "Delete selected", "Delete all …"):
            await expect(others.page.get_by_role("button", name=name)).to_have_count(0)
        await expect(others.page.get_by_role("link", name="Sharing")).to_have_count(0)

        await page.get_by_label(f"Role of {bob.handle}").select_option("editor")
        await expect(page.get_by_label(f"Role of {bob.handle}")).to_have_value("editor")
        await others.page.reload()
        await add_texts(others.page, "So much depends upon a red wheel barrow")
        await expect(others.page.get_by_role("rowheader")).to_have_count(4)

        await public.goto(f"#/projects/{ada}/{handle}")
        await expect(public.page.get_by_role("dialog").get_by_text("This needs a key.")).to_be_visible()
        await page.get_by_role("button", name="Make it public …").click()
        await page.get_by_role("dialog").get_by_role("button", name="Make it public", exact=True).click()
        await expect(page.get_by_role("button", name="Make it not public")).to_be_visible()
        await public.page.reload()
        await expect(public.page.get_by_role("rowheader")).to_have_count(4)
        await expect(public.page.get_by_role("button", name="Add texts")).to_have_count(0)
        await page.get_by_role("button", name="Make it not public").click()
        await expect(page.get_by_role("button", name="Make it public …")).to_be_visible()
        await public.page.reload()
        await expect(public.page.get_by_role("dialog").get_by_text("This needs a key.")).to_be_visible()

        await page.get_by_role("button", name=f"Remove {bob.handle}").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
        await expect(page.get_by_text("It is shared with nobody else yet.")).to_be_visible()
        await others.page.reload()
        await expect(others.page.get_by_role("alert")).to_be_visible()
        await expect(others.page.get_by_role("rowheader")).to_have_count(0)
