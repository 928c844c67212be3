"""What the tests of several pages of the console need: projects with texts, tabs of who looks, hostile texts."""

import httpx2
from playwright.async_api import Locator, Page, expect

from tests.support.browser import Console
from tests.support.world import Headers, Instance, Project, User, project, unique, user

HOSTILE = ["<script>attacked(1)</script>", '"><img src=x onerror=attacked(2)>', "javascript:attacked(3)"]
LINES = ["The modest rose puts forth a thorn", "Tyger Tyger, burning bright", "I wandered lonely as a cloud"]


async def local_instance(http: httpx2.AsyncClient, owner: User) -> Instance:
    """An instance of the model inside the service."""
    handle = unique("local")
    body = {"instance_handle": handle, "definition_owner": "_system", "definition_handle": "local-small"}
    made = await http.post(f"/v1/llm-instances/{owner.handle}/from-definition", json=body, headers=owner.headers)
    assert made.status_code == 200, made.text
    return Instance(owner, handle, made.json()["instance_id"], 256)


async def poems(http: httpx2.AsyncClient, admin: Headers, **fields: object) -> Project:
    """A project of a new user with three texts of the local model."""
    ada = await user(http, admin)
    made = await project(http, ada, on=await local_instance(http, ada), **fields)
    await add(http, made, {"rose": LINES[0], "tyger": LINES[1], "cloud": LINES[2]})
    return made


async def add(http: httpx2.AsyncClient, to: Project, texts: dict[str, str], **metadata: object) -> None:
    """Embeds and stores texts by their ids."""
    rows = [{"text_id": one, "text": text, "metadata": {"author": one, **metadata}} for one, text in texts.items()]
    sent = await http.post(f"/v1/texts/{to.owner.handle}/{to.handle}", json={"texts": rows}, headers=to.owner.headers)
    assert sent.status_code == 201, sent.text


async def stored_ids(http: httpx2.AsyncClient, of: Project) -> list[str]:
    """The ids of a project's embeddings."""
    answer = await http.get(of.embeddings, params={"include": "text"}, headers=of.owner.headers)
    return [one["text_id"] for one in answer.json()["embeddings"]]


async def show(console: Console, of: Project, part: str = "", *, key: str | None = "the owner's") -> Page:
    """A part of a project, for who has the key; None for the public."""
    await console.goto()
    if key is not None:
        await console.sign_in(of.owner.key if key == "the owner's" else key)
    await console.goto(f"#/projects/{of.owner.handle}/{of.handle}{part}")
    await expect(console.page.get_by_role("heading", level=1, name=of.handle)).to_be_visible()
    return console.page


async def accessible(console: Console, shown: Locator) -> None:
    """What is shown has no serious fault for axe-core in both themes, and fits a phone."""
    await expect(shown).to_be_visible()
    for scheme in ("light", "dark"):
        await console.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert await console.serious() == []
    await console.page.set_viewport_size({"width": 360, "height": 740})
    assert await console.page.evaluate("document.documentElement.scrollWidth") <= 360
    await console.page.set_viewport_size({"width": 1280, "height": 800})
