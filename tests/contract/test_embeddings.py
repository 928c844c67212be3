"""Embeddings: batches that are all or nothing, records replaced field by field, lists and ids (contract, section 7)."""

import asyncio
import json
from datetime import datetime
from typing import Any

import asyncpg
import httpx2
import numpy as np
import pytest

from tests.support.world import (
    JSON_TYPE,
    Headers,
    Json,
    Project,
    User,
    batch,
    fetch,
    halves,
    names_property,
    pages,
    problem,
    project,
    random_vectors,
    refused,
    refused_below,
    refused_property,
    row,
    same_halves,
    segment,
    snapshot,
    status,
    unique,
    upload,
    user,
)


async def own_project(api: httpx2.AsyncClient, admin: Headers, **fields: Any) -> Project:
    return await project(api, await user(api, admin), **fields)


async def post(api: httpx2.AsyncClient, to: Project, *rows: Json) -> httpx2.Response:
    return await api.post(to.embeddings, json=batch(*rows), headers=to.owner.headers)


async def post_text(api: httpx2.AsyncClient, to: Project, vector: str) -> httpx2.Response:
    """A batch of one whose vector is written as is, for numbers that Python's encoder does not write."""
    content = f'{{"embeddings": [{{"text_id": "bad", "vector": {vector}}}]}}'.encode()
    return await api.post(to.embeddings, content=content, headers={**to.owner.headers, **JSON_TYPE})


# Storing and reading back


async def test_a_batch_is_stored_and_read_back(api: httpx2.AsyncClient, own: Project) -> None:
    answer = await upload(api, own, row("b", [1, 0, 0], text="Bee", metadata={"n": 1}), row("a", [0.5, -0.25, 2]))
    assert answer == {"ids": ["b", "a"], "inserted": 2, "updated": 0, "unchanged": 0}
    found = await fetch(api, own.embedding("b"), own.owner.headers)
    created, updated = found.pop("created_at"), found.pop("updated_at")
    assert found == {
        "text_id": "b",
        "user_handle": own.owner.handle,
        "project_handle": own.handle,
        "project_id": own.id,
        "instance_handle": own.instance.handle,
        "text": "Bee",
        "vector": [1, 0, 0],
        "vector_dim": 3,
        "metadata": {"n": 1},
    }
    assert datetime.fromisoformat(created).tzinfo is not None
    assert datetime.fromisoformat(updated) >= datetime.fromisoformat(created)
    bare = await fetch(api, own.embedding("a"), own.owner.headers)
    assert bare["vector"] == [0.5, -0.25, 2]
    assert "text" not in bare
    assert "metadata" not in bare


@pytest.mark.parametrize("value", [0.1, 0.12345678, -0.3, 1 / 3, 1e-5, 6e-8, 3.14159, 1000.5, -2047.0, 0.9999])
async def test_vectors_come_back_as_the_shortest_decimal(api: httpx2.AsyncClient, own: Project, value: float) -> None:
    await upload(api, own, row("a", [value, 1.0, 0.0]))
    assert (await fetch(api, own.embedding("a"), own.owner.headers))["vector"] == halves([value, 1.0, 0.0])


