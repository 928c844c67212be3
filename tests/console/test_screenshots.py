"""Each page in light and dark: what axe-core finds, whether it fits a phone, and its picture for the documents.

With WRITE_FIGURES the pictures go into docs/console/.
"""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, expect

from tests.conftest import ADMIN_KEY, serving, settings_for
from tests.support.browser import NEEDS_CHROMIUM, Console, opened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), NEEDS_CHROMIUM]

DOCS = Path(__file__).parents[2] / "docs" / "console"
LINES = [
    ("rose", "The modest rose puts forth a thorn", "Blake"),
    ("tyger", "Tyger Tyger, burning bright, in the forests of the night", "Blake"),
    ("cloud", "I wandered lonely as a cloud that floats on high o'er vales and hills", "Wordsworth"),
    ("lily", "While the lily white shall in love delight", "Blake"),
    ("summer", "Shall I compare thee to a summer's day?", "Shakespeare"),
    ("death", "Because I could not stop for Death, he kindly stopped for me", "Dickinson"),
    ("slant", "There's a certain slant of light, winter afternoons", "Dickinson"),
    ("ozymandias", "I met a traveller from an antique land", "Shelley"),
]
# The name of a picture, the address, and a text that is there when all has been loaded.
PAGES = {
    "home": ("#/", "poems"),
    "texts": ("#/projects/ada/poems", "8 texts in all"),
    "text": ("#/projects/ada/poems/text/rose", "Nearest texts"),
    "search": ("#/projects/ada/poems/search?text=a tiger in flames", "from here and back"),
    "map": ("#/projects/ada/poems/map?method=pca&colour=field:author", "8 of 8 texts"),
    "sharing": ("#/projects/ada/poems/sharing", "ada owns the project."),
    "settings": ("#/projects/ada/poems/settings", "Delete the project"),
    "instances": ("#/instances", "l2-supercat-256"),
    "instance": ("#/instances/ada/here", "Day by day"),
    "definitions": ("#/definitions", "_system/local-small"),
    "account": ("#/account", "ada@example.org"),
}
ADMIN_PAGES = {
    "users": ("#/users", "ada"),
    "user": ("#/users/ada", "ada@example.org"),
    "service": ("#/service", "Sanity check"),
}


@pytest.fixture(scope="module")
async def place(new_database: Callable[..., str]) -> AsyncIterator[tuple[str, str]]:
    """A service of its own with one user and one project, and that user's key."""
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        serving(settings_for(new_database())) as url,
        httpx2.AsyncClient(base_url=url, timeout=60, headers=admin) as http,
    ):
        made = await http.put("/v1/users/ada", json={"user_handle": "ada", "email": "ada@example.org"})
        await http.put("/v1/users/bob", json={"user_handle": "bob", "email": "bob@example.org"})
        instance = {"instance_handle": "here", "definition_owner": "_system", "definition_handle": "local-small"}
        await http.post("/v1/llm-instances/ada/from-definition", json=instance)
        project = {
            "project_handle": "poems", "instance_handle": "here", "description": "First lines of poems",
            "shared_with": [{"user_handle": "bob", "role": "reader"}],
        }  # fmt: skip
        await http.put("/v1/projects/ada/poems", json=project)
        texts = [{"text_id": one, "text": text, "metadata": {"author": author}} for one, text, author in LINES]
        assert (await http.post("/v1/texts/ada/poems", json={"texts": texts})).status_code == 201
        yield url, made.json()["vdb_key"]


@pytest.mark.parametrize("who", ["ada", "admin"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_each_page(chromium: Browser, place: tuple[str, str], theme: str, who: str, tmp_path: Path) -> None:
    url, key = place
    folder = DOCS if "WRITE_FIGURES" in os.environ else tmp_path
    async with opened(chromium, url, color_scheme=theme, viewport={"width": 1120, "height": 760}) as console:
        await console.goto()
        await expect(console.page.get_by_label("Your key")).to_be_visible()
        if who == "ada":
            await look(console, folder / f"sign-in-{theme}.png")
        await console.sign_in(key if who == "ada" else ADMIN_KEY)
        for name, (address, text) in (PAGES if who == "ada" else ADMIN_PAGES).items():
            await console.goto(address)
            await expect(console.page.get_by_text(text).first).to_be_visible(timeout=60_000)
            await look(console, folder / f"{name}-{theme}.png")


async def look(console: Console, picture: Path) -> None:
    """Takes the picture of a page, and checks the page."""
    await console.page.mouse.move(0, 0)
    await expect(console.page.locator(".spinner")).to_have_count(0, timeout=60_000)
    assert len(await console.page.screenshot(path=picture)) > 5000
    assert await console.serious() == [], picture.name
    await console.page.set_viewport_size({"width": 390, "height": 760})
    width = await console.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"{picture.name} is {width} pixels wide on a phone"
    await console.page.set_viewport_size({"width": 1120, "height": 760})
