"""Changes and digests over HTTP."""

import asyncio
import base64
import random
from typing import Any

import asyncpg
import httpx2
import msgspec
import numpy as np
import pytest

from service.storage import changes as settling
from tests.support import digests
from tests.support.world import Headers, Json, Project, fetch, problem, project, refused, row, upload, user


async def changes(api: httpx2.AsyncClient, own: Project, **query: Any) -> Json:
    answer: Json = await fetch(api, f"{own.embeddings}/changes", own.owner.headers, **query)
    return answer


async def all_changes(api: httpx2.AsyncClient, own: Project, since: int, limit: int = 200) -> tuple[list[Json], int]:
    found: list[Json] = []
    page = await changes(api, own, since=since, limit=limit)
    while True:
        found += page["changes"]
        if "next" not in page:
            return found, page["sequence"]
        assert "sequence" not in page
        page = (await api.get(page["next"], headers=own.owner.headers)).json()


async def delete(api: httpx2.AsyncClient, own: Project, *text_ids: str) -> None:
    answer = await api.post(f"{own.embeddings}/delete", json={"text_ids": text_ids}, headers=own.owner.headers)
    assert answer.json()["deleted"] == len(text_ids)


async def test_what_came_since(api: httpx2.AsyncClient, own: Project) -> None:
    assert (await changes(api, own))["changes"] == []
    assert (await changes(api, own, limit=0)).keys() == {"changes", "log", "sequence"}
    await upload(api, own, *(row(name, [1, 2, 3], text=name, metadata={"n": name}) for name in "abcde"))
    found, sequence = await all_changes(api, own, 0, limit=2)
    assert [one["text_id"] for one in found] == list("abcde")
    assert {**found[0], "sequence": 0} == {
        "sequence": 0,
        "text_id": "a",
        "created_at": found[0]["created_at"],
        "updated_at": found[0]["updated_at"],
        "vector": [1, 2, 3],
        "text": "a",
        "metadata": {"n": "a"},
    }
    await upload(api, own, row("b", [3, 2, 1]), row("c", [1, 2, 3]))  # c does not change
    await delete(api, own, "d", "e")
    await upload(api, own, row("e", [1, 1, 1]))
    found, later = await all_changes(api, own, sequence)
    assert [(one["text_id"], one.get("deleted", False)) for one in found] == [
        ("b", False),
        ("d", True),
        ("e", True),
        ("e", False),
    ]
    assert found[1].keys() == {"sequence", "text_id", "deleted"}
    assert (await all_changes(api, own, later)) == ([], later)
    await api.delete(own.embedding("a"), headers=own.owner.headers)
    assert [one["text_id"] for one in (await all_changes(api, own, later))[0]] == ["a"]


async def test_a_cursor_from_before_all_was_deleted_is_gone(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 2, 3]))
    _, sequence = await all_changes(api, own, 0)
    await api.delete(own.embeddings, headers=own.owner.headers)
    await upload(api, own, row("b", [1, 2, 3]))
    answer = await api.get(f"{own.embeddings}/changes?since={sequence}", headers=own.owner.headers)
    assert "read all embeddings" in problem(answer, 410)["detail"]
    found, _ = await all_changes(api, own, 0)
    assert [one["text_id"] for one in found] == ["b"]
    answer = await api.get(f"{own.embeddings}/changes?since={2**60}", headers=own.owner.headers)
    assert "restored" in problem(answer, 410)["detail"]


async def test_what_is_refused(api: httpx2.AsyncClient, own: Project) -> None:
    for query, place in (
        ("changes?since=-1", "query.since"),
        ("changes?since=5&after=4", "query.after"),
        ("changes?limit=1001", "query.limit"),
        ("changes?encoding=f8", "query.encoding"),
        ("digests?limit=100001", "query.limit"),
        ("digests?buckets=4096", "query.buckets[0]"),
        ("digests/buckets?limit=0", "query.limit"),
    ):
        refused(await api.get(f"{own.embeddings}/{query}", headers=own.owner.headers), 422, place)


async def test_vectors_in_bytes(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [0.1, 2, 3], text="t", metadata={"k": [1]}))
    halves = np.array([0.1, 2, 3], dtype="<f2")
    packed = {**own.owner.headers, "Accept": "application/msgpack"}
    for encoding, expected in (("f2", halves.tobytes()), ("f4", halves.astype("<f4").tobytes())):
        in_json = [
            (await changes(api, own, encoding=encoding))["changes"][0],
            (await fetch(api, own.embeddings, own.owner.headers, encoding=encoding))["embeddings"][0],
        ]
        assert [base64.b64decode(one["vector"]) for one in in_json] == [expected] * 2
        body = {"text_ids": ["a"], "encoding": encoding}
        answers = [
            await api.get(f"{own.embeddings}/changes?encoding={encoding}", headers=packed),
            await api.get(f"{own.embeddings}?encoding={encoding}", headers=packed),
            await api.post(f"{own.embeddings}/get", json=body, headers=packed),
        ]
        for answer in answers:
            (one,) = next(
                value for value in msgspec.msgpack.decode(answer.content).values() if value and isinstance(value, list)
            )
            assert (one["vector"], one["text"], one["metadata"]) == (expected, "t", {"k": [1]})


