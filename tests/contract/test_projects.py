"""Projects: their one instance, readers and editors, public ones, metadata schemas (contract, section 6)."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.support.world import (
    Headers,
    Json,
    Project,
    User,
    batch,
    fetch,
    instance,
    pages,
    problem,
    project,
    refused,
    refused_below,
    refused_property,
    row,
    snapshot,
    status,
    unique,
    upload,
    user,
)


def collection(owner: User) -> str:
    return f"/v1/projects/{owner.handle}"


def scheme(body: Json) -> Json:
    """The schema of a project; the contract leaves open whether a string comes back as a string or an object."""
    stored = body["metadataScheme"]
    return json.loads(stored) if isinstance(stored, str) else stored


def shares(body: Json) -> set[tuple[str, str]]:
    return {(share["user_handle"], share["role"]) for share in body.get("shared_with", [])}


# Creating and reading


@pytest.mark.parametrize("by", ["put", "post"])
async def test_a_project_is_created_and_read_in_full(api: httpx2.AsyncClient, admin: Headers, by: str) -> None:
    ada, handle = await user(api, admin), unique("p")
    on = await instance(api, ada)
    body = {"project_handle": handle, "instance_handle": on.handle, "description": "Letters"}
    path = f"{collection(ada)}/{handle}"
    response = await api.request(by.upper(), path if by == "put" else collection(ada), json=body, headers=ada.headers)
    assert response.status_code == 201
    created = response.json()
    assert isinstance(created["project_id"], int)
    assert created == {
        "owner": ada.handle,
        "project_handle": handle,
        "project_id": created["project_id"],
        "public_read": False,
        "role": "owner",
    }
    about = await fetch(api, path, ada.headers)
    assert {name: about[name] for name in created} == created
    assert about["description"] == "Letters"
    assert about["number_of_embeddings"] == 0
    assert about["index"]["state"] == "exact"
    assert "metadataScheme" not in about
    assert shares(about) == set()
    used = about["instance"]
    assert (used["owner"], used["instance_handle"], used["instance_id"]) == (ada.handle, on.handle, on.id)


@pytest.mark.parametrize("by", ["put", "post"])
async def test_an_upsert_changes_the_project_and_keeps_id_and_rows(
    api: httpx2.AsyncClient, admin: Headers, by: str
) -> None:
    own = await project(api, await user(api, admin), description="before")
    await upload(api, own, row("a", [1, 0, 0]))
    path = own.path if by == "put" else collection(own.owner)
    body = {**own.body, "description": "after"}
    response = await api.request(by.upper(), path, json=body, headers=own.owner.headers)
    assert response.status_code == 201
    assert response.json()["project_id"] == own.id
    about = await fetch(api, own.path, own.owner.headers)
    assert (about["description"], about["number_of_embeddings"]) == ("after", 1)


async def test_the_admin_creates_for_a_user(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, handle = await user(api, admin), unique("p")
    on = await instance(api, ada)
    body = {"project_handle": handle, "instance_handle": on.handle}
    response = await api.put(f"{collection(ada)}/{handle}", json=body, headers=admin)
    assert response.status_code == 201
    assert response.json()["owner"] == ada.handle
    assert (await fetch(api, f"{collection(ada)}/{handle}", ada.headers))["role"] == "owner"
    assert (await fetch(api, f"{collection(ada)}/{handle}", admin))["role"] == "admin"


async def test_the_owner_may_be_named_as_the_instances(api: httpx2.AsyncClient, ada: User) -> None:
    own = await project(api, ada, instance_owner=ada.handle)
    assert (await fetch(api, own.path, ada.headers))["instance"]["owner"] == ada.handle


async def test_null_is_the_same_as_leaving_out(api: httpx2.AsyncClient, admin: Headers) -> None:
    optional = ("instance_owner", "description", "metadataScheme", "public_read", "shared_with")
    own = await project(api, await user(api, admin), **dict.fromkeys(optional))
    about = await fetch(api, own.path, own.owner.headers)
    assert about["public_read"] is False
    assert "description" not in about


async def test_two_users_may_use_the_same_handle(api: httpx2.AsyncClient, admin: Headers) -> None:
    one, bob = await project(api, await user(api, admin)), await user(api, admin)
    on = await instance(api, bob)
    body = {"project_handle": one.handle, "instance_handle": on.handle}
    response = await api.post(collection(bob), json=body, headers=bob.headers)
    assert response.status_code == 201
    assert response.json()["project_id"] != one.id


async def test_number_of_embeddings_follows_the_rows(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 0, 0]), row("b", [0, 1, 0]))
    assert (await fetch(api, own.path, own.owner.headers))["number_of_embeddings"] == 2
    await api.delete(own.embedding("a"), headers=own.owner.headers)
    assert (await fetch(api, own.path, own.owner.headers))["number_of_embeddings"] == 1


async def test_changes_counts_all_that_was_ever_written(api: httpx2.AsyncClient, own: Project) -> None:

    async def changes() -> Any:
        return (await fetch(api, own.path, own.owner.headers))["changes"]

    await upload(api, own, row("a", [1, 0, 0]), row("b", [0, 1, 0]))
    assert await changes() == 2
    await upload(api, own, row("a", [1, 0, 0]), row("b", [0, 1, 1]), row("c", [1, 1, 1]))
    assert await changes() == 4
    await api.delete(own.embedding("a"), headers=own.owner.headers)
    assert await changes() == 5
    await api.delete(own.embeddings, headers=own.owner.headers)
    assert await changes() > 5


# Refusals


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project_handle", ""),
        ("project_handle", "ab"),
        ("project_handle", "x" * 65),
        ("project_handle", "a b c"),
        ("project_handle", "a/b/c"),
        ("project_handle", "_abc"),
        ("project_handle", "abc\n"),
        ("project_handle", 5),
        ("instance_handle", 5),
        ("instance_owner", 5),
        ("description", 5),
        ("description", "a\u0000b"),
        ("public_read", "yes"),
        ("public_read", 1),
        ("shared_with", "bob"),
        ("shared_with", {"user_handle": "bob"}),
        ("metadataScheme", 5),
        ("metadataScheme", ["object"]),
        ("metadataScheme", "{not json"),
        ("metadataScheme", {"type": 12}),
        ("metadataScheme", '{"type": "no-such-type"}'),
        ("metadataScheme", {"properties": {"year": {"minimum": "x"}}}),
        ("metadataScheme", {"required": "author"}),
    ],
)
async def test_bad_values_are_refused(api: httpx2.AsyncClient, ada: User, field: str, value: object) -> None:
    on = await instance(api, ada)
    body = {"project_handle": unique("p"), "instance_handle": on.handle, field: value}
    refused_below(await api.post(collection(ada), json=body, headers=ada.headers), 422, f"body.{field}")
    assert await fetch(api, collection(ada), ada.headers) == {"projects": []}


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        (5, ""),
        (None, ""),
        ({"role": "reader"}, ".user_handle"),
        ({"user_handle": "bob"}, ".role"),
        ({"user_handle": "bob", "role": "owner"}, ".role"),
        ({"user_handle": "bob", "role": 1}, ".role"),
        ({"user_handle": 5, "role": "reader"}, ".user_handle"),
    ],
    ids=str,
)
async def test_bad_shares_are_refused(api: httpx2.AsyncClient, own: Project, entry: object, where: str) -> None:
    before = await snapshot(api, own)
    response = await api.put(own.path, json={**own.body, "shared_with": [entry]}, headers=own.owner.headers)
    body = problem(response, 422)
    # a missing property is named by its own place or by its object's: see world.names_property
    places = {error["location"] for error in body["errors"]}
    assert {"body.shared_with[0]", f"body.shared_with[0]{where}"} & places
    assert await snapshot(api, own) == before


@pytest.mark.parametrize("field", ["project_handle", "instance_handle"])
@pytest.mark.parametrize("how", ["left out", "null"])
async def test_required_properties_are_required(api: httpx2.AsyncClient, ada: User, field: str, how: str) -> None:
    body: Json = {"project_handle": unique("p"), "instance_handle": (await instance(api, ada)).handle}
    if how == "null":
        body[field] = None
    else:
        del body[field]
    refused_property(await api.post(collection(ada), json=body, headers=ada.headers), "body", field)
    assert await fetch(api, collection(ada), ada.headers) == {"projects": []}


@pytest.mark.parametrize("field", ["nonsense", "project_id", "owner", "role", "instance", "number_of_embeddings"])
async def test_unknown_properties_are_refused(api: httpx2.AsyncClient, own: Project, field: str) -> None:
    before = await snapshot(api, own)
    body = {**own.body, "description": "after", field: "x"}
    refused_property(await api.put(own.path, json=body, headers=own.owner.headers), "body", field)
    assert await snapshot(api, own) == before


async def test_a_handle_that_differs_from_the_path_is_refused(api: httpx2.AsyncClient, admin: Headers) -> None:
    own, other = await project(api, await user(api, admin)), unique("p")
    before = await snapshot(api, own)
    body = {**own.body, "project_handle": other, "description": "after"}
    refused(await api.put(own.path, json=body, headers=own.owner.headers), 400, "body.project_handle")
    assert await snapshot(api, own) == before
    assert await status(api, f"{collection(own.owner)}/{other}", own.owner.headers) == 404


async def test_a_missing_instance_and_anothers_are_refused_alike(
    api: httpx2.AsyncClient, admin: Headers, ada: User, bob: User
) -> None:
    foreign, handle = await instance(api, bob), unique("p")
    path = f"{collection(ada)}/{handle}"
    answers = [
        await api.put(path, json={"project_handle": handle, **named}, headers=headers)
        for headers in (ada.headers, admin)
        for named in (
            {"instance_handle": unique("i")},
            {"instance_handle": foreign.handle},
            {"instance_handle": foreign.handle, "instance_owner": bob.handle},
            {"instance_handle": unique("i"), "instance_owner": bob.handle},
            {"instance_handle": "abc", "instance_owner": unique("u")},
        )
    ]
    # "422/404" in the contract: whichever it is, it is the same for all of them
    assert answers[0].status_code in {404, 422}
    for answer in answers:
        problem(answer, answers[0].status_code)
    assert await status(api, path, ada.headers) == 404


async def test_a_project_for_a_missing_user_is_404_for_the_admin(api: httpx2.AsyncClient, admin: Headers) -> None:
    path, body = f"/v1/projects/{unique('u')}", {"project_handle": "abc", "instance_handle": "abc"}
    problem(await api.put(f"{path}/abc", json=body, headers=admin), 404)
    problem(await api.post(path, json=body, headers=admin), 404)


async def test_a_missing_project_is_404_for_its_would_be_owner_and_the_admin(
    api: httpx2.AsyncClient, admin: Headers, ada: User
) -> None:
    for headers in (ada.headers, admin):
        problem(await api.get(f"{collection(ada)}/{unique('p')}", headers=headers), 404)
        problem(await api.delete(f"{collection(ada)}/{unique('p')}", headers=headers), 404)


# Exchanging the instance


@pytest.mark.parametrize("dimensions", [3, 4])
async def test_the_instance_of_an_empty_project_can_be_exchanged(
    api: httpx2.AsyncClient, admin: Headers, dimensions: int
) -> None:
    own = await project(api, await user(api, admin), dimensions=3)
    other = await instance(api, own.owner, dimensions=dimensions)
    body = {**own.body, "instance_handle": other.handle}
    assert (await api.put(own.path, json=body, headers=own.owner.headers)).status_code == 201
    assert (await fetch(api, own.path, own.owner.headers))["instance"]["instance_handle"] == other.handle
    assert (await upload(api, own, row("a", [1.0] * dimensions)))["inserted"] == 1


async def test_with_embeddings_only_one_of_the_same_dimensions_is_taken(
    api: httpx2.AsyncClient, admin: Headers
) -> None:
    own = await project(api, await user(api, admin), dimensions=3)
    await upload(api, own, row("a", [1, 0, 0]))
    before = await snapshot(api, own)
    longer, same = await instance(api, own.owner, dimensions=4), await instance(api, own.owner, dimensions=3)
    body = {**own.body, "instance_handle": longer.handle}
    problem(await api.put(own.path, json=body, headers=own.owner.headers), 409)
    assert await snapshot(api, own) == before
    body = {**own.body, "instance_handle": same.handle}
    assert (await api.put(own.path, json=body, headers=own.owner.headers)).status_code == 201
    about, rows = await snapshot(api, own)
    assert about["instance"]["instance_handle"] == same.handle
    assert [entry["vector"] for entry in rows] == [[1, 0, 0]]


# Readers, editors, everyone


async def test_shares_are_read_by_owner_and_admin_only(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob, eva = await user(api, admin), await user(api, admin), await user(api, admin)
    own = await project(api, ada, shared_with=[bob.handle, {"user_handle": eva.handle, "role": "editor"}])
    expected = {(bob.handle, "reader"), (eva.handle, "editor")}
    assert shares(await fetch(api, own.path, ada.headers)) == expected
    assert shares(await fetch(api, own.path, admin)) == expected
    for who, role in ((bob, "reader"), (eva, "editor")):
        about = await fetch(api, own.path, who.headers)
        assert about["role"] == role
        assert "shared_with" not in about


async def test_shares_left_out_stay(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    own = await project(api, ada, shared_with=[{"user_handle": bob.handle, "role": "editor"}])
    for body in ({**own.body, "description": "new"}, {**own.body, "shared_with": None}):
        assert (await api.put(own.path, json=body, headers=ada.headers)).status_code == 201
        assert shares(await fetch(api, own.path, ada.headers)) == {(bob.handle, "editor")}


async def test_shares_given_replace_all_shares(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob, eva = await user(api, admin), await user(api, admin), await user(api, admin)
    own = await project(api, ada, shared_with=[{"user_handle": bob.handle, "role": "editor"}])
    await api.put(own.path, json={**own.body, "shared_with": [eva.handle]}, headers=ada.headers)
    assert shares(await fetch(api, own.path, ada.headers)) == {(eva.handle, "reader")}
    problem(await api.get(own.path, headers=bob.headers), 403)
    await api.put(own.path, json={**own.body, "shared_with": []}, headers=ada.headers)
    assert shares(await fetch(api, own.path, ada.headers)) == set()
    problem(await api.get(own.path, headers=eva.headers), 403)


async def test_sharing_again_changes_the_role(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    own = await project(api, ada, shared_with=[{"user_handle": bob.handle, "role": "editor"}])
    body = {**own.body, "shared_with": [{"user_handle": bob.handle, "role": "reader"}]}
    await api.put(own.path, json=body, headers=ada.headers)
    assert shares(await fetch(api, own.path, ada.headers)) == {(bob.handle, "reader")}
    problem(await api.post(own.embeddings, json=batch(row("a", [1, 0, 0])), headers=bob.headers), 403)


@pytest.mark.parametrize("whom", ["nobody", "the owner"])
@pytest.mark.parametrize("form", ["handle", "object"])
async def test_a_project_is_not_shared_with_nobody_or_its_owner(
    api: httpx2.AsyncClient, ada: User, bob: User, whom: str, form: str
) -> None:
    own = await project(api, ada, shared_with=[bob.handle])
    before = await snapshot(api, own)
    handle = ada.handle if whom == "the owner" else unique("u")
    entry = handle if form == "handle" else {"user_handle": handle, "role": "reader"}
    body = {**own.body, "description": "after", "shared_with": [entry]}
    # said of instances ("as for instances"): with the owner 400, with nobody of that name 400
    problem(await api.put(own.path, json=body, headers=ada.headers), 400)
    assert await snapshot(api, own) == before


@pytest.mark.parametrize(
    "fields",
    [{"public_read": True}, {"shared_with": ["*"]}, {"authorizedReaders": ["*"]}],
    ids=["public_read", "shared_with", "authorizedReaders"],
)
async def test_three_ways_to_make_a_project_public(api: httpx2.AsyncClient, admin: Headers, fields: Json) -> None:
    own = await project(api, await user(api, admin), **fields)
    for headers, role in (({}, "public"), ((await user(api, admin)).headers, "public"), (own.owner.headers, "owner")):
        about = await fetch(api, own.path, headers)
        assert (about["public_read"], about["role"]) == (True, role)


async def test_a_star_beside_handles_is_public_and_shared(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    own = await project(api, ada, shared_with=["*", {"user_handle": bob.handle, "role": "editor"}])
    assert (await fetch(api, own.path, ada.headers))["public_read"] is True
    assert (await fetch(api, own.path, bob.headers))["role"] == "editor"
    assert (await fetch(api, own.path, {}))["role"] == "public"


async def test_public_read_false_makes_a_project_private_again(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await project(api, await user(api, admin), public_read=True)
    response = await api.put(own.path, json={**own.body, "public_read": False}, headers=own.owner.headers)
    assert response.json()["public_read"] is False
    problem(await api.get(own.path), 401)
    problem(await api.get(own.path, headers=(await user(api, admin)).headers), 403)


async def test_what_everyone_sees_of_a_public_project_has_no_shares(
    api: httpx2.AsyncClient, ada: User, bob: User
) -> None:
    own = await project(api, ada, public_read=True, shared_with=[bob.handle])
    response = await api.get(own.path)
    assert "shared_with" not in response.json()
    assert bob.handle not in response.text


async def test_older_clients_authorized_readers_are_readers(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    own = await project(api, ada, authorizedReaders=[bob.handle])
    assert shares(await fetch(api, own.path, ada.headers)) == {(bob.handle, "reader")}
    assert (await fetch(api, own.path, bob.headers))["role"] == "reader"


@pytest.mark.parametrize("form", ["handles", "objects"])
async def test_of_older_clients_services_the_first_counts(api: httpx2.AsyncClient, admin: Headers, form: str) -> None:
    ada, handle = await user(api, admin), unique("p")
    handles = [(await instance(api, ada, dimensions=dimensions)).handle for dimensions in (3, 4)]
    services: list[object] = [*handles] if form == "handles" else [{"llm_service_handle": one} for one in handles]
    body = {"project_handle": handle, "llmServices": services}
    response = await api.put(f"{collection(ada)}/{handle}", json=body, headers=ada.headers)
    assert response.status_code == 201, response.text
    assert (await fetch(api, f"{collection(ada)}/{handle}", ada.headers))["instance"]["instance_handle"] == handles[0]


# Metadata schemas

SCHEMA: Json = {
    "type": "object",
    "properties": {"author": {"type": "string"}, "year": {"type": "integer", "minimum": 0}},
    "required": ["author"],
}
DRAFTS = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]


@pytest.mark.parametrize("form", ["object", "string"])
async def test_a_schema_is_taken_as_object_or_string(api: httpx2.AsyncClient, admin: Headers, form: str) -> None:
    given = SCHEMA if form == "object" else json.dumps(SCHEMA)
    own = await project(api, await user(api, admin), metadataScheme=given)
    assert scheme(await fetch(api, own.path, own.owner.headers)) == SCHEMA


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("date", "2026-02-28", "2026-02-30"),
        ("date-time", "2026-02-28T12:00:00Z", "yesterday"),
        ("email", "ada@example.org", "ada"),
        ("ipv6", "::1", "1.2.3.4"),
        ("uri", "https://example.org/a", "example"),
        ("uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8"),  # which drafts before 2019-09 do not know
        ("of-our-own", "anything", None),
    ],
)
@pytest.mark.parametrize("draft", [None, *DRAFTS])
async def test_formats_are_checked_in_every_draft(
    api: httpx2.AsyncClient, admin: Headers, draft: str | None, kind: str, good: str, bad: str | None
) -> None:
    named = {} if draft is None else {"$schema": draft}
    schema = {**named, "properties": {"value": {"format": kind}}}
    own = await project(api, await user(api, admin), metadataScheme=schema)
    await upload(api, own, row("a", [1, 2, 3], metadata={"value": good}), row("b", [1, 2, 3], metadata={"value": 5}))
    body = batch(row("a", [1, 2, 3], metadata={"value": bad}))
    answer = await api.post(own.embeddings, json=body, headers=own.owner.headers)
    is_known = kind != "of-our-own" and not (kind == "uuid" and draft and "draft-0" in draft)
    if is_known:
        refused(answer, 400, "body.embeddings[0].metadata.value")
    else:
        assert answer.status_code == 201


@pytest.mark.parametrize("draft", DRAFTS)
async def test_every_draft_is_understood_and_enforced(api: httpx2.AsyncClient, admin: Headers, draft: str) -> None:
    own = await project(api, await user(api, admin), metadataScheme={"$schema": draft, **SCHEMA})
    await upload(api, own, row("good", [1, 0, 0], metadata={"author": "Kant", "year": 1781}))
    before = await snapshot(api, own)
    wrong = batch(row("bad", [1, 0, 0], metadata={"author": "Kant", "year": -1}))
    refused_below(
        await api.post(own.embeddings, json=wrong, headers=own.owner.headers), 400, "body.embeddings[0].metadata"
    )
    assert await snapshot(api, own) == before


async def test_a_bad_schema_leaves_the_old_one(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await project(api, await user(api, admin), metadataScheme=SCHEMA)
    before = await snapshot(api, own)
    body = {**own.body, "description": "after", "metadataScheme": {"type": 12}}
    refused_below(await api.put(own.path, json=body, headers=own.owner.headers), 422, "body.metadataScheme")
    assert await snapshot(api, own) == before


@pytest.mark.parametrize("keyword", ["$ref", "$schema", "$dynamicRef"])
async def test_a_schema_fetches_nothing(api: httpx2.AsyncClient, admin: Headers, keyword: str) -> None:
    calls: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.read(100))
        writer.close()

    ada = await user(api, admin)
    on, handle = await instance(api, ada), unique("p")
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/schema.json"
        body = {"project_handle": handle, "instance_handle": on.handle, "metadataScheme": {keyword: address}}
        path = f"{collection(ada)}/{handle}"
        response = await api.put(path, json=body, headers=ada.headers)
        # a schema that cannot be resolved is not said to be invalid, so it may be taken
        assert response.status_code in {201, 422}
        rows = batch(row("a", [1, 0, 0], metadata={"author": "Kant"}))
        posted = await api.post(path.replace("/projects/", "/embeddings/"), json=rows, headers=ada.headers)
        assert posted.status_code < 500
        await asyncio.sleep(0.1)
    assert calls == []


async def test_a_schema_reads_no_file(api: httpx2.AsyncClient, ada: User) -> None:
    on = await instance(api, ada)
    body = {
        "project_handle": unique("p"),
        "instance_handle": on.handle,
        "metadataScheme": {"$ref": "file:///etc/passwd"},
    }
    response = await api.post(collection(ada), json=body, headers=ada.headers)
    # as above: taken or refused, but never read
    assert response.status_code in {201, 422}
    assert "root:" not in response.text


async def test_a_schema_may_refer_to_itself(api: httpx2.AsyncClient, admin: Headers) -> None:
    tree = {
        "$schema": DRAFTS[2],
        "definitions": {"name": {"type": "string"}},
        "properties": {"author": {"$ref": "#/definitions/name"}},
    }
    own = await project(api, await user(api, admin), metadataScheme=tree)
    await upload(api, own, row("good", [1, 0, 0], metadata={"author": "Kant"}))
    wrong = batch(row("bad", [1, 0, 0], metadata={"author": 5}))
    problem(await api.post(own.embeddings, json=wrong, headers=own.owner.headers), 400)
    assert await status(api, own.embedding("bad"), own.owner.headers) == 404


# Lists


@pytest.mark.parametrize("limit", [1, 2, 200])
async def test_the_list_holds_own_and_shared_projects_once(
    api: httpx2.AsyncClient, ada: User, bob: User, limit: int
) -> None:
    on = await instance(api, bob)
    own = [await project(api, bob, on=on) for _ in range(2)]
    read = await project(api, ada, shared_with=[bob.handle])
    edited = await project(api, ada, public_read=True, shared_with=[{"user_handle": bob.handle, "role": "editor"}])
    await project(api, ada)
    await project(api, ada, public_read=True)
    found = await pages(api, collection(bob), bob.headers, field="projects", limit=limit)
    assert sorted((entry["project_id"], entry["owner"], entry["project_handle"], entry["role"]) for entry in found) == [
        *((one.id, bob.handle, one.handle, "owner") for one in own),
        (read.id, ada.handle, read.handle, "reader"),
        (edited.id, ada.handle, edited.handle, "editor"),
    ]
    assert {entry["project_id"]: entry["public_read"] for entry in found}[edited.id] is True
    assert found == (await fetch(api, collection(bob), bob.headers, limit=200))["projects"]


async def test_a_page_past_the_end_is_an_empty_list(api: httpx2.AsyncClient, admin: Headers, ada: User) -> None:
    assert await fetch(api, collection(ada), ada.headers) == {"projects": []}
    assert await fetch(api, collection(ada), admin, offset=1000) == {"projects": []}


async def test_the_list_of_a_missing_user_is_404_for_the_admin(api: httpx2.AsyncClient, admin: Headers) -> None:
    problem(await api.get(f"/v1/projects/{unique('u')}", headers=admin), 404)


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=ten", "offset=-1", "offset=x"])
async def test_bad_pages_are_refused(api: httpx2.AsyncClient, ada: User, query: str) -> None:
    response = await api.get(f"{collection(ada)}?{query}", headers=ada.headers)
    refused(response, 422, f"query.{query.partition('=')[0]}")


# Deleting


@pytest.mark.parametrize("by", ["owner", "admin"])
async def test_a_deleted_project_is_gone_with_its_rows(
    api: httpx2.AsyncClient, admin: Headers, own: Project, by: str
) -> None:
    await upload(api, own, row("a", [1, 0, 0]))
    headers = own.owner.headers if by == "owner" else admin
    response = await api.delete(own.path, headers=headers)
    assert (response.status_code, response.content) == (204, b"")
    problem(await api.delete(own.path, headers=headers), 404)
    for path in (own.path, own.embeddings, own.embedding("a"), own.similar("a")):
        problem(await api.get(path, headers=headers), 404)
    assert await fetch(api, collection(own.owner), own.owner.headers) == {"projects": []}


async def test_a_project_created_again_is_empty_and_private(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    own = await project(api, ada, public_read=True, shared_with=[bob.handle], metadataScheme=SCHEMA)
    await upload(api, own, row("a", [1, 0, 0], metadata={"author": "Kant"}))
    assert (await api.delete(own.path, headers=ada.headers)).status_code == 204
    response = await api.post(collection(ada), json=own.body, headers=ada.headers)
    assert response.status_code == 201
    about = await fetch(api, own.path, ada.headers)
    assert (about["number_of_embeddings"], about["public_read"], shares(about)) == (0, False, set())
    assert "metadataScheme" not in about
    problem(await api.get(own.path, headers=bob.headers), 403)


async def test_deleting_one_project_leaves_its_neighbour(api: httpx2.AsyncClient, admin: Headers) -> None:
    gone = await project(api, await user(api, admin))
    kept = await project(api, gone.owner, on=gone.instance)
    await upload(api, gone, row("a", [1, 0, 0]))
    await upload(api, kept, row("a", [1, 0, 0]))
    before = await snapshot(api, kept)
    assert (await api.delete(gone.path, headers=gone.owner.headers)).status_code == 204
    assert await snapshot(api, kept) == before


async def test_what_readers_may_know_of_the_instance(
    api: httpx2.AsyncClient, admin: Headers, ada: User, bob: User
) -> None:
    on = await instance(api, ada, model="a-model", endpoint="https://secret.example.org", api_key="a key")
    own = await project(api, ada, on=on)
    share = {"share_with_handle": bob.handle, "role": "reader"}
    assert (await api.post(f"{own.path}/share", json=share, headers=ada.headers)).status_code == 201
    for headers in (ada.headers, bob.headers, admin):
        assert await fetch(api, f"{own.path}/instance", headers) == {
            "owner": ada.handle, "instance_handle": on.handle, "model": "a-model", "dimensions": 3,
            "api_standard": "openai", "can_embed": True, "text_search": "editors",
        }  # fmt: skip
