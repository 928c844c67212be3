"""What the owner of a project sets."""

import httpx2
import pytest
from playwright.async_api import Locator, Page, Request, expect

from service.api import schema_check
from tests.console.parts import HOSTILE, accessible, add, local_instance, poems, show
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, fetch, instance

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


async def patched(page: Page, button: Locator) -> None:
    """Presses a button that changes the project, and waits until it is changed."""
    async with page.expect_response(lambda answer: answer.request.method == "PATCH") as answer:
        await button.click()
    assert (await answer.value).ok


async def test_description_and_search_by_text(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    page = await show(console, one, "/settings")
    await accessible(console, page.get_by_role("heading", name="General"))
    save = page.get_by_role("button", name="Save", exact=True)
    await expect(save).to_be_disabled()
    await page.get_by_label("Description").fill(HOSTILE[0])
    await page.get_by_label("Who may search by text").select_option("readers")
    await patched(page, save)
    await expect(page.get_by_role("main").get_by_role("paragraph").get_by_text(HOSTILE[0])).to_be_visible()
    stored = await fetch(http, one.path, one.owner.headers)
    assert (stored["description"], stored["text_search"]) == (HOSTILE[0], "readers")
    await page.get_by_label("Description").fill("")
    await patched(page, save)
    assert "description" not in await fetch(http, one.path, one.owner.headers)


async def test_the_instance_is_exchanged(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    same, other = await local_instance(http, one.owner), await instance(http, one.owner, dimensions=3)
    page = await show(console, one, "/settings")
    exchange = page.get_by_role("button", name="Exchange")
    await expect(exchange).to_be_disabled()
    await page.get_by_role("combobox", name="Instance").select_option(f"{one.owner.handle}/{other.handle}")
    await exchange.click()
    await expect(page.get_by_role("alert")).to_contain_text("dimensions")
    await page.get_by_role("combobox", name="Instance").select_option(f"{one.owner.handle}/{same.handle}")
    await patched(page, exchange)
    await expect(exchange).to_be_disabled()
    stored = await fetch(http, one.path, one.owner.headers)
    assert stored["instance"]["instance_handle"] == same.handle


async def test_a_schema_is_checked_before_it_is_saved(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    one = await poems(http, admin)
    await add(http, one, {HOSTILE[0]: "hostile"}, year=HOSTILE[1])
    page = await show(console, one, "/settings")
    box = page.get_by_label("Schema", exact=True)
    await box.fill('{"type": ')
    await expect(page.get_by_role("button", name="Check and save")).to_be_disabled()
    await expect(page.get_by_text("Not JSON")).to_be_visible()
    await box.fill('{"type": "nothing"}')
    await page.get_by_role("button", name="Check and save").click()
    await expect(page.get_by_role("alert")).to_contain_text("not a usable JSON Schema")
    schema = '{"properties": {"year": {"type": "integer"}}}'
    await box.fill(schema)
    await page.get_by_role("button", name="Check and save").click()
    await expect(page.get_by_text("All 4 texts checked: 1 violates the schema.")).to_be_visible()
    failing = page.get_by_role("link", name=HOSTILE[0])
    await accessible(console, failing)
    assert "metadataScheme" not in await fetch(http, one.path, one.owner.headers)
    await patched(page, page.get_by_role("button", name="Save anyway"))
    await expect(page.get_by_role("button", name="Save anyway")).to_have_count(0)
    assert "integer" in (await fetch(http, one.path, one.owner.headers))["metadataScheme"]
    await box.fill('{"required": ["author"]}')
    await patched(page, page.get_by_role("button", name="Check and save"))
    await expect(box).to_have_value('{"required": ["author"]}')
    assert "integer" not in (await fetch(http, one.path, one.owner.headers))["metadataScheme"]  # not merged
    await box.fill("")
    await page.get_by_role("button", name="Check and save").click()
    await expect(page.get_by_text("The project has no schema any more.")).to_be_visible()
    assert "metadataScheme" not in await fetch(http, one.path, one.owner.headers)


async def test_a_check_goes_on_where_it_stopped(
    console: Console, http: httpx2.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service answers after some seconds, here at once and a row at a time: the browser adds the parts up."""
    monkeypatch.setattr(schema_check, "MAX_SECONDS", 0)
    monkeypatch.setattr(schema_check, "PAGE", 1)
    one = await poems(http, admin)
    page = await show(console, one, "/settings")
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith("schema-check") else None)
    await page.get_by_label("Schema", exact=True).fill('{"properties": {"author": {"type": "integer"}}}')
    await page.get_by_role("button", name="Check only").click()
    await expect(page.get_by_text("All 3 texts checked: 3 violate the schema.")).to_be_visible()
    assert [request.post_data_json.get("after") for request in sent] == [None, "cloud", "rose", "tyger"]
    await expect(page.get_by_role("link", name="tyger", exact=True)).to_be_visible()


async def test_the_project_is_deleted(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    page = await show(console, one, "/settings")
    await page.get_by_role("button", name="Delete …").click()
    await page.get_by_label("Type").fill(one.handle)
    await page.get_by_role("button", name="Delete the project").click()
    await expect(page.get_by_role("heading", level=1, name="Projects")).to_be_visible()
    assert (await http.get(one.path, headers=one.owner.headers)).status_code == 404
