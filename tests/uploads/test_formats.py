"""One batch in every form stores the same rows, and every malformed one is refused where it is wrong."""

import base64
import gzip
import json
import math
import zlib
from typing import Any

import httpx2
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.http.compression import zstd
from tests.support import world
from tests.support.world import Headers, Project, fetch, problem, project, row, upload, user

pytestmark = pytest.mark.slow

PACKED = {"Content-Type": "application/msgpack"}
JSON = {"Content-Type": "application/json"}
DIMENSIONS = 5
COMPRESS = {"identity": bytes, "gzip": gzip.compress, "zstd": zstd.compress}


@pytest.fixture
async def place(api: httpx2.AsyncClient, admin: Headers) -> Project:
    return await project(api, await user(api, admin))


def pack(vector: Any, kind: str) -> bytes:
    return np.array(vector, dtype="<" + kind).tobytes()


async def send(api: httpx2.AsyncClient, to: str, owner: Headers, body: bytes, **headers: str) -> httpx2.Response:
    return await api.post(to, content=body, headers={**owner, **JSON, **headers})


halves = st.lists(st.floats(-60000, 60000, width=16).filter(lambda number: abs(number) > 1e-4), min_size=3, max_size=3)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
documents = st.dictionaries(st.text("abc", max_size=2), st.integers(-5, 5), max_size=3)
rows_of = st.lists(
    st.tuples(st.one_of(st.none(), texts), st.one_of(st.none(), documents), halves), min_size=1, max_size=5
)


@given(rows_of)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_all_forms_store_the_same(
    api: httpx2.AsyncClient, admin: Headers, rows: list[tuple[str | None, Any, list[float]]]
) -> None:
    owner = await user(api, admin)
    seen = []
    for form in ("json", "json f4", "json f2", "packed", "packed f4", "packed f2"):
        to = await project(api, owner)
        wire, _, kind = form.partition(" ")
        records = []
        for number, (text, metadata, vector) in enumerate(rows):
            sent: Any = vector
            if kind:
                raw = pack(vector, kind)
                sent = raw if wire == "packed" else base64.b64encode(raw).decode()
            records.append({"text_id": f"r{number}", "vector": sent, "text": text, "metadata": metadata})
        document = {"embeddings": records, **({"encoding": kind} if kind else {})}
        plain = msgspec.msgpack.encode(document) if wire == "packed" else json.dumps(document).encode()
        for place, (name, compress) in enumerate(COMPRESS.items()):
            headers = {"Content-Type": "application/msgpack"} if wire == "packed" else {}
            headers = {**headers, "Content-Encoding": name}
            answer = await send(api, to.embeddings, owner.headers, compress(plain), **headers)
            assert answer.status_code == 201, answer.text
            assert answer.json()["unchanged"] == (len(rows) if place else 0)
        found = (await fetch(api, to.embeddings, owner.headers))["embeddings"]
        seen.append([(one["text_id"], one["vector"], one.get("text"), one.get("metadata")) for one in found])
    assert all(one == seen[0] for one in seen)
    assert [np.float16(number) for number in seen[0][0][1]] == [np.float16(number) for number in rows[0][2]]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/msgpack", "application/msgpack"),
        ("application/json;q=0.5, application/msgpack", "application/msgpack"),
        ("application/json, application/msgpack;q=0.5", "application/json"),
        ("application/msgpack;q=0", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ],
)
async def test_answers_follow_accept(api: httpx2.AsyncClient, place: Project, accept: str, kind: str) -> None:
    headers = {**place.owner.headers, "Accept": accept}
    body = {"embeddings": [row("a", [1, 2, 3], metadata={"k": 1})]}
    made = await api.post(place.embeddings, json=body, headers=headers)
    got = await api.get(place.embedding("a"), headers=headers)
    plain = (await api.get(place.embedding("a"), headers=place.owner.headers)).json()
    for answer in (made, got):
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert "Accept" in answer.headers["vary"]
    assert (msgspec.msgpack.decode(got.content) if kind == "application/msgpack" else got.json()) == plain
    refused = await api.get(place.embedding("none"), headers=headers)
    assert refused.headers["content-type"] == "application/problem+json"


VECTOR, METADATA = "body.embeddings[0].vector", "body.embeddings[0].metadata"


def of(vector: Any, **more: Any) -> dict[str, Any]:
    """A batch of one."""
    body = {name: more.pop(name) for name in ("encoding", "more") if name in more}
    return {"embeddings": [{"text_id": "a", "vector": vector, **more}], **body}