async def test_random_vectors_come_back_as_the_nearest_halves(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(api, admin, dimensions=64)
    vectors = random_vectors(50, 64, seed=1)
    await upload(api, own, *(row(f"id-{n:03}", vector) for n, vector in enumerate(vectors)))
    rows = (await fetch(api, own.embeddings, own.owner.headers, limit=200))["embeddings"]
    assert [entry["vector"] for entry in rows] == [halves(vector) for vector in vectors]


async def test_what_was_read_can_be_sent_again_unchanged(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(api, admin, dimensions=16)
    await upload(
        api, own, *(row(f"id-{n}", v, text="t", metadata={"n": n}) for n, v in enumerate(random_vectors(9, 16, seed=2)))
    )
    _, rows = await snapshot(api, own)
    again = [{name: entry[name] for name in ("text_id", "vector", "text", "metadata")} for entry in rows]
    answer = await upload(api, own, *again)
    assert (answer["inserted"], answer["updated"], answer["unchanged"]) == (0, 0, 9)
    assert (await snapshot(api, own))[1] == rows


@pytest.mark.parametrize("value", [65504, -65504, 65504.0])
async def test_the_largest_half_is_stored(api: httpx2.AsyncClient, own: Project, value: float) -> None:
    await upload(api, own, row("a", [value, 1, 0]))
    found = await fetch(api, own.embedding("a"), own.owner.headers)
    # 65500 is the shortest decimal of that half, 65504 its value: the same half
    assert same_halves(found["vector"], [value, 1, 0])


@pytest.mark.parametrize(
    "text",
    ["", " ", "naïve 漢字 🎉", "line\nline\ttab", "\u0001\u007f", "x" * 100_000, '"\\/'],
    ids=["empty", "space", "unicode", "newline", "control", "long", "quotes"],
)
async def test_texts_come_back_as_sent(api: httpx2.AsyncClient, own: Project, text: str) -> None:
    await upload(api, own, row("a", [1, 0, 0], text=text))
    assert (await fetch(api, own.embedding("a"), own.owner.headers))["text"] == text


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"": ""},
        {"a": None},
        {"a": [1, "b", {"c": True}]},
        {"ключ": "значение 🎉"},
        {"n": 12345678901234567890},
        {"x": 0.1, "y": 1e-7},
        {"deep": {"b": {"c": {"d": {"e": {"f": {"g": {"h": 1}}}}}}}},
    ],
    ids=str,
)
async def test_metadata_comes_back_as_sent(api: httpx2.AsyncClient, own: Project, metadata: Json) -> None:
    await upload(api, own, row("a", [1, 0, 0], metadata=metadata))
    assert (await fetch(api, own.embedding("a"), own.owner.headers))["metadata"] == metadata


async def test_fields_that_agree_with_path_and_project_are_taken(api: httpx2.AsyncClient, own: Project) -> None:
    names = {
        "vector_dim": 3,
        "instance_handle": own.instance.handle,
        "instance_owner": own.owner.handle,
        "user_handle": own.owner.handle,
        "project_handle": own.handle,
        "project_id": own.id,
    }
    assert (await upload(api, own, row("a", [1, 0, 0], **names)))["inserted"] == 1


async def test_null_for_all_that_is_optional_is_leaving_it_out(api: httpx2.AsyncClient, own: Project) -> None:
    optional = (
        "vector_dim",
        "text",
        "metadata",
        "instance_handle",
        "instance_owner",
        "user_handle",
        "project_handle",
        "project_id",
    )
    assert (await upload(api, own, row("a", [1, 0, 0], **dict.fromkeys(optional))))["inserted"] == 1


async def test_a_thousand_rows_in_one_batch(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(api, admin, dimensions=8)
    ids = [f"id-{n:04}" for n in range(1000)]
    answer = await upload(api, own, *map(row, ids, random_vectors(1000, 8, seed=3)))
    assert answer == {"ids": ids, "inserted": 1000, "updated": 0, "unchanged": 0}
    assert (await fetch(api, own.path, own.owner.headers))["number_of_embeddings"] == 1000


async def test_an_empty_batch_stores_nothing(api: httpx2.AsyncClient, own: Project) -> None:
    response = await post(api, own)
    # the contract does not say whether a batch may be empty
    assert response.status_code in {201, 422}
    assert (await fetch(api, own.path, own.owner.headers))["number_of_embeddings"] == 0


# Replacing


@pytest.mark.parametrize(
    ("sent", "text", "metadata"),
    [
        ({}, "old", {"a": 1, "b": 2}),
        ({"text": "new"}, "new", {"a": 1, "b": 2}),
        ({"text": None}, None, {"a": 1, "b": 2}),
        ({"text": ""}, "", {"a": 1, "b": 2}),
        ({"metadata": {"a": 3}}, "old", {"a": 3}),
        ({"metadata": None}, "old", None),
        ({"metadata": {}}, "old", {}),
        ({"text": None, "metadata": None}, None, None),
    ],
)
async def test_left_out_keeps_null_clears_a_value_replaces(
    api: httpx2.AsyncClient, own: Project, sent: Json, text: str | None, metadata: Json | None
) -> None:
    await upload(api, own, row("a", [1, 0, 0], text="old", metadata={"a": 1, "b": 2}))
    answer = await upload(api, own, row("a", [0, 1, 0], **sent))
    assert answer == {"ids": ["a"], "inserted": 0, "updated": 1, "unchanged": 0}
    found = await fetch(api, own.embedding("a"), own.owner.headers)
    assert (found["vector"], found.get("text"), found.get("metadata")) == ([0, 1, 0], text, metadata)


async def test_inserted_updated_and_unchanged_are_told_apart(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 0, 0], text="A"), row("b", [0, 1, 0], text="B"))
    answer = await upload(api, own, row("c", [0, 0, 1]), row("b", [0, 1, 0], text="B2"), row("a", [1, 0, 0]))
    assert answer == {"ids": ["c", "b", "a"], "inserted": 1, "updated": 1, "unchanged": 1}


