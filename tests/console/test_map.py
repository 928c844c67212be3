"""The map of a project: what is drawn, pointed at, opened, found, selected and deleted; and how fast."""

import asyncio
import base64
import math
import re
from typing import Any

import httpx2
import numpy as np
import pytest
from playwright.async_api import Locator, Page, expect

from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, Project, User, fetch, project, row, unique, upload, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

SCRIPT, IMAGE, LINK = "<script>attacked(1)</script>", '"><img src=x onerror=attacked(2)>', "javascript:attacked(3)"
KINDS = {"north": (0, 1, 0), "east": (1, 0, 0), "up": (0, 0, 1), SCRIPT: (-1, -1, 0.2)}

# Draws once more, and reads the pixels of the canvas in the same frame: [red, green, blue, opacity] at places on it.
PIXELS = """async (canvas, places) => {
  for (const key of ["ArrowLeft", "ArrowRight"]) canvas.dispatchEvent(new KeyboardEvent("keydown", { key }));
  await new Promise(requestAnimationFrame);
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  return places.map(([x, y]) => [...copy.getImageData(x, y, 1, 1).data]);
}"""

# Takes the drawing context away from the canvas, and gives it back.
LOSE = """canvas => {
  const gl = canvas.getContext("webgl2");
  canvas.lost = gl.getExtension("WEBGL_lose_context");
  canvas.lost.loseContext();
  return gl.isContextLost();
}"""
RESTORE = """canvas => new Promise((done) => {
  canvas.addEventListener("webglcontextrestored", done);
  canvas.lost.restoreContext();
})"""


@pytest.fixture(scope="module")
async def ada(http: httpx2.AsyncClient, admin: Headers) -> User:
    """Whose projects are shown."""
    return await user(http, admin)


@pytest.fixture
async def kinds(http: httpx2.AsyncClient, ada: User) -> Project:
    """Forty embeddings of four kinds, whose map has been made."""
    made = await project(http, ada, public_read=True)
    spread = np.random.default_rng(1).normal(0, 0.05, (40, 3))
    rows = [
        row(f"{kind} {n}", [float(one) for one in np.array(at) + spread[4 * n + place]], text=f"{IMAGE} {n}",
            metadata={"kind": kind, "n": n, IMAGE: LINK})
        for place, (kind, at) in enumerate(KINDS.items())
        for n in range(10)
    ]  # fmt: skip
    await upload(http, made, *rows)
    await made_map(http, made, "neighbours")
    return made


async def made_map(http: httpx2.AsyncClient, of: Project, method: str, **params: Any) -> Any:
    """The map as soon as it is there."""
    while True:
        body = (await http.get(f"{of.path}/map", headers=of.owner.headers, params={"method": method, **params})).json()
        if body["state"] == "ready":
            return body
        assert body["state"] != "failed", body
        await asyncio.sleep(0.2)


async def shown(console: Console, of: Project, query: str = "", key: str | None = None) -> Locator:
    """Signs in, goes to a map, and returns the canvas when it has been drawn."""
    if key:
        await console.goto()
        await console.sign_in(key)
    await console.goto(f"#/projects/{of.owner.handle}/{of.handle}/map{query}")
    canvas = console.page.get_by_role("application")
    await expect(canvas).to_have_attribute("data-drawn", re.compile(r"\d+"))
    return canvas


async def places(http: httpx2.AsyncClient, of: Project, canvas: Locator, method: str = "neighbours") -> dict[str, Any]:
    """Where each text is on the canvas while all of the map is in view: a second computation from the interface's."""
    body = await made_map(http, of, method)
    points = np.frombuffer(base64.b64decode(body["positions"]), dtype="<f4").reshape(-1, 2).astype(float)
    low, high = points.min(axis=0), points.max(axis=0)
    box = await canvas.bounding_box()
    assert box
    unit = 0.47 * min(box["width"], box["height"]) / (max(high - low) / 2)
    moved = (points - (low + high) / 2) * unit * [1, -1] + [box["width"] / 2, box["height"] / 2]
    return dict(zip(body["ids"], moved.tolist(), strict=True))


