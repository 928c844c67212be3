"""Definitions: made, changed, shared, and the form of an instance that one leads to."""

import httpx2
import pytest
from playwright.async_api import expect

from tests.conftest import ADMIN_KEY
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, unique, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
HOSTILE = """<script>attacked(1)</script> "><img src=x onerror=attacked(2)>"""


async def test_from_making_to_deleting(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob = await user(http, admin), await user(http, admin)
    where = f"/v1/llm-definitions/{ada.handle}/house"
    page = console.page
    await console.goto("#/definitions")
    await console.sign_in(ada.key)
    await expect(page.get_by_text("You have made no definition yet.")).to_be_visible()
    await page.get_by_role("button", name="Make a definition").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("house")
    await dialog.get_by_label("API standard").select_option("cohere")
    await dialog.get_by_label("Model").fill("house-3")
    await dialog.get_by_label("Dimensions").fill("20000")
    await dialog.get_by_role("button", name="Make", exact=True).click()
    await expect(dialog.get_by_label("Dimensions")).to_have_attribute("aria-invalid", "true")
    await dialog.get_by_label("Dimensions").fill("12")
    await dialog.get_by_role("button", name="Make", exact=True).click()
    await expect(page.get_by_role("heading", name=f"{ada.handle}/house")).to_be_visible()
    stored = (await http.get(where, headers=ada.headers)).json()
    assert (stored["api_standard"], stored["dimensions"], stored["is_public"]) == ("cohere", 12, False)
    await page.get_by_role("button", name="Edit").click()
    await dialog.get_by_label("Model").fill("house-4")
    await dialog.get_by_label("Public").check()
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("house-4")).to_be_visible()
    assert (await http.get(where, headers=ada.headers)).json()["is_public"]
    await page.get_by_label("User").fill(bob.handle)
    await page.get_by_role("button", name="Share").click()
    await page.get_by_role("button", name=f"End {bob.handle}").click()
    await dialog.get_by_role("button", name="End it").click()
    await expect(page.get_by_text("Nobody yet.")).to_be_visible()
    assert (await http.get(f"{where}/shared-with", headers=ada.headers)).json() == []
    await page.get_by_role("link", name="Make an instance of").click()
    await expect(dialog.get_by_label("Definition")).to_have_value(f"{ada.handle}/house")
    await expect(dialog.get_by_text("house-4")).to_be_visible()
    await expect(dialog.get_by_label("The provider's key")).to_be_visible()
    await page.go_back()
    await page.get_by_role("button", name="Delete …").click()
    await dialog.get_by_label("Type").fill("house")
    await dialog.get_by_role("button", name="Delete the definition").click()
    await expect(page.get_by_text("You have made no definition yet.")).to_be_visible()
    assert (await http.get(where, headers=ada.headers)).status_code == 404


async def test_who_sees_and_changes_what(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob = await user(http, admin), await user(http, admin)
    public, shared, secret = unique("public"), unique("shared"), unique("secret")
    for handle in (public, shared, secret):
        body = {"definition_handle": handle, "api_standard": "openai", "is_public": handle == public}
        place = f"/v1/llm-definitions/{ada.handle}"
        assert (await http.post(place, json=body, headers=ada.headers)).status_code == 201
    share = f"/v1/llm-definitions/{ada.handle}/{shared}/share"
    assert (await http.post(share, json={"share_with_handle": bob.handle}, headers=ada.headers)).status_code == 201
    page = console.page
    await console.goto("#/definitions")
    await console.sign_in(bob.key)
    tables = {"Public": public, "Shared by others": shared, "Built in": "local-small"}
    for group, handle in tables.items():
        table = page.get_by_role("table", name=f"{group}: definitions")
        await expect(table.get_by_role("rowheader").filter(has_text=handle)).to_be_visible()
    await expect(page.get_by_text(secret)).to_have_count(0)
    await page.get_by_role("link", name=f"{ada.handle}/{shared}", exact=True).click()
    await expect(page.get_by_role("heading", name=f"{ada.handle}/{shared}")).to_be_visible()
    await expect(page.get_by_role("link", name="Make an instance of")).to_be_visible()
    for name in ("Edit", "Delete …", "Share"):
        await expect(page.get_by_role("button", name=name)).to_have_count(0)
    await console.goto(f"#/definitions/{ada.handle}/{secret}")
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await console.sign_in(ADMIN_KEY)
    await console.goto("#/definitions")
    await page.get_by_role("link", name=f"{ada.handle}/{secret}", exact=True).click()
    await expect(page.get_by_role("button", name="Edit")).to_be_visible()
    await console.goto("#/definitions/_system/local-small")
    await expect(page.get_by_text("l2-supercat-256")).to_be_visible()
    await expect(page.get_by_role("button", name="Edit")).to_have_count(0)  # it is built in


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_hostile_texts_and_accessibility(
    console: Console, http: httpx2.AsyncClient, admin: Headers, scheme: str
) -> None:
    ada = await user(http, admin)
    body = {"definition_handle": "evil", "api_standard": "openai", "endpoint": "javascript:attacked(3)"}
    body |= {"model": HOSTILE, "description": HOSTILE}
    answer = await http.post(f"/v1/llm-definitions/{ada.handle}", json=body, headers=ada.headers)
    assert answer.status_code == 201
    page = console.page
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await console.goto("#/definitions")
    await console.sign_in(ada.key)
    await expect(page.get_by_role("link", name="evil", exact=True)).to_be_visible()
    assert await console.serious() == []
    await page.get_by_role("link", name="evil", exact=True).click()
    await expect(page.get_by_role("heading", name=f"{ada.handle}/evil")).to_be_visible()
    await expect(page.get_by_text(HOSTILE).first).to_be_visible()
    await expect(page.locator("a[href^=javascript]")).to_have_count(0)
    await page.get_by_role("button", name="Edit").click()
    assert await console.serious() == []
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("link", name="Make an instance of").click()
    await expect(page.get_by_role("dialog").get_by_text(HOSTILE).first).to_be_visible()
    assert await console.serious() == []
