"""Instances: made in one form, tested, shared within limits, and what they were used for."""

import httpx2
import pytest
from playwright.async_api import Locator, Page, expect

from tests.conftest import ADMIN_KEY
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, User, instance, project, unique, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
HOSTILE = """<script>attacked(1)</script> "><img src=x onerror=attacked(2)> javascript:attacked(3)"""


async def local(http: httpx2.AsyncClient, owner: User) -> str:
    """The path of an instance of the model inside the service."""
    body = {"instance_handle": "here", "definition_owner": "_system", "definition_handle": "local-small"}
    place = f"/v1/llm-instances/{owner.handle}"
    answer = await http.post(f"{place}/from-definition", json=body, headers=owner.headers)
    assert answer.status_code == 200, answer.text
    return f"{place}/here"


def dialog(page: Page) -> Locator:
    """The dialog that is open."""
    return page.get_by_role("dialog")


async def fact(page: Page, term: str) -> str:
    """What is said of a term."""
    return await page.get_by_role("term").filter(has_text=term).locator("xpath=following-sibling::dd").inner_text()


async def test_a_new_user_makes_one_and_tests_it(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(http, admin)
    page = console.page
    await console.goto("#/instances")
    await console.sign_in(ada.key)
    await expect(page.get_by_text("There is no instance yet.")).to_be_visible()
    await page.get_by_role("button", name="Make an instance").first.click()
    await expect(dialog(page).get_by_label("The provider's key")).to_have_count(0)  # the local model needs none
    await dialog(page).get_by_label("Name").fill("here")
    assert await console.serious() == []
    await dialog(page).get_by_role("button", name="Make", exact=True).click()
    await expect(page).to_have_url(f"{console.url}/console/#/instances/{ada.handle}/here")
    await expect(page.get_by_text("No text was embedded in this time")).to_be_visible()
    await page.get_by_label("A word").fill("rose")
    await page.get_by_role("button", name="Embed it").click()
    await expect(page.get_by_text("256 dimensions")).to_be_visible()
    await expect(page.get_by_role("img", name="1 token from")).to_be_visible()  # the chart
    usage = page.get_by_role("region", name="Usage by user")
    await expect(usage.get_by_role("row", name=f"{ada.handle} 1 1 1 0 0")).to_be_visible()
    await page.get_by_label("Range").select_option("7")
    await page.get_by_label("Shown").select_option("requests")
    await page.reload()
    await expect(page.get_by_role("img", name="1 request from")).to_be_visible()
    await expect(page.get_by_label("Range")).to_have_value("7")


async def test_no_instance_is_replaced_by_making_one(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    ada = await user(http, admin)
    there = await instance(http, ada, description="mine")
    await console.goto("#/instances?definition=_system%2Flocal-small")
    await console.sign_in(ada.key)
    await dialog(console.page).get_by_label("Name").fill(there.handle)
    await dialog(console.page).get_by_role("button", name="Make", exact=True).click()
    await expect(console.page.get_by_role("alert")).to_contain_text(f"There is an instance {ada.handle}/{there.handle}")
    assert (await http.get(there.path, headers=ada.headers)).json()["dimensions"] == 3


async def test_without_a_definition_and_the_providers_error(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    ada = await user(http, admin)
    page = console.page
    await console.goto("#/instances?definition=-")
    await console.sign_in(ada.key)
    await dialog(page).get_by_label("Name").fill("a b")
    await dialog(page).get_by_label("Dimensions").fill("8")
    await dialog(page).get_by_label("Endpoint").fill("http://127.0.0.1:9/v1")
    await dialog(page).get_by_label("The provider's key").fill("sk-secret")
    await dialog(page).get_by_role("button", name="Make", exact=True).click()
    await expect(dialog(page).get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    await dialog(page).get_by_label("Name").fill("remote")
    await dialog(page).get_by_role("button", name="Make", exact=True).click()
    await expect(page.get_by_role("heading", name=f"{ada.handle}/remote")).to_be_visible()
    assert await fact(page, "Key of the provider") == "stored"
    await page.get_by_role("button", name="Embed it").click()
    answer = await http.post(
        f"/v1/llm-instances/{ada.handle}/remote/embed", json={"input": ["rose"]}, headers=ada.headers
    )
    assert answer.status_code >= 400
    await expect(page.get_by_role("alert")).to_contain_text(answer.json()["detail"])  # in the service's words
    assert "sk-secret" not in await page.content()
    await page.get_by_role("button", name="Remove the key").click()
    await dialog(page).get_by_role("button", name="Remove the key").click()
    await expect(page.get_by_role("button", name="Store a key")).to_be_visible()
    await page.get_by_role("button", name="Edit").click()
    await dialog(page).get_by_label("Endpoint").fill("")
    await dialog(page).get_by_label("Description").fill("old")
    await dialog(page).get_by_role("button", name="Save").click()
    await expect(dialog(page)).to_have_count(0)
    stored = (await http.get(f"/v1/llm-instances/{ada.handle}/remote", headers=ada.headers)).json()
    assert (stored["description"], stored["has_api_key"], "endpoint" in stored) == ("old", False, False)


async def test_limits_and_shares(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob = await user(http, admin), await user(http, admin)
    where = await local(http, ada)
    page = console.page
    await console.goto(f"#/instances/{ada.handle}/here")
    await console.sign_in(ada.key)
    await page.get_by_role("button", name="Limits").click()
    await dialog(page).get_by_label("Tokens a day").fill("1000")
    await dialog(page).get_by_role("button", name="Save").click()
    await expect(page.get_by_text("1,000 tokens a day")).to_be_visible()
    await page.get_by_role("button", name="Share it").click()
    await dialog(page).get_by_label("User").fill(bob.handle)
    await dialog(page).get_by_label("Requests a minute").fill("7")
    await dialog(page).get_by_label("Ends").fill("2099-12-31T12:00")
    await dialog(page).get_by_role("button", name="Share").click()
    shares = page.get_by_role("region", name="Users it is shared with")
    await expect(shares).to_contain_text("7 requests a minute, ends")
    [share] = (await http.get(f"{where}/shared-with", headers=ada.headers)).json()["shared_with"]
    assert (share["role"], share["requests_per_minute"]) == ("reader", 7)
    assert share["expires_at"].startswith("2099-12-31")
    await shares.get_by_role("button", name=f"Change {bob.handle}").click()
    await dialog(page).get_by_label("Requests a minute").fill("")
    await dialog(page).get_by_label("Role").select_option("editor")
    await dialog(page).get_by_role("button", name="Save").click()
    await expect(dialog(page)).to_have_count(0)
    await expect(shares.get_by_role("row", name=bob.handle)).to_contain_text("editor")
    [changed] = (await http.get(f"{where}/shared-with", headers=ada.headers)).json()["shared_with"]
    assert changed == {"user_handle": bob.handle, "role": "editor", "expires_at": share["expires_at"]}
    await shares.get_by_role("button", name=f"End {bob.handle}").click()
    await dialog(page).get_by_role("button", name="End it").click()
    await expect(page.get_by_text("Nobody yet.")).to_be_visible()
    assert (await http.get(where, headers=bob.headers)).status_code == 403
    await page.get_by_role("button", name="Share it").click()
    await dialog(page).get_by_label("User").fill(unique("nobody"))
    await dialog(page).get_by_role("button", name="Share").click()
    await expect(dialog(page).get_by_role("alert")).to_contain_text("There is no user of that name")


async def test_what_others_changed_meanwhile_stays(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(http, admin)
    end = "2099-12-31T12:00:30Z"  # the browser's input shows no seconds
    there = await instance(http, ada, model="older", tokens_per_day=10, expires_at=end)
    page = console.page
    await console.goto(f"#/instances/{ada.handle}/{there.handle}")
    await console.sign_in(ada.key)
    await page.get_by_role("button", name="Edit").click()
    changed = {"model": "newer", "tokens_per_month": 500}
    assert (await http.patch(there.path, json=changed, headers=ada.headers)).status_code == 200
    await dialog(page).get_by_label("Description").fill("Mine")
    await dialog(page).get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Mine")).to_be_visible()
    await page.get_by_role("button", name="Limits").click()
    await dialog(page).get_by_label("Tokens a day").fill("20")
    await dialog(page).get_by_role("button", name="Save").click()
    await expect(page.get_by_text("20 tokens a day")).to_be_visible()
    now = (await http.get(there.path, headers=ada.headers)).json()
    assert (now["description"], now["model"]) == ("Mine", "newer")
    assert (now["tokens_per_day"], now["tokens_per_month"], now["expires_at"]) == (20, 500, end)


async def test_deleting_one_that_a_project_uses(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(http, admin)
    there = await instance(http, ada)
    on_it = await project(http, ada, on=there)
    page = console.page
    await console.goto(f"#/instances/{ada.handle}/{there.handle}")
    await console.sign_in(ada.key)
    await page.get_by_role("button", name="Delete …").click()
    delete = dialog(page).get_by_role("button", name="Delete the instance")
    await expect(delete).to_be_disabled()
    await dialog(page).get_by_label("Type").fill(there.handle)
    await delete.click()
    await expect(dialog(page).get_by_role("alert")).to_contain_text("A project still uses this instance.")
    await expect(dialog(page).get_by_role("link", name=f"{ada.handle}/{on_it.handle}")).to_be_visible()
    assert (await http.delete(on_it.path, headers=ada.headers)).status_code == 204
    await delete.click()
    await expect(page.get_by_text("There is no instance yet.")).to_be_visible()
    assert (await http.get(there.path, headers=ada.headers)).status_code == 404


async def test_what_a_reader_and_the_admin_see(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob = await user(http, admin), await user(http, admin)
    where = await local(http, ada)
    shared = {"share_with_handle": bob.handle, "role": "reader"}
    assert (await http.post(f"{where}/share", json=shared, headers=ada.headers)).status_code == 201
    page = console.page
    await console.goto("#/instances")
    await console.sign_in(bob.key)
    await page.get_by_role("link", name=f"{ada.handle}/here").click()
    await expect(page.get_by_text("What you and your projects used.")).to_be_visible()
    for name in ("Edit", "Limits", "Store a key", "Share it", "Delete …"):
        await expect(page.get_by_role("button", name=name)).to_have_count(0)
    await page.get_by_role("button", name="Embed it").click()
    await expect(page.get_by_text("256 dimensions")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await console.sign_in(ADMIN_KEY)
    await page.get_by_role("link", name="Instances").click()
    await page.get_by_label("User").fill(ada.handle)
    await page.get_by_role("button", name="Show").click()
    await page.get_by_role("link", name=f"{ada.handle}/here").click()
    await expect(page.get_by_role("button", name="Share it")).to_be_visible()
    used = page.get_by_role("region", name="Usage by user")
    await expect(used.get_by_role("row", name=f"{bob.handle} 1 1 1")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_hostile_texts_and_accessibility(
    console: Console, http: httpx2.AsyncClient, admin: Headers, scheme: str
) -> None:
    ada, bob = await user(http, admin), await user(http, admin)
    body = {"description": HOSTILE, "model": HOSTILE, "endpoint": "javascript:attacked(3)", "api_key": "k"}
    there = await instance(http, ada, tokens_per_day=5, **body)
    shared = {"share_with_handle": bob.handle, "role": "reader", "tokens_per_day": 0}
    assert (await http.post(f"{there.path}/share", json=shared, headers=ada.headers)).status_code == 201
    page = console.page
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await console.goto("#/instances")
    await console.sign_in(ada.key)
    await expect(page.get_by_text(HOSTILE).first).to_be_visible()
    assert await console.serious() == []
    await page.get_by_role("link", name=there.handle).click()
    await expect(page.get_by_text("0 tokens a day")).to_be_visible()
    await expect(page.get_by_text("javascript:attacked(3)", exact=True)).to_be_visible()
    await expect(page.locator("a[href^=javascript]")).to_have_count(0)
    assert await console.serious() == []
    await page.get_by_role("button", name="Edit").click()
    await expect(dialog(page).get_by_label("Model")).to_have_value(HOSTILE)
    assert await console.serious() == []
    await page.set_viewport_size({"width": 360, "height": 700})
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