async def test_points_are_drawn_where_the_service_says(
    console: Console, http: httpx2.AsyncClient, ada: User, kinds: Project
) -> None:
    canvas = await shown(console, kinds, "?colour=field:kind", ada.key)
    page = console.page
    await expect(page.get_by_text("40 of 40 texts")).to_be_visible()
    await expect(canvas).to_have_accessible_name("Map of 40 of 40 texts, Neighbours stay together.")
    where = await places(http, kinds, canvas)
    some = [where["north 1"], where["east 2"], [2.0, 300.0]]
    north, east, nothing = await canvas.evaluate(PIXELS, some)
    assert north[3] > 150
    assert east[3] > 150
    assert sum(abs(a - b) for a, b in zip(north[:3], east[:3], strict=True)) > 60  # groups differ in colour
    assert nothing[3] == 0
    entry = page.get_by_role("button", name="north 10")
    await expect(entry).to_have_attribute("aria-pressed", "true")
    await entry.click()
    await expect(page.get_by_text("40 of 40 texts, 30 shown")).to_be_visible()
    hidden, east, _ = await canvas.evaluate(PIXELS, some)
    assert hidden[3] == 0
    assert east[3] > 150
    await page.get_by_role("button", name="Show all").click()
    assert (await canvas.evaluate(PIXELS, some))[0] == north


async def test_pointing_opening_and_nearest(
    console: Console, http: httpx2.AsyncClient, ada: User, kinds: Project
) -> None:
    canvas = await shown(console, kinds, "?colour=field:kind", ada.key)
    page = console.page
    where = await places(http, kinds, canvas)
    x, y = where["up 3"]
    await canvas.hover(position={"x": x, "y": y})
    await expect(page.get_by_text("up 3 up")).to_be_visible()
    await expect(page.get_by_text(f"{IMAGE} 3")).to_be_visible()
    await canvas.click(position={"x": x, "y": y})
    card = page.get_by_role("region", name="up 3")
    await expect(card).to_contain_text(f"{IMAGE} 3")
    await expect(card).to_contain_text("kind up")
    assert "open=up+3" in page.url
    await expect(card.get_by_role("listitem")).to_have_count(10)
    wanted = {"text_id": "up 3"}
    path = f"{kinds.similars}?limit=10&threshold=-1"
    nearest = (await http.post(path, json=wanted, headers=ada.headers)).json()["results"]
    assert await card.get_by_role("listitem").get_by_role("button").all_text_contents() == [n["id"] for n in nearest]
    at = where[nearest[0]["id"]]
    around = [[at[0] + dx, at[1] + dy] for dx in range(-9, 10) for dy in range(-9, 10)]
    assert any(r > 200 and g < 80 and 80 < b < 180 for r, g, b, _ in await canvas.evaluate(PIXELS, around))  # its ring
    await card.get_by_role("listitem").get_by_role("button").first.click()
    await expect(page.get_by_role("region", name=nearest[0]["id"], exact=True)).to_be_visible()
    await page.get_by_role("button", name="Close the text").click()
    await expect(card).to_have_count(0)
    assert "open=" not in page.url
    await shown(console, kinds, "?open=no%2Fsuch")
    await expect(page.get_by_role("alert").filter(has_text="was not found")).to_contain_text("no/such")


async def test_a_text_is_fetched_once_for_the_pointer(
    console: Console, http: httpx2.AsyncClient, ada: User, kinds: Project
) -> None:
    canvas = await shown(console, kinds, "", ada.key)
    page = console.page
    where = await places(http, kinds, canvas)
    sent: list[str] = []
    page.on("request", lambda one: sent.extend(one.post_data_json["text_ids"]) if one.url.endswith("/get") else None)
    lone = sorted(where, key=lambda name: sorted(math.dist(where[name], other) for other in where.values())[1])[-2:]
    for name in 3 * lone:
        x, y = where[name]
        await canvas.hover(position={"x": x, "y": y})
        await expect(page.locator(".tip")).to_contain_text(name)
        await expect(page.locator(".tip").get_by_role("paragraph")).to_contain_text(f"{IMAGE} {name.split()[-1]}")
    assert sent == lone


async def test_the_keyboard_and_the_address(console: Console, ada: User, kinds: Project) -> None:
    canvas = await shown(console, kinds, "?colour=none", ada.key)
    page = console.page
    await canvas.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Nearest ten")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("heading", name="Nearest ten")).to_have_count(0)
    await page.keyboard.press("+")
    await page.keyboard.press("ArrowRight")
    await expect(page).to_have_url(re.compile(r"view=0\.\d+%2C0%2C1\.5"))
    address = page.url
    drawn = await canvas.evaluate(PIXELS, GRID)
    await page.reload()
    await expect(canvas).to_have_attribute("data-drawn", re.compile(r"\d+"))
    assert await canvas.evaluate(PIXELS, GRID) == drawn
    assert page.url == address
    await page.get_by_role("button", name="Fit").click()
    await expect(page).not_to_have_url(re.compile("view="))
    await page.get_by_role("button", name="Zoom in").click()
    await expect(page).to_have_url(re.compile(r"view=.*%2C1\.5(&|$)"))
    await canvas.hover(position={"x": 300, "y": 300})
    await page.mouse.wheel(0, -300)
    await expect(page).to_have_url(re.compile(r"%2C3\.4"))


