"""The console's files: what is served, and how."""

import hashlib
import re

import httpx2
import pytest

from service.api.pages import CONSOLE as FOLDER

OWN = sorted(path for path in FOLDER.rglob("*.js") if path.parent.name != "vendor")


async def test_the_address_without_a_slash(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/console")
    assert (answer.status_code, answer.headers["location"]) == (307, "console/")


async def test_a_strict_policy(api: httpx2.AsyncClient) -> None:
    page = await api.get("/console/")
    policy = page.headers["content-security-policy"]
    assert page.headers["content-type"].startswith("text/html")
    assert "unsafe" not in policy
    assert {part.split()[0] for part in policy.split("; ")} >= {"default-src", "script-src", "frame-ancestors"}
    assert not re.findall(r"<script(?! type=\"module\" src=)|style=|<style|https?:", page.text)


async def test_files_are_compressed_and_asked_for_again(api: httpx2.AsyncClient) -> None:
    plain = await api.get("/console/app.js", headers={"Accept-Encoding": "identity"})
    packed = await api.get("/console/app.js", headers={"Accept-Encoding": "gzip"})
    assert plain.content == packed.content == (FOLDER / "app.js").read_bytes()
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert packed.headers["content-type"].startswith("text/javascript")
    again = await api.get("/console/app.js", headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["other.js", "..%2Fapi%2Fconsole.py", "vendor/README.md", "vendor", "pages/%2E%2E", "%00"]
)
async def test_no_other_file_is_served(api: httpx2.AsyncClient, name: str) -> None:
    assert (await api.get(f"/console/{name}")).status_code in {404, 422}


def test_own_code_is_small_and_names_no_host() -> None:
    lines = 0
    for path in OWN:
        text = path.read_text()
        lines += len(re.findall(r"^(?!\s*(//|$))", text, re.MULTILINE))  # without comments and blank ones
        assert text.count("\n") <= 400, path
        assert max(map(len, text.splitlines())) <= 120, path
        assert text.startswith("// "), path  # what it is for
        assert not re.findall(r"https?://(?!www\.w3\.org/)", text), path
        assert "innerHTML" not in text, path
    assert lines <= 3000


def test_libraries_are_as_published() -> None:
    """`make vendor` compares what npm has with the same list."""
    folder = FOLDER / "vendor"
    listed = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert listed == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name not in {"README.md", "SHA256SUMS"}
    }
