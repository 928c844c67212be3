"""Users: who may do what, the key that is shown once, and what leaves with a user (contract, section 2)."""

import random
import string
import uuid

import httpx2
import pytest

from tests.support.world import (
    UNKNOWN_KEY,
    Headers,
    Json,
    User,
    fetch,
    instance,
    pages,
    problem,
    project,
    refused,
    refused_below,
    refused_property,
    row,
    status,
    unique,
    upload,
    user,
)


def user_body(handle: str, **fields: object) -> Json:
    return {"user_handle": handle, "email": f"{handle}@example.org", **fields}


# Creating and changing


async def test_put_creates_a_user_and_shows_a_key_that_works(api: httpx2.AsyncClient, admin: Headers) -> None:
    handle = unique("u")
    response = await api.put(f"/v1/users/{handle}", json=user_body(handle, name="Ada"), headers=admin)
    assert response.status_code == 201
    assert set(response.json()) == {"user_handle", "vdb_key"}
    assert response.json()["user_handle"] == handle
    key = response.json()["vdb_key"]
    assert len(key) >= 32
    assert await status(api, f"/v1/users/{handle}", {"Authorization": f"Bearer {key}"}) == 200


async def test_post_creates_a_user_with_the_same_answer(api: httpx2.AsyncClient, admin: Headers) -> None:
    handle = unique("u")
    response = await api.post("/v1/users", json=user_body(handle), headers=admin)
    assert response.status_code == 201
    assert set(response.json()) == {"user_handle", "vdb_key"}
    assert response.json()["vdb_key"] != "not changed"


@pytest.mark.parametrize("by", ["put", "post"])
async def test_an_upsert_changes_the_user_and_leaves_the_key(api: httpx2.AsyncClient, admin: Headers, by: str) -> None:
    ada = await user(api, admin, name="Ada")
    path = ada.path if by == "put" else "/v1/users"
    body = {"user_handle": ada.handle, "email": f"new-{ada.email}", "name": "Ada L."}
    response = await api.request(by.upper(), path, json=body, headers=admin)
    assert response.status_code == 201
    assert response.json() == {"user_handle": ada.handle, "vdb_key": "not changed"}
    about = await fetch(api, ada.path, ada.headers)
    assert (about["email"], about["name"]) == (f"new-{ada.email}", "Ada L.")


async def test_null_for_the_name_is_leaving_it_out(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(api, admin, name=None)
    assert "name" not in await fetch(api, ada.path, admin)


@pytest.mark.parametrize(
    "handle",
    [
        "".join(random.choices(string.ascii_lowercase, k=3)),
        uuid.uuid4().hex * 2,
        f"A.b_c~d-{uuid.uuid4().hex}",
        f"7{uuid.uuid4().hex}",
        f"Z{uuid.uuid4().hex}...",
    ],
    ids=["three", "sixty-four", "all-characters", "digit-first", "dots-last"],
)
async def test_good_handles_are_taken(api: httpx2.AsyncClient, admin: Headers, handle: str) -> None:
    body = {"user_handle": handle, "email": f"{unique('e')}@example.org"}
    response = await api.put(f"/v1/users/{handle}", json=body, headers=admin)
    assert response.status_code == 201
    assert (await fetch(api, f"/v1/users/{handle}", admin))["user_handle"] == handle
    assert (await api.delete(f"/v1/users/{handle}", headers=admin)).status_code == 204


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "ab",
        "x" * 65,
        "_system",
        "admin",
        "public",
        "_abc",
        "-abc",
        ".abc",
        "~abc",
        "a b c",
        "a/b/c",
        "a%2Fb",
        "abc\n",
        "\nabc",
        "ab\u0000c",
        "käse",
        "abc\u200b",
        "\u0430bc",
        "a@b.c",
        "*",
    ],
)
async def test_bad_and_reserved_handles_are_refused(api: httpx2.AsyncClient, admin: Headers, handle: str) -> None:
    email = f"{unique('e')}@example.org"
    body = {"user_handle": handle, "email": email}
    refused(await api.post("/v1/users", json=body, headers=admin), 422, "body.user_handle")
    # nothing was stored: the e-mail is still free
    assert (await user(api, admin, email=email)).handle


