"""JSON merge patches (RFC 7396) of all five kinds, which are one mechanism."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.watched import command_line, descendants
from tests.support.world import (
    Headers,
    Json,
    Project,
    User,
    definition,
    fetch,
    instance,
    problem,
    project,
    refused,
    row,
    standard,
    unique,
    upload,
    user,
)

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


KINDS = ["user", "standard", "definition", "instance", "project"]


async def thing(api: httpx2.AsyncClient, admin: Headers, kind: str) -> tuple[str, Headers, str, str]:
    """A thing's path, who may patch it, a property that is free to change, and the name of its handle."""
    owner = await user(api, admin, name="N")
    if kind == "user":
        return owner.path, admin, "name", "user_handle"
    if kind == "standard":
        return await standard(api, admin), admin, "description", "api_standard_handle"
    if kind == "definition":
        return await definition(api, owner), owner.headers, "model", "definition_handle"
    if kind == "instance":
        return (await instance(api, owner, description="D")).path, owner.headers, "description", "instance_handle"
    return (await project(api, owner, description="D")).path, owner.headers, "description", "project_handle"


async def patch(api: httpx2.AsyncClient, path: str, headers: Headers, body: Any) -> httpx2.Response:
    return await api.patch(path, json=body, headers={**headers, **MERGE_PATCH})


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_named_changes_and_the_rest_stays(api: httpx2.AsyncClient, admin: Headers, kind: str) -> None:
    path, headers, field, _ = await thing(api, admin, kind)
    before = await fetch(api, path, headers)
    answer = await patch(api, path, headers, {field: "changed"})
    assert answer.status_code == 200
    assert answer.json() == await fetch(api, path, headers) == {**before, field: "changed"}
    same = await api.patch(path, json={}, headers=headers)  # application/json will do as well
    assert same.json() == answer.json()


@pytest.mark.parametrize("kind", KINDS)
async def test_null_removes_what_may_be_left_out(api: httpx2.AsyncClient, admin: Headers, kind: str) -> None:
    path, headers, field, handle = await thing(api, admin, kind)
    before = await fetch(api, path, headers)
    answer = await patch(api, path, headers, {field: None})
    if kind == "standard":  # all its properties are required
        refused(answer, 422, f"body.{field}")
    else:
        assert answer.json() == {name: value for name, value in before.items() if name != field}
    refused(await patch(api, path, headers, {handle: None}), 422, f"body.{handle}")


@pytest.mark.parametrize("kind", KINDS)
async def test_bad_patches_change_nothing(api: httpx2.AsyncClient, admin: Headers, kind: str) -> None:
    path, headers, field, handle = await thing(api, admin, kind)
    before = await fetch(api, path, headers)
    refused(await patch(api, path, headers, {field: 5, "nonsense": 1}), 422, f"body.{field}", "body.nonsense")
    refused(await patch(api, path, headers, {handle: "another-handle"}), 400, f"body.{handle}")
    problem(await patch(api, path, headers, [1]), 422)
    problem(await api.patch(path, content=b"{", headers={**headers, **MERGE_PATCH}), 400)
    problem(await api.patch(path, content=b"{}", headers={**headers, "Content-Type": "text/plain"}), 415)
    assert await fetch(api, path, headers) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_of_something_missing(api: httpx2.AsyncClient, admin: Headers, kind: str) -> None:
    path, headers, field, _ = await thing(api, admin, kind)
    missing = path.rpartition("/")[0] + "/" + unique("none")
    problem(await patch(api, missing, headers, {field: "x"}), 404)


@pytest.mark.parametrize("kind", ["user", "definition", "instance", "project"])
async def test_of_two_at_once_neither_is_lost(api: httpx2.AsyncClient, admin: Headers, kind: str) -> None:
    path, headers, field, _ = await thing(api, admin, kind)
    other, value = {
        "user": ("email", f"{unique('e')}@example.org"),
        "definition": ("is_public", True),
        "instance": ("model", "m2"),
        "project": ("public_read", True),
    }[kind]
    for number in range(5):
        changes = [{field: f"text {number}"}, {other: value}]
        await asyncio.gather(*(patch(api, path, headers, change) for change in changes))
        now = await fetch(api, path, headers)
        assert (now[field], now[other]) == (f"text {number}", value)


async def test_the_key_of_an_instance(api: httpx2.AsyncClient, admin: Headers) -> None:
    path = (await instance(api, ada := await user(api, admin), api_key="secret")).path
    assert (await patch(api, path, ada.headers, {"model": "m"})).json()["has_api_key"] is True
    assert (await patch(api, path, ada.headers, {"api_key": None})).json()["has_api_key"] is False
    assert (await patch(api, path, ada.headers, {"api_key": "new"})).json()["has_api_key"] is True
    assert (await patch(api, path, ada.headers, {"api_key": ""})).json()["has_api_key"] is False


