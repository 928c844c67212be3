"""Search in a project: by a text, by a stored one, by a vector; who may, what is refused, and the same elsewhere."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import Locator, Route, expect

from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, Project, User, project, row, unique, upload, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

ROOT = Path(__file__).parents[2]
SCRIPT, IMAGE, LINK = "<script>attacked(1)</script>", '"><img src=x onerror=attacked(2)>', "javascript:attacked(3)"
VERSES = {
    "rose": ("The modest rose puts forth a thorn", {"author": "Blake", "year": 1794}),
    "tyger": ("Tyger Tyger, burning bright, in the forests of the night", {"author": "Blake", "year": 1794}),
    "stein": ("A rose is a rose is a rose", {"author": "Stein", "year": 1913}),
    "..": ("Two roads diverged in a yellow wood", {"author": "Frost", "year": 1915}),
    SCRIPT: (f"a rose, {IMAGE}", {"author": LINK, IMAGE: SCRIPT}),
}


@pytest.fixture(scope="module")
async def ada(http: httpx2.AsyncClient, admin: Headers) -> User:
    """Whose projects are searched."""
    return await user(http, admin)


@pytest.fixture(scope="module")
async def verses(http: httpx2.AsyncClient, ada: User) -> str:
    """A project of the local model that is public, `{user}/{project}`."""
    made = {"instance_handle": "here", "definition_owner": "_system", "definition_handle": "local-small"}
    answer = await http.post(f"/v1/llm-instances/{ada.handle}/from-definition", json=made, headers=ada.headers)
    assert answer.status_code == 200, answer.text
    handle = unique("p")
    body = {"project_handle": handle, "instance_handle": "here", "public_read": True}
    assert (await http.post(f"/v1/projects/{ada.handle}", json=body, headers=ada.headers)).status_code == 201
    texts = [{"text_id": one, "text": text, "metadata": about} for one, (text, about) in VERSES.items()]
    answer = await http.post(f"/v1/texts/{ada.handle}/{handle}", json={"texts": texts}, headers=ada.headers)
    assert answer.status_code == 201, answer.text
    return f"{ada.handle}/{handle}"


@pytest.fixture
async def points(http: httpx2.AsyncClient, ada: User) -> Project:
    """A project of three dimensions."""
    made = await project(http, ada)
    rows = [row(f"n{n}", [1, n, 0], text=f"text {n}", metadata={"n": n}) for n in range(5)]
    await upload(http, made, *rows)
    return made


async def opened(console: Console, verses: str, query: str = "") -> Locator:
    """Goes to the search of a project, and returns the list of its results."""
    await console.goto(f"#/projects/{verses}/search{query}")
    return console.page.get_by_role("region", name="Results").get_by_role("listitem")


async def signed_in(console: Console, key: str) -> None:
    await console.goto()
    await console.sign_in(key)


async def test_by_text_with_the_keyboard(console: Console, ada: User, verses: str) -> None:
    page = console.page
    await signed_in(console, ada.key)
    results = await opened(console, verses)
    await expect(page.get_by_label("Text", exact=True).last).to_be_focused()
    await page.keyboard.type("the modest rose's THORN")
    await page.keyboard.press("Enter")
    await expect(results.first).to_contain_text("The modest rose puts forth a thorn")
    assert await results.first.locator("mark").all_text_contents() == ["The", "modest", "rose", "thorn"]
    await expect(results.first).to_contain_text(re.compile(r"0\.\d{3}"))
    await expect(results.first).to_contain_text("author Blake")
    await expect(page.get_by_role("status").filter(has_text="Method")).to_contain_text(
        re.compile(r"results, all texts were compared.*Method exact, recall 1, \d+ ms")
    )
    first, second = (results.nth(n).get_by_role("link") for n in range(2))
    await first.focus()
    await page.keyboard.press("ArrowDown")
    await expect(second).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await expect(first).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="rose")).to_be_visible()
    await page.go_back()
    await expect(results.first).to_contain_text("The modest rose")  # the address says what was sought


async def test_back_from_one_search_to_the_one_before(console: Console, ada: User, verses: str) -> None:
    """The address, the field and the results are of the same search."""
    page = console.page
    await signed_in(console, ada.key)
    results = await opened(console, verses)
    field = page.get_by_label("Text", exact=True).last
    for text in ("rose", "tiger"):
        await field.fill(text)
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(f"text={text}"))
        await expect(results.first).to_be_visible()
    await page.go_back()
    await expect(page).to_have_url(re.compile("text=rose"))
    await expect(field).to_have_value("rose")
    await page.go_forward()
    await expect(field).to_have_value("tiger")


async def test_a_search_that_takes_long_is_shown(console: Console, ada: User, verses: str) -> None:
    page = console.page
    await signed_in(console, ada.key)
    results = await opened(console, verses)
    held = asyncio.Event()

    async def hold(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await page.route("**/similars/**", hold)
    await page.get_by_label("Text", exact=True).last.fill("rose")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Loading …")).to_be_visible()
    held.set()
    await expect(results.first).to_be_visible()
    await expect(page.get_by_text("Loading …")).to_have_count(0)


async def test_each_search_is_sent_once(console: Console, ada: User, verses: str) -> None:
    """A text that is embedded once more counts for somebody's budget."""
    page = console.page
    await signed_in(console, ada.key)
    results = await opened(console, verses)
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.post_data_json["text"]) if "/similars/" in one.url else None)
    for text in ("rose", "tiger", "tiger"):
        await page.get_by_label("Text", exact=True).last.fill(text)
        async with page.expect_response("**/similars/**"):
            await page.keyboard.press("Enter")
        await expect(results.first).to_be_visible()
    await page.wait_for_timeout(300)  # one that is sent too often may come after the answer
    assert sent == ["rose", "tiger", "tiger"]