GRID = [[x, y] for x in range(0, 700, 7) for y in range(0, 500, 7)]


async def test_methods_and_their_quality(console: Console, ada: User, kinds: Project, http: httpx2.AsyncClient) -> None:
    await shown(console, kinds, "?method=pca", ada.key)
    page = console.page
    for method in ("pca", "neighbours"):
        body = await made_map(http, kinds, method)
        value = body["trustworthiness"]["value"]
        await page.get_by_label("Method").select_option(method)
        await expect(page.get_by_text("Trustworthiness at 10")).to_contain_text(f"{value:.3f}")
        assert f"method={method}" in page.url


async def drag(page: Page, canvas: Locator, corners: list[tuple[float, float]], key: str | None = None) -> None:
    """Draws a line on the canvas with the button held down."""
    box = await canvas.bounding_box()
    assert box
    if key:
        await page.keyboard.down(key)
    await page.mouse.move(box["x"] + corners[0][0], box["y"] + corners[0][1])
    await page.mouse.down()
    for x, y in corners[1:]:
        await page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    await page.mouse.up()
    if key:
        await page.keyboard.up(key)


def around(where: dict[str, Any], kind: str) -> list[tuple[float, float]]:
    """The corners of a box around all points of a kind."""
    points = np.array([place for one, place in where.items() if one.startswith(kind)])
    (left, top), (right, bottom) = points.min(axis=0) - 6, points.max(axis=0) + 6
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


async def test_a_lasso_selects_saves_and_deletes(
    console: Console, http: httpx2.AsyncClient, ada: User, kinds: Project
) -> None:
    canvas = await shown(console, kinds, "", ada.key)
    page = console.page
    where = await places(http, kinds, canvas)
    await drag(page, canvas, around(where, "east"), "Shift")
    card = page.get_by_role("region", name="Selection")
    await expect(card).to_contain_text("10 texts selected.")
    assert sorted(await card.get_by_role("listitem").all_text_contents()) == [f"east {n}" for n in range(10)]
    async with page.expect_download() as downloading:
        await card.get_by_role("button", name="Save as a list").click()
    download = await downloading.value
    assert sorted((await download.path()).read_text().splitlines()) == [f"east {n}" for n in range(10)]
    await card.get_by_role("button", name="Select none").click()
    await page.get_by_role("button", name="Select all in view").click()
    await expect(card).to_contain_text("40 texts selected.")
    await page.get_by_role("button", name="Lasso").click()
    await drag(page, canvas, around(where, "north"))
    await expect(card).to_contain_text("10 texts selected.")
    await card.get_by_role("button", name="Delete …").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert (await fetch(http, kinds.path, ada.headers))["number_of_embeddings"] == 40
    await card.get_by_role("button", name="Delete …").click()
    gone = {"text_ids": ["north 3"]}  # by somebody else, meanwhile
    assert (await http.post(f"{kinds.embeddings}/delete", json=gone, headers=ada.headers)).json()["deleted"] == 1
    await page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_text("9 texts deleted.")).to_be_visible()
    await expect(page.get_by_text("30 of 30 texts")).to_be_visible()
    left = (await fetch(http, kinds.embeddings, ada.headers))["embeddings"]
    assert {one["metadata"]["kind"] for one in left} == KINDS.keys() - {"north"}


async def test_the_public_may_look_and_select(console: Console, http: httpx2.AsyncClient, kinds: Project) -> None:
    await shown(console, kinds)
    page = console.page
    await page.get_by_role("button", name="Select all in view").click()
    await expect(page.get_by_role("region", name="Selection")).to_contain_text("40 texts selected.")
    await expect(page.get_by_role("button", name="Copy ids")).to_be_visible()
    await expect(page.get_by_role("button", name="Delete …")).to_have_count(0)
    await page.get_by_label("Id of a text").fill("up 7")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="up 7")).to_be_visible()