@pytest.mark.parametrize(
    "again",
    [
        row("a", [0.1, 0, 0], text="A", metadata={"x": 1, "y": [1, 2]}),
        row("a", [0.1, 0, 0], text="A", metadata={"y": [1, 2], "x": 1}),
        row("a", [0.1, 0, 0]),
        row("a", [0.099999, 0, 0]),
    ],
    ids=["same", "keys-in-another-order", "left-out", "same-half"],
)
async def test_a_record_that_would_not_change_is_not_written(
    api: httpx2.AsyncClient, own: Project, again: Json
) -> None:
    await upload(api, own, row("a", [0.1, 0, 0], text="A", metadata={"x": 1, "y": [1, 2]}))
    before = await fetch(api, own.embedding("a"), own.owner.headers)
    answer = await upload(api, own, again)
    assert (answer["inserted"], answer["updated"], answer["unchanged"]) == (0, 0, 1)
    assert await fetch(api, own.embedding("a"), own.owner.headers) == before


async def test_a_change_moves_updated_at_and_leaves_created_at(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 0, 0]))
    before = await fetch(api, own.embedding("a"), own.owner.headers)
    await asyncio.sleep(0.01)
    await upload(api, own, row("a", [0, 1, 0]))
    after = await fetch(api, own.embedding("a"), own.owner.headers)
    assert after["created_at"] == before["created_at"]
    assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(before["updated_at"])


# Refused batches: (what is wrong, the bad row, status, where)

GOOD = row("good", [1, 0, 0])
BAD_ROWS: list[tuple[str, Json, int, str]] = [
    ("two dimensions", row("bad", [1, 0]), 400, "vector"),
    ("four dimensions", row("bad", [1, 0, 0, 0]), 400, "vector"),
    ("no dimensions", row("bad", []), 400, "vector"),
    ("vector_dim of another length", row("bad", [1, 0, 0], vector_dim=4), 400, "vector_dim"),
    ("another user", row("bad", [1, 0, 0], user_handle="somebody"), 400, "user_handle"),
    ("another project", row("bad", [1, 0, 0], project_handle="something"), 400, "project_handle"),
    ("another project_id", row("bad", [1, 0, 0], project_id=2**31 - 1), 400, "project_id"),
    ("another instance", row("bad", [1, 0, 0], instance_handle="something"), 400, "instance_handle"),
    ("another instance's owner", row("bad", [1, 0, 0], instance_owner="somebody"), 400, "instance_owner"),
    ("zero vector", row("bad", [0, 0, 0]), 422, "vector"),
    ("minus zero", row("bad", [-0.0, 0.0, 0.0]), 422, "vector"),
    ("zero as halves", row("bad", [1e-9, 1e-9, -1e-9]), 422, "vector"),
    ("beyond half", row("bad", [70000, 0, 0]), 422, "vector"),
    ("far below half", row("bad", [1, -70000.0, 0]), 422, "vector"),
    ("beyond float", row("bad", [1, 0, 1e39]), 422, "vector"),
    ("beyond bigint", row("bad", [1, 0, 2**70]), 422, "vector"),
    ("string in vector", row("bad", [1, "0", 0]), 422, "vector"),
    ("null in vector", row("bad", [1, None, 0]), 422, "vector"),
    ("boolean in vector", row("bad", [1, True, 0]), 422, "vector"),
    ("list in vector", row("bad", [1, [0], 0]), 422, "vector"),
    ("vector an object", row("bad", {"x": 1}), 422, "vector"),
    ("vector a number", row("bad", 1.0), 422, "vector"),
    ("text_id empty", row("", [1, 0, 0]), 422, "text_id"),
    ("text_id too long", row("x" * 301, [1, 0, 0]), 422, "text_id"),
    ("text_id with NUL", row("a\u0000b", [1, 0, 0]), 422, "text_id"),
    ("text_id a number", row(5, [1, 0, 0]), 422, "text_id"),
    ("text_id null", row(None, [1, 0, 0]), 422, "text_id"),
    ("text with NUL", row("bad", [1, 0, 0], text="a\u0000b"), 422, "text"),
    ("text a number", row("bad", [1, 0, 0], text=5), 422, "text"),
    ("NUL in a metadata value", row("bad", [1, 0, 0], metadata={"a": "b\u0000"}), 422, "metadata"),
    ("NUL in a metadata key", row("bad", [1, 0, 0], metadata={"a\u0000": "b"}), 422, "metadata"),
    ("NUL deep in metadata", row("bad", [1, 0, 0], metadata={"a": [{"b": ["\u0000"]}]}), 422, "metadata"),
    ("vector_dim a string", row("bad", [1, 0, 0], vector_dim="3"), 422, "vector_dim"),
    ("project_id a string", row("bad", [1, 0, 0], project_id="1"), 422, "project_id"),
    ("user_handle a number", row("bad", [1, 0, 0], user_handle=5), 422, "user_handle"),
    ("duplicate text_id", row("good", [0, 1, 0]), 422, "text_id"),
    ("same row twice", GOOD, 422, "text_id"),
]


