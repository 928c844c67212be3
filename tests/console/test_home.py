"""The first page: projects, the first steps of a new user, and making a project."""

import asyncio
import base64
import itertools

import asyncpg
import httpx2
import numpy as np
import pytest
from playwright.async_api import expect

from tests.conftest import ADMIN_KEY
from tests.console.parts import HOSTILE, accessible
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, fetch, instance, project, random_vectors, row, unique, upload, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


async def test_the_first_steps_of_a_new_user(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(http, admin)
    page = console.page
    await console.goto()
    await console.sign_in(ada.key)
    steps = page.get_by_role("region", name="First steps")
    await accessible(console, steps)
    await expect(steps.get_by_role("listitem")).to_have_count(3)
    await expect(page.get_by_role("button", name="Make a project")).to_have_count(0)  # without an instance
    await expect(steps.get_by_role("link", name="To the instances")).to_have_attribute("href", "#/instances")
    made = await instance(http, ada)
    await page.reload()
    await expect(steps.get_by_text("done")).to_be_visible()
    await steps.get_by_role("button", name="Make a project").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Name")).to_be_focused()
    assert await console.serious() == []
    await dialog.get_by_label("Name").fill("no spaces")
    await expect(dialog.get_by_label("Instance")).to_have_value(f"{ada.handle}/{made.handle}")
    await expect(dialog.get_by_text("3 dimensions")).to_be_visible()
    await dialog.get_by_role("button", name="Make").click()
    await expect(dialog.get_by_label("Name")).to_have_attribute("aria-invalid", "true")  # in the service's words
    await dialog.get_by_label("Name").fill("poems")
    await dialog.get_by_label("Description").fill("Lines of poems")
    await dialog.get_by_label("Public").check()
    await expect(dialog.get_by_text("Be sure that no text")).to_be_visible()
    await dialog.get_by_label("Public").uncheck()
    await dialog.get_by_role("button", name="Make").click()
    await expect(page.get_by_role("heading", level=1, name=f"{ada.handle}/poems")).to_be_visible()
    stored = (await http.get(f"/v1/projects/{ada.handle}/poems", headers=ada.headers)).json()
    assert (stored["description"], stored["public_read"]) == ("Lines of poems", False)


async def test_a_project_that_is_there_is_not_replaced(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    ada = await user(http, admin)
    there = await project(http, ada, description="kept")
    page = console.page
    await console.goto()
    await console.sign_in(ada.key)
    await page.get_by_role("button", name="Make a project").click()
    await page.get_by_role("dialog").get_by_label("Name").fill(there.handle)
    await page.get_by_role("dialog").get_by_role("button", name="Make").click()
    await expect(page.get_by_role("alert")).to_contain_text("There is a project")
    assert (await http.get(there.path, headers=ada.headers)).json()["description"] == "kept"


async def test_own_and_shared_projects(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada, ben = await user(http, admin), await user(http, admin)
    own = await project(http, ben, description=" ".join(HOSTILE), public_read=True)
    given = await project(http, ada, shared_with=[{"user_handle": ben.handle, "role": "editor"}])
    hidden = await project(http, ada)
    page = console.page
    await console.goto()
    await console.sign_in(ben.key)
    mine, others = page.get_by_role("region", name="Own").first, page.get_by_role("region", name="Shared").first
    await accessible(console, mine)
    await expect(mine.get_by_role("row").filter(has_text=own.handle)).to_contain_text("public")
    await expect(mine.get_by_text(" ".join(HOSTILE))).to_be_visible()
    await expect(others.get_by_role("row").filter(has_text=given.handle)).to_contain_text("editor")
    await expect(page.get_by_text(hidden.handle)).to_have_count(0)
    await others.get_by_role("link", name=given.handle).click()
    await expect(page.get_by_text("You may edit")).to_be_visible()


async def test_rows_that_come_meanwhile(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(http, admin)
    one = await project(http, ada)
    await console.page.clock.install()
    await console.goto()
    await console.sign_in(ada.key)
    cells = console.page.get_by_role("row").filter(has_text=one.handle).get_by_role("cell")
    await expect(cells.nth(1)).to_have_text("0")
    await upload(http, one, *[row(f"r{at}", vector) for at, vector in enumerate(random_vectors(7, 3, seed=1))])
    await console.page.clock.run_for(31_000)
    await expect(cells.nth(1)).to_have_text("7")


async def test_handles_are_searched_as_they_are_typed(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    ada, _ = await user(http, admin), await user(http, admin)
    page = console.page
    await console.goto()
    await console.sign_in(ADMIN_KEY)
    await page.get_by_label("Projects of").fill(ada.handle[1:].upper())
    offered = page.locator("datalist option")
    await expect(offered).to_have_count(1)
    await expect(offered).to_have_attribute("value", ada.handle)


async def test_the_admin_chooses_a_user(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(http, admin)
    one = await project(http, ada)
    page = console.page
    await console.goto()
    await console.sign_in(ADMIN_KEY)
    await expect(page.get_by_role("heading", name="All projects")).to_be_visible()
    await page.get_by_label("Projects of").fill(ada.handle)
    await page.get_by_role("button", name="Show").click()
    await accessible(console, page.get_by_role("heading", name=f"Projects of {ada.handle}"))
    assert page.url.endswith(f"?user={ada.handle}")
    await expect(page.get_by_role("link", name=f"{ada.handle}/{one.handle}")).to_be_visible()
    await page.get_by_label("Projects of").fill(unique("none"))
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("alert").first).to_contain_text("was not found")


async def test_the_build_of_an_index_is_followed(
    console: Console, http: httpx2.AsyncClient, admin: Headers, database: str
) -> None:
    """A real build of 10,100 rows: its progress, and what comes of it, without a reload of the page."""
    ada = await user(http, admin)
    made = await project(http, ada, dimensions=128)
    page = console.page
    await console.goto()
    await console.sign_in(ada.key)
    chance = np.random.default_rng(2)
    vectors = (chance.normal(size=(10_100, 8)) @ chance.normal(size=(8, 128))).astype("<f2")
    sent = [
        [{"text_id": f"{n}", "vector": base64.b64encode(vectors[n].tobytes()).decode()} for n in range(first, last)]
        for first, last in itertools.pairwise(range(0, 10_101, 1010))
    ]
    for rows in sent:
        answer = await http.post(made.embeddings, json={"encoding": "f2", "embeddings": rows}, headers=ada.headers)
        assert answer.status_code == 201, answer.text
    while (state := (await fetch(http, made.path, ada.headers))["index"]["state"]) != "building":
        assert state == "exact"
        await asyncio.sleep(0.1)
    writer = await asyncpg.connect(database)
    async with writer.transaction():  # the build waits for its end, however fast it is
        await writer.execute(f"LOCK TABLE embeddings_{made.id} IN ROW EXCLUSIVE MODE")
        await console.goto(f"#/projects/{ada.handle}/{made.handle}")
        await expect(page.get_by_role("progressbar", name="The index is being built")).to_be_visible()
        await console.goto("#/")
        line = page.get_by_role("row", name=made.handle)
        await expect(line.get_by_role("progressbar")).to_be_visible()
    await writer.close()
    await expect(line).to_contain_text("Indexed, finds", timeout=60_000)
    await expect(line.get_by_role("progressbar")).to_have_count(0)
    index = (await fetch(http, made.path, ada.headers))["index"]
    await expect(line).to_contain_text(f"{100 * index['recall']:.1f}")


async def test_the_time_that_is_left(console: Console) -> None:
    await console.goto()
    left = 'async (seconds) => (await import("./format.js")).left({ seconds_left: seconds })'
    for seconds, said in ((0.4, "1 second"), (61, "1 minute"), (110, "2 minutes"), (3700, "1 hour"), (90_000, "1 day")):
        assert await console.page.evaluate(left, seconds) == f", about {said} left"
