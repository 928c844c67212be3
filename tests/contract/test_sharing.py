"""Sharing of definitions, instances and projects; and handing projects over."""

import httpx2
import pytest

from tests.support.world import (
    Headers,
    Json,
    User,
    definition,
    fetch,
    instance,
    problem,
    project,
    refused,
    row,
    unique,
    upload,
    user,
)

KINDS = ["definition", "instance", "project"]


async def thing(api: httpx2.AsyncClient, kind: str, owner: User) -> str:
    if kind == "definition":
        return await definition(api, owner)
    return (await (instance if kind == "instance" else project)(api, owner)).path


def share(kind: str, other: str, role: str = "reader") -> Json:
    return {"share_with_handle": other} | ({} if kind == "definition" else {"role": role})


def listed(kind: str, **roles: str) -> list[object]:
    named = [{"user_handle": handle, "role": role} for handle, role in sorted(roles.items())]
    return [one["user_handle"] for one in named] if kind == "definition" else list(named)


@pytest.mark.parametrize("kind", KINDS)
async def test_sharing_and_its_end(api: httpx2.AsyncClient, admin: Headers, kind: str) -> None:
    ada, bob, eve = [await user(api, admin) for _ in range(3)]
    path = await thing(api, kind, ada)
    handle = f"{kind}_handle"

    async def shared_with() -> list[object]:
        body = await fetch(api, f"{path}/shared-with", ada.headers)
        return body if kind == "definition" else body["shared_with"]

    assert await shared_with() == []
    assert (await api.get(path, headers=bob.headers)).status_code == 403
    answer = await api.post(f"{path}/share", json=share(kind, bob.handle), headers=ada.headers)
    assert answer.status_code == 201
    expected = listed(kind, **{bob.handle: "reader"})
    assert answer.json() == {"owner": ada.handle, handle: path.rpartition("/")[2], "shared_with": expected}
    assert await shared_with() == expected
    assert (await api.get(path, headers=bob.headers)).status_code == 200
    assert (await api.get(path, headers=eve.headers)).status_code == 403

    await api.post(f"{path}/share", json=share(kind, bob.handle, "editor"), headers=ada.headers)
    assert await shared_with() == listed(kind, **{bob.handle: "editor"})
    await api.post(f"{path}/share", json=share(kind, eve.handle), headers=admin)
    assert await shared_with() == listed(kind, **{bob.handle: "editor", eve.handle: "reader"})

    for expected_status in (204, 404):
        ended = await api.delete(f"{path}/share/{bob.handle}", headers=ada.headers)
        assert ended.status_code == expected_status
    assert await shared_with() == listed(kind, **{eve.handle: "reader"})
    assert (await api.get(path, headers=bob.headers)).status_code == 403


@pytest.mark.parametrize("kind", KINDS)
async def test_refusals(api: httpx2.AsyncClient, ada: User, bob: User, kind: str) -> None:
    path = await thing(api, kind, ada)
    missing = path.rpartition("/")[0] + "/" + unique("none")
    for body, status in [
        (share(kind, ada.handle), 400),
        (share(kind, unique("nobody")), 400),
        ({}, 422),
        ({**share(kind, bob.handle), "role": "owner"}, 422),
    ]:
        problem(await api.post(f"{path}/share", json=body, headers=ada.headers), status)
    problem(await api.post(f"{missing}/share", json=share(kind, bob.handle), headers=ada.headers), 404)
    problem(await api.get(f"{missing}/shared-with", headers=ada.headers), 404)
    problem(await api.post(f"{path}/share", json=share(kind, bob.handle), headers=bob.headers), 403)
    assert (await api.get(path, headers=bob.headers)).status_code == 403


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_shared_is_in_the_lists_once(api: httpx2.AsyncClient, ada: User, bob: User, kind: str) -> None:
    path = await thing(api, kind, ada)
    for role in ("reader", "editor"):
        await api.post(f"{path}/share", json=share(kind, bob.handle, role), headers=ada.headers)
    collection = {"definition": "llm-definitions", "instance": "llm-instances", "project": "projects"}[kind]
    page = await fetch(api, f"/v1/{collection}/{bob.handle}", bob.headers)
    own = [one for one in page[f"{kind}s"] if one["owner"] == ada.handle]
    assert [one[f"{kind}_handle"] for one in own] == [path.rpartition("/")[2]]
    about = await fetch(api, bob.path, bob.headers)
    assert [one[f"{kind}_handle"] for one in about[f"{kind}s"]] == [path.rpartition("/")[2]]


