"""Metadata that is left out, null or cleared counts as `{}` against the project's schema (contract, section 7)."""

import asyncio
import json
from typing import Any

import httpx2
import msgspec
import pytest

from tests.support.world import (
    Headers,
    Json,
    Project,
    batch,
    fetch,
    project,
    refused,
    row,
    snapshot,
    unique,
    upload,
    user,
)

SCHEMA = {"type": "object", "required": ["author"]}
KANT = {"author": "Kant"}
REASON = 'violates the project\'s schema: "author" is a required property'


async def strict(api: httpx2.AsyncClient, admin: Headers, schema: Any = SCHEMA) -> Project:
    return await project(api, await user(api, admin), metadataScheme=schema)


async def post(api: httpx2.AsyncClient, to: Project, *rows: Json) -> httpx2.Response:
    return await api.post(to.embeddings, json=batch(*rows), headers=to.owner.headers)


async def put_schema(api: httpx2.AsyncClient, to: Project, schema: Any) -> None:
    body = {**to.body, "metadataScheme": schema}
    assert (await api.put(to.path, json=body, headers=to.owner.headers)).status_code == 201


async def stream(api: httpx2.AsyncClient, to: Project, *rows: Json, on_error: str = "stop") -> list[Json]:
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in rows)
    headers = {**to.owner.headers, "Content-Type": "application/x-ndjson"}
    answer = await api.post(f"{to.embeddings}/stream?on_error={on_error}", content=lines, headers=headers)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def ids(api: httpx2.AsyncClient, of: Project) -> list[str]:
    return [one["text_id"] for one in (await fetch(api, of.embeddings, of.owner.headers, limit=200))["embeddings"]]


@pytest.mark.parametrize("fields", [{}, {"metadata": None}, {"metadata": {}}])
async def test_new_rows_must_have_what_is_required(
    api: httpx2.AsyncClient, admin: Headers, fields: dict[str, Any]
) -> None:
    own = await strict(api, admin)
    rows = [row("good", [1, 2, 3], metadata=KANT), row("b", [1, 2, 3], **fields), row("a", [3, 2, 1], **fields)]
    body = refused(await post(api, own, *rows), 400, "body.embeddings[1].metadata", "body.embeddings[2].metadata")
    assert {one["message"] for one in body["errors"]} == {f"text_id '{name}': {REASON}" for name in "ab"}
    assert await ids(api, own) == []
    packed = {**own.owner.headers, "Content-Type": "application/msgpack"}
    answer = await api.post(own.embeddings, content=msgspec.msgpack.encode(batch(*rows)), headers=packed)
    refused(answer, 400, "body.embeddings[1].metadata", "body.embeddings[2].metadata")
    assert await ids(api, own) == []


