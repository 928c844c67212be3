"""How many bytes the first page takes, and how soon a project is shown."""

import time

import httpx2
import numpy as np
import pytest
from playwright.async_api import expect

from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, batch, project, row, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

MOST_BYTES = 400 * 1024
ROWS = 20_000


async def test_the_first_page_is_light(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    """All that comes over the network until the projects are shown, heads included, with nothing in the cache."""
    ada = await user(http, admin)
    place = await project(http, ada)
    network = await console.page.context.new_cdp_session(console.page)
    received: list[float] = []
    network.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    await network.send("Network.enable")
    await console.goto()
    await console.sign_in(ada.key)
    await expect(console.page.get_by_role("link", name=place.handle)).to_be_visible()
    assert 10_000 < sum(received) <= MOST_BYTES
    print(f"first page: {sum(received) / 1024:.0f} KiB in {len(received)} answers")


@pytest.mark.alone
async def test_a_project_is_soon_shown(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    """The first view of a large project, in a browser that has nothing of it yet."""
    ada = await user(http, admin)
    place = await project(http, ada, dimensions=32)
    vectors = np.random.default_rng(1).normal(size=(ROWS, 32)).round(3).tolist()
    for start in range(0, ROWS, 2000):
        rows = [row(f"text-{n:05}", vectors[n], text=f"A text {n} " * 10) for n in range(start, start + 2000)]
        answer = await http.post(place.embeddings, json=batch(*rows), headers=ada.headers)
        assert answer.status_code == 201
    await console.goto("#/account")
    await console.sign_in(ada.key)
    start_time = time.perf_counter()
    await console.page.evaluate("address => { location.hash = address }", f"#/projects/{ada.handle}/{place.handle}")
    await expect(console.page.get_by_text("text-00000")).to_be_visible()
    seconds = time.perf_counter() - start_time
    print(f"first view of a project of {ROWS:,} rows: {seconds:.2f} s")
    assert seconds <= 1
