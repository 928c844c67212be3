"""Users, as the admin makes, searches, changes and deletes them; and one's own account."""

import httpx2
import pytest
from playwright.async_api import expect

from tests.conftest import ADMIN_KEY
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, instance, project, unique, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
HOSTILE = """<script>attacked(1)</script> "><img src=x onerror=attacked(2)> javascript:attacked(3)"""


async def test_making_a_user_shows_the_key_once(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    handle = unique("zoe")
    page = console.page
    await console.goto("#/users")
    await console.sign_in(ADMIN_KEY)
    await page.get_by_role("button", name="Make a user").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Handle").fill(handle)
    await dialog.get_by_label("E-mail").fill("zoe@example")
    await dialog.get_by_role("button", name="Make", exact=True).click()
    await expect(dialog.get_by_text("This key is shown only now.")).to_be_visible()
    assert await console.serious() == []
    key = await dialog.get_by_role("code").inner_text()
    answer = await http.get("/v1/whoami", headers={"Authorization": f"Bearer {key}"})
    assert answer.json()["user_handle"] == handle
    await dialog.get_by_role("button", name="I have copied the key").click()
    assert key not in await page.content()
    await page.get_by_role("button", name="Make a user").click()
    await dialog.get_by_label("Handle").fill(handle)
    await dialog.get_by_label("E-mail").fill("another@example.org")
    await dialog.get_by_role("button", name="Make", exact=True).click()
    await expect(dialog.get_by_role("alert")).to_contain_text(f"There is a user {handle} already.")
    assert (await http.get(f"/v1/users/{handle}", headers=admin)).json()["email"] == "zoe@example"
    await dialog.get_by_label("Handle").fill(handle.upper())
    await dialog.get_by_role("button", name="Make", exact=True).click()
    await expect(dialog.get_by_role("alert")).to_contain_text("another user's in upper and lower case only")


async def test_searching_and_paging(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    part = unique("many")
    for number in range(51):
        body = {"user_handle": f"{part}.{number:02}", "email": f"{part}.{number}@example.org"}
        assert (await http.post("/v1/users", json=body, headers=admin)).status_code == 201
    page = console.page
    await console.goto("#/users")
    await console.sign_in(ADMIN_KEY)
    await page.get_by_label("Search").fill(part.upper())
    await expect(page.get_by_role("link", name=f"{part}.49")).to_be_visible()
    await expect(page.get_by_role("rowheader")).to_have_count(50)
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_role("link", name=f"{part}.50")).to_be_visible()
    await expect(page.get_by_role("rowheader")).to_have_count(1)
    await expect(page.get_by_role("button", name="Next")).to_be_disabled()
    await page.reload()  # state in the address
    await expect(page.get_by_role("link", name=f"{part}.50")).to_be_visible()
    await page.get_by_label("Search").fill("no such user")
    await expect(page.get_by_text("There is no user whose handle contains this.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_one_user(console: Console, http: httpx2.AsyncClient, admin: Headers, scheme: str) -> None:
    ada, bob = await user(http, admin, name=HOSTILE), await user(http, admin)
    own = await project(http, ada, description=HOSTILE)
    given = await instance(http, bob)
    share = {"share_with_handle": ada.handle, "role": "reader"}
    assert (await http.post(f"{given.path}/share", json=share, headers=bob.headers)).status_code == 201
    page = console.page
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await console.goto(f"#/users/{ada.handle}")
    await console.sign_in(ADMIN_KEY)
    await expect(page.get_by_text(HOSTILE)).to_be_visible()
    await expect(page.get_by_role("link", name=f"{ada.handle}/{own.handle}")).to_be_visible()
    await expect(page.get_by_role("link", name=f"{bob.handle}/{given.handle}")).to_be_visible()
    assert await console.serious() == []
    dialog = page.get_by_role("dialog")
    await page.get_by_role("button", name="Edit").click()
    await dialog.get_by_label("E-mail").fill(bob.email)
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_text("Another user has this e-mail address.").first).to_be_visible()
    await dialog.get_by_label("E-mail").fill(f"new-{ada.email}")
    await dialog.get_by_label("Name", exact=True).fill("")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_text(f"new-{ada.email}")).to_be_visible()
    await page.get_by_role("button", name="New key …").click()
    await dialog.get_by_role("button", name="Exchange the key").click()
    await expect(page.get_by_text("This key is shown only now.")).to_be_visible()
    key = await page.get_by_role("code").inner_text()
    assert (await http.get("/v1/whoami", headers=ada.headers)).status_code == 401
    renewed = {"Authorization": f"Bearer {key}"}
    assert (await http.get("/v1/whoami", headers=renewed)).json()["user_handle"] == ada.handle
    await page.get_by_role("button", name="Delete …").click()
    await expect(dialog.get_by_text("1 project, 1 instance, 0 definitions")).to_be_visible()
    await dialog.get_by_label("Type").fill(ada.handle)
    await dialog.get_by_role("button", name="Delete the user").click()
    await expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
    assert (await http.get(ada.path, headers=admin)).status_code == 404
    assert (await http.get(given.path, headers=bob.headers)).status_code == 200


async def test_the_user_who_owns_what_is_built_in(console: Console) -> None:
    await console.goto("#/users/_system")
    await console.sign_in(ADMIN_KEY)
    await expect(console.page.get_by_role("link", name="_system/local-small")).to_be_visible()
    await expect(console.page.get_by_role("button", name="Delete …")).to_have_count(0)


async def test_exchanging_ones_own_key(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    """The page goes on with the new key; the old one is worth nothing."""
    ada = await user(http, admin, name=HOSTILE)
    await instance(http, ada)
    page = console.page
    await console.goto("#/account")
    await console.sign_in(ada.key)
    await expect(page.get_by_text(HOSTILE)).to_be_visible()
    await page.get_by_role("button", name="Exchange my key …").click()
    await page.get_by_role("button", name="Exchange it").click()
    await expect(page.get_by_text("This key is shown only now.")).to_be_visible()
    key = await page.get_by_role("code").inner_text()
    assert await page.evaluate("Object.values(sessionStorage)") == [key]
    assert (await http.get("/v1/whoami", headers=ada.headers)).status_code == 401
    for scheme in ("light", "dark"):
        await page.get_by_label("Colours").select_option(scheme)
        assert await page.evaluate("getComputedStyle(document.documentElement).colorScheme") == scheme
        assert await console.serious() == []
    await page.get_by_role("link", name="Show all with their models").click()
    await expect(page.get_by_role("table", name="Own: instances")).to_be_visible()
    await expect(page.get_by_role("dialog")).to_have_count(0)  # nobody asks for a key again
    await page.reload()
    await expect(page.get_by_role("table", name="Own: instances")).to_be_visible()


async def test_the_account_of_the_admin(console: Console) -> None:
    await console.goto("#/account")
    await console.sign_in(ADMIN_KEY)
    await expect(console.page.get_by_text("SERVICE_ADMINKEY")).to_be_visible()
    await expect(console.page.get_by_role("button", name="Exchange my key …")).to_have_count(0)