@pytest.mark.parametrize("handle", ["ab", "admin", "public", "_system", "x" * 65])
async def test_put_of_a_bad_handle_is_refused(api: httpx2.AsyncClient, admin: Headers, handle: str) -> None:
    response = await api.put(f"/v1/users/{handle}", json=user_body(handle), headers=admin)
    body = problem(response, 422)
    # the handle is wrong in both places; the contract does not say which one is named
    assert {"path.user_handle", "body.user_handle"} & {error["location"] for error in body["errors"]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no-at-sign"),
        ("email", ""),
        ("email", 5),
        ("email", ["a@example.org"]),
        ("email", "a@example.org\u0000"),
        ("name", 5),
        ("name", {"first": "Ada"}),
        ("name", "A\u0000da"),
        ("user_handle", 12345),
        ("user_handle", ["abc"]),
    ],
)
async def test_bad_values_are_refused(api: httpx2.AsyncClient, admin: Headers, field: str, value: object) -> None:
    handle = unique("u")
    response = await api.post("/v1/users", json=user_body(handle, **{field: value}), headers=admin)
    refused(response, 422, f"body.{field}")
    assert await status(api, f"/v1/users/{handle}", admin) == 404


@pytest.mark.parametrize("field", ["user_handle", "email"])
@pytest.mark.parametrize("how", ["left out", "null"])
async def test_required_properties_are_required(api: httpx2.AsyncClient, admin: Headers, field: str, how: str) -> None:
    handle = unique("u")
    body = user_body(handle)
    if how == "null":
        body[field] = None
    else:
        del body[field]
    refused_property(await api.post("/v1/users", json=body, headers=admin), "body", field)
    assert await status(api, f"/v1/users/{handle}", admin) == 404


@pytest.mark.parametrize("field", ["nonsense", "vdb_key", "Email", "user_id"])
async def test_unknown_properties_are_refused(api: httpx2.AsyncClient, admin: Headers, field: str) -> None:
    handle = unique("u")
    response = await api.put(f"/v1/users/{handle}", json=user_body(handle, **{field: "x"}), headers=admin)
    refused_property(response, "body", field)
    assert await status(api, f"/v1/users/{handle}", admin) == 404


async def test_a_handle_that_differs_from_the_path_is_refused(api: httpx2.AsyncClient, admin: Headers) -> None:
    one, other = unique("u"), unique("u")
    response = await api.put(f"/v1/users/{one}", json=user_body(other), headers=admin)
    refused(response, 400, "body.user_handle")
    assert await status(api, f"/v1/users/{one}", admin) == 404
    assert await status(api, f"/v1/users/{other}", admin) == 404


