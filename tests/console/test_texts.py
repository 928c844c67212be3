"""The texts of a project: the table, one text, and adding some."""

import json
import re
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import expect

from tests.console.parts import HOSTILE, LINES, accessible, add, poems, show, stored_ids
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, fetch, project, row, upload, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


async def test_pages(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await project(http, await user(http, admin))
    await upload(http, one, *[row(f"r{at:02}", [1, at, 0]) for at in range(25)])
    page = await show(console, one, "?limit=10")
    rows = page.get_by_role("rowheader")
    await expect(rows).to_have_count(10)
    await page.get_by_role("button", name="Next page").click()
    await expect(rows.first).to_have_text("r10")
    assert "after=r09" in page.url
    await page.reload()  # the address is enough
    await expect(rows.first).to_have_text("r10")
    await page.get_by_role("button", name="Next page").click()
    await expect(rows).to_have_count(5)
    await expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    await page.get_by_role("button", name="Previous page").click()
    await expect(rows.first).to_have_text("r10")
    await page.get_by_role("button", name="First page").click()
    for first in ("r10", "r20"):
        await page.get_by_role("button", name="Next page").click()
        await expect(rows.first).to_have_text(first)
    await page.go_back()
    await expect(rows.first).to_have_text("r10")
    await page.get_by_role("button", name="Previous page").click()  # and not to the same page
    await expect(rows.first).to_have_text("r00")
    await page.get_by_role("button", name="Next page").click()
    await expect(rows.first).to_have_text("r10")
    await page.get_by_label("Texts a page").select_option("100")
    await expect(rows).to_have_count(15)
    await page.get_by_role("button", name="First page").click()
    await expect(rows).to_have_count(25)


async def test_a_filter(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    page = await show(console, await poems(http, admin))
    box = page.get_by_label("Filter", exact=True)
    await box.fill('{"author": "rose"}')
    await box.press("Enter")
    await expect(page.get_by_role("rowheader")).to_have_text(["rose"])
    assert "filter=" in page.url
    for wrong, word in (("{", "JSON"), ('{"author": {"$near": 1}}', "near")):
        await box.fill(wrong)
        await box.press("Enter")
        await expect(box).to_have_attribute("aria-invalid", "true")
        await expect(page.get_by_role("alert")).to_contain_text(word)
    await page.get_by_text("How to write a filter").click()
    await accessible(console, page.get_by_text("$gt", exact=False).first)
    await page.get_by_role("button", name="Show all").click()
    await expect(page.get_by_role("rowheader")).to_have_count(3)


async def test_selected_ones_are_deleted_and_then_all(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    one = await poems(http, admin)
    await add(http, one, {"..": "two dots", "a/b?c": "signs of addresses"})
    page = await show(console, one)
    await expect(page.get_by_role("button", name="Delete selected")).to_be_disabled()
    for text_id in ("..", "a/b?c", "tyger"):
        await page.get_by_label(f"Select {text_id}", exact=True).check()
    await page.get_by_role("button", name="Delete 3 selected").click()
    await expect(page.get_by_role("dialog").get_by_text("tyger")).to_be_visible()
    gone = {"text_ids": ["a/b?c"]}  # by somebody else, meanwhile
    assert (await http.post(f"{one.embeddings}/delete", json=gone, headers=one.owner.headers)).json()["deleted"] == 1
    await page.get_by_role("dialog").get_by_role("button", name="Delete 3 texts").click()
    await expect(page.get_by_text("2 texts deleted.")).to_be_visible()
    await expect(page.get_by_role("rowheader")).to_have_text(["cloud", "rose"])
    assert await stored_ids(http, one) == ["cloud", "rose"]
    await page.get_by_role("button", name="Delete all …").click()
    last = page.get_by_role("dialog").get_by_role("button", name="Delete all texts")
    await page.get_by_label("Type").fill("something")
    await expect(last).to_be_disabled()
    await page.get_by_label("Type").fill(one.handle)
    await last.click()
    await expect(page.get_by_text("This project holds no texts yet.")).to_be_visible()
    assert await stored_ids(http, one) == []


async def test_one_text(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    await add(http, one, {"../a b/☂": "A thorn of the rose"}, nested={"year": 1794})
    page = await show(console, one)
    await page.get_by_label("Open a text by its id").fill("../a b/☂")
    await page.get_by_role("button", name="Open").click()
    await accessible(console, page.get_by_role("heading", name="../a b/☂"))
    await expect(page.get_by_text('"year": 1794')).to_be_visible()
    await expect(page.get_by_text("256 numbers")).to_be_visible()
    nearest = page.get_by_role("region", name="Nearest texts").get_by_role("listitem")
    await expect(nearest).to_have_count(3)
    await expect(nearest.first).to_contain_text("rose")
    found = await http.post(f"{one.similars}?threshold=-1", json={"text_id": "../a b/☂"}, headers=one.owner.headers)
    await expect(nearest.first).to_contain_text(f"{found.json()['results'][0]['similarity']:.4f}")
    await nearest.first.get_by_role("link", name="rose").click()
    await expect(page.get_by_role("heading", name="rose", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await page.get_by_role("button", name="Delete it").click()
    await expect(page.get_by_role("rowheader")).to_have_count(3)
    assert "rose" not in await stored_ids(http, one)
    await page.go_back()
    await expect(page.get_by_text("There is no text with this id.")).to_be_visible()


async def test_a_text_is_edited(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    before = await fetch(http, one.embedding("rose"), one.owner.headers)
    page = await show(console, one, "/text/rose")
    await page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Metadata").fill("{no")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("not JSON")
    await dialog.get_by_label("Metadata").fill('{"author": "Blake"}')
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_text('"author": "Blake"')).to_be_visible()
    after = await fetch(http, one.embedding("rose"), one.owner.headers)
    assert (after["vector"], after["text"]) == (before["vector"], before["text"])
    assert after["metadata"] == {"author": "Blake"}
    await page.get_by_role("button", name="Edit").click()
    await dialog.get_by_label("Text", exact=True).fill("A lily")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("A lily")).to_be_visible()
    last = await fetch(http, one.embedding("rose"), one.owner.headers)
    assert last["text"] == "A lily"
    assert last["vector"] != before["vector"]
    await page.get_by_role("button", name="Edit").click()
    await expect(dialog.get_by_label("Text", exact=True)).to_be_focused()  # else it gets the next key
    await dialog.get_by_label("Metadata").fill("")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)
    assert not (await fetch(http, one.embedding("rose"), one.owner.headers)).get("metadata")


async def test_metadata_that_others_changed_meanwhile_stay(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    one = await poems(http, admin)
    page = await show(console, one, "/text/rose")
    await page.get_by_role("button", name="Edit").click()
    await add(http, one, {"rose": LINES[0]}, year=1794)
    await page.get_by_role("dialog").get_by_label("Text", exact=True).fill("A lily")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text('"year": 1794')).to_be_visible()
    assert (await fetch(http, one.embedding("rose"), one.owner.headers))["text"] == "A lily"


async def test_long_integers_stay_as_they_are(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    long = 1234567890123456789  # which JavaScript rounds
    page = await show(console, one)
    await page.get_by_role("button", name="Add texts").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Format").select_option("json")
    record = {"text_id": "long", "text": "A text of a number", "metadata": {"number": long}}
    await dialog.get_by_label("Texts", exact=True).fill(json.dumps(record))
    await dialog.get_by_role("button", name="Add 1 text").click()
    await dialog.get_by_role("button", name="Close", exact=True).last.click()
    assert (await fetch(http, one.embedding("long"), one.owner.headers))["metadata"] == {"number": long}
    await page.get_by_label("Filter", exact=True).fill(json.dumps({"number": long}))
    await page.get_by_role("button", name="Filter", exact=True).click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("row").last).to_contain_text(f"number {long}")
    await page.get_by_role("link", name="long").click()
    await page.get_by_role("button", name="Edit").click()
    await dialog.get_by_label("Metadata").fill(json.dumps({"number": long, "more": 1}))
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_text('"more": 1')).to_be_visible()
    stored = (await fetch(http, one.embedding("long"), one.owner.headers))["metadata"]
    assert stored == {"number": long, "more": 1}


async def test_hostile_texts(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    await add(http, one, {text: text for text in HOSTILE}, **{text: {text: text} for text in HOSTILE})
    page = await show(console, one)
    await expect(page.get_by_role("rowheader")).to_have_count(6)
    await page.get_by_role("link", name=HOSTILE[0]).click()
    await expect(page.get_by_role("heading", name=HOSTILE[0])).to_be_visible()
    await expect(page.get_by_role("region", name="Nearest texts").get_by_text(HOSTILE[1]).first).to_be_visible()
    await page.get_by_role("button", name="Edit").click()
    await expect(page.get_by_role("dialog").get_by_label("Text", exact=True)).to_have_value(HOSTILE[0])


async def test_pasted_lines(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    await http.delete(one.embeddings, headers=one.owner.headers)
    page = await show(console, one)
    await page.get_by_role("button", name="Add texts").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Ids of texts without one").fill("line-")
    await dialog.get_by_label("Texts", exact=True).fill("\n\n".join(LINES))
    await expect(dialog.get_by_text("3 texts read")).to_be_visible()
    assert await console.serious() == []
    await dialog.get_by_role("button", name="Add 3 texts").click()
    await expect(dialog.get_by_text("3 new, 0 replaced, 0 as they were")).to_be_visible()
    await dialog.get_by_role("button", name="Close", exact=True).last.click()
    await expect(page.get_by_role("rowheader")).to_have_text(["line-1", "line-3", "line-5"])
    for prefix, stored in (("line-", "0 new, 0 replaced, 1 as they were"), (None, "1 new, 0 replaced")):
        await expect(dialog).to_be_hidden()  # else the closing one would be filled in
        await page.get_by_role("button", name="Add texts").click()
        await expect(dialog.get_by_label("Texts", exact=True)).to_have_value("")
        await dialog.get_by_label("Texts", exact=True).fill(LINES[0])
        if prefix is not None:
            await dialog.get_by_label("Ids of texts without one").fill(prefix)
            await expect(dialog.get_by_label("Ids of texts without one")).to_have_value(prefix)
        await dialog.get_by_role("button", name="Add 1 text").click()
        await expect(dialog.get_by_text(stored)).to_be_visible()  # usually nothing is replaced by what is pasted later
        await dialog.get_by_role("button", name="Close", exact=True).last.click()


FILES = {
    "two.jsonl": '{"text_id": "a", "text": "first", "metadata": {"n": 1}}\n{"text": "second"}\n',
    "two.csv": 'text_id,text,n\r\na,"first, with ""quotes""\nand a line",1\r\n,second,\r\n',
    "two.txt": "first\r\nsecond\r\n",
}


@pytest.mark.parametrize("name", FILES)
async def test_a_file(name: str, console: Console, http: httpx2.AsyncClient, admin: Headers, tmp_path: Path) -> None:
    one = await poems(http, admin)
    await http.delete(one.embeddings, headers=one.owner.headers)
    page = await show(console, one)
    (tmp_path / name).write_text(FILES[name], newline="")
    await page.get_by_role("button", name="Add texts").click()
    await page.get_by_label("File").set_input_files(tmp_path / name)
    await page.get_by_role("button", name="Add 2 texts").click()
    await expect(page.get_by_text("2 new, 0 replaced")).to_be_visible()
    answer = await fetch(http, one.embeddings, one.owner.headers, include="text,metadata")
    found = {each["text_id"]: (each["text"], each.get("metadata", {})) for each in answer["embeddings"]}
    assert (
        found
        == {
            "two.jsonl": {"a": ("first", {"n": 1}), "two-2": ("second", {})},
            "two.csv": {"a": ('first, with "quotes"\nand a line', {"n": "1"}), "two-4": ("second", {"n": ""})},
            "two.txt": {"two-1": ("first", {}), "two-2": ("second", {})},
        }[name]
    )


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
async def test_a_file_that_is_not_utf_8(
    encoding: str, console: Console, http: httpx2.AsyncClient, admin: Headers, tmp_path: Path
) -> None:
    page = await show(console, await poems(http, admin))
    (tmp_path / "two.csv").write_text("text\nschöne Grüße\n", encoding=encoding)
    await page.get_by_role("button", name="Add texts").click()
    await page.get_by_label("File").set_input_files(tmp_path / "two.csv")
    await expect(page.get_by_role("alert")).to_contain_text("is not UTF-8")
    await expect(page.get_by_role("button", name="Add", exact=True)).to_be_disabled()


# The format, the lines, and what is said of them.
WRONG_LINES = [
    (
        "json",
        '{"text": "a"}\n{"text": \n{"txt": "b"}\n[]',
        ["Line 2 is not JSON", "Line 3 has the field txt", "Line 4"],
    ),
    ("json", '{"text_id": "a", "text": "x"}\n{"text_id": "a", "text": "y"}', ["Line 2 has the id of line 1"]),
    ("json", '{"text": "x", "vector": [1]}\n{"text": "y"}', ["Line 2 has no vector, but others have"]),
    ("csv", "id,words\na,b", ["names no column text"]),
    ("csv", 'text_id,text\na,"b', ["a quote that is not closed"]),
]


async def test_lines_that_are_wrong_are_named_and_not_sent(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    page = await show(console, await poems(http, admin))
    await page.get_by_role("button", name="Add texts").click()
    dialog = page.get_by_role("dialog")
    for kind, content, words in WRONG_LINES:
        await dialog.get_by_label("Format").select_option(kind)
        await dialog.get_by_label("Texts", exact=True).fill("")
        await expect(dialog.get_by_role("alert")).to_have_count(0)
        await dialog.get_by_label("Texts", exact=True).fill(content)
        for word in words:
            await expect(dialog.get_by_role("alert")).to_contain_text(word)
        await expect(dialog.get_by_role("button", name="Add").last).to_be_disabled()


async def test_metadata_that_the_service_refuses_are_named_at_their_field(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    one = await poems(http, admin, metadataScheme={"properties": {"year": {"type": "integer"}}})
    page = await show(console, one, "/text/rose")
    await page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    for text in ("A rose", LINES[0]):  # embedded, and stored with its vector
        await dialog.get_by_label("Text", exact=True).fill(text)
        await dialog.get_by_label("Metadata").fill('{"year": "1794"}')
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("[0].metadata")
        await expect(dialog.get_by_label("Metadata")).to_have_accessible_description(re.compile("1794|integer"))
        await expect(dialog.get_by_label("Metadata")).to_have_attribute("aria-invalid", "true")


async def test_lines_that_the_service_refuses_are_left_out(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    one = await poems(http, admin, metadataScheme={"required": ["author"]})
    page = await show(console, one)
    lines = [{"text_id": f"t{at:03}", "text": f"text {at}", "metadata": {"author": "x"}} for at in range(230)]
    del lines[210]["metadata"]
    await page.get_by_role("button", name="Add texts").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Format").select_option("json")
    await dialog.get_by_label("Texts", exact=True).fill("\n".join(map(json.dumps, lines)))
    await dialog.get_by_role("button", name="Add 230 texts").click()
    await expect(dialog.get_by_role("alert").last).to_contain_text("Line 211")
    await expect(dialog.get_by_text("200 of 230 texts")).to_be_visible()
    await dialog.get_by_role("button", name="Leave out 1 line and go on").click()
    await expect(dialog.get_by_text("229 new")).to_be_visible()
    assert len(await stored_ids(http, one)) == 200  # of a page
    count = (await fetch(http, one.path, one.owner.headers))["number_of_embeddings"]
    assert count == 3 + 229


async def test_cancelled_and_gone_on_with(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await poems(http, admin)
    page = await show(console, one)
    asked = []

    async def late(route):  # type: ignore[no-untyped-def]
        asked.append(route)
        if len(asked) != 2:
            await route.continue_()

    await page.route("**/v1/texts/**", late)
    await page.get_by_role("button", name="Add texts").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Texts", exact=True).fill("\n".join(f"text {at}" for at in range(150)))
    await dialog.get_by_role("button", name="Add 150 texts").click()
    await expect(dialog.get_by_text("100 of 150 texts")).to_be_visible()
    await dialog.get_by_role("button", name="Cancel").click()
    await dialog.get_by_role("button", name="Go on").click()
    await expect(dialog.get_by_text("150 new")).to_be_visible()
    await page.unroute_all(behavior="ignoreErrors")


async def test_an_instance_that_cannot_embed(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    one = await project(http, await user(http, admin))
    page = await show(console, one)
    await page.get_by_role("button", name="Add texts").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("cannot embed texts")).to_be_visible()
    await dialog.get_by_label("Texts", exact=True).fill('{"text_id": "a", "text": "no vector"}')
    await expect(dialog.get_by_role("alert")).to_contain_text("Line 1 has no vector")
    await dialog.get_by_label("Texts", exact=True).fill('{"text_id": "a", "vector": [1, 0]}')
    await dialog.get_by_role("button", name="Add 1 text").click()
    await expect(dialog.get_by_role("alert").last).to_contain_text("Line 1 vector")  # two of three dimensions
    await dialog.get_by_role("button", name="Close", exact=True).last.click()
    await page.get_by_role("button", name="Add texts").click()
    await dialog.get_by_label("Texts", exact=True).fill('{"text_id": "a", "vector": [1, 0, 0]}')
    await dialog.get_by_role("button", name="Add 1 text").click()
    await expect(dialog.get_by_text("1 new")).to_be_visible()
    assert await stored_ids(http, one) == ["a"]
