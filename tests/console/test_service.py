"""The state of the service, as the admin sees it, and what to do about it."""

import httpx2
import pytest
from playwright.async_api import Route, expect

from tests.conftest import ADMIN_KEY
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, instance, project, row, upload, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
HOSTILE = """<script>attacked(1)</script> "><img src=x onerror=attacked(2)>"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_state_and_findings(console: Console, http: httpx2.AsyncClient, admin: Headers, scheme: str) -> None:
    """A finding is shown with what to do, in the service's words, and a link to where."""
    ada = await user(http, admin)
    await instance(http, ada, api_key="k")
    broken = await project(http, ada)
    many = [row(f"r{number}", [1, number, 0]) for number in range(1000)]  # so that it is one of the 20 largest
    await upload(http, broken, row(HOSTILE, [1, 0, 0], metadata={"year": HOSTILE}), *many)
    scheme_of_years = {"metadataScheme": {"type": "object", "properties": {"year": {"type": "integer"}}}}
    patched = await http.patch(broken.path, json=scheme_of_years, headers=ada.headers)
    assert patched.status_code == 200, patched.text
    page = console.page
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await console.goto("#/service")
    await console.sign_in(ADMIN_KEY)
    state = (await http.get("/v1/admin/status", headers=admin)).json()
    for term, value in (("PostgreSQL", state["postgresql"]), ("Schema", state["schema"]["version"])):
        fact = page.get_by_role("term").filter(has_text=term).locator("xpath=following-sibling::dd")
        await expect(fact).to_have_text(value)
    largest = page.get_by_role("region", name="Largest projects").last
    await expect(largest.get_by_role("link", name=f"{ada.handle}/{broken.handle}")).to_be_visible()
    await expect(page.get_by_role("row", name="ENCRYPTION_KEY")).to_be_visible()
    await page.get_by_role("button", name="Check").click()
    finding = page.get_by_role("listitem").filter(has_text=f"{ada.handle}/{broken.handle}")
    await expect(finding).to_contain_text("attacked(1)")
    report = (await http.get("/v1/admin/sanity-check", headers=admin)).json()
    remedy = next(one["remedy"] for one in report["findings"] if one["kind"] == "invalid_metadata")
    await expect(page.get_by_text(remedy)).to_be_visible()
    assert await console.serious() == []
    await page.set_viewport_size({"width": 360, "height": 700})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await finding.get_by_role("link", name="To the project").click()
    await expect(page.get_by_role("heading", name=broken.handle)).to_be_visible()


async def test_a_long_check_is_cancelled(console: Console) -> None:
    """The answer is held back, so that it takes as long as with millions of texts."""
    page = console.page
    await page.route("**/v1/admin/sanity-check", lambda route: None)
    await console.goto("#/service")
    await console.sign_in(ADMIN_KEY)
    await page.get_by_role("button", name="Check").click()
    await expect(page.get_by_role("progressbar")).to_be_visible()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("button", name="Check", exact=True)).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)  # it is no error
    await page.unroute("**/v1/admin/sanity-check")
    await page.get_by_role("button", name="Check").click()
    await expect(page.get_by_role("button", name="Check again")).to_be_visible()


async def test_it_is_looked_at_again_by_itself(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    page = console.page
    await page.clock.install()
    await console.goto("#/service")
    await console.sign_in(ADMIN_KEY)
    users = page.get_by_role("term").filter(has_text="Users").locator("xpath=following-sibling::dd")
    before = int((await users.inner_text()).replace(",", ""))
    await user(http, admin)
    await page.clock.run_for(10_500)
    await expect(users).to_have_text(f"{before + 1:,}")


async def test_a_service_that_answers_slowly_is_shown(console: Console) -> None:
    """An answer that takes longer than the time between two looks is waited for."""
    page = console.page
    await page.clock.install()
    asked: list[Route] = []
    await page.route("**/v1/admin/status", lambda route: asked.append(route))
    await console.goto("#/service")
    async with page.expect_request("**/v1/admin/status"):
        await console.sign_in(ADMIN_KEY)
    await expect(page.get_by_text("Loading …").first).to_be_visible()
    await page.clock.run_for(25_000)
    assert len(asked) == 1
    await asked[0].continue_()
    await expect(page.get_by_text("pgvector")).to_be_visible()