async def test_more_like_a_stored_text_whatever_its_id(console: Console, ada: User, verses: str) -> None:
    page = console.page
    await signed_in(console, ada.key)
    results = await opened(console, verses, "?text_id=..&threshold=-1")
    await expect(results).to_have_count(len(VERSES) - 1)  # not itself
    await page.get_by_role("button", name="More like this: rose").click()
    await expect(page.get_by_label("Id of the stored text")).to_have_value("rose")
    await expect(results.first).to_contain_text("A rose is a rose")
    await page.get_by_label("Id of the stored text").fill("not/there")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("not/there")


async def test_a_vector_is_checked_before_it_is_sent(console: Console, ada: User, points: Project) -> None:
    page = console.page
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if "/similars/" in one.url else None)
    await signed_in(console, ada.key)
    results = await opened(console, f"{ada.handle}/{points.handle}")
    await page.get_by_label("Vector").check()
    box = page.get_by_role("textbox", name="Vector")
    for wrong, message in (
        ("[1, 2]", "must have 3 numbers, as all vectors of this project; it has 2"),
        ("1, 2, 3", "must be a list of numbers"),
        ('[1, "2", 3]', "must be a list of numbers"),
    ):
        await box.fill(wrong)
        await page.get_by_role("button", name="Search", exact=True).click()
        await expect(box).to_have_accessible_description(re.compile(re.escape(message)))
    assert sent == []
    await box.fill("[1, 4, 0]")
    await page.get_by_role("button", name="Search", exact=True).click()
    await expect(results.first).to_contain_text("n4")
    assert "vector=%5B1" in page.url
    await box.fill(f"[1, 0, 0{' ' * 2000}]")  # too long for the address
    await page.get_by_role("button", name="Search", exact=True).click()
    await expect(results.first).to_contain_text("n0")
    await expect(page.get_by_text("is not in the address")).to_be_visible()
    assert len(page.url) < 500


async def test_filter_limit_threshold_and_recall(console: Console, ada: User, points: Project) -> None:
    page = console.page
    asked: list[tuple[str, Any]] = []
    page.on("request", lambda one: asked.append((one.url, one.post_data_json)) if "/similars/" in one.url else None)
    await signed_in(console, ada.key)
    results = await opened(console, f"{ada.handle}/{points.handle}", "?text_id=n1")
    await expect(results).to_have_count(4)
    search = page.get_by_role("button", name="Search", exact=True)
    box = page.get_by_label("Filter")
    await box.fill("{n: 2}")
    await search.click()
    await expect(box).to_have_accessible_description(re.compile("must be JSON"))
    await box.fill('{"n": {"$more": 2}}')
    await search.click()
    await expect(page.get_by_role("alert")).to_contain_text("$more")  # the service's words
    await box.fill('{"n": {"$gte": 2}}')
    await search.click()
    await expect(results).to_have_count(3)
    await page.get_by_role("spinbutton", name="Results").fill("2")
    await page.get_by_label("Least similarity").fill("0.5")
    await page.get_by_label("Find").select_option("all of the nearest")
    await search.click()
    await expect(results).to_have_count(2)
    url, body = asked[-1]
    assert url.endswith("?limit=2&threshold=0.5&exact=true")
    assert body["filter"] == {"n": {"$gte": 2}}
    await page.get_by_label("Find").select_option("95% of the nearest")
    await search.click()
    await expect(page).to_have_url(re.compile("recall=0.95"))
    await page.reload()
    await expect(results).to_have_count(2)
    assert "recall=0.95" in asked[-1][0]
    await page.get_by_label("Least similarity").fill("1")
    await search.click()
    await expect(page.get_by_text("Nothing is that similar.")).to_be_visible()


