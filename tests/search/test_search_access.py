"""Who may search an indexed project: decided anew for each request, before anything of its body is waited for.

Each test searches first as the owner, then changes something.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import msgspec
import numpy as np
import pytest

from service.api.routes import endpoints
from service.queries import projects, similars
from service.storage import indexer
from tests.conftest import ADMIN, serving, settings_for
from tests.support import world
from tests.support.searches import AIMS
from tests.support.world import Headers, Project, User

pytestmark = pytest.mark.slow

VECTORS = np.random.default_rng(5).normal(size=(300, 3)).astype(np.float16)
QUERY = {"vector": [1.0, 0.0, 0.0]}


async def search(api: httpx2.AsyncClient, project: Project, headers: Headers, body: Any = QUERY) -> httpx2.Response:
    return await api.post(f"{project.similars}?threshold=-1", json=body, headers=headers)


async def analyzed(url: str, project: Project) -> None:
    """Lets the server's statistics know how many rows there are."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"ANALYZE embeddings_{project.id}; SELECT pg_stat_force_next_flush()")
    await connection.close()


async def indexed(api: httpx2.AsyncClient, url: str, **fields: object) -> tuple[Project, User, list[str]]:
    """A project that is shared with a reader, and indexed; and what QUERY finds in it."""
    owner, reader = await world.user(api, ADMIN), await world.user(api, ADMIN)
    shares = [{"user_handle": reader.handle, "role": "reader"}]
    project = await world.project(api, owner, shared_with=shares, **fields)
    rows = [world.row(f"{number:03}", vector.astype(float).tolist()) for number, vector in enumerate(VECTORS)]
    await world.upload(api, project, *rows)
    await analyzed(url, project)
    await indexer.run_once(url, AIMS)
    for _ in range(2):
        answer = (await search(api, project, owner.headers)).json()
        assert answer["search"]["method"] == "index"
    return project, reader, [one["id"] for one in answer["results"]]


async def test_everybody_with_access_finds_the_same(api: httpx2.AsyncClient, url: str) -> None:
    project, reader, nearest = await indexed(api, url)
    for headers in (project.owner.headers, reader.headers, ADMIN):
        answer = (await search(api, project, headers)).json()
        assert [one["id"] for one in answer["results"]] == nearest
    await world.upload(api, project, world.row("new", [1.0, 0.0, 0.0]))
    answer = (await search(api, project, reader.headers)).json()
    assert answer["results"][0]["id"] == "new"


async def test_what_is_like_a_stored_text_is_decided_anew(api: httpx2.AsyncClient, url: str) -> None:
    project, reader, nearest = await indexed(api, url)
    like = {"text_id": nearest[0]}
    for headers in (project.owner.headers, reader.headers):
        answer = await search(api, project, headers, like)
        assert answer.json()["search"]["method"] == "index"
        assert nearest[0] not in [one["id"] for one in answer.json()["results"]]
    assert (await search(api, project, reader.headers, {"text_id": "none"})).status_code == 404
    ended = await api.delete(f"{project.path}/share/{reader.handle}", headers=project.owner.headers)
    assert ended.status_code == 204
    for body in (like, {"text_id": "none"}):
        assert (await search(api, project, reader.headers, body)).status_code == 403


@pytest.mark.parametrize(
    "body", [QUERY, {"vector": [1.0]}, {"vector": "no"}, {}, {"text_id": "001"}, {"vector": [0.0, 0.0, 0.0]}]
)
async def test_strangers_learn_nothing(api: httpx2.AsyncClient, url: str, body: Any) -> None:
    project, _, _ = await indexed(api, url)
    missing = replace(project, handle="missing")
    stranger = await world.user(api, ADMIN)
    for headers, status in ((stranger.headers, 403), ({}, 401), ({"Authorization": "Bearer nobody"}, 401)):
        there, nowhere = await search(api, project, headers, body), await search(api, missing, headers, body)
        assert there.status_code == nowhere.status_code == status
        assert there.json() == nowhere.json()


async def test_a_share_that_is_withdrawn_is_gone_at_once(api: httpx2.AsyncClient, url: str) -> None:
    project, reader, _ = await indexed(api, url)
    assert (await search(api, project, reader.headers)).status_code == 200
    gone = await api.delete(f"{project.path}/share/{reader.handle}", headers=project.owner.headers)
    assert gone.status_code == 204
    assert (await search(api, project, reader.headers)).status_code == 403


