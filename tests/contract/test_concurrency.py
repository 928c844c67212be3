"""Many at once: one of each is made, no row is lost, no key is left behind."""

import asyncio
import random
from collections.abc import Awaitable

import httpx2
import pytest

from tests.support.world import (
    Headers,
    Project,
    User,
    batch,
    fetch,
    instance,
    pages,
    problem,
    project,
    row,
    snapshot,
    status,
    unique,
    upload,
    user,
)


def bearer(key: str) -> Headers:
    return {"Authorization": f"Bearer {key}"}


async def together(*requests: Awaitable[httpx2.Response]) -> list[httpx2.Response]:
    return await asyncio.gather(*requests)


@pytest.mark.parametrize("by", ["put", "post"])
async def test_of_fifty_creations_of_one_user_one_gets_the_key(
    api: httpx2.AsyncClient, admin: Headers, by: str
) -> None:
    handle = unique("u")
    path = f"/v1/users/{handle}" if by == "put" else "/v1/users"
    body = {"user_handle": handle, "email": f"{handle}@example.org"}
    answers = await together(*(api.request(by.upper(), path, json=body, headers=admin) for _ in range(50)))
    assert [answer.status_code for answer in answers] == [201] * 50
    keys = [answer.json()["vdb_key"] for answer in answers]
    assert keys.count("not changed") == 49
    key = next(key for key in keys if key != "not changed")
    assert await status(api, f"/v1/users/{handle}", bearer(key)) == 200
    assert (await pages(api, "/v1/users", admin, field=None, limit=200)).count(handle) == 1