async def test_more_vectors_than_a_body_may_have(api: httpx2.AsyncClient, admin: Headers) -> None:
    owner = await user(api, admin)
    own = await project(api, owner, dimensions=16_000)
    ids = [f"{number}" for number in range(200)]
    answer = await api.post(f"{own.embeddings}/get", json={"text_ids": ids}, headers=owner.headers)
    refused(answer, 422, "body.text_ids")
    fewer = await api.post(f"{own.embeddings}/get", json={"text_ids": ids, "include": ["text"]}, headers=owner.headers)
    assert len(fewer.json()["missing"]) == 200
    refused(await api.get(f"{own.embeddings}/changes?limit=1000", headers=owner.headers), 422, "query.limit")


@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
async def test_digests(api: httpx2.AsyncClient, own: Project, accept: str) -> None:
    ids = [f"id {number}" for number in range(30)]
    await upload(api, own, *(row(name, [1, 2, place]) for place, name in enumerate(ids)))
    await upload(api, own, row("id 7", [1, 2, 7], text="größe", metadata={"b": 1, "a": "ü"}))
    headers = {**own.owner.headers, "Accept": accept}

    async def read(path: str) -> Json:
        answer = await api.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        decode = msgspec.msgpack.decode if accept.endswith("msgpack") else msgspec.json.decode
        found: Json = decode(answer.content)
        return found

    page = await read(f"{own.embeddings}/digests?limit=30")
    assert page["text_ids"] == sorted(ids)
    place = page["text_ids"].index("id 7")
    assert page["vectors"] == [f"{digests.vector(name, [1, 2, ids.index(name)]):016x}" for name in sorted(ids)]
    assert page["texts"] == [
        f"{digests.text('id 7', 'größe'):016x}" if name == "id 7" else None for name in sorted(ids)
    ]
    written = '{"a": "ü", "b": 1}'
    assert page["metadata"][place] == f"{digests.metadata('id 7', written):016x}"
    assert (await read(page["next"]))["text_ids"] == []
    wanted = ",".join(str(digests.bucket(name)) for name in ("id 3", "id 7"))
    some = await read(f"{own.embeddings}/digests?buckets={wanted}")
    assert (
        {"id 3", "id 7"}
        <= set(some["text_ids"])
        == {name for name in ids if digests.bucket(name) in (digests.bucket("id 3"), digests.bucket("id 7"))}
    )
    rows, path = [0] * 4096, f"{own.embeddings}/digests/buckets?limit=11"
    combined = {part: [0] * 4096 for part in ("vectors", "texts", "metadata")}
    while path:
        some = await read(path)
        rows = [one + more for one, more in zip(rows, some["rows"], strict=True)]
        for part, numbers in combined.items():
            combined[part] = [one ^ int(more, 16) for one, more in zip(numbers, some[part], strict=True)]
        path = some.get("next", "")
    assert [bucket for bucket, count in enumerate(rows) if count] == sorted({digests.bucket(name) for name in ids})
    for part, numbers in combined.items():
        expected = [0] * 4096
        for name, one in zip(page["text_ids"], page[part], strict=True):
            expected[digests.bucket(name)] ^= int(one or "0", 16)
        assert numbers == expected


async def test_an_open_transaction_is_waited_for(api: httpx2.AsyncClient, own: Project, service_database: str) -> None:
    other = await asyncpg.connect(service_database)
    try:
        writing = other.transaction()
        await writing.start()
        await other.execute(
            f"INSERT INTO embeddings_{own.id} (project_id, text_id, vector) VALUES ($1, 'slow', '[1,2,3]')", own.id
        )
        await upload(api, own, row("quick", [1, 2, 3]))
        asked = asyncio.create_task(changes(api, own))
        await asyncio.sleep(0.3)
        assert not asked.done()
        await writing.commit()
        assert [one["text_id"] for one in (await asked)["changes"]] == ["slow", "quick"]
    finally:
        await other.close()


async def test_one_that_does_not_end_is_told(
    api: httpx2.AsyncClient, admin: Headers, service_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "WAIT_SECONDS", 0.2)
    own = await project(api, await user(api, admin))
    other = await asyncpg.connect(service_database)
    try:
        await other.execute("BEGIN")
        await other.execute(f"DELETE FROM embeddings_{own.id}")
        answer = await api.get(f"{own.embeddings}/changes", headers=own.owner.headers)
        assert "Long uploads" in problem(answer, 503)["detail"]
    finally:
        await other.close()


async def test_a_copy_that_follows_the_changes_becomes_equal(api: httpx2.AsyncClient, own: Project) -> None:
    copy: dict[str, list[float]] = {}
    sequence, is_writing = 0, True

    async def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            names = [f"{chance.randrange(60)}" for _ in range(chance.choice((1, 3, 30)))]
            if chance.random() < 0.3:
                body = {"text_ids": list(set(names))}
                answer = await api.post(f"{own.embeddings}/delete", json=body, headers=own.owner.headers)
            else:
                rows = [row(name, [chance.randrange(1, 99), 1, 1]) for name in set(names)]
                answer = await api.post(own.embeddings, json={"embeddings": rows}, headers=own.owner.headers)
            assert answer.status_code in (200, 201)

    async def follow() -> None:
        nonlocal sequence
        found, sequence = await all_changes(api, own, sequence, limit=7)
        for one in found:
            if one.get("deleted"):
                copy.pop(one["text_id"], None)
            else:
                copy[one["text_id"]] = one["vector"]

    async def follow_on() -> None:
        while is_writing:
            await follow()

    following = asyncio.create_task(follow_on())
    await asyncio.gather(*(write(seed) for seed in range(6)))
    is_writing = False
    await following
    await follow()
    page = await fetch(api, own.embeddings, own.owner.headers)
    assert copy == {one["text_id"]: one["vector"] for one in page["embeddings"]}
    assert copy
