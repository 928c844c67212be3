"""The map of a project, as clients get it."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx2
import msgspec
import pytest

from service.http.limits import MAX_FIELD_CHARACTERS
from tests.conftest import client_of, settings_for
from tests.support.world import Headers, Project, batch, fetch, problem, project, row, upload, user

pytestmark = pytest.mark.slow

MSGPACK = {"Accept": "application/msgpack"}


def path(of: Project) -> str:
    return of.path + "/map"


async def ready(api: httpx2.AsyncClient, of: Project, headers: Headers | None = None, **params: Any) -> Any:
    """The map as soon as it is there."""
    while True:
        answer = await api.get(path(of), headers=of.owner.headers | (headers or {}), params=params)
        if answer.status_code != 202:
            break
        await asyncio.sleep(0.2)
    assert answer.status_code == 200, answer.text
    return msgspec.msgpack.decode(answer.content) if headers == MSGPACK else answer.json()


@pytest.fixture(scope="module")
async def poems(api: httpx2.AsyncClient, admin: Headers) -> Project:
    """Twelve embeddings, whose metadata differ, and their map."""
    owner = await user(api, admin)
    made = await project(api, owner)
    rows = [
        row(f"text-{n:02}", [1, n, 2], metadata={"year": 1900 + n, "a": {"b": [f"kind {n % 3}"]}}) for n in range(11)
    ]
    await upload(api, made, *rows, row("plain", [1, 50, 2]))
    await ready(api, made, method="neighbours")
    return made


async def test_the_first_to_ask_is_told_to_wait(api: httpx2.AsyncClient, admin: Headers) -> None:
    made = await project(api, await user(api, admin))
    await upload(api, made, *(row(f"{n}", [1, n, 2]) for n in range(3)))
    answer = await api.get(path(made), headers=made.owner.headers)
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json() == {
        "state": "waiting",
        "method": "pca",
        "methods": {"pca": "waiting", "neighbours": "waiting"},
        "rows": 3,
        "points": 0,
        "sampled": False,
    }
    found = await ready(api, made)
    assert (found["state"], found["points"]) == ("ready", 3)


async def test_an_empty_project_has_an_empty_map_at_once(api: httpx2.AsyncClient, admin: Headers) -> None:
    made = await project(api, await user(api, admin))
    for headers, none in (({}, ""), (MSGPACK, b"")):
        answer = await api.get(path(made), headers=made.owner.headers | headers, params={"field": "year"})
        assert answer.status_code == 200
        found = msgspec.msgpack.decode(answer.content) if headers else answer.json()
        assert (found["state"], found["rows"], found["ids"], found["field"]) == ("ready", 0, [], [])
        assert found["positions"] == none


@pytest.mark.parametrize("method", ["pca", "neighbours"])
async def test_json_and_messagepack_say_the_same(api: httpx2.AsyncClient, poems: Project, method: str) -> None:
    as_json = await ready(api, poems, method=method, field="year")
    packed = await ready(api, poems, MSGPACK, method=method, field="year")
    assert type(packed["positions"]) is bytes
    assert len(packed["positions"]) == 8 * 12
    assert as_json | {"positions": base64.b64decode(as_json["positions"])} == packed
    assert sorted(packed["ids"]) == ["plain", *(f"text-{n:02}" for n in range(11))]
    assert packed["methods"] == {"pca": "ready", "neighbours": "ready"}
    assert (packed["rows"], packed["points"], packed["sampled"], packed["changes"]) == (12, 12, False, 12)
    assert packed["trustworthiness"] == {"k": 10, "value": None, "pca": None, "sample": 12}
    assert packed["explained_variance"][0] > 0.9
    positions = dict(zip(packed["ids"], struct.iter_unpack("<2f", packed["positions"]), strict=True))
    # Nearest to 10 is 9, and farthest from it 0.
    apart = {one: abs(x - positions["text-10"][0]) for one, (x, _) in positions.items()}
    assert apart["text-09"] < apart["text-05"] < apart["text-00"]


async def test_a_field_is_beside_its_id(api: httpx2.AsyncClient, poems: Project) -> None:
    found = await ready(api, poems, field="year")
    assert dict(zip(found["ids"], found["field"], strict=True)) == {
        "plain": None,
        **{f"text-{n:02}": 1900 + n for n in range(11)},
    }
    found = await ready(api, poems, field="a.b")
    assert dict(zip(found["ids"], found["field"], strict=True)) == {
        "plain": None,
        **{f"text-{n:02}": f"kind {n % 3}" for n in range(11)},
    }
    for quoted in ('"', "$", "a'b", '"].x', "ä ö", "*", "a..b"):
        found = await ready(api, poems, field=quoted)
        assert found["field"] == [None] * 12
    assert "field" not in await ready(api, poems)


async def test_a_long_value_is_cut(api: httpx2.AsyncClient, admin: Headers) -> None:
    made = await project(api, await user(api, admin))
    longest = "\x01" * MAX_FIELD_CHARACTERS
    await upload(api, made, row("a", [1, 2, 3], metadata={"x": longest + "more", "y": 10**30, "z": -0.25}))
    assert (await ready(api, made, field="x"))["field"] == [longest]
    assert (await ready(api, made, MSGPACK, field="y"))["field"] == [None]
    assert (await ready(api, made, MSGPACK, field="z"))["field"] == [-0.25]


async def test_a_limit_gives_the_same_first_points(api: httpx2.AsyncClient, poems: Project) -> None:
    whole = await ready(api, poems, MSGPACK, field="year")
    found = await ready(api, poems, MSGPACK, field="year", limit=5)
    assert (found["points"], found["sampled"], found["rows"]) == (5, True, 12)
    assert found["ids"] == whole["ids"][:5]
    assert found["field"] == whole["field"][:5]
    assert found["positions"] == whole["positions"][:40]


@pytest.mark.parametrize(
    ("params", "location"),
    [
        ({"method": "umap"}, "query.method"),
        ({"limit": 0}, "query.limit"),
        ({"limit": 100_001}, "query.limit"),
        ({"field": ""}, "query.field"),
        ({"field": "x" * 10_000}, "query.field"),
        ({"encoding": "f2"}, "query.encoding"),
    ],
)
async def test_what_is_refused(
    api: httpx2.AsyncClient, poems: Project, params: dict[str, str | int], location: str
) -> None:
    answer = await api.get(path(poems), headers=poems.owner.headers, params=params)
    assert [one["location"] for one in problem(answer, 422)["errors"]] == [location]


async def test_later_rows_come_and_deleted_ones_go(api: httpx2.AsyncClient, admin: Headers) -> None:
    made = await project(api, await user(api, admin))
    await upload(api, made, *(row(f"{n}", [1, n, 2]) for n in range(20)))
    await ready(api, made)
    await api.delete(made.embedding("3"), headers=made.owner.headers)
    await upload(api, made, row("new", [1, 3, 2]))
    found = await ready(api, made)
    assert "3" not in found["ids"]
    # Asked for by that request. Rows that come while a map is being made may be in it before they count as its changes.
    while "new" not in found["ids"] or found["changes"] < 22:
        await asyncio.sleep(0.2)
        found = await ready(api, made)
    assert found["changes"] == 22
    await api.delete(made.embeddings, headers=made.owner.headers)
    assert (await ready(api, made))["ids"] == []


async def test_of_a_project_without_instance(api: httpx2.AsyncClient, admin: Headers, service_database: str) -> None:
    made = await project(api, await user(api, admin))
    connection = await asyncpg.connect(service_database)
    await connection.execute("UPDATE projects SET llm_service_instance_id = NULL WHERE project_id = $1", made.id)
    await connection.close()
    problem(await api.get(path(made), headers=made.owner.headers), 409)
    problem(await api.get(path(made).replace(made.handle, "other"), headers=made.owner.headers), 404)


@pytest.fixture
async def small(new_database: Callable[..., str], admin: Headers) -> AsyncIterator[httpx2.AsyncClient]:
    """A service that has little memory for answers."""
    config = settings_for(new_database(), service_max_body_bytes=300_000)
    async with client_of(config) as client:
        yield client


async def test_an_answer_that_is_too_large(small: httpx2.AsyncClient, admin: Headers) -> None:
    made = await project(small, await user(small, admin))
    await upload(small, made, *(row(f"{n}", [1, n, 2], metadata={"n": n}) for n in range(1000)))
    assert (await ready(small, made))["points"] == 1000
    answer = await small.get(path(made), headers=made.owner.headers, params={"field": "n"})
    assert "lower `limit`" in problem(answer, 422)["errors"][0]["message"]
    assert (await ready(small, made, field="n", limit=500))["points"] == 500


async def test_a_failure_is_told_and_not_tried_again_at_once(
    api: httpx2.AsyncClient, admin: Headers, service_database: str
) -> None:
    made = await project(api, await user(api, admin))
    await api.post(made.embeddings, json=batch(row("a", [1, 2, 3])), headers=made.owner.headers)
    connection = await asyncpg.connect(service_database)
    try:
        await connection.execute(
            "INSERT INTO project_maps (project_id, error, failed_at) VALUES ($1, 'No.', now())", made.id
        )
        found = await fetch(api, path(made), made.owner.headers)
        assert (found["state"], found["error"], found["methods"]["neighbours"]) == ("failed", "No.", "failed")
        found = await fetch(api, path(made), made.owner.headers)
        assert found["state"] == "failed"
        await connection.execute(
            "UPDATE project_maps SET failed_at = now() - interval '2 minutes' WHERE project_id = $1", made.id
        )
        answer = await api.get(path(made), headers=made.owner.headers)
        assert (answer.status_code, answer.json()["state"], "error" in answer.json()) == (202, "waiting", False)
        found = await ready(api, made)  # which never says that the new attempt has failed
        assert (found["state"], found["ids"]) == ("ready", ["a"])
        assert "error" not in found
    finally:
        await connection.close()


async def test_a_failed_method_is_tried_again_for_those_who_ask_for_it(
    api: httpx2.AsyncClient, admin: Headers, service_database: str
) -> None:
    made = await project(api, await user(api, admin))
    await upload(api, made, *(row(f"{n}", [1, n, 2]) for n in range(3)))
    await ready(api, made, method="neighbours")
    connection = await asyncpg.connect(service_database)
    try:
        await connection.execute("UPDATE project_map_parts SET neighbours = NULL WHERE project_id = $1", made.id)
        await connection.execute(
            "UPDATE project_maps SET has_neighbours = false, error = 'No.', failed_at = now() - interval '2 minutes' "
            "WHERE project_id = $1",
            made.id,
        )
        tried = "SELECT asked_at IS NOT NULL OR error IS NULL FROM project_maps WHERE project_id = $1"
        await ready(api, made, method="pca")
        assert not await connection.fetchval(tried, made.id)
        await api.get(path(made), headers=made.owner.headers, params={"method": "neighbours"})
        assert await connection.fetchval(tried, made.id)
    finally:
        await connection.close()
