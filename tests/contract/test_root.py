"""The address itself: a redirect for browsers, a description for others."""

from urllib.parse import urljoin

import httpx2
import pytest

from tests.support.world import Headers

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_browser_is_led_to_the_console(api: httpx2.AsyncClient, method: str) -> None:
    answer = await api.request(method, "/", headers={"Accept": BROWSER})
    assert answer.status_code == 307
    assert "Accept" in answer.headers["vary"].split(", ")
    # Relative, so that it is right behind a path prefix, too.
    assert urljoin("https://example.org/vectors/", answer.headers["location"]) == "https://example.org/vectors/console/"
    page = await api.get("/", headers={"Accept": BROWSER}, follow_redirects=True)
    assert (page.status_code, page.url.path) == (200, "/console/")
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
async def test_others_are_told_where_things_are(api: httpx2.AsyncClient, admin: Headers, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = await api.get("/", headers={**admin, **headers})
    assert answer.status_code == 200
    assert "Accept" in answer.headers["vary"].split(", ")
    about = answer.json()
    assert about["title"] == "embedding-service"
    assert about["version"] == (await api.get("/openapi.json")).json()["info"]["version"]
    assert set(about["links"]) == {"console", "docs", "openapi", "health"}
    for link in about["links"].values():
        assert (await api.get(urljoin("/", link))).status_code == 200