@pytest.mark.parametrize(("bad", "expected", "where"), [case[1:] for case in BAD_ROWS], ids=[c[0] for c in BAD_ROWS])
async def test_a_bad_row_refuses_its_whole_batch(
    api: httpx2.AsyncClient, own: Project, bad: Json, expected: int, where: str
) -> None:
    await upload(api, own, row("bad", [0, 0, 1], text="before"), row("kept", [0, 1, 1]))
    before = await snapshot(api, own)
    response = await post(api, own, GOOD, bad, row("after", [1, 1, 1]))
    refused_below(response, expected, f"body.embeddings[1].{where}")
    assert await snapshot(api, own) == before


NOT_JSON = [
    "[NaN, 0, 0]",
    "[1, Infinity, 0]",
    "[1, -Infinity, 0]",
    "[1, nan, 0]",
    "[1, 0x1, 0]",
    "[1, 01, 0]",
    "[1, .5, 0]",
    "[1, 1., 0]",
    "[1, +1, 0]",
    "[1, 0, 0,]",
    "[1 0 0]",
]


@pytest.mark.parametrize("vector", NOT_JSON)
async def test_what_is_not_json_is_refused(api: httpx2.AsyncClient, own: Project, vector: str) -> None:
    problem(await post_text(api, own, vector), 400)
    assert await status(api, own.embedding("bad"), own.owner.headers) == 404


@pytest.mark.parametrize(
    "vector", ["[1, 0, 1e400]", "[1, 0, -1e999]", f"[1, 0, 1{'0' * 400}]"], ids=["1e400", "-1e999", "401 digits"]
)
async def test_a_number_beyond_double_is_refused(api: httpx2.AsyncClient, own: Project, vector: str) -> None:
    response = await post_text(api, own, vector)
    # valid JSON by its grammar, but no double can hold it: unreadable (400) and invalid (422) are both right
    assert response.status_code in {400, 422}
    problem(response, response.status_code)
    assert await status(api, own.embedding("bad"), own.owner.headers) == 404


@pytest.mark.parametrize("name", ["text_id", "vector"])
async def test_id_and_vector_are_required(api: httpx2.AsyncClient, own: Project, name: str) -> None:
    bad = row("bad", [1, 0, 0])
    del bad[name]
    refused_property(await post(api, own, GOOD, bad), "body.embeddings[1]", name)
    assert await status(api, own.embedding("good"), own.owner.headers) == 404