async def test_a_shared_instance_can_be_built_on_and_not_changed(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    model = await instance(api, ada, api_key="a secret key")
    for role in ("reader", "editor"):
        await api.post(f"{model.path}/share", json=share("instance", bob.handle, role), headers=ada.headers)
        seen = await fetch(api, model.path, bob.headers)
        assert (seen["access_role"], seen["has_api_key"]) == (role, True)
        assert "shared_with" not in seen
        assert "secret" not in str(seen)
        problem(await api.patch(model.path, json={"model": "x"}, headers=bob.headers), 403)
        problem(await api.delete(model.path, headers=bob.headers), 403)
    body = {"project_handle": "built", "instance_handle": model.handle, "instance_owner": ada.handle}
    built = f"/v1/projects/{bob.handle}/built"
    assert (await api.put(built, json=body, headers=bob.headers)).status_code == 201
    assert (await fetch(api, built, bob.headers))["instance"]["owner"] == ada.handle
    # Neither the instance nor its owner can go while another's project needs it.
    problem(await api.delete(model.path, headers=ada.headers), 409)
    problem(await api.delete(ada.path, headers=ada.headers), 409)
    # Nor does the project go with the share.
    await api.delete(f"{model.path}/share/{bob.handle}", headers=ada.headers)
    rows = {"embeddings": [row("a", [1, 2, 3])]}
    answer = await api.post(f"/v1/embeddings/{bob.handle}/built", json=rows, headers=bob.headers)
    assert answer.status_code == 201
    # It can still be changed, closed above all; a new one cannot be built.
    for public in (True, False):
        answer = await api.patch(built, json={"public_read": public}, headers=bob.headers)
        assert (answer.status_code, answer.json()["public_read"]) == (200, public)
    assert (await api.put(built, json=body, headers=bob.headers)).status_code == 201
    another = {**body, "project_handle": "another"}
    problem(await api.post(f"/v1/projects/{bob.handle}", json=another, headers=bob.headers), 404)


async def test_built_in_definitions_are_immutable_for_all(api: httpx2.AsyncClient, admin: Headers) -> None:
    path = "/v1/llm-definitions/_system/openai-small"
    bob = await user(api, admin)
    body = {"definition_handle": "openai-small", "api_standard": "openai"}
    for headers in (admin, bob.headers):
        problem(await api.put(path, json=body, headers=headers), 403)
        problem(await api.patch(path, json={"model": "x"}, headers=headers), 403)
        problem(await api.delete(path, headers=headers), 403)
        problem(await api.post("/v1/llm-definitions/_system", json=body, headers=headers), 403)
        problem(await api.post(f"{path}/share", json=share("definition", bob.handle), headers=headers), 403)
    assert (await fetch(api, path, bob.headers))["model"] == "text-embedding-3-small"


async def test_nothing_is_given_to_the_system(api: httpx2.AsyncClient, ada: User) -> None:
    for kind in KINDS:
        path = await thing(api, kind, ada)
        answer = await api.post(f"{path}/share", json=share(kind, "_system"), headers=ada.headers)
        refused(answer, 400, "body.share_with_handle")
    mine = await project(api, ada)
    for field in ("shared_with", "authorizedReaders"):
        for answer in (
            await api.put(mine.path, json={**mine.body, field: ["_system"]}, headers=ada.headers),
            await api.patch(mine.path, json={field: ["_system"]}, headers=ada.headers),
        ):
            refused(answer, 400, f"body.{field}[0]")
    answer = await api.post(f"{mine.path}/transfer", json={"new_owner": "_system"}, headers=ada.headers)
    refused(answer, 400, "body.new_owner")
    assert (await api.delete(ada.path, headers=ada.headers)).status_code == 204


async def test_a_public_definition_is_for_every_user(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    path = await definition(api, ada)
    handle = path.rpartition("/")[2]
    inherit = {"instance_handle": unique("i"), "definition_owner": ada.handle, "definition_handle": handle}
    made = f"/v1/llm-instances/{bob.handle}/from-definition"
    problem(await api.post(made, json=inherit, headers=bob.headers), 404)
    assert (await api.patch(path, json={"is_public": True}, headers=ada.headers)).status_code == 200
    assert (await api.get(path, headers=bob.headers)).status_code == 200
    assert (await api.get(path)).status_code == 401
    assert (await api.post(made, json=inherit, headers=bob.headers)).status_code == 200
    # Instances stay when their definition goes, unlinked.
    assert (await api.delete(path, headers=ada.headers)).status_code == 204
    seen = await fetch(api, f"/v1/llm-instances/{bob.handle}/{inherit['instance_handle']}", bob.headers)
    assert seen["model"] == "m"
    assert not {"definition_id", "definition_owner", "definition_handle"} & seen.keys()


async def test_transfer(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, bob, eve = [await user(api, admin) for _ in range(3)]
    own = await project(api, ada, shared_with=[bob.handle, eve.handle])
    await upload(api, own, row("a", [1, 2, 3]))
    to_bob = {"new_owner": bob.handle}
    problem(await api.post(f"{own.path}/transfer", json=to_bob, headers=bob.headers), 403)
    problem(await api.post(f"{own.path}/transfer", json=to_bob, headers=ada.headers), 409)
    problem(await api.post(f"{own.path}/transfer", json={"new_owner": unique("no")}, headers=ada.headers), 409)
    problem(await api.post(f"{own.path}/transfer", json={"new_owner": ada.handle}, headers=ada.headers), 400)
    await api.post(f"{own.instance.path}/share", json=share("instance", bob.handle), headers=ada.headers)
    answer = await api.post(f"{own.path}/transfer", json=to_bob, headers=ada.headers)
    assert answer.status_code == 200
    assert answer.json() == {"owner": bob.handle, "project_handle": own.handle, "project_id": own.id}
    moved = f"/v1/projects/{bob.handle}/{own.handle}"
    about = await fetch(api, moved, bob.headers)
    assert (about["role"], about["number_of_embeddings"]) == ("owner", 1)
    assert about["shared_with"] == [{"user_handle": eve.handle, "role": "reader"}]
    problem(await api.get(own.path, headers=ada.headers), 404)
    problem(await api.get(moved, headers=ada.headers), 403)


async def test_after_a_transfer_nobody_but_the_new_owner_embeds_texts(
    api: httpx2.AsyncClient, admin: Headers, ada: User, bob: User
) -> None:
    # Otherwise a user whose share of an instance has ended gives its owner a project with an accomplice as an editor.
    eve = await user(api, admin)
    lent = await project(api, bob)
    await api.post(f"{lent.instance.path}/share", json=share("instance", ada.handle), headers=bob.headers)
    body = {
        "project_handle": "gift",
        "instance_owner": bob.handle,
        "instance_handle": lent.instance.handle,
        "text_search": "public",
        "public_read": True,
        "shared_with": [{"user_handle": eve.handle, "role": "editor"}],
    }
    answer = await api.put(f"/v1/projects/{ada.handle}/gift", json=body, headers=ada.headers)
    assert answer.status_code == 201
    await api.delete(f"{lent.instance.path}/share/{ada.handle}", headers=bob.headers)
    to_bob = {"new_owner": bob.handle}
    answer = await api.post(f"/v1/projects/{ada.handle}/gift/transfer", json=to_bob, headers=ada.headers)
    assert answer.status_code == 200
    about = await fetch(api, f"/v1/projects/{bob.handle}/gift", bob.headers)
    assert about["shared_with"] == [{"user_handle": eve.handle, "role": "reader"}]
    assert (about["text_search"], about["public_read"]) == ("editors", True)
    texts = {"texts": [{"text_id": "a", "text": "rose"}]}
    problem(await api.post(f"/v1/texts/{bob.handle}/gift", json=texts, headers=eve.headers), 403)
    problem(await api.post(f"/v1/similars/{bob.handle}/gift", json={"text": "rose"}, headers=eve.headers), 403)
    problem(await api.post(f"/v1/similars/{bob.handle}/gift", json={"text": "rose"}), 401)


async def test_transfer_to_somebody_who_has_one_of_that_name(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    own = await project(api, ada)
    other = await project(api, bob)
    same = {"project_handle": own.handle, "instance_handle": other.instance.handle}
    await api.put(f"/v1/projects/{bob.handle}/{own.handle}", json=same, headers=bob.headers)
    await api.post(f"{own.instance.path}/share", json=share("instance", bob.handle), headers=ada.headers)
    answer = await api.post(f"{own.path}/transfer", json={"new_owner": bob.handle}, headers=ada.headers)
    problem(answer, 409)
    assert (await fetch(api, own.path, ada.headers))["role"] == "owner"