@pytest.mark.parametrize("wrong", ['"a, b"', "[1]", '{"a": 1}', "null"])
async def test_a_long_vector_of_something_else(api: httpx2.AsyncClient, admin: world.Headers, wrong: str) -> None:
    """It is told where it stands, with what is wrong in other rows, as with a short one."""
    owner = await world.user(api, admin)
    project = await world.project(api, owner, on=await world.instance(api, owner, dimensions=16_000))
    vector = "[" + ", ".join(["0.12345", wrong, *["0.12345"] * 15_998]) + "]"
    body = '{"embeddings": [{"text_id": "a", "vector": %s}, {"text_id": "b", "vector": [1]}]}' % vector  # noqa: UP031
    headers = {**owner.headers, "Content-Type": "application/json"}
    answer = await api.post(project.embeddings, content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert [one["location"].split("[1]")[0] for one in answer.json()["errors"]] == [
        "body.embeddings[0].vector",
        "body.embeddings",
    ]
    found = await api.post(project.similars, content=f'{{"vector": {vector}}}', headers=headers)
    assert (found.status_code, found.json()["errors"][0]["location"][:11]) == (422, "body.vector")


@pytest.mark.parametrize(
    ("document", "status", "location"),
    [
        (of(b"123"), 422, VECTOR),
        (of(pack([1, 2], "f4")), 400, VECTOR),
        (of(pack([1, 2, 3], "f4"), encoding="f8"), 422, "body.encoding"),
        (of(pack([1, 2, 3], "f4"), encoding="f2"), 400, VECTOR),
        (of(pack([math.nan, 1, 1], "f2"), encoding="f2"), 422, VECTOR),
        (of(pack([math.inf, 1, 1], "f4")), 422, VECTOR),
        (of(pack([70000, 1, 1], "f4")), 422, VECTOR),
        (of(pack([0, -0.0, 0], "f2"), encoding="f2"), 422, VECTOR),
        (of([1, 2, 3], metadata={"a": math.nan}), 422, METADATA),
        (of([1, 2, 3], metadata={"a": {1: 2}}), 422, METADATA),
        (of([1, 2, 3], metadata={"a": b"x"}), 422, METADATA),
        (of([1, 2, 3], metadata={"a": msgspec.msgpack.Ext(5, b"x")}), 422, METADATA),
        (of([1, 2, 3], text_id=5), 422, "body.embeddings[0].text_id"),
        ({"embeddings": 5}, 422, "body.embeddings"),
        (of([1, 2, 3], more=1), 422, "body.more"),
        ([], 422, "body"),
    ],
)
async def test_malformed_packed_batches(
    api: httpx2.AsyncClient, place: Project, document: Any, status: int, location: str
) -> None:
    answer = await send(api, place.embeddings, place.owner.headers, msgspec.msgpack.encode(document), **PACKED)
    error = problem(answer, status)
    assert error["errors"][0]["location"] == location
    assert (await fetch(api, place.embeddings, place.owner.headers))["embeddings"] == []


async def test_what_cannot_be_read(api: httpx2.AsyncClient, place: Project) -> None:
    good = msgspec.msgpack.encode({"embeddings": [row("a", [1, 2, 3])]})
    owner = place.owner.headers
    for body in (good[:-1], good + b"\x01", b"", b"\xc1", b"\x91" * 5000 + b"\x01"):
        problem(await send(api, place.embeddings, owner, body, **PACKED), 400)
    problem(await send(api, place.embeddings, owner, good), 400)  # said to be JSON
    problem(await send(api, place.embeddings, owner, b"{}", **{"Content-Type": "application/x-msgpack"}), 415)
    problem(await send(api, place.owner.path, owner, good, **PACKED), 405)
    refused = await api.put(place.path, content=good, headers={**owner, **PACKED})
    problem(refused, 415)  # MessagePack is for uploads and searches
    text = json.dumps({"embeddings": [{"text_id": "a", "vector": "A*=="}]}).encode()
    assert "base64" in problem(await send(api, place.embeddings, owner, text), 422)["errors"][0]["message"]


async def test_compressed_bodies(api: httpx2.AsyncClient, place: Project) -> None:
    owner, body = place.owner.headers, json.dumps({"embeddings": [row("a", [1, 2, 3])]}).encode()
    for name, compress in (("gzip", gzip.compress), ("zstd", zstd.compress)):
        packed = compress(body)
        encoding = {"Content-Encoding": name}
        in_parts = compress(body[:9]) + compress(body[9:])
        assert (await send(api, place.embeddings, owner, in_parts, **encoding)).status_code == 201
        for bad in (packed[:-3], b"not compressed at all", packed + b"rest"):
            assert name in problem(await send(api, place.embeddings, owner, bad, **encoding), 400)["detail"]
        bomb = compress(bytes(200_000_000))
        assert len(bomb) < 300_000
        problem(await send(api, place.embeddings, owner, bomb, **encoding), 413)
    for name in ("br", "deflate", "gzip, zstd"):
        answer = await send(api, place.embeddings, owner, zlib.compress(body), **{"Content-Encoding": name})
        problem(answer, 415)
        assert answer.headers["accept-encoding"] == "gzip, zstd"


async def test_searches_in_every_form(api: httpx2.AsyncClient, place: Project) -> None:
    await upload(api, place, row("a", [1, 0, 0]), row("b", [0, 1, 0], metadata={"k": 1}, text="of b"))
    owner = place.owner.headers
    expected = (await api.post(place.similars, json={"vector": [1, 0, 0]}, headers=owner)).json()
    assert [one["id"] for one in expected["results"]] == ["a"]
    for kind in ("f2", "f4"):
        raw = pack([1, 0, 0], kind)
        document = {"vector": base64.b64encode(raw).decode(), "encoding": kind}
        assert (await api.post(place.similars, json=document, headers=owner)).json() == expected
        packed = msgspec.msgpack.encode({"vector": raw, "encoding": kind})
        assert (await send(api, place.similars, owner, packed, **PACKED)).json() == expected
        many = msgspec.msgpack.encode({"vectors": [raw, pack([0, 1, 0], kind)], "encoding": kind, "include": ["text"]})
        found = (await send(api, place.similars, owner, many, **PACKED)).json()["results"]
        assert [[one["id"] for one in each] for each in found] == [["a"], ["b"]]
        assert found[1][0]["text"] == "of b"
    text = base64.b64encode(pack([1.999, 0, 0], "f2")).decode()
    assert "/" in text
    escaped = json.dumps({"vectors": [text] * 2, "encoding": "f2"}).replace("/", r"\/").encode()  # as PHP writes it
    found = (await send(api, place.similars, owner, escaped, **{"Content-Type": "application/json"})).json()["results"]
    assert [[one["id"] for one in each] for each in found] == [["a"], ["a"]]
    filtered = await api.post(
        f"{place.similars}?threshold=-1", json={"vector": [1, 0, 0], "filter": {"k": {"$gte": 1}}}, headers=owner
    )
    assert [one["id"] for one in filtered.json()["results"]] == ["b"]
    shown = await api.get(f"{place.similar('a')}?threshold=-1&include=metadata,text", headers=owner)
    assert shown.json()["results"] == [{"id": "b", "similarity": 0.0, "text": "of b", "metadata": {"k": 1}}]


@pytest.mark.parametrize(
    ("document", "status", "location"),
    [
        ({}, 422, "body.vector"),
        ({"vector": [1, 2, 3], "vectors": [[1, 2, 3]]}, 422, "body.vector"),
        ({"vectors": []}, 422, "body.vectors"),
        ({"vectors": [[1, 2, 3], [1, 2]]}, 400, "body.vectors[1]"),
        ({"vectors": [[1, 2, 3], [0, 0, 0]]}, 422, "body.vectors[1]"),
        ({"vectors": [[1, 2, 3]] * 1001}, 422, "body.vectors"),
        ({"vector": [1, 2, 3], "filter": {"a": {"$x": 1}}}, 422, "body.filter.a.$x"),
        ({"vector": [1, 2, 3], "filter": 5}, 422, "body.filter"),
        ({"vector": [1, 2, 3], "include": ["vector"]}, 422, "body.include[0]"),
    ],
)
async def test_malformed_searches(
    api: httpx2.AsyncClient, place: Project, document: Any, status: int, location: str
) -> None:
    error = problem(await api.post(place.similars, json=document, headers=place.owner.headers), status)
    assert error["errors"][0]["location"] == location


async def test_a_thousand_vectors_at_once(api: httpx2.AsyncClient, place: Project) -> None:
    await upload(api, place, *[row(f"{number:03}", [1, number, 1]) for number in range(50)])
    vectors = [[1, number % 50, 1] for number in range(1000)]
    answer = await api.post(f"{place.similars}?limit=1", json={"vectors": vectors}, headers=place.owner.headers)
    assert [each[0]["id"] for each in answer.json()["results"]] == [f"{number % 50:03}" for number in range(1000)]
