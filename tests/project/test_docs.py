"""The OpenAPI document, the page that shows it, and docs/API.md."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from playwright.async_api import Browser, expect

from service.api.routes import endpoints
from service.http import openapi
from tests.conftest import ADMIN_KEY, serving, settings_for
from tests.support.browser import NEEDS_CHROMIUM, opened, tried_out
from tests.support.processes import NEEDS_CURL, ROOT, environment, served

pytestmark = pytest.mark.slow

SERVED = [one for one in endpoints if not one.only_debug]


async def test_the_document_is_valid_and_the_same_in_both_forms(api: httpx2.AsyncClient) -> None:
    as_json, as_yaml = await api.get("/openapi.json"), await api.get("/openapi.yaml")
    assert as_json.headers["content-type"] == "application/json"
    assert as_yaml.headers["content-type"] == "application/yaml"
    document = as_json.json()
    assert msgspec.yaml.decode(as_yaml.content) == document
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()
    assert {(method.upper(), path) for path, item in document["paths"].items() for method in item} == {
        (one.method, one.path) for one in SERVED
    }


def test_the_document_is_the_one_that_was_reviewed() -> None:
    """After a change that is meant: `make openapi`, and look at the difference."""
    assert openapi.document(endpoints) == msgspec.yaml.decode((ROOT / "docs" / "openapi.yaml").read_bytes())


def test_the_footgun_is_documented_only_in_debug() -> None:
    assert "/v1/admin/footgun" in openapi.document(endpoints)["paths"]
    assert "/v1/admin/footgun" not in openapi.document(SERVED)["paths"]


@pytest.mark.parametrize("one", SERVED, ids=lambda one: f"{one.method} {one.path}")
def test_every_operation_tells_its_errors_and_its_security(one: Any) -> None:
    operation = openapi.document(SERVED)["paths"][one.path][one.method.lower()]
    assert operation["summary"]
    statuses = set(operation["responses"])
    assert {str(one.status), "500"} <= statuses
    if "security" in operation:
        assert {"401", "403", "503"} <= statuses
    if "requestBody" in operation:
        assert {"400", "408", "413", "415", "422"} <= statuses
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            form = "application/problem+json" if one.error_body is None else "application/json"
            assert list(answer["content"]) == [form]


def test_constraints_are_in_the_schemas() -> None:
    schemas = openapi.document(SERVED)["components"]["schemas"]
    handle = schemas["UserIn"]["properties"]["user_handle"]
    assert (handle["minLength"], handle["maxLength"]) == (3, 64)
    assert handle["pattern"]
    assert handle["examples"]
    assert schemas["InstanceIn"]["properties"]["dimensions"]["maximum"] == 16000
    assert schemas["UserIn"]["required"] == ["user_handle", "email"]
    assert "required" not in schemas["UserInPatch"]
    assert schemas["UserIn"]["additionalProperties"] is False


async def test_the_page_loads_nothing_from_elsewhere(api: httpx2.AsyncClient) -> None:
    page = await api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.findall(r"https?://", policy + page.text)
    assets = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)  # relative, for services below a path
    assert len(assets) == 3
    for asset in assets:
        answer = await api.get(f"/{asset}")
        assert answer.status_code == 200
        assert len(answer.content) > 100
    assert (await api.get("/docs/other.js")).status_code == 422


@NEEDS_CHROMIUM
async def test_an_authorised_call_from_the_page(chromium: Browser, new_database: Callable[..., str]) -> None:
    async with serving(settings_for(new_database())) as url, opened(chromium, url) as tab:
        page = tab.page
        await page.goto(f"{url}/docs")
        await page.locator(".opblock").first.wait_for()
        await page.evaluate("key => window.ui.preauthorizeApiKey('key', key)", ADMIN_KEY)
        await expect(await tried_out(page, "#operations-users-get_users")).to_contain_text("_system")


API_PAGE = (ROOT / "docs" / "API.md").read_text()


def test_the_route_table_is_the_applications() -> None:
    rows = re.findall(r"^\| `([A-Z]+)` \| `([^`]+)` \|", API_PAGE, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == {(one.method, one.path) for one in endpoints}


@NEEDS_CURL
def test_the_examples_run(new_database: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"SERVICE_ADMINKEY={'a' * 64}\nENCRYPTION_KEY={'b' * 64}\n")
    python = re.findall(r"^```python\n(.*?)^```$", API_PAGE, re.MULTILINE | re.DOTALL)
    assert len(python) == 1
    (tmp_path / "example.py").write_text(python[0])
    page = API_PAGE.replace(f"```python\n{python[0]}```", f"```bash\nKEY=$KEY {sys.executable} example.py\n```")
    examples = re.findall(r"^```bash\n(.*?)^```\n(?:\n```json\n(.*?)^```$)?", page, re.MULTILINE | re.DOTALL)
    script = "\n".join(f"{commands}\necho; echo '--- {place}'" for place, (commands, _) in enumerate(examples))
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_DATABASE_URL=new_database()) as (_, url):
        example = tmp_path / "example.py"
        example.write_text(example.read_text().replace("http://127.0.0.1:8880", url))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8880", url)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = re.split(r"^--- \d+\n", done.stdout, flags=re.MULTILINE)
    for (commands, shown), answer in zip(examples, printed, strict=False):
        if shown:
            assert matches(json.loads(answer.strip().splitlines()[-1]), json.loads(shown)), (commands, answer)


def matches(answer: Any, shown: Any) -> bool:
    """Whether an answer has all that the page shows; `…` stands for anything."""
    if shown == "…":
        return True
    if isinstance(shown, dict):
        return isinstance(answer, dict) and all(
            name in answer and matches(answer[name], value) for name, value in shown.items()
        )
    if isinstance(shown, list):
        return len(answer) == len(shown) and all(map(matches, answer, shown))
    return bool(answer == shown)