async def test_an_email_in_use_is_a_conflict_for_a_new_user(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, handle = await user(api, admin), unique("u")
    response = await api.post("/v1/users", json={"user_handle": handle, "email": ada.email}, headers=admin)
    problem(response, 409)
    assert await status(api, f"/v1/users/{handle}", admin) == 404


async def test_an_email_in_use_is_a_conflict_for_an_old_user(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob = await user(api, admin), await user(api, admin, name="Bob")
    before = await fetch(api, bob.path, admin)
    body = {"user_handle": bob.handle, "email": ada.email, "name": "Bobby"}
    problem(await api.put(bob.path, json=body, headers=admin), 409)
    assert await fetch(api, bob.path, admin) == before
    assert await status(api, bob.path, bob.headers) == 200


# Reading


async def test_a_user_is_read_without_key_or_hash(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(api, admin, name="Ada")
    expected = {
        "user_handle": ada.handle,
        "name": "Ada",
        "email": ada.email,
        "projects": [],
        "definitions": [],
        "instances": [],
    }
    assert await fetch(api, ada.path, ada.headers) == expected
    assert await fetch(api, ada.path, admin) == expected


async def test_a_user_lists_what_they_own(api: httpx2.AsyncClient, ada: User) -> None:
    own = await project(api, ada)
    about = await fetch(api, ada.path, ada.headers)
    assert about["projects"] == [{"project_handle": own.handle, "owner": ada.handle, "role": "owner"}]
    assert about["instances"] == [{"instance_handle": own.instance.handle, "owner": ada.handle, "role": "owner"}]


@pytest.mark.parametrize("role", ["reader", "editor"])
async def test_a_user_lists_projects_shared_with_them(api: httpx2.AsyncClient, ada: User, bob: User, role: str) -> None:
    shared = await project(api, ada, shared_with=[{"user_handle": bob.handle, "role": role}])
    about = await fetch(api, bob.path, bob.headers)
    assert about["projects"] == [{"project_handle": shared.handle, "owner": ada.handle, "role": role}]
    assert about["instances"] == []


async def test_a_public_project_is_not_listed_with_every_user(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    await project(api, ada, public_read=True)
    assert (await fetch(api, bob.path, bob.headers))["projects"] == []


async def test_a_missing_user_is_404_for_the_admin(api: httpx2.AsyncClient, admin: Headers) -> None:
    problem(await api.get(f"/v1/users/{unique('u')}", headers=admin), 404)


@pytest.mark.parametrize("limit", [pytest.param(1, marks=pytest.mark.slow), 7, 200])
async def test_the_list_holds_every_handle_once_whatever_the_page(
    api: httpx2.AsyncClient, admin: Headers, limit: int
) -> None:
    made = {(await user(api, admin)).handle for _ in range(3)}
    found = await pages(api, "/v1/users", admin, field=None, limit=limit)
    assert all(isinstance(handle, str) for handle in found)
    assert len(found) == len(set(found))
    assert made <= set(found)


async def test_a_page_past_the_end_is_an_empty_list(api: httpx2.AsyncClient, admin: Headers) -> None:
    assert await fetch(api, "/v1/users", admin, offset=2_000_000_000) == []


# Keys


@pytest.mark.parametrize("by", ["owner", "admin"])
async def test_a_new_key_replaces_the_old_at_once(api: httpx2.AsyncClient, admin: Headers, ada: User, by: str) -> None:
    response = await api.post(f"{ada.path}/key", headers=ada.headers if by == "owner" else admin)
    assert response.status_code == 201
    assert set(response.json()) == {"user_handle", "vdb_key"}
    assert response.json()["user_handle"] == ada.handle
    assert response.json()["vdb_key"] not in {ada.key, "not changed"}
    problem(await api.get(ada.path, headers=ada.headers), 401)
    assert await status(api, ada.path, {"Authorization": f"Bearer {response.json()['vdb_key']}"}) == 200


async def test_a_revoked_key_can_do_nothing_more(api: httpx2.AsyncClient, ada: User) -> None:
    own = await project(api, ada)
    new = (await api.post(f"{ada.path}/key", headers=ada.headers)).json()["vdb_key"]
    problem(await api.post(f"{ada.path}/key", headers=ada.headers), 401)
    problem(await api.delete(own.path, headers=ada.headers), 401)
    problem(await api.post(own.embeddings, json={"embeddings": [row("a", [1, 0, 0])]}, headers=ada.headers), 401)
    fresh = {"Authorization": f"Bearer {new}"}
    assert (await fetch(api, own.path, fresh))["number_of_embeddings"] == 0


async def test_a_new_key_for_a_missing_user_is_404_for_the_admin(api: httpx2.AsyncClient, admin: Headers) -> None:
    problem(await api.post(f"/v1/users/{unique('u')}/key", headers=admin), 404)


# Deleting


@pytest.mark.parametrize("by", ["owner", "admin"])
async def test_a_deleted_user_is_gone_with_all_they_own(
    api: httpx2.AsyncClient, admin: Headers, ada: User, by: str
) -> None:
    own = await project(api, ada)
    await upload(api, own, row("a", [1, 0, 0]))
    response = await api.delete(ada.path, headers=ada.headers if by == "owner" else admin)
    assert response.status_code == 204
    assert response.content == b""
    problem(await api.get(ada.path, headers=ada.headers), 401)
    for path in (ada.path, own.path, own.instance.path, own.embeddings, own.embedding("a"), own.similar("a")):
        problem(await api.get(path, headers=admin), 404)
    assert ada.handle not in await pages(api, "/v1/users", admin, field=None, limit=200)


async def test_deleting_a_missing_user_is_404_for_the_admin(api: httpx2.AsyncClient, admin: Headers) -> None:
    problem(await api.delete(f"/v1/users/{unique('u')}", headers=admin), 404)


async def test_a_user_created_again_has_nothing_of_the_old_one(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada = await user(api, admin, name="Ada")
    await project(api, ada)
    assert (await api.delete(ada.path, headers=admin)).status_code == 204
    response = await api.post("/v1/users", json={"user_handle": ada.handle, "email": ada.email}, headers=admin)
    assert response.json()["vdb_key"] not in {ada.key, "not changed"}
    about = await fetch(api, ada.path, admin)
    assert about == {"user_handle": ada.handle, "email": ada.email, "projects": [], "definitions": [], "instances": []}
    problem(await api.get(ada.path, headers=ada.headers), 401)


async def test_a_deleted_user_leaves_the_projects_shared_with_them(
    api: httpx2.AsyncClient, admin: Headers, ada: User, bob: User
) -> None:
    shared = await project(api, ada, shared_with=[{"user_handle": bob.handle, "role": "editor"}])
    await upload(api, shared, row("a", [1, 0, 0]))
    assert (await api.delete(bob.path, headers=admin)).status_code == 204
    about = await fetch(api, shared.path, ada.headers)
    assert about["number_of_embeddings"] == 1
    assert about.get("shared_with", []) == []


async def test_deleting_a_user_leaves_other_users_alone(
    api: httpx2.AsyncClient, admin: Headers, ada: User, bob: User
) -> None:
    kept = await project(api, bob)
    await upload(api, kept, row("a", [1, 0, 0]))
    await project(api, ada, shared_with=[bob.handle])
    assert (await api.delete(ada.path, headers=admin)).status_code == 204
    about = await fetch(api, bob.path, bob.headers)
    assert [entry["project_handle"] for entry in about["projects"]] == [kept.handle]
    assert await status(api, kept.embedding("a"), bob.headers) == 200


# Who may

OPERATIONS = [
    ("GET", "/v1/users", "admin"),
    ("POST", "/v1/users", "admin"),
    ("PUT", "/v1/users/{user}", "admin"),
    ("GET", "/v1/users/{user}", "owner"),
    ("POST", "/v1/users/{user}/key", "owner"),
    ("DELETE", "/v1/users/{user}", "owner"),
]


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in OPERATIONS])
async def test_another_user_may_do_nothing_with_users(
    api: httpx2.AsyncClient, admin: Headers, method: str, path: str
) -> None:
    ada, eve = await user(api, admin), await user(api, admin)
    before = await fetch(api, ada.path, admin)
    body = {"user_handle": ada.handle, "email": ada.email, "name": "Eve"} if method in {"PUT", "POST"} else None
    response = await api.request(method, path.replace("{user}", ada.handle), json=body, headers=eve.headers)
    problem(response, 403)
    assert await fetch(api, ada.path, ada.headers) == before


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, who in OPERATIONS if who == "admin"])
async def test_a_user_may_not_manage_users_not_even_themself(
    api: httpx2.AsyncClient, ada: User, method: str, path: str
) -> None:
    body = {"user_handle": ada.handle, "email": ada.email, "name": "I"} if method in {"PUT", "POST"} else None
    response = await api.request(method, path.replace("{user}", ada.handle), json=body, headers=ada.headers)
    problem(response, 403)
    assert "name" not in await fetch(api, ada.path, ada.headers)


@pytest.mark.parametrize("headers", [{}, UNKNOWN_KEY], ids=["no-key", "unknown-key"])
@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in OPERATIONS])
async def test_without_a_known_key_nothing_is_done_with_users(
    api: httpx2.AsyncClient, ada: User, method: str, path: str, headers: Headers
) -> None:
    problem(await api.request(method, path.replace("{user}", ada.handle), headers=headers), 401)
    assert await status(api, ada.path, ada.headers) == 200


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p, _ in OPERATIONS if "{user}" in p])
async def test_403_is_the_same_whether_or_not_the_user_exists(
    api: httpx2.AsyncClient, admin: Headers, method: str, path: str
) -> None:
    ada, eve, nobody = await user(api, admin), await user(api, admin), unique("u")
    there = await api.request(method, path.replace("{user}", ada.handle), headers=eve.headers)
    not_there = await api.request(method, path.replace("{user}", nobody), headers=eve.headers)
    problem(there, 403)
    problem(not_there, 403)
    assert there.text.replace(ada.handle, "X") == not_there.text.replace(nobody, "X")


async def test_the_users_instances_stay_when_the_delete_is_refused(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, eve = await user(api, admin), await user(api, admin)
    own = await instance(api, ada)
    problem(await api.delete(ada.path, headers=eve.headers), 403)
    assert await status(api, own.path, ada.headers) == 200


async def test_all_problems_of_a_user_are_listed(api: httpx2.AsyncClient, admin: Headers) -> None:
    response = await api.post("/v1/users", json={"user_handle": "a b", "email": 5, "name": []}, headers=admin)
    body = refused(response, 422, "body.user_handle", "body.email")
    assert refused_below(response, 422, "body.name") == body


async def test_whose_key_it_is(api: httpx2.AsyncClient, admin: Headers) -> None:
    someone = await user(api, admin)
    assert await fetch(api, "/v1/whoami", someone.headers) == {"user_handle": someone.handle, "role": "user"}
    assert await fetch(api, "/v1/whoami", admin) == {"user_handle": None, "role": "admin"}