async def test_a_key_that_is_replaced_is_gone_at_once(api: httpx2.AsyncClient, url: str) -> None:
    project, reader, nearest = await indexed(api, url)
    new = (await api.post(f"{reader.path}/key", headers=ADMIN)).json()["vdb_key"]
    assert (await search(api, project, reader.headers)).status_code == 401
    answer = (await search(api, project, {"Authorization": f"Bearer {new}"})).json()
    assert [one["id"] for one in answer["results"]] == nearest


async def test_a_project_that_becomes_public_and_private_again(api: httpx2.AsyncClient, url: str) -> None:
    project, _, _ = await indexed(api, url)
    unknown = {"Authorization": "Bearer nobody"}
    for public, status in ((True, 200), (False, 401)):
        changed = await api.patch(project.path, json={"public_read": public}, headers=project.owner.headers)
        assert changed.status_code == 200
        assert (await search(api, project, {})).status_code == status
        assert (await search(api, project, unknown)).status_code == 401


async def test_a_project_that_is_deleted_and_made_again(api: httpx2.AsyncClient, url: str) -> None:
    project, reader, _ = await indexed(api, url)
    owner = project.owner.headers
    assert (await api.delete(project.path, headers=owner)).status_code == 204
    assert (await search(api, project, owner)).status_code == 404
    assert (await search(api, project, reader.headers)).status_code == 403
    assert (await search(api, project, {})).status_code == 401
    assert (await api.put(project.path, json=project.body, headers=owner)).status_code == 201
    answer = (await search(api, project, owner)).json()
    assert (answer["results"], answer["search"]["method"]) == ([], "exact")


async def test_a_project_that_is_emptied_and_gets_another_instance(api: httpx2.AsyncClient, url: str) -> None:
    project, _, _ = await indexed(api, url)
    owner = project.owner.headers
    assert (await api.delete(project.embeddings, headers=owner)).status_code == 204
    assert (await search(api, project, owner)).json()["search"]["method"] == "exact"
    project, _, _ = await indexed(api, url)
    owner = project.owner.headers
    assert (await api.delete(project.embeddings, headers=owner)).status_code == 204
    other = await world.instance(api, project.owner, dimensions=2)
    body = {**project.body, "instance_handle": other.handle}
    assert (await api.put(project.path, json=body, headers=owner)).status_code in (200, 201)
    assert (await search(api, project, owner)).status_code == 400
    assert (await search(api, project, owner, {"vector": [1.0, 0.0]})).json()["results"] == []