async def test_of_twenty_users_with_one_email_one_is_made(api: httpx2.AsyncClient, admin: Headers) -> None:
    email, handles = f"{unique('e')}@example.org", [unique("u") for _ in range(20)]
    answers = await together(
        *(
            api.put(f"/v1/users/{handle}", json={"user_handle": handle, "email": email}, headers=admin)
            for handle in handles
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    found = [await status(api, f"/v1/users/{handle}", admin) for handle in handles]
    assert found == [200 if answer.status_code == 201 else 404 for answer in answers]


async def test_of_fifty_creations_of_one_project_one_is_made(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, handle = await user(api, admin), unique("p")
    on = await instance(api, ada)
    body = {"project_handle": handle, "instance_handle": on.handle}
    path = f"/v1/projects/{ada.handle}"
    answers = await together(*(api.put(f"{path}/{handle}", json=body, headers=ada.headers) for _ in range(50)))
    assert [answer.status_code for answer in answers] == [201] * 50
    (number,) = {answer.json()["project_id"] for answer in answers}
    found = (await fetch(api, path, ada.headers))["projects"]
    assert [entry["project_id"] for entry in found] == [number]
    assert (await upload(api, Project(ada, handle, number, on), row("a", [1, 0, 0])))["inserted"] == 1


async def test_of_fifty_creations_of_one_instance_one_is_made(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, handle = await user(api, admin), unique("i")
    body, path = {"instance_handle": handle, "dimensions": 3}, f"/v1/llm-instances/{ada.handle}"
    answers = await together(*(api.post(path, json=body, headers=ada.headers) for _ in range(50)))
    assert [answer.status_code for answer in answers] == [201] * 50
    assert len({answer.json()["instance_id"] for answer in answers}) == 1
    assert len((await fetch(api, path, ada.headers))["instances"]) == 1


async def test_many_projects_at_once_are_all_made(api: httpx2.AsyncClient, ada: User) -> None:
    on = await instance(api, ada)
    made = await asyncio.gather(*(project(api, ada, on=on) for _ in range(20)))
    assert len({one.id for one in made}) == 20
    await asyncio.gather(*(upload(api, one, row("a", [1, 0, 0], text=one.handle)) for one in made))
    for one in made:
        assert (await fetch(api, one.embedding("a"), ada.headers))["text"] == one.handle


async def test_overlapping_batches_neither_fail_nor_lose_rows(api: httpx2.AsyncClient, own: Project) -> None:
    everything = [f"id-{n:03}" for n in range(150)]
    lots = [everything[first : first + 80] for first in range(0, 80, 10)]
    for lot in lots:
        random.Random(lot[0]).shuffle(lot)
    answers = await together(
        *(
            api.post(
                own.embeddings,
                headers=own.owner.headers,
                json=batch(
                    *(
                        row(text_id, [1, number + 1, 0], text=f"lot {number}", metadata={"lot": number})
                        for text_id in lot
                    )
                ),
            )
            for number, lot in enumerate(lots)
        )
    )
    assert [answer.status_code for answer in answers] == [201] * 8
    assert [answer.json()["ids"] for answer in answers] == lots
    assert sum(answer.json()["inserted"] for answer in answers) == 150
    assert sum(answer.json()["updated"] for answer in answers) == 8 * 80 - 150
    about, rows = await snapshot(api, own)
    assert about["number_of_embeddings"] == 150
    assert [entry["text_id"] for entry in rows] == everything
    for entry in rows:  # each row is wholly of one batch
        number = entry["metadata"]["lot"]
        assert (entry["text"], entry["vector"]) == (f"lot {number}", [1, number + 1, 0])
        assert entry["text_id"] in lots[number]


async def test_repeated_overlapping_batches_do_not_deadlock(api: httpx2.AsyncClient, own: Project) -> None:
    ids = [f"id-{n:03}" for n in range(100)]

    async def client(number: int) -> list[int]:
        order = random.Random(number)
        statuses = []
        for turn in range(5):
            rows = [row(text_id, [number + 1, turn, 0]) for text_id in order.sample(ids, len(ids))]
            answer = await api.post(own.embeddings, json=batch(*rows), headers=own.owner.headers)
            statuses.append(answer.status_code)
        return statuses

    assert await asyncio.gather(*(client(number) for number in range(8))) == [[201] * 5] * 8
    assert (await fetch(api, own.path, own.owner.headers))["number_of_embeddings"] == 100


@pytest.mark.slow
async def test_a_row_is_whole_while_it_is_rewritten(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 1, 0], text="1"), row("b", [1, 1, 0], text="1"))

    async def write() -> None:
        for n in range(2, 22):
            await upload(api, own, row("a", [1, n, 0], text=str(n)), row("b", [1, n, 0], text=str(n)))

    async def read() -> None:
        for _ in range(20):
            _, (a, b) = await snapshot(api, own)
            assert a["vector"][1] == int(a["text"])
            assert (a["vector"], a["text"]) == (b["vector"], b["text"])

    await asyncio.gather(write(), read(), read())


async def test_searches_go_on_while_rows_are_written(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("kept", [1, 0, 0]))

    async def write() -> None:
        for n in range(10):
            await upload(api, own, *(row(f"other-{n}-{m}", [0, 1, m]) for m in range(20)))

    async def search() -> None:
        for _ in range(20):
            answer = await api.post(own.similars, json={"vector": [1, 0, 0]}, headers=own.owner.headers)
            assert [result["id"] for result in answer.json()["results"]] == ["kept"]

    await asyncio.gather(write(), search(), search())


async def test_a_key_is_refreshed_while_it_is_used(api: httpx2.AsyncClient, ada: User) -> None:
    refreshed = asyncio.Event()
    late: list[int] = []

    async def use() -> None:
        for _ in range(30):
            after = refreshed.is_set()
            answer = await api.get(ada.path, headers=ada.headers)
            assert answer.status_code in {200, 401}  # before and after the refresh
            if after:
                late.append(answer.status_code)

    async def refresh() -> str:
        await asyncio.sleep(0.02)
        answer = await api.post(f"{ada.path}/key", headers=ada.headers)
        refreshed.set()
        assert answer.status_code == 201
        return answer.json()["vdb_key"]

    *_, key = await asyncio.gather(use(), use(), use(), use(), refresh())
    assert set(late) <= {401}
    problem(await api.get(ada.path, headers=ada.headers), 401)
    assert await status(api, ada.path, bearer(key)) == 200


async def test_of_many_refreshed_keys_one_works(api: httpx2.AsyncClient, admin: Headers, ada: User) -> None:
    answers = await together(*(api.post(f"{ada.path}/key", headers=admin) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [201] * 8
    works = [await status(api, ada.path, bearer(answer.json()["vdb_key"])) for answer in answers]
    assert sorted(works) == [200] + [401] * 7


async def test_of_many_deletions_of_one_project_one_succeeds(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 0, 0]))
    answers = await together(*(api.delete(own.path, headers=own.owner.headers) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 7


async def test_uploads_into_a_project_that_is_deleted_end_well(api: httpx2.AsyncClient, own: Project) -> None:

    async def write(number: int) -> set[int]:
        rows = [row(f"{number}-{n}", [1, n, 0]) for n in range(20)]
        return {
            (await api.post(own.embeddings, json=batch(*rows), headers=own.owner.headers)).status_code for _ in range(5)
        }

    async def delete() -> set[int]:
        await asyncio.sleep(0.02)
        return {(await api.delete(own.path, headers=own.owner.headers)).status_code}

    *written, deleted = await asyncio.gather(*(write(number) for number in range(4)), delete())
    assert deleted == {204}
    assert set().union(*written) <= {201, 404}  # before and after the deletion
    problem(await api.get(own.path, headers=own.owner.headers), 404)
    assert (await api.put(own.path, json=own.body, headers=own.owner.headers)).status_code == 201
    assert (await fetch(api, own.path, own.owner.headers))["number_of_embeddings"] == 0
