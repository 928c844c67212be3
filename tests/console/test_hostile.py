"""Texts that would do harm if they were taken for markup: in every field that is shown, on every page and dialog.

Each test ends with the check of `opened`: nothing was run, and the policy had nothing to refuse.
"""

import json
from urllib.parse import quote

import httpx2
import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.conftest import ADMIN_KEY
from tests.console.parts import HOSTILE, add, local_instance
from tests.support.browser import NEEDS_CHROMIUM, Console, opened
from tests.support.world import Headers, Project, User, project, unique, upload, user

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), NEEDS_CHROMIUM]

# The last one turns the direction of what follows, and has characters without a width.
ATTACKS = [*HOSTILE, "{{attacked(4)}}", "\u202eright\u200d to\u2060 left \u05d0"]
ALL = " ".join(ATTACKS)
EMAIL = '"><img/src=x/onerror=attacked(2)>'


@pytest.fixture(scope="module")
async def ada(http: httpx2.AsyncClient, admin: Headers) -> User:
    """A user whose name and e-mail are attacks."""
    return await user(http, admin, name=ALL, email=f"{EMAIL}@{unique('host')}")


@pytest.fixture(scope="module")
async def evil(http: httpx2.AsyncClient, admin: Headers, ada: User) -> Project:
    """A project with an attack in each field that its owner may fill."""
    standard = unique("evil")
    body = {"api_standard_handle": standard, "description": ALL, "key_method": "query_param", "key_field": "k"}
    await stored(http, f"/v1/api-standards/{standard}", body, admin)
    model = {"api_standard": standard, "description": ALL, "model": ALL, "endpoint": ATTACKS[2], "dimensions": 3}
    await stored(http, f"/v1/llm-definitions/{ada.handle}/evil", {"definition_handle": "evil", **model}, ada.headers)
    await stored(http, f"/v1/llm-instances/{ada.handle}/evil", {"instance_handle": "evil", **model}, ada.headers)
    there = await project(http, ada, on=await local_instance(http, ada), description=ALL)
    for text in ATTACKS:
        await add(http, there, {text: text}, **{text: text, "in": {text: [text]}})
    return there


async def stored(http: httpx2.AsyncClient, where: str, body: dict[str, object], headers: Headers) -> None:
    answer = await http.put(where, json=body, headers=headers)
    assert answer.status_code in {200, 201}, answer.text


async def as_texts(within: Page | Locator, *texts: str) -> None:
    """All of these can be seen as texts, and no element was made of them."""
    for text in texts:
        await expect(within.get_by_text(text).filter(visible=True).first).to_be_visible()
    await expect(within.locator("[src=x], [onerror], [href^='javascript:' i]")).to_have_count(0)


async def signed_in(console: Console, key: str) -> Page:
    await console.goto()
    await console.sign_in(key)
    return console.page


ATTACKED = "attacked(2)"
MARKUP = "try { document.body.innerHTML = '<img src=x onerror=attacked(2)>' } catch {}"


@pytest.mark.parametrize(("script", "seen"), [(ATTACKED, "attacked 2"), (MARKUP, "require-trusted-types-for")])
async def test_the_check_sees_what_is_run(chromium: Browser, url: str, script: str, seen: str) -> None:
    """Also what was run before the page was loaded anew."""

    async def run() -> None:
        async with opened(chromium, url) as console:
            await console.goto()
            await console.page.evaluate(script)
            await console.page.reload()

    with pytest.raises(AssertionError, match=seen):
        await run()