async def test_valid_metadata_cannot_be_cleared(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await strict(api, admin)
    await upload(api, own, row("a", [1, 2, 3], metadata=KANT))
    before = await snapshot(api, own)
    refused(await post(api, own, row("a", [1, 2, 3], metadata=None)), 400, "body.embeddings[0].metadata")
    assert await snapshot(api, own) == before


async def test_what_is_stored_is_kept_and_counts(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await strict(api, admin)
    await upload(api, own, row("a", [1, 2, 3], metadata=KANT))
    assert (await upload(api, own, row("a", [3, 2, 1])))["updated"] == 1
    assert (await upload(api, own, row("a", [3, 2, 1])))["unchanged"] == 1
    body = refused(await post(api, own, row("a", [1, 1, 1]), row("b", [1, 2, 3])), 400, "body.embeddings[1].metadata")
    assert len(body["errors"]) == 1
    page = await fetch(api, own.embeddings, own.owner.headers)
    assert [(one["text_id"], one["vector"], one["metadata"]) for one in page["embeddings"]] == [("a", [3, 2, 1], KANT)]


async def test_a_row_stored_without_metadata_must_be_given_some(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await strict(api, admin, None)
    await upload(api, own, row("a", [1, 2, 3]), row("b", [1, 2, 3], metadata=KANT))
    await put_schema(api, own, SCHEMA)  # what is stored is not looked at
    for vector in ([1, 2, 3], [3, 2, 1]):  # as it is stored, and changed
        body = refused(await post(api, own, row("b", vector), row("a", vector)), 400, "body.embeddings[1].metadata")
        assert len(body["errors"]) == 1
    assert (await upload(api, own, row("a", [1, 2, 3], metadata=KANT)))["updated"] == 1


async def test_a_schema_that_takes_an_empty_object_takes_absent_metadata(
    api: httpx2.AsyncClient, admin: Headers
) -> None:
    own = await strict(api, admin, {"properties": {"n": {"type": "number"}}})
    assert (await upload(api, own, row("a", [1, 2, 3]), row("b", [1, 2, 3], metadata=None)))["inserted"] == 2
    refused(await post(api, own, row("c", [1, 2, 3], metadata={"n": "x"})), 400, "body.embeddings[0].metadata.n")


@pytest.mark.parametrize("schema", [False, {"minProperties": 1}, {"not": {"maxProperties": 0}}, {"type": "null"}])
async def test_whatever_the_schema_requires(api: httpx2.AsyncClient, admin: Headers, schema: Any) -> None:
    own = await strict(api, admin, schema)
    refused(await post(api, own, row("a", [1, 2, 3])), 400, "body.embeddings[0].metadata")
    assert await ids(api, own) == []


async def test_every_row_of_many_is_named(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await strict(api, admin)
    answer = await post(api, own, *(row(str(number), [1, 2, 3]) for number in range(300)))
    body = refused(answer, 400, *(f"body.embeddings[{number}].metadata" for number in range(100)))
    assert "300 problems in 300 embeddings" in body["detail"]


@pytest.mark.parametrize("fields", [{}, {"metadata": None}])
async def test_a_stream_stops_or_skips(api: httpx2.AsyncClient, admin: Headers, fields: dict[str, Any]) -> None:
    own = await strict(api, admin)
    rows = [row("a", [1, 2, 3], metadata=KANT), row("b", [1, 2, 3], **fields), row("c", [1, 2, 3], metadata=KANT)]
    last = (await stream(api, own, *rows))[-1]
    assert (last["inserted"], last["rejected"]) == (1, 1)
    assert last["errors"] == [{"row": 1, "text_id": "b", "message": f"metadata: {REASON}"}]
    assert "Row 1" in last["error"]
    assert await ids(api, own) == ["a"]
    last = (await stream(api, own, *rows, on_error="skip"))[-1]
    assert (last["rows"], last["inserted"], last["unchanged"], last["rejected"]) == (3, 1, 1, 1)
    assert last["done"]
    assert await ids(api, own) == ["a", "c"]


async def test_a_stream_that_stops_stores_nothing_after_the_bad_record(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await strict(api, admin)
    twice = [row("b", [1, 2, number], metadata=KANT) for number in (3, 4)]  # stored one after the other
    last = (await stream(api, own, row("a", [1, 2, 3]), *twice))[-1]
    assert (last["rows"], last["inserted"], last["rejected"]) == (1, 0, 1)
    assert last["error"] == "Row 0 is not valid; it and the remaining records were not stored."
    assert await ids(api, own) == []


async def test_a_stream_of_many_without_metadata(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await strict(api, admin)
    rows = [row(str(n), [1, 2, 3], **({"metadata": KANT} if n % 7 == 0 else {})) for n in range(1500)]
    lines = await stream(api, own, *rows, on_error="skip")
    assert (lines[-1]["rows"], lines[-1]["inserted"]) == (1500, len(range(0, 1500, 7)))
    bad = [one["row"] for line in lines for one in line["errors"]]
    assert bad == [n for n in range(1500) if n % 7]


async def test_a_stream_may_leave_out_what_an_earlier_record_has(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await strict(api, admin)
    last = (await stream(api, own, row("a", [1, 2, 3], metadata=KANT), row("a", [3, 2, 1])))[-1]
    assert (last["rows"], last["rejected"]) == (2, 0)
    page = await fetch(api, own.embeddings, own.owner.headers)
    assert [(one["vector"], one["metadata"]) for one in page["embeddings"]] == [([3, 2, 1], KANT)]


async def test_nothing_without_metadata_comes_of_a_race(api: httpx2.AsyncClient, admin: Headers) -> None:
    """Rows are deleted while others send them without metadata: none is ever stored without."""
    own = await strict(api, admin)
    names = [unique("t") for _ in range(20)]

    async def keep(number: int) -> None:
        answer = await post(api, own, *(row(name, [1, 2, number + 1]) for name in names))
        assert answer.status_code in (201, 400), answer.text

    async def clear() -> None:
        assert (await api.delete(own.embeddings, headers=own.owner.headers)).status_code == 204

    for number in range(10):
        await upload(api, own, *(row(name, [1, 2, 3], metadata=KANT) for name in names))
        await asyncio.gather(keep(number), clear(), keep(number + 20))
        page = await fetch(api, own.embeddings, own.owner.headers)
        assert [one["metadata"] for one in page["embeddings"]] == [KANT] * len(page["embeddings"])


async def test_the_sanity_check_finds_rows_without(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await strict(api, admin, None)
    await upload(api, own, row("a", [1, 2, 3]), row("b", [1, 2, 3], metadata=KANT))
    await put_schema(api, own, SCHEMA)
    report = await fetch(api, "/v1/admin/sanity-check", admin)
    name = f"project {own.owner.handle}/{own.handle}"
    assert [one for one in report["issues"] if one.startswith(name)] == [
        f"{name}, text_id 'a': metadata \"author\" is a required property"
    ]