async def test_dimensions_stay_while_there_are_embeddings(api: httpx2.AsyncClient, own: Project) -> None:
    assert (await patch(api, own.instance.path, own.owner.headers, {"dimensions": 2})).status_code == 200
    await upload(api, own, row("a", [1, 2]))
    problem(await patch(api, own.instance.path, own.owner.headers, {"dimensions": 3}), 409)
    assert (await fetch(api, own.instance.path, own.owner.headers))["dimensions"] == 2
    await api.delete(own.embeddings, headers=own.owner.headers)
    assert (await patch(api, own.instance.path, own.owner.headers, {"dimensions": 3})).status_code == 200


async def test_the_shares_of_a_project(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    own = await project(api, ada, shared_with=[bob.handle])

    async def shares(change: Json) -> tuple[list[str], bool]:
        answer = await patch(api, own.path, ada.headers, change)
        assert answer.status_code == 200, answer.text
        return [one["user_handle"] for one in answer.json()["shared_with"]], answer.json()["public_read"]

    assert await shares({"description": "d"}) == ([bob.handle], False)
    assert await shares({"shared_with": [bob.handle, "*"]}) == ([bob.handle], True)
    assert await shares({"shared_with": None}) == ([], True)  # public_read is a property of its own
    assert await shares({"public_read": False}) == ([], False)


async def test_the_instance_of_a_project_can_be_exchanged(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await project(api, ada := await user(api, admin))
    alike, other = await instance(api, ada), await instance(api, ada, dimensions=2)
    assert (await patch(api, own.path, ada.headers, {"instance_handle": other.handle})).status_code == 200
    assert (await patch(api, own.path, ada.headers, {"instance_handle": alike.handle})).status_code == 200
    await upload(api, own, row("a", [1, 2, 3]))
    problem(await patch(api, own.path, ada.headers, {"instance_handle": other.handle}), 409)
    answer = await patch(api, own.path, ada.headers, {"instance_handle": own.instance.handle})
    assert answer.json()["instance"]["instance_handle"] == own.instance.handle
    assert answer.json()["number_of_embeddings"] == 1


SCHEMA = {
    "type": "object",
    "properties": {"author": {"type": "string", "maxLength": 9}, "year": {"type": "integer"}},
    "required": ["author"],
}


# What is stored, what is sent, and what is stored then (RFC 7396).
MERGES: list[tuple[Any, Any, Any]] = [
    (
        SCHEMA,
        {"properties": {"lang": {"type": "string"}}},
        {**SCHEMA, "properties": {**SCHEMA["properties"], "lang": {"type": "string"}}},  # type: ignore[dict-item]
    ),
    (SCHEMA, {}, SCHEMA),
    (SCHEMA, {"properties": {"year": None}}, {**SCHEMA, "properties": {"author": {"type": "string", "maxLength": 9}}}),
    (SCHEMA, {"properties": {"author": {"maxLength": None}, "none": None}, "required": None, "nothing": None},
     {"type": "object", "properties": {"author": {"type": "string"}, "year": {"type": "integer"}}}),
    (SCHEMA, {"required": ["year"]}, {**SCHEMA, "required": ["year"]}),  # a list is one value
    (SCHEMA, {"properties": {"year": True}},
     {**SCHEMA, "properties": {"author": {"type": "string", "maxLength": 9}, "year": True}}),
    (SCHEMA, '{"type": "object"}', {"type": "object"}),  # a text is one value, and replaces
    (SCHEMA, False, False),
    (SCHEMA, None, None),
    (True, {"type": "object"}, {"type": "object"}),
    (None, {"type": "object", "title": None, "properties": {"a": {"title": None}}},
     {"type": "object", "properties": {"a": {}}}),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "sent", "wanted"), MERGES)
@pytest.mark.parametrize("as_text", [False, True])
async def test_a_schema_is_merged(
    api: httpx2.AsyncClient, admin: Headers, stored: Any, sent: Any, wanted: Any, as_text: bool
) -> None:
    fields = {} if stored is None else {"metadataScheme": json.dumps(stored) if as_text else stored}
    own = await project(api, await user(api, admin), **fields)
    answer = await patch(api, own.path, own.owner.headers, {"metadataScheme": sent})
    assert answer.status_code == 200, answer.text
    assert answer.json() == await fetch(api, own.path, own.owner.headers)
    found = answer.json().get("metadataScheme")
    assert (None if found is None else json.loads(found)) == wanted


async def test_the_merged_schema_is_checked_as_a_whole(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await project(api, await user(api, admin), metadataScheme=SCHEMA)
    before = await fetch(api, own.path, own.owner.headers)
    deep: Any = {}
    for _ in range(900):
        deep = {"not": deep}
    for sent in (
        {"type": "no type"},
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
        {"properties": {"author": {"pattern": "("}}},
        deep,
    ):
        refused(await patch(api, own.path, own.owner.headers, {"metadataScheme": sent}), 422, "body.metadataScheme")
    assert await fetch(api, own.path, own.owner.headers) == before
    with_reference = {"$defs": {"none": {"type": "null"}}, "properties": {"a": {"$ref": "#/$defs/none"}}}
    assert (await patch(api, own.path, own.owner.headers, {"metadataScheme": with_reference})).status_code == 200
    # Each half is fine alone, but the reference needs the other.
    without = {"metadataScheme": {"$defs": None}}
    refused(await patch(api, own.path, own.owner.headers, without), 422, "body.metadataScheme")


async def test_schemas_of_patches_at_once_are_all_merged(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await project(api, await user(api, admin), metadataScheme=SCHEMA)
    sent = [{"metadataScheme": {"properties": {f"field{n}": {"type": "string"}}}} for n in range(6)]
    answers = await asyncio.gather(*(patch(api, own.path, own.owner.headers, one) for one in sent))
    assert [answer.status_code for answer in answers] == [200] * 6
    merged = json.loads((await fetch(api, own.path, own.owner.headers))["metadataScheme"])
    assert set(merged["properties"]) == {"author", "year", *(f"field{n}" for n in range(6))}


def checking() -> list[int]:
    """The processes of the service that check a schema now."""
    found = [one for one in descendants(os.getpid()) if "metadata/worker" in command_line(one)]
    return [one for one in found if Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0] == "R"]


async def test_others_change_the_owners_projects_while_a_schema_is_checked(
    api: httpx2.AsyncClient, own: Project
) -> None:
    other = await project(api, own.owner, on=own.instance)
    costly = {"patternProperties": {rf"^\p{{L}}{{40}}{n}": True for n in range(900)}}  # until it is over a limit
    checked = asyncio.create_task(patch(api, own.path, own.owner.headers, {"metadataScheme": costly}))
    while not (at_work := checking()) and not checked.done():
        await asyncio.sleep(0.01)
    for number in at_work:
        os.kill(number, signal.SIGSTOP)  # so that it has not ended before
    assert (await patch(api, other.path, own.owner.headers, {"description": "d"})).status_code == 200
    assert not checked.done()
    for number in at_work:
        os.kill(number, signal.SIGCONT)
    refused(await checked, 422, "body.metadataScheme")


async def test_a_schema_that_is_not_named_stays_to_the_letter(api: httpx2.AsyncClient, admin: Headers) -> None:
    text = '{"maximum" : 1.0,\n "type": ["object"] }'
    own = await project(api, await user(api, admin), metadataScheme=text)
    answer = await patch(api, own.path, own.owner.headers, {"description": "d"})
    assert answer.json()["metadataScheme"] == text


async def test_a_merged_schema_holds(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await project(api, await user(api, admin), metadataScheme=SCHEMA)
    await patch(api, own.path, own.owner.headers, {"metadataScheme": {"properties": {"lang": {"maxLength": 2}}}})
    for metadata, status in (
        ({"author": "a", "lang": "de"}, 201),
        ({"lang": "de"}, 400),
        ({"author": "a", "lang": "deu"}, 400),
    ):
        body = {"embeddings": [row("a", [1, 2, 3], metadata=metadata)]}
        assert (await api.post(own.embeddings, json=body, headers=own.owner.headers)).status_code == status


async def test_the_older_names_of_a_project_can_be_patched(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    own = await project(api, ada, shared_with=[bob.handle])
    other = await instance(api, ada)
    answer = await patch(api, own.path, ada.headers, {"llmServices": [other.handle]})
    assert answer.json()["instance"]["instance_handle"] == other.handle
    answer = await patch(api, own.path, ada.headers, {"authorizedReaders": None})
    assert answer.json()["shared_with"] == []


async def test_null_makes_a_project_private_again(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await project(api, await user(api, admin), public_read=True, text_search="public")
    answer = await patch(api, own.path, own.owner.headers, {"public_read": None, "text_search": None})
    assert (answer.json()["public_read"], answer.json()["text_search"]) == (False, "editors")
    problem(await api.get(own.path), 401)