async def test_the_texts_of_a_project(console: Console, evil: Project, ada: User) -> None:
    page = await signed_in(console, ada.key)
    await as_texts(page, ALL)  # the description, in the list of projects
    top = f"#/projects/{ada.handle}/{evil.handle}"
    await console.goto(top)
    await expect(page.get_by_role("rowheader")).to_have_count(5)
    for column in ("rowheader", "cell"):
        for text in ATTACKS:
            await as_texts(page.get_by_role(column), text)  # type: ignore[arg-type]
    for text in ATTACKS:
        await page.get_by_label(f"Select {text}", exact=True).check()
    await page.get_by_role("button", name="Delete 5 selected").click()
    await as_texts(page.get_by_role("dialog"), *ATTACKS)
    await page.keyboard.press("Escape")
    for text in ATTACKS:
        await console.goto(f"{top}/text/{quote(text, safe='')}")
        await expect(page.get_by_role("heading", name=text, exact=True)).to_be_visible()
        await as_texts(page, json.dumps({text: text}, ensure_ascii=False)[1:-1])  # the metadata
        others = page.get_by_role("region", name="Nearest texts")
        await expect(others.get_by_role("listitem")).to_have_count(4)
        await as_texts(others, *(one for one in ATTACKS if one != text))
    await page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Text", exact=True)).to_have_value(ATTACKS[-1])
    await dialog.get_by_label("Metadata").fill("<img src=x onerror=attacked(2)>")
    await dialog.get_by_role("button", name="Save").click()
    await as_texts(dialog.get_by_role("alert"), "<img src=x")  # the parser's error quotes it
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Delete", exact=True).click()
    await as_texts(dialog, ATTACKS[-1])
    await page.keyboard.press("Escape")
    await page.get_by_role("link", name="More like this").click()
    await expect(page.get_by_label("Id of the stored text")).to_have_value(ATTACKS[-1])
    await expect(page.get_by_text("none of the nearest is missing")).to_be_visible()


async def test_adding_texts(console: Console, evil: Project, ada: User) -> None:
    page = await signed_in(console, ada.key)
    await console.goto(f"#/projects/{ada.handle}/{evil.handle}")
    await page.get_by_role("button", name="Add texts").click()
    dialog = page.get_by_role("dialog")
    for prefix in ATTACKS:
        await dialog.get_by_label("Ids of texts without one").fill(prefix)
        await dialog.get_by_label("Texts", exact=True).fill(ALL)
        await as_texts(dialog, f"Before the number of the line: {prefix}1", f"{prefix}1 {ALL}")
    await dialog.get_by_label("Format").select_option("json")
    for field in ATTACKS:
        await dialog.get_by_label("Texts", exact=True).fill(json.dumps({field: 1}, ensure_ascii=False))
        await as_texts(dialog.get_by_role("alert"), f"has the field {field}")
    twice = json.dumps({"text_id": ALL, "text": "a"}, ensure_ascii=False)
    await dialog.get_by_label("Texts", exact=True).fill(f"{twice}\n{twice}")
    await as_texts(dialog.get_by_role("alert"), f"has the id of line 1, {ALL}")
    await dialog.get_by_label("Format").select_option("csv")
    await dialog.get_by_label("Texts", exact=True).fill("<script>attacked(1)</script>,{{attacked(4)}}\na,b")
    await as_texts(dialog.get_by_role("alert"), "<script>attacked(1)</script>, {{attacked(4)}}")
    named = {"name": '"><img src=x onerror=attacked(2)>.txt', "mimeType": "text/plain", "buffer": ALL.encode()}
    await dialog.get_by_label("File").set_input_files(named)  # type: ignore[arg-type]
    await as_texts(dialog, named["name"], ALL)  # type: ignore[arg-type]


async def test_searches(console: Console, evil: Project, ada: User) -> None:
    page = await signed_in(console, ada.key)
    top = f"#/projects/{ada.handle}/{evil.handle}/search"
    for text in ATTACKS:
        await console.goto(f"{top}?text={quote(text)}&threshold=-1")
        results = page.get_by_role("listitem")
        await expect(page.get_by_text("5 results")).to_be_visible()
        await as_texts(page.get_by_role("region", name="Results"), *ATTACKS)
        await expect(results.first.get_by_role("link")).to_have_text(text)
    await page.get_by_text("The same search elsewhere").click()
    await as_texts(page, f'"text": "{ATTACKS[-1]}"'.replace('"text": ', "text="))
    await page.get_by_role("button", name=f"More like this: {ATTACKS[0]}", exact=True).click()
    await expect(page.get_by_label("Id of the stored text")).to_have_value(ATTACKS[0])
    await expect(page.get_by_text("4 results")).to_be_visible()
    for text in ATTACKS:
        await console.goto(f"{top}?text_id={quote('no ' + text)}")  # an id that is not stored
        await expect(page.get_by_role("alert").filter(visible=True).first).to_be_visible()
        await console.goto(f"{top}?text=a&filter={quote(text)}")  # no JSON: the error quotes it
        await as_texts(page.get_by_role("alert"), "must be JSON")
        only = json.dumps({f"${text}": 1}, ensure_ascii=False)
        await console.goto(f"{top}?text=a&filter={quote(only)}")  # the service quotes the operator
        await as_texts(page.get_by_role("alert").first, f"${text}")
        await console.goto(f"{top}?text=a&recall={quote(text)}")
        await expect(page.get_by_role("alert").first).to_be_visible()
        await console.goto(f"{top}?text=a&limit={quote(text)}&threshold={quote(text)}")
        await expect(page.get_by_role("spinbutton", name="Results")).to_have_value("10")
        await expect(page.get_by_label("Least similarity")).to_have_value("0")


