"""Lists of projects: what they say of each, and the admin's list of all."""

import httpx2

from tests.support.world import Headers, User, fetch, instance, problem, project, row, upload, user


async def test_each_project_shows_what_a_page_of_them_needs(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    on = await instance(api, ada, model="house-3")
    own = await project(
        api,
        ada,
        on=on,
        description="Poems",
        text_search="readers",
        shared_with=[{"user_handle": bob.handle, "role": "editor"}],
    )
    await upload(api, own, row("a", [1, 2, 3]), row("b", [1, 2, 3]))
    for reader, role in ((ada, "owner"), (bob, "editor")):
        answer = await fetch(api, f"/v1/projects/{reader.handle}", reader.headers)
        assert answer == {
            "projects": [
                {
                    "owner": ada.handle,
                    "project_handle": own.handle,
                    "project_id": own.id,
                    "public_read": False,
                    "role": role,
                    "number_of_embeddings": 2,
                    "text_search": "readers",
                    "index": {"state": "exact", "rows": 0, "tail": 2},
                    "instance": {
                        "owner": ada.handle, "instance_handle": on.handle, "dimensions": 3, "model": "house-3",
                    },
                    "description": "Poems",
                }
            ]
        }  # fmt: skip


async def test_the_admin_pages_through_those_of_all_users(api: httpx2.AsyncClient, admin: Headers) -> None:
    made = [await project(api, await user(api, admin)) for _ in range(3)]
    found, path = [], "/v1/projects?limit=2"
    while path:
        page = (await api.get(path, headers=admin)).json()
        found += page["projects"]
        assert len(page["projects"]) == 2 or "next" not in page
        path = page.get("next", "")
    assert len({one["project_id"] for one in found}) == len(found)
    mine = [one for one in found if one["project_id"] in {each.id for each in made}]
    assert {(one["owner"], one["project_handle"]) for one in mine} == {
        (each.owner.handle, each.handle) for each in made
    }
    assert {one["role"] for one in mine} == {"admin"}


async def test_nobody_else_sees_that_list(api: httpx2.AsyncClient, ada: User) -> None:
    problem(await api.get("/v1/projects", headers=ada.headers), 403)
    problem(await api.get("/v1/projects"), 401)