async def test_a_search_lights_up_and_new_texts_appear(console: Console, http: httpx2.AsyncClient, ada: User) -> None:
    made = {"instance_handle": unique("i"), "definition_owner": "_system", "definition_handle": "local-small"}
    answer = await http.post(f"/v1/llm-instances/{ada.handle}/from-definition", json=made, headers=ada.headers)
    assert answer.status_code == 200, answer.text
    handle = unique("p")
    body = {"project_handle": handle, "instance_handle": made["instance_handle"]}
    assert (await http.post(f"/v1/projects/{ada.handle}", json=body, headers=ada.headers)).status_code == 201
    page = console.page
    await console.goto()
    await console.sign_in(ada.key)
    await console.goto(f"#/projects/{ada.handle}/{handle}/map")
    await expect(page.get_by_text("There is nothing to draw yet.")).to_be_visible()
    words = ["rose", "thorn", "lily", "tiger", "lion", "forest", "road", "wood", "star", "night", "sea", "ship"]
    texts = {"texts": [{"text_id": word, "text": f"a {word}"} for word in words]}
    answer = await http.post(f"/v1/texts/{ada.handle}/{handle}", json=texts, headers=ada.headers)
    assert answer.status_code == 201, answer.text
    await page.reload()
    await expect(page.get_by_text("12 of 12 texts")).to_be_visible(timeout=60_000)  # it was made meanwhile
    await page.get_by_label("Light up what is like").fill("a rose")
    await page.keyboard.press("Enter")
    card = page.get_by_role("region", name="Found")
    await expect(card).to_contain_text("like “a rose”")
    await expect(card.get_by_role("listitem").first).to_contain_text("rose 1.000")
    assert "q=a+rose" in page.url


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_accessibility_and_hostile_texts(console: Console, ada: User, kinds: Project, theme: str) -> None:
    """The fixture looks at the end that nothing was run."""
    page = console.page
    await page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    await shown(console, kinds, "?colour=field:kind&open=" + "%3Cscript%3Eattacked(1)%3C%2Fscript%3E%201", ada.key)
    await page.get_by_role("button", name="Select all in view").click()
    await expect(page.get_by_role("button", name=f"{SCRIPT} 10")).to_be_visible()
    await expect(page.get_by_text(LINK)).to_be_visible()
    assert await console.serious() == []
    await page.set_viewport_size({"width": 360, "height": 700})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_a_lost_drawing_context_comes_back(
    console: Console, http: httpx2.AsyncClient, ada: User, kinds: Project
) -> None:
    """A browser takes the graphics memory of a page away at any time: after sleep, a driver's reset, too many tabs."""
    canvas = await shown(console, kinds, "?colour=field:kind", ada.key)
    where = await places(http, kinds, canvas)
    some = [where["north 1"], where["east 2"]]
    before = await canvas.evaluate(PIXELS, some)
    assert all(opacity > 150 for *_, opacity in before)
    assert await canvas.evaluate(LOSE)
    await canvas.press("ArrowLeft")  # while there is nothing to draw with
    await canvas.press("ArrowRight")
    await canvas.evaluate(RESTORE)
    assert await canvas.evaluate(PIXELS, some) == before
    await canvas.click(position={"x": some[0][0], "y": some[0][1]})
    await expect(console.page.get_by_role("region", name="north 1")).to_be_visible()


async def test_two_fingers_zoom(console: Console, http: httpx2.AsyncClient, ada: User, kinds: Project) -> None:
    """What lies between two fingers that move apart stays between them, and nothing is opened."""
    canvas = await shown(console, kinds, "?colour=field:kind", ada.key)
    where = await places(http, kinds, canvas)
    box = await canvas.bounding_box()
    assert box
    width, height = box["width"], box["height"]
    # Two texts of which the second can still be seen five times as far from the first.
    first, second, later = next(
        (one, other, moved)
        for one, at in where.items()
        for other, of in where.items()
        if one != other
        and 0 < (moved := (at[0] + 5 * (of[0] - at[0]), at[1] + 5 * (of[1] - at[1])))[0] < width
        and 0 < moved[1] < height
        and math.dist(at, moved) > 30
        and 100 < at[0] < width - 100
    )
    x, y = where[first]
    session = await console.page.context.new_cdp_session(console.page)

    async def touch(kind: str, apart: float | None) -> None:
        points = [] if apart is None else [
            {"x": box["x"] + x + side * apart, "y": box["y"] + y, "id": number}
            for number, side in enumerate((-1, 1))
        ]  # fmt: skip
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    await touch("touchStart", 20)
    for apart in range(22, 102, 2):
        await touch("touchMove", apart)
    await touch("touchEnd", None)
    for name, (left, top) in ((first, (x, y)), (second, later)):
        await canvas.hover(position={"x": left, "y": top})
        await expect(console.page.locator(".tip")).to_contain_text(name)
    await expect(console.page.get_by_role("button", name="Close the text")).to_have_count(0)