TEXTS = ["""it's a "rose" \\ $HOME `id` $(id) !! %s é 🌹""", "'", "--data '@/etc/passwd' # ; &"]


@pytest.mark.parametrize("text", TEXTS)
async def test_the_same_by_curl_and_python(console: Console, ada: User, verses: str, text: str) -> None:
    """What is shown to be copied is run as it is, by a shell and by Python."""
    page = console.page
    await signed_in(console, ada.key)
    await opened(console, verses)
    await page.get_by_label("Text", exact=True).last.fill(text)
    await page.get_by_label("Filter").fill("""{"author": {"$ne": "O'Hara \\"x\\" true"}, "no": {"$exists": false}}""")
    await page.get_by_label("Least similarity").fill("-1")
    async with page.expect_response("**/similars/**") as answer:
        await page.get_by_role("button", name="Search", exact=True).click()
    shown = await (await answer.value).json()
    await page.get_by_text("The same search elsewhere").click()
    curl = await page.locator("code").filter(has_text="curl -sS").text_content()
    python = await page.locator("code").filter(has_text="vecferry").text_content()
    assert curl
    assert python
    assert ada.key not in curl + python
    assert len(shown["results"]) == len(VERSES)
    environment = {**os.environ, "KEY": ada.key, "PYTHONPATH": str(ROOT / "client"), "NO_PROXY": "127.0.0.1"}
    assert json.loads(await output("sh", "-c", curl, environment=environment)) == shown
    lines = (await output(sys.executable, "-c", python, environment=environment)).splitlines()
    assert lines == [f"{one['similarity']} {one['id']} {one['text']}" for one in shown["results"]]


async def output(*command: str, environment: dict[str, str]) -> str:
    """What a command prints."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
    printed, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return printed.decode()


async def test_what_a_reader_and_the_public_may(
    console: Console, http: httpx2.AsyncClient, admin: Headers, ada: User, verses: str
) -> None:
    page = console.page
    results = await opened(console, verses, "?text_id=rose&threshold=-1")  # nobody has signed in
    await expect(results).to_have_count(len(VERSES) - 1)
    await expect(page.get_by_label("Text", exact=True)).to_have_count(0)
    await page.get_by_text("The same search elsewhere").click()
    assert "KEY" not in (await page.locator("code").filter(has_text="curl -sS").text_content() or "KEY")
    reader = await user(http, admin)
    share = {"share_with_handle": reader.handle, "role": "reader"}
    answer = await http.post(f"/v1/projects/{verses}/share", json=share, headers=ada.headers)
    assert answer.status_code == 201, answer.text
    await signed_in(console, reader.key)
    await opened(console, verses)
    await expect(page.get_by_label("Id of the stored text")).to_be_visible()
    await expect(page.get_by_label("Text", exact=True)).to_have_count(0)
    may = {"text_search": "readers"}
    assert (await http.patch(f"/v1/projects/{verses}", json=may, headers=ada.headers)).status_code == 200
    await page.reload()
    await expect(page.get_by_label("Text", exact=True).first).to_be_visible()


async def test_a_project_without_texts(console: Console, http: httpx2.AsyncClient, ada: User) -> None:
    made = await project(http, ada)
    await signed_in(console, ada.key)
    await opened(console, f"{ada.handle}/{made.handle}")
    await expect(console.page.get_by_text("This project has no texts yet.")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_hostile_texts_and_accessibility(console: Console, ada: User, verses: str, theme: str) -> None:
    """The fixture looks at the end that nothing was run."""
    page = console.page
    await page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    await signed_in(console, ada.key)
    results = await opened(console, verses, "?text=rose&threshold=-1")
    await expect(results.filter(has_text=SCRIPT).first).to_contain_text(IMAGE)
    await expect(results.filter(has_text=SCRIPT).first).to_contain_text(LINK)
    await page.get_by_text("The same search elsewhere").click()
    await page.get_by_text("How to write a filter").click()
    assert await console.serious() == []
    await page.set_viewport_size({"width": 360, "height": 700})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