async def test_the_map(console: Console, evil: Project, ada: User) -> None:
    page = await signed_in(console, ada.key)
    top = f"#/projects/{ada.handle}/{evil.handle}/map"
    await console.goto(f"{top}?method=pca&colour={quote('field:author')}&open={quote(ATTACKS[0])}&q={quote(ALL)}")
    await expect(page.get_by_text("5 of 5 texts")).to_be_visible(timeout=60_000)
    await as_texts(page.get_by_role("region", name="Legend"), *ATTACKS)
    await as_texts(page.get_by_role("region", name="Found"), f"“{ALL}”", *ATTACKS)
    await as_texts(page.get_by_role("region", name=ATTACKS[0]), *ATTACKS)
    await page.get_by_role("button", name="Select all in view").click()
    await as_texts(page.get_by_role("region", name="Selection"), *ATTACKS)
    for text in ATTACKS:
        await console.goto(f"{top}?method={quote(text)}&colour={quote('field:' + text)}&open={quote('no ' + text)}")
        await as_texts(page, f"no {text}")
        await expect(page.get_by_label("Colour by")).to_have_value(f"field:{text}")


async def test_sharing_and_settings(console: Console, evil: Project, ada: User) -> None:
    page = await signed_in(console, ada.key)
    top = f"#/projects/{ada.handle}/{evil.handle}"
    await console.goto(f"{top}/sharing")
    for text in ATTACKS:
        await page.get_by_label("User", exact=True).fill(text)
        await page.get_by_role("button", name="Share", exact=True).click()
        await expect(page.get_by_role("alert")).to_have_count(1)
        await page.get_by_label("New owner").fill(text)
        await page.get_by_role("button", name="Hand it over …").click()
        dialog = page.get_by_role("dialog")
        await as_texts(dialog, f"{text} becomes the owner.")
        await dialog.get_by_label("Type").fill(evil.handle)
        await dialog.get_by_role("button", name="Hand it over", exact=True).click()
        await expect(dialog.get_by_role("alert")).to_be_visible()
        await page.keyboard.press("Escape")
    await console.goto(f"{top}/settings")
    await expect(page.get_by_label("Description")).to_have_value(ALL)
    box = page.get_by_label("Schema", exact=True)
    await box.fill("<script>attacked(1)</script>")
    await as_texts(page, "Not JSON")
    schema = {"title": ALL, "required": ATTACKS, "properties": {text: {"const": f"no {text}"} for text in ATTACKS}}
    await box.fill(json.dumps(schema, ensure_ascii=False))
    await page.get_by_role("button", name="Check and save").click()
    await expect(page.get_by_text("5 violate the schema.")).to_be_visible()
    await as_texts(page.get_by_role("listitem").filter(has=page.get_by_role("link")), *ATTACKS)
    await page.get_by_role("button", name="Save anyway").click()
    await page.get_by_text("5 texts ·").click()
    await as_texts(page.locator("pre"), *(f"no {text}".replace('"', '\\"') for text in ATTACKS))


