"""The service goes away while the console is open, and comes back."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, expect

from chaos.places import free_port
from tests.conftest import ADMIN_KEY
from tests.support.browser import NEEDS_CHROMIUM, opened
from tests.support.processes import served
from tests.support.world import Headers, project, upload, user
from tests.support.world import row as embedding

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


async def test_the_service_goes_and_comes_back(
    chromium: Browser, new_database: Callable[..., str], tmp_path: Path, admin: Headers
) -> None:
    values = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": "b", "SERVICE_DATABASE_URL": new_database()}
    values["SERVICE_PORT"] = str(free_port())  # which it gets again
    with served(tmp_path / "log", **values) as (process, url):
        async with httpx2.AsyncClient(base_url=url) as http, opened(chromium, url) as console:
            ada = await user(http, admin)
            place = await project(http, ada)
            await upload(http, place, embedding("rose", [1, 2, 3], text="A rose"))
            page = console.page
            await console.goto(f"#/projects/{ada.handle}/{place.handle}/settings")
            await console.sign_in(ada.key)
            field = page.get_by_label("Description")
            await field.fill("typed while the service was there")

            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait, 30)
            await page.get_by_role("button", name="Save").first.click()
            await expect(page.get_by_text("The service cannot be reached. Trying again")).to_be_visible()
            await expect(field).to_have_value("typed while the service was there")

            with served(tmp_path / "log2", **values):
                await expect(page.get_by_text("Trying again")).to_have_count(0, timeout=30_000)
                await expect(field).to_have_value("typed while the service was there")
                async with page.expect_response(lambda one: one.request.method == "PATCH") as saved:
                    await page.get_by_role("button", name="Save").first.click()
                assert (await saved.value).ok
                await page.get_by_role("link", name="Texts").click()
                await expect(page.get_by_text("A rose")).to_be_visible()
                answer = await http.get(place.path, headers=ada.headers)
                assert answer.json()["description"] == "typed while the service was there"