@pytest.mark.parametrize("name", ["nonsense", "Text", "created_at", "vectors"])
async def test_unknown_properties_of_a_row_are_refused(api: httpx2.AsyncClient, own: Project, name: str) -> None:
    refused_property(await post(api, own, GOOD, row("bad", [1, 0, 0], **{name: "x"})), "body.embeddings[1]", name)
    assert await status(api, own.embedding("good"), own.owner.headers) == 404


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"embeddings": {}}, "body.embeddings"),
        ({"embeddings": "x"}, "body.embeddings"),
        ({"embeddings": [5]}, "body.embeddings[0]"),
        ({"embeddings": [None]}, "body.embeddings[0]"),
        ({"embeddings": [GOOD, []]}, "body.embeddings[1]"),
        ([], "body"),
        ("x", "body"),
        (5, "body"),
        (None, "body"),
    ],
    ids=str,
)
async def test_bodies_of_another_shape_are_refused(
    api: httpx2.AsyncClient, own: Project, body: object, where: str
) -> None:
    headers = {**own.owner.headers, **JSON_TYPE}
    response = await api.post(own.embeddings, content=json.dumps(body), headers=headers)
    refused(response, 422, where)
    assert await status(api, own.embedding("good"), own.owner.headers) == 404


async def test_the_list_of_embeddings_is_required(api: httpx2.AsyncClient, own: Project) -> None:
    refused_property(await api.post(own.embeddings, json={}, headers=own.owner.headers), "body", "embeddings")


async def test_unknown_properties_of_the_body_are_refused(api: httpx2.AsyncClient, own: Project) -> None:
    response = await api.post(own.embeddings, json={**batch(GOOD), "extra": 1}, headers=own.owner.headers)
    refused_property(response, "body", "extra")
    assert await status(api, own.embedding("good"), own.owner.headers) == 404


@pytest.mark.parametrize(("bad", "expected"), [([1, 0], 400), ([0, 0, 0], 422), (["x", 0, 0], 422)], ids=str)
async def test_every_bad_row_is_named_with_index_and_id(
    api: httpx2.AsyncClient, own: Project, bad: list[float], expected: int
) -> None:
    rows = [row(f"row-{n}", bad if n % 3 == 0 else [1, 0, 0]) for n in range(12)]
    body = problem(await post(api, own, *rows), expected)
    named = {error["location"].split(".")[1]: error["message"] for error in body["errors"]}
    assert set(named) == {f"embeddings[{n}]" for n in (0, 3, 6, 9)}
    for n in (0, 3, 6, 9):
        assert f"row-{n}" in named[f"embeddings[{n}]"]
    assert (await fetch(api, own.path, own.owner.headers))["number_of_embeddings"] == 0


async def test_different_problems_of_one_batch_are_all_named(api: httpx2.AsyncClient, own: Project) -> None:
    response = await post(
        api, own, row("a", [0, 0, 0]), row("b", [1, 0, 0], text=5), row("", [1, 0, 0]), row("d", [70000, 0, 0]), GOOD
    )
    body = refused(response, 422, "body.embeddings[1].text", "body.embeddings[2].text_id")
    places = " ".join(error["location"] for error in body["errors"])
    assert "body.embeddings[0].vector" in places
    assert "body.embeddings[3].vector" in places
    assert "body.embeddings[4]" not in places


async def test_two_problems_of_one_row_are_both_named(api: httpx2.AsyncClient, own: Project) -> None:
    body = refused(
        await post(api, own, row("", [1, 0, 0], text=5, nonsense=1)),
        422,
        "body.embeddings[0].text_id",
        "body.embeddings[0].text",
    )
    assert names_property(body, "body.embeddings[0]", "nonsense")


@pytest.mark.parametrize("count", [99, 100, 101, 250])
async def test_at_most_a_hundred_problems_are_listed(api: httpx2.AsyncClient, own: Project, count: int) -> None:
    body = problem(await post(api, own, *(row(f"id-{n}", [1, 0]) for n in range(count))), 400)
    places = [error["location"] for error in body["errors"]]
    assert places == [f"body.embeddings[{n}].vector" for n in range(min(count, 100))]