async def test_a_project_that_is_emptied_between_two_statements_of_a_search(
    api: httpx2.AsyncClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _, _ = await indexed(api, url)
    statement = similars.get_similars_by_index

    async def then_emptied(*arguments: Any, **given: Any) -> Any:
        rows = await statement(*arguments, **given)
        monkeypatch.setattr(similars, "get_similars_by_index", statement)
        assert (await api.delete(project.embeddings, headers=project.owner.headers)).status_code == 204
        return rows

    monkeypatch.setattr(similars, "get_similars_by_index", then_emptied)
    answer = await search(api, project, project.owner.headers, {"vectors": [QUERY["vector"]] * 51})
    assert (answer.status_code, answer.json()["results"]) == (200, [[]] * 51)


async def test_a_project_that_is_handed_over(api: httpx2.AsyncClient, url: str) -> None:
    project, reader, nearest = await indexed(api, url)
    shared = await api.post(
        f"{project.instance.path}/share",
        json={"share_with_handle": reader.handle, "role": "reader"},
        headers=project.owner.headers,
    )
    assert shared.status_code == 201
    handed = await api.post(
        f"{project.path}/transfer", json={"new_owner": reader.handle}, headers=project.owner.headers
    )
    assert handed.status_code == 200, handed.text
    assert (await search(api, project, project.owner.headers)).status_code == 404
    there = replace(project, owner=reader)
    answer = (await search(api, there, reader.headers)).json()
    assert [one["id"] for one in answer["results"]] == nearest
    assert (await search(api, there, project.owner.headers)).status_code == 403


@pytest.mark.parametrize("body", [{"vector": [1.0]}, {"vector": "no"}, {}, {"vector": [0.0, 0.0, 0.0], "x": 1}])
async def test_a_reader_whose_share_is_withdrawn_is_not_told_what_is_wrong_with_the_body(
    api: httpx2.AsyncClient, url: str, body: Any
) -> None:
    project, reader, _ = await indexed(api, url)
    assert (await search(api, project, reader.headers)).status_code == 200
    assert (await search(api, project, reader.headers, body)).status_code in (400, 422)
    assert (await search(api, project, reader.headers)).status_code == 200
    await api.delete(f"{project.path}/share/{reader.handle}", headers=project.owner.headers)
    assert (await search(api, project, reader.headers, body)).status_code == 403


async def test_a_search_that_is_remembered_needs_no_statement_before_it(
    api: httpx2.AsyncClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, reader, nearest = await indexed(api, url)
    asked = []
    ask = projects.retrieve_project_access

    async def counting(*arguments: Any, **named: Any) -> Any:
        if named["project_handle"] == project.handle:
            asked.append(named)
        return await ask(*arguments, **named)

    monkeypatch.setattr(projects, "retrieve_project_access", counting)
    answers = [await search(api, project, headers) for headers in (project.owner.headers, *[reader.headers] * 3)]
    assert [[one["id"] for one in answer.json()["results"]] for answer in answers] == [nearest] * 4
    assert len(asked) == 1  # of the reader's first
    # It reads all rows, which is another statement: the guard is asked.
    assert (await api.post(f"{project.similars}?exact=true", json=QUERY, headers=reader.headers)).status_code == 200
    assert len(asked) == 2


async def test_the_recall_that_is_told_is_that_of_the_index_now(api: httpx2.AsyncClient, url: str) -> None:
    project, _, _ = await indexed(api, url)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "UPDATE project_indexes SET recalls = array_fill(0.995::float8, ARRAY[cardinality(recalls)]),"
        " measured_at = now() WHERE project_id = $1",
        project.id,
    )
    await connection.close()
    assert (await search(api, project, project.owner.headers)).json()["search"]["recall"] == 0.995


@pytest.mark.parametrize("cut", [0, 1, 10])
async def test_a_body_that_comes_later_is_searched_for_as_well(api: httpx2.AsyncClient, url: str, cut: int) -> None:
    project, reader, nearest = await indexed(api, url)
    assert (await search(api, project, reader.headers)).status_code == 200
    sent = b'{"vector": [1.0, 0.0, 0.0]}'

    async def pieces() -> AsyncIterator[bytes]:
        yield sent[:cut]
        await asyncio.sleep(0.1)
        yield sent[cut:]

    headers = {**reader.headers, "Content-Type": "application/json"}
    answer = await api.post(f"{project.similars}?threshold=-1", content=pieces(), headers=headers)
    assert [one["id"] for one in answer.json()["results"]] == nearest


async def test_a_project_whose_dimensions_change_while_a_body_comes(api: httpx2.AsyncClient) -> None:
    owner = await world.user(api, ADMIN)
    project = await world.project(api, owner)
    other = await world.instance(api, owner, dimensions=2)

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"vector": [1.0, '
        await asyncio.sleep(0.1)
        body = {**project.body, "instance_handle": other.handle}
        assert (await api.put(project.path, json=body, headers=owner.headers)).status_code == 201
        await world.upload(api, project, world.row("a", [1.0, 0.0]))
        yield b"0.0, 0.0]}"

    headers = {**owner.headers, "Content-Type": "application/json"}
    answer = await api.post(project.similars, content=pieces(), headers=headers)
    assert "dimensions has just changed" in world.problem(answer, 400)["detail"]


async def test_the_recall_is_that_of_the_index_that_was_used(api: httpx2.AsyncClient, url: str) -> None:
    """The index is measured again, here with another result, while the body arrives."""
    project, _, nearest = await indexed(api, url)

    async def pieces() -> AsyncIterator[bytes]:
        body = msgspec.json.encode(QUERY)
        yield body[:10]
        await asyncio.sleep(0.1)
        connection = await asyncpg.connect(url)
        again = "SET recalls = ARRAY(SELECT 0.9925 FROM unnest(recalls)), measured_at = now() WHERE project_id = $1"
        await connection.execute(f"UPDATE project_indexes {again}", project.id)
        await connection.close()
        yield body[10:]

    headers = {**project.owner.headers, "Content-Type": "application/json"}
    answer = (await api.post(f"{project.similars}?threshold=-1", content=pieces(), headers=headers)).json()
    assert answer["search"] == {"method": "index", "recall": 0.9925}
    assert [one["id"] for one in answer["results"]] == nearest


async def test_a_new_index_is_used_at_once(api: httpx2.AsyncClient, url: str) -> None:
    project, _, _ = await indexed(api, url)
    more = np.random.default_rng(6).normal(size=(300, 3)).astype(np.float16)
    rows = [world.row(f"more{number:03}", vector.astype(float).tolist()) for number, vector in enumerate(more)]
    await world.upload(api, project, *rows)
    await analyzed(url, project)
    assert project.id in [one.project_id for one in await indexer.run_once(url, AIMS)]
    units = np.concatenate([VECTORS, more]).astype(float)
    similarities = units[:, 0] / np.linalg.norm(units, axis=1)
    answer = (await search(api, project, project.owner.headers)).json()
    assert answer["search"]["method"] == "index"
    assert [round(one["similarity"], 3) for one in answer["results"]] == [
        round(one, 3) for one in sorted(similarities, reverse=True)[:10]
    ]


# Of each way in which a body may be announced; none of it ever comes.
ANNOUNCED = {
    "short": "Content-Length: 20",
    "long": "Content-Length: 70000",
    "too long": "Content-Length: 99999999999",
    "chunked": "Transfer-Encoding: chunked",
    "compressed": "Content-Length: 20\r\nContent-Encoding: gzip",
    "expected": "Content-Length: 20\r\nExpect: 100-continue",
}
WITH_BODY = [one for one in endpoints if one.method in ("POST", "PUT", "PATCH")]


async def head_only(base: str, method: str, path: str, headers: Headers, announced: str) -> tuple[bytes, bytes]:
    """The status line and the body of what is answered to a head alone; a body is waited for half a minute."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", "Content-Type: application/json", announced]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        async with asyncio.timeout(15):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return head.split(b"\r\n")[0], body


@pytest.mark.parametrize("announced", ANNOUNCED.values(), ids=ANNOUNCED.keys())
async def test_no_body_is_waited_for_before_access_is_decided(
    api: httpx2.AsyncClient, url: str, announced: str
) -> None:
    """So that nobody can tell a private project from none by waiting."""
    project, _, _ = await indexed(api, url)
    stranger = await world.user(api, ADMIN)
    names = {"user": project.owner.handle, "project": project.handle, "instance": project.instance.handle}
    others = {"definition": "any", "text_id": "001", "standard": "openai", "api_standard": "openai", "other": "any"}
    there = {**others, **names}
    nowhere = {**there, "project": "missing", "instance": "missing", "definition": "missing"}
    base = str(api.base_url)
    tried = 0
    for one in WITH_BODY:
        for headers in ({}, {"Authorization": "Bearer nobody"}, stranger.headers):
            first = await head_only(base, one.method, one.path.format_map(there), headers, announced)
            second = await head_only(base, one.method, one.path.format_map(nowhere), headers, announced)
            assert first == second, (one.method, one.path)
            assert first[0].split()[1] in (b"401", b"403"), (one.method, one.path, first)
            tried += 1
    assert tried > 60


async def test_what_comes_after_a_pause_is_no_body(new_database: Callable[..., str]) -> None:
    url = new_database()
    async with (
        serving(settings_for(url, service_indexer=False, service_body_seconds=2)) as base,
        httpx2.AsyncClient(base_url=base, timeout=60) as api,
    ):
        project, _, _ = await indexed(api, url)
        first, rest = b'{"filter": {"author": "Blake"}, ', b'{"vector": [1, 0, 0]}'
        key = project.owner.headers["Authorization"]
        head = f"POST {project.similars} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nConnection: close\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % (len(first) + len(rest)) + first)
        await asyncio.sleep(3.7)  # by now it is given up, but would not be if it were waited for twice
        writer.write(rest)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
