"""Who has access to a project, and what each of them sees of it."""

import httpx2
import pytest
from playwright.async_api import expect

from tests.conftest import ADMIN_KEY
from tests.console.parts import HOSTILE, accessible, poems, show
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, Project, User, fetch, unique, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


async def roles(http: httpx2.AsyncClient, of: Project) -> dict[str, str]:
    """The roles of all with whom a project is shared."""
    found = await fetch(http, f"{of.path}/shared-with", of.owner.headers)
    return {one["user_handle"]: one["role"] for one in found["shared_with"]}


async def test_sharing_and_ending_it(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one, ben = await poems(http, admin), await user(http, admin)
    page = await show(console, one, "/sharing")
    await accessible(console, page.get_by_role("heading", name="Users with access"))
    share = page.get_by_role("button", name="Share", exact=True)
    await expect(share).to_be_disabled()
    await page.get_by_label("User", exact=True).fill(unique("nobody"))
    await share.click()
    await expect(page.get_by_role("alert")).to_contain_text("There is no user of that name")
    await page.get_by_label("User", exact=True).fill(ben.handle)
    await page.get_by_label("Role", exact=True).select_option("reader")
    await share.click()
    role = page.get_by_label(f"Role of {ben.handle}")
    await expect(role).to_have_value("reader")
    assert await roles(http, one) == {ben.handle: "reader"}
    await role.select_option("editor")
    await expect(page.get_by_text(f"{ben.handle} is an editor now.")).to_be_visible()
    assert await roles(http, one) == {ben.handle: "editor"}
    await page.get_by_role("button", name=f"Remove {ben.handle}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    await expect(page.get_by_text("It is shared with nobody else yet.")).to_be_visible()
    assert await roles(http, one) == {}


async def test_the_public_switch(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    page = await show(console, one, "/sharing")
    await page.get_by_role("button", name="Make it public …").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("without a key")).to_be_visible()
    assert await console.serious() == []
    await dialog.get_by_role("button", name="Cancel").click()
    assert (await http.get(one.path)).status_code == 401
    await page.get_by_role("button", name="Make it public …").click()
    await dialog.get_by_role("button", name="Make it public").click()
    await expect(page.get_by_text("Public", exact=True)).to_be_visible()
    assert (await http.get(one.path)).status_code == 200
    await page.get_by_role("button", name="Make it not public").click()
    await expect(page.get_by_text("Not public", exact=True)).to_be_visible()
    assert (await http.get(one.path)).status_code == 401


async def test_handing_it_over(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one, ben = await poems(http, admin), await user(http, admin)
    page = await show(console, one, "/sharing")
    await page.get_by_label("New owner").fill(ben.handle)
    await page.get_by_role("button", name="Hand it over …").click()
    dialog = page.get_by_role("dialog")
    last = dialog.get_by_role("button", name="Hand it over")
    await expect(last).to_be_disabled()
    await dialog.get_by_label("Type").fill(one.handle)
    await last.click()
    await expect(dialog.get_by_role("alert")).to_contain_text("access to the instance")
    share = {"share_with_handle": ben.handle, "role": "reader"}
    await http.post(f"{one.instance.path}/share", json=share, headers=one.owner.headers)
    await last.click()
    await expect(page.get_by_role("heading", level=1, name="Projects")).to_be_visible()
    assert (await http.get(one.path, headers=one.owner.headers)).status_code == 404
    assert await fetch(http, f"/v1/projects/{ben.handle}/{one.handle}", ben.headers)


@pytest.mark.parametrize(
    ("role", "badge", "tabs", "may_add"),
    [
        ("owner", "You own it", 5, True),
        ("admin", "You are the admin", 5, True),
        ("editor", "You may edit", 3, True),
        ("reader", "You may read", 3, False),
        ("public", "You look at it as the public", 3, False),
    ],
)
async def test_what_a_role_sees(
    role: str, badge: str, tabs: int, may_add: bool, console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    ben = await user(http, admin)
    shares = [{"user_handle": ben.handle, "role": role}] if role in {"editor", "reader"} else []
    one = await poems(http, admin, shared_with=shares, public_read=role == "public", description=HOSTILE[0])
    keys = {"owner": one.owner.key, "admin": ADMIN_KEY, "editor": ben.key, "reader": ben.key, "public": None}
    page = await show(console, one, key=keys[role])
    await expect(page.get_by_text(badge)).to_be_visible()
    await expect(page.get_by_text(HOSTILE[0])).to_be_visible()
    await expect(page.get_by_role("navigation", name="Parts of the project").get_by_role("link")).to_have_count(tabs)
    await expect(page.get_by_role("rowheader")).to_have_count(3)
    for name in ("Add texts", "Delete selected", "Delete all …"):
        await expect(page.get_by_role("button", name=name)).to_have_count(int(may_add))
    await expect(page.get_by_role("checkbox")).to_have_count(3 * may_add)
    await page.get_by_role("link", name="rose").click()
    await expect(page.get_by_role("heading", name="rose", exact=True)).to_be_visible()
    await expect(page.get_by_role("button", name="Delete", exact=True)).to_have_count(int(may_add))
    await page.get_by_text("3 texts ·").click()
    await expect(page.get_by_text(f"{one.owner.handle}/{one.instance.handle}")).to_be_visible()
    if role == "reader":
        await accessible(console, page.get_by_text("Compared one by one"))
    await console.goto(f"#/projects/{one.owner.handle}/{one.handle}/settings")
    refused = page.get_by_text("This part is for the project's owner.")
    await expect(refused).to_have_count(0 if tabs == 5 else 1)


async def test_who_may_not_see_it(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one, ben = await poems(http, admin), await user(http, admin)
    page = await show(console, one, key=ben.key)
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_role("rowheader")).to_have_count(0)


async def renewed(http: httpx2.AsyncClient, who: User) -> str:
    """A new key for a user, whose old one is not valid any more."""
    return str((await http.post(f"{who.path}/key", headers=who.headers)).json()["vdb_key"])


async def test_what_was_typed_stays_when_the_key_is_exchanged(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    one, ben = await poems(http, admin), await user(http, admin)
    page = await show(console, one, "/sharing")
    await page.get_by_label("User", exact=True).fill(ben.handle)
    key = await renewed(http, one.owner)
    await page.get_by_role("button", name="Share", exact=True).click()
    await page.get_by_label("Your key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_label("Your key")).to_have_count(0)
    await expect(page.get_by_label("User", exact=True)).to_have_value(ben.handle)
    await page.get_by_role("button", name="Share", exact=True).click()
    await expect(page.get_by_label(f"Role of {ben.handle}")).to_be_visible()
