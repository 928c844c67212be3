"""A metadata schema is compared with what is stored before it is saved."""

import json
from typing import Any

import httpx2
import pytest

from service.api import schema_check
from tests.support.world import Headers, Project, User, fetch, instance, problem, project, refused, row, upload, user

NEEDS_AUTHOR: Any = {"type": "object", "required": ["author"], "properties": {"year": {"type": "integer"}}}


@pytest.fixture
async def filled(api: httpx2.AsyncClient, admin: Headers) -> Project:
    """Five embeddings, of which three do not fit NEEDS_AUTHOR."""
    own = await project(api, await user(api, admin))
    good, wrong = {"author": "Kant", "year": 1781}, {"author": "Hume", "year": "1739"}
    rows = [row("a", [1, 2, 3], metadata=good), row("b", [1, 2, 3], metadata={"year": 1}), row("c", [1, 2, 3])]
    await upload(api, own, *rows, row("d", [1, 2, 3], metadata=wrong), row("e", [1, 2, 3], metadata=good))
    return own


async def check(api: httpx2.AsyncClient, of: Project, **body: Any) -> httpx2.Response:
    return await api.post(f"{of.path}/schema-check", json=body, headers=of.owner.headers)


@pytest.mark.parametrize("schema", [NEEDS_AUTHOR, json.dumps(NEEDS_AUTHOR)])
async def test_says_which_do_not_fit(api: httpx2.AsyncClient, filled: Project, schema: Any) -> None:
    before = await fetch(api, filled.path, filled.owner.headers)
    answer = await check(api, filled, metadataScheme=schema)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["checked"], found["failing"], found["number_of_embeddings"]) == (5, 3, 5)
    assert "next_after" not in found
    assert [(one["text_id"], one["path"]) for one in found["failures"]] == [("b", ""), ("c", ""), ("d", ".year")]
    assert '"author" is a required property' in found["failures"][0]["message"]
    assert await fetch(api, filled.path, filled.owner.headers) == before


async def test_agrees_with_an_upload_under_that_schema(api: httpx2.AsyncClient, filled: Project) -> None:
    failures = (await check(api, filled, metadataScheme=NEEDS_AUTHOR)).json()["failures"]
    body = {**filled.body, "metadataScheme": NEEDS_AUTHOR}
    assert (await api.put(filled.path, json=body, headers=filled.owner.headers)).status_code == 201
    stored = (await fetch(api, filled.embeddings, filled.owner.headers, include="metadata"))["embeddings"]
    again = [row(one["text_id"], [1, 2, 3], metadata=one.get("metadata")) for one in stored]
    answer = await api.post(filled.embeddings, json={"embeddings": again}, headers=filled.owner.headers)
    told = {error["location"].split("]")[0] for error in problem(answer, 400)["errors"]}
    assert told == {f"body.embeddings[{'abcde'.index(one['text_id'])}" for one in failures}


async def test_goes_on_where_time_ran_out(
    api: httpx2.AsyncClient, filled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_check, "MAX_SECONDS", 0)
    monkeypatch.setattr(schema_check, "PAGE", 2)
    checked, failing, after, pages = 0, 0, "", []
    while after is not None:
        found = (await check(api, filled, metadataScheme=NEEDS_AUTHOR, after=after)).json()
        checked, failing = checked + found["checked"], failing + found["failing"]
        pages.append(found["checked"])
        assert found["number_of_embeddings"] == 5
        after = found.get("next_after")
    assert (checked, failing, pages[:2]) == (5, 3, [2, 2])


async def test_lists_the_first_hundred_and_counts_all(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, *(row(f"{n:04}", [1, 2, 3], metadata={"n": n}) for n in range(2500)))
    found = (await check(api, own, metadataScheme={"properties": {"n": {"maximum": 9}}})).json()
    assert (found["checked"], found["failing"]) == (2500, 2490)
    assert [one["text_id"] for one in found["failures"]] == [f"{n:04}" for n in range(10, 110)]


async def test_a_project_without_embeddings(api: httpx2.AsyncClient, own: Project) -> None:
    found = (await check(api, own, metadataScheme=NEEDS_AUTHOR)).json()
    assert found == {"checked": 0, "failing": 0, "failures": [], "number_of_embeddings": 0}


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, "{", "", {"$ref": "https://example.org/schema"}, None, 5])
async def test_what_is_no_schema(api: httpx2.AsyncClient, filled: Project, schema: Any) -> None:
    refused(await check(api, filled, metadataScheme=schema), 422, "body.metadataScheme")


async def test_a_schema_that_takes_too_much(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("long", [1, 2, 3], metadata={"a": [1] * 250_000}))
    one = {"properties": {"a": {"items": {"type": "string"}}}}
    answer = await check(api, own, metadataScheme={"oneOf": [one for _ in range(1000)]})
    refused(answer, 422, "body.metadataScheme")
    assert "takes more than" in answer.text


async def test_of_a_project_that_is_not_there(api: httpx2.AsyncClient, ada: User) -> None:
    gone = Project(ada, "none", 0, await instance(api, ada))
    problem(await check(api, gone, metadataScheme=NEEDS_AUTHOR), 404)