async def test_instances_definitions_and_account(console: Console, evil: Project, ada: User) -> None:
    page = await signed_in(console, ada.key)
    for kind in ("instances", "definitions"):
        await console.goto(f"#/{kind}/{ada.handle}/evil")
        await expect(page.get_by_role("heading", level=1, name="evil")).to_be_visible()
        facts = page.get_by_role("definition")
        await as_texts(facts.filter(has_text=ATTACKS[0]), ALL)  # the model
        await as_texts(facts.filter(has_text=ATTACKS[2]).last, ATTACKS[2])  # the endpoint
        await as_texts(page.get_by_role("paragraph"), ALL)  # the description
        await page.get_by_role("button", name="Edit").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_label("Model", exact=True)).to_have_value(ALL)
        await expect(dialog.get_by_label("Description")).to_have_value(ALL)
        await page.keyboard.press("Escape")
    await console.goto("#/instances")
    await as_texts(page, ALL)
    await console.goto(f"#/instances?definition={ada.handle}/evil")
    dialog = page.get_by_role("dialog")
    await as_texts(dialog.get_by_role("definition").first, ALL)
    await as_texts(dialog.get_by_role("definition").nth(2), ALL)  # the standard's description
    for text in ATTACKS:
        await dialog.get_by_label("Name").fill(text)
        await dialog.get_by_role("button", name="Make", exact=True).click()
        await expect(dialog.get_by_role("alert")).to_be_visible()
    for text in ATTACKS:
        await console.goto(f"#/instances?definition={quote(text)}")
        await expect(page.get_by_label("Definition")).to_have_value(text)
    await console.goto("#/account")
    await as_texts(page, ALL, EMAIL)


async def test_what_the_admin_sees(
    console: Console, http: httpx2.AsyncClient, admin: Headers, evil: Project, ada: User
) -> None:
    there = await project(http, ada, description=ALL)
    rows = [{"text_id": text, "vector": [1, 0, 0], "metadata": {text: text}} for text in ATTACKS]
    await upload(http, there, *rows)
    schema = {"properties": {text: {"const": f"no {text}"} for text in ATTACKS}}
    broken = await http.patch(there.path, json={"metadataScheme": schema}, headers=ada.headers)
    assert broken.status_code == 200, broken.text
    page = await signed_in(console, ADMIN_KEY)
    await console.goto(f"#/?user={ada.handle}")
    await as_texts(page, ALL)
    await console.goto(f"#/users/{ada.handle}")
    await as_texts(page, ALL, EMAIL)
    await page.get_by_role("button", name="Edit").click()
    await expect(page.get_by_role("dialog").get_by_label("Name")).to_have_value(ALL)
    await page.keyboard.press("Escape")
    for text in ATTACKS:
        await console.goto(f"#/users?search={quote(text)}&offset={quote(text)}")
        await expect(page.get_by_label("Search")).to_have_value(text)
        await console.goto(f"#/?user={quote(text, safe='')}")
        await as_texts(page.get_by_role("heading", level=1), f"Projects of {text}")
    await console.goto("#/service")
    await page.get_by_role("button", name="Check").click()
    findings = page.get_by_role("listitem").filter(has_text=f"{ada.handle}/{there.handle}")
    await expect(findings.first).to_be_visible()
    await as_texts(findings, *ATTACKS)


@pytest.mark.parametrize("who", ["a user", "the admin", "the public"])
async def test_addresses(console: Console, ada: User, who: str) -> None:
    """What stands in the address is nobody's: a link that was sent may hold anything."""
    page = console.page
    if who != "the public":
        await signed_in(console, ada.key if who == "a user" else ADMIN_KEY)
    for text in ATTACKS:
        part = quote(text, safe="")
        for address in (f"projects/{part}/{part}", f"projects/{part}/{part}/{part}/{part}"):
            await console.goto(f"#/{address}?{part}={part}")
            await as_texts(page.get_by_role("heading", level=1), f"{text}/{text}")
            await expect(page.get_by_role("alert").or_(page.get_by_role("dialog")).first).to_be_visible()
        for kind in ("instances", "definitions"):
            await console.goto(f"#/{kind}/{part}/{part}")
            if who != "the public":
                await as_texts(page.get_by_role("heading", level=1), f"{text}/{text}")
        await console.goto(f"#/{part}/{part}")
        await as_texts(page, "There is no such page.")
    await page.reload()
    await as_texts(page, "There is no such page.")