async def test_metadata_that_breaks_the_schema_is_refused(api: httpx2.AsyncClient, admin: Headers) -> None:
    schema = {"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["author"]}
    own = await own_project(api, admin, metadataScheme=schema)
    await upload(api, own, row("kept", [1, 0, 0], metadata={"author": "Kant", "year": 1781}))
    before = await snapshot(api, own)
    rows = (
        row("one", [1, 0, 0], metadata={"year": 1}),
        row("two", [1, 0, 0], metadata={"author": "Fichte"}),
        row("kept", [0, 1, 0], metadata={"author": "Kant", "year": "late"}),
    )
    body = problem(await post(api, own, *rows), 400)
    places = [error["location"] for error in body["errors"]]
    assert all(place.startswith(("body.embeddings[0].metadata", "body.embeddings[2].metadata")) for place in places)
    assert {place.split(".")[1] for place in places} == {"embeddings[0]", "embeddings[2]"}
    assert await snapshot(api, own) == before


async def test_rows_for_a_missing_project_are_404(api: httpx2.AsyncClient, ada: User) -> None:
    problem(await api.post(f"/v1/embeddings/{ada.handle}/{unique('p')}", json=batch(GOOD), headers=ada.headers), 404)


# Ids

IDS = {
    "slash": "https://id.example.org/texts/1",
    "double slash": "a//b",
    "leading slash": "/a",
    "trailing slash": "a/",
    "space": "a b",
    "question": "a?b=c&d",
    "hash": "a#b",
    "percent": "100%",
    "encoded": "a%2Fb",
    "twice": "a%252Fb",
    "plus": "a+b",
    "colon": "urn:x:y",
    "semicolon": "a;b=c",
    "unicode": "漢字-ü-🎉",
    "combining": "e\u0301",
    "dot": ".",
    "dots": "..",
    "dots inside": "a/../b",
    "quotes": "a\"b'c",
    "backslash": "a\\b",
    "newline": "a\nb",
    "one": "x",
    "longest": "x" * 300,
    "longest of four bytes": "🎉" * 300,
    "reserved word": "stream",
}


@pytest.mark.parametrize("text_id", IDS.values(), ids=IDS.keys())
async def test_an_id_may_be_anything_and_is_encoded_in_paths(
    api: httpx2.AsyncClient, own: Project, text_id: str
) -> None:
    other = "somewhere else"
    assert (await upload(api, own, row(text_id, [1, 0, 0]), row(other, [1, 0, 0])))["ids"] == [text_id, other]
    assert (await fetch(api, own.embedding(text_id), own.owner.headers))["text_id"] == text_id
    similar = await fetch(api, own.similar(text_id), own.owner.headers)
    assert [result["id"] for result in similar["results"]] == [other]
    assert (await api.delete(own.embedding(text_id), headers=own.owner.headers)).status_code == 204
    problem(await api.get(own.embedding(text_id), headers=own.owner.headers), 404)
    assert await status(api, own.embedding(other), own.owner.headers) == 200


async def test_ids_that_differ_in_form_only_are_different(api: httpx2.AsyncClient, own: Project) -> None:
    ids = ["a", "A", "a ", " a", "é", "e\u0301"]
    assert (await upload(api, own, *(row(text_id, [1, 0, 0], text=text_id) for text_id in ids)))["inserted"] == 6
    for text_id in ids:
        assert (await fetch(api, own.embedding(text_id), own.owner.headers))["text"] == text_id


async def test_the_literal_id_comes_before_the_encoded_one(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("x%2Fy", [1, 0, 0]), row("x/y", [0, 1, 0]))
    assert (await fetch(api, own.embedding("x/y"), own.owner.headers))["text_id"] == "x/y"
    assert (await fetch(api, own.embedding("x%2Fy"), own.owner.headers))["text_id"] == "x%2Fy"


@pytest.mark.parametrize("bad", ["%00", "a%00b", segment("x" * 301)], ids=["nul", "nul-inside", "too-long"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_impossible_id_in_a_path_is_refused(
    api: httpx2.AsyncClient, own: Project, method: str, bad: str
) -> None:
    response = await api.request(method, f"{own.embeddings}/{bad}", headers=own.owner.headers)
    # an invalid value, and also an id that nothing can have
    assert response.status_code in {404, 422}
    problem(response, response.status_code)


# Lists


async def filled(api: httpx2.AsyncClient, admin: Headers) -> tuple[Project, list[str]]:
    own = await own_project(api, admin)
    ids = [f"id-{n:02}" for n in range(12)]
    rows = [row(text_id, [1, n, 0], text=f"Text {n}", metadata={"n": n}) for n, text_id in enumerate(ids)]
    await upload(api, own, *reversed(rows))
    return own, ids


async def test_the_list_is_ordered_by_id_and_holds_the_items(api: httpx2.AsyncClient, admin: Headers) -> None:
    own, ids = await filled(api, admin)
    body = await fetch(api, own.embeddings, own.owner.headers, limit=200)
    assert set(body) == {"embeddings"}
    assert [entry["text_id"] for entry in body["embeddings"]] == ids
    for entry in body["embeddings"]:
        item = await fetch(api, own.embedding(entry["text_id"]), own.owner.headers)
        assert {name: entry[name] for name in ("vector", "text", "metadata")} == {
            name: item[name] for name in ("vector", "text", "metadata")
        }


@pytest.mark.parametrize("limit", [1, 5, 12, 200])
async def test_pages_by_offset_are_the_list(api: httpx2.AsyncClient, admin: Headers, limit: int) -> None:
    own, ids = await filled(api, admin)
    found = await pages(api, own.embeddings, own.owner.headers, field="embeddings", limit=limit)
    assert [entry["text_id"] for entry in found] == ids


@pytest.mark.parametrize("limit", [1, 5, 12, 200])
async def test_pages_by_after_are_the_list(api: httpx2.AsyncClient, admin: Headers, limit: int) -> None:
    own, ids = await filled(api, admin)
    found: list[str] = []
    page = await fetch(api, own.embeddings, own.owner.headers, limit=limit)
    while page["embeddings"]:
        found += [entry["text_id"] for entry in page["embeddings"]]
        page = await fetch(api, own.embeddings, own.owner.headers, limit=limit, after=found[-1])
    assert found == ids


async def test_pages_by_after_pass_ids_that_are_hard_to_write(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, *(row(text_id, [1, 0, 0]) for text_id in IDS.values()))
    whole = [e["text_id"] for e in (await fetch(api, own.embeddings, own.owner.headers, limit=200))["embeddings"]]
    found: list[str] = []
    while page := (
        await fetch(api, own.embeddings, own.owner.headers, limit=3, **({"after": found[-1]} if found else {}))
    )["embeddings"]:
        found += [entry["text_id"] for entry in page]
    assert found == whole
    assert sorted(found) == sorted(IDS.values())


async def test_after_takes_an_id_that_is_not_stored(api: httpx2.AsyncClient, admin: Headers) -> None:
    own, ids = await filled(api, admin)
    page = await fetch(api, own.embeddings, own.owner.headers, limit=2, after="id-04x")
    assert [entry["text_id"] for entry in page["embeddings"]] == ids[5:7]
    assert await fetch(api, own.embeddings, own.owner.headers, after="zzz") == {"embeddings": []}


async def test_a_page_past_the_end_is_an_empty_list(api: httpx2.AsyncClient, admin: Headers) -> None:
    own, _ = await filled(api, admin)
    assert await fetch(api, own.embeddings, own.owner.headers, offset=12) == {"embeddings": []}
    assert await fetch(api, own.embeddings, own.owner.headers, offset=2_000_000_000) == {"embeddings": []}


@pytest.mark.parametrize(
    "include", ["vector", "text", "metadata", "vector,text", "text,metadata", "metadata,vector,text"]
)
async def test_include_chooses_the_large_fields(api: httpx2.AsyncClient, admin: Headers, include: str) -> None:
    own, ids = await filled(api, admin)
    page = await fetch(api, own.embeddings, own.owner.headers, include=include, limit=200)
    assert [entry["text_id"] for entry in page["embeddings"]] == ids
    for entry in page["embeddings"]:
        assert {"vector", "text", "metadata"} & set(entry) == set(include.split(","))


BAD_QUERIES = [
    "limit=0",
    "limit=201",
    "limit=-1",
    "limit=ten",
    "limit=1.5",
    "limit=",
    "limit=99999999999999999999",
    "offset=-1",
    "offset=x",
    "offset=1.5",
    "include=everything",
    "include=vector,nonsense",
    "after=a%00b",
]


@pytest.mark.parametrize("query", BAD_QUERIES)
async def test_bad_pages_are_refused(api: httpx2.AsyncClient, own: Project, query: str) -> None:
    response = await api.get(f"{own.embeddings}?{query}", headers=own.owner.headers)
    refused_below(response, 422, f"query.{query.partition('=')[0]}")


async def test_all_problems_of_a_query_are_listed(api: httpx2.AsyncClient, own: Project) -> None:
    response = await api.get(f"{own.embeddings}?limit=0&offset=-1", headers=own.owner.headers)
    refused(response, 422, "query.limit", "query.offset")


async def test_an_offset_beyond_bigint_is_no_server_error(api: httpx2.AsyncClient, own: Project) -> None:
    response = await api.get(f"{own.embeddings}?offset={10**30}", headers=own.owner.headers)
    # the contract sets no upper limit: an empty page, or an invalid value
    assert response.status_code in {200, 422}


# Deleting


async def test_one_row_is_deleted(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 0, 0]), row("b", [0, 1, 0]))
    response = await api.delete(own.embedding("a"), headers=own.owner.headers)
    assert (response.status_code, response.content) == (204, b"")
    problem(await api.get(own.embedding("a"), headers=own.owner.headers), 404)
    problem(await api.delete(own.embedding("a"), headers=own.owner.headers), 404)
    assert await status(api, own.embedding("b"), own.owner.headers) == 200
    assert (await upload(api, own, row("a", [0, 0, 1])))["inserted"] == 1


async def test_all_rows_are_deleted_and_the_project_stays(api: httpx2.AsyncClient, admin: Headers) -> None:
    own, _ = await filled(api, admin)
    neighbour = await project(api, own.owner, on=own.instance)
    await upload(api, neighbour, row("id-01", [1, 0, 0]))
    for _ in range(2):  # the second time there is nothing left to delete
        response = await api.delete(own.embeddings, headers=own.owner.headers)
        assert (response.status_code, response.content) == (204, b"")
    about, rows = await snapshot(api, own)
    assert (about["number_of_embeddings"], rows) == (0, [])
    assert (await fetch(api, neighbour.path, own.owner.headers))["number_of_embeddings"] == 1
    assert (await upload(api, own, row("id-01", [1, 0, 0])))["inserted"] == 1


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_missing_project_is_404(api: httpx2.AsyncClient, admin: Headers, ada: User, method: str) -> None:
    body = batch(GOOD) if method == "POST" else None
    for headers in (ada.headers, admin):
        path = f"/v1/embeddings/{ada.handle}/{unique('p')}"
        problem(await api.request(method, path, json=body, headers=headers), 404)


async def test_rows_of_the_same_id_in_two_projects_are_apart(api: httpx2.AsyncClient, admin: Headers) -> None:
    one = await own_project(api, admin)
    two = await project(api, one.owner, on=one.instance)
    await upload(api, one, row("a", [1, 0, 0], text="one"))
    await upload(api, two, row("a", [0, 1, 0], text="two"))
    assert (await fetch(api, one.embedding("a"), one.owner.headers))["text"] == "one"
    assert (await api.delete(one.embedding("a"), headers=one.owner.headers)).status_code == 204
    assert (await fetch(api, two.embedding("a"), one.owner.headers))["text"] == "two"


def test_halves_are_the_shortest_decimals() -> None:
    assert halves([0.1]) == [0.1]
    assert halves([0.12345678]) == [float(str(np.float16(0.12345678)))]


async def test_a_schema_of_the_original_system_that_is_none(
    api: httpx2.AsyncClient, own: Project, service_database: str
) -> None:
    connection = await asyncpg.connect(service_database)
    await connection.execute("UPDATE projects SET metadata_scheme = '{not json' WHERE project_id = $1", own.id)
    await connection.close()
    body = problem(await post(api, own, row("a", [1, 0, 0])), 409)
    assert "schema is not usable" in body["detail"]
    assert (await fetch(api, own.path, own.owner.headers))["metadataScheme"] == "{not json"
    assert (await api.patch(own.path, json={"metadataScheme": None}, headers=own.owner.headers)).status_code == 200
    assert (await post(api, own, row("a", [1, 0, 0]))).status_code == 201
