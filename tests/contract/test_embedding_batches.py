"""Many embeddings at once: read and deleted by their ids, and deleted by their metadata."""

from typing import Any

import httpx2
import msgspec

from tests.support.world import Headers, Project, fetch, problem, project, row, upload, user


async def filled(api: httpx2.AsyncClient, admin: Headers) -> Project:
    own = await project(api, await user(api, admin))
    rows = [
        row(f"{number:02}", [1, 2, number], text=f"text {number}", metadata={"n": number, "even": number % 2 == 0})
        for number in range(20)
    ]
    await upload(api, own, *rows)
    return own


async def post(api: httpx2.AsyncClient, own: Project, what: str, **body: Any) -> httpx2.Response:
    return await api.post(f"{own.embeddings}/{what}", json=body, headers=own.owner.headers)


async def count(api: httpx2.AsyncClient, own: Project) -> int:
    found: int = (await fetch(api, own.path, own.owner.headers))["number_of_embeddings"]
    return found


async def test_reading_by_ids(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await filled(api, admin)
    found = (await post(api, own, "get", text_ids=["07", "none", "03", "07"])).json()
    assert ([one["text_id"] for one in found["embeddings"]], found["missing"]) == (["03", "07"], ["none"])
    assert found["embeddings"][0] == await fetch(api, own.embedding("03"), own.owner.headers)
    only = (await post(api, own, "get", text_ids=["03"], include=["metadata"])).json()["embeddings"][0]
    assert only["metadata"] == {"n": 3, "even": False}
    assert "vector" not in only
    assert "text" not in only
    packed = msgspec.msgpack.encode({"text_ids": ["03"]})
    headers = {**own.owner.headers, "Content-Type": "application/msgpack", "Accept": "application/msgpack"}
    answer = await api.post(f"{own.embeddings}/get", content=packed, headers=headers)
    assert msgspec.msgpack.decode(answer.content)["embeddings"][0]["text_id"] == "03"


async def test_deleting_by_ids_and_by_filter(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await filled(api, admin)
    tried = (await post(api, own, "delete", filter={"even": True}, dry_run=True)).json()
    assert (tried["deleted"], tried["dry_run"], len(tried["text_ids"])) == (10, True, 10)
    assert await count(api, own) == 20
    gone = (await post(api, own, "delete", text_ids=["00", "01", "none"])).json()
    assert gone == {"deleted": 2, "text_ids": ["00", "01"], "dry_run": False}
    both = (await post(api, own, "delete", text_ids=["02", "03"], filter={"even": True})).json()
    assert both["text_ids"] == ["02"]
    rest = (await post(api, own, "delete", filter={"n": {"$gte": 10}})).json()
    assert rest["deleted"] == 10
    assert await count(api, own) == 7
    assert (await post(api, own, "delete", filter={"n": {"$gte": 10}})).json()["deleted"] == 0


async def test_what_is_refused(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await filled(api, admin)
    for what, body in (
        ("get", {}),
        ("get", {"text_ids": []}),
        ("get", {"text_ids": [""]}),
        ("get", {"text_ids": ["a"] * 10_001}),
        ("get", {"text_ids": ["a"], "include": ["all"]}),
        ("delete", {}),
        ("delete", {"dry_run": True}),
        ("delete", {"text_ids": []}),
        ("delete", {"filter": {"$no": 1}}),
        ("delete", {"text_ids": ["a"], "force": True}),
    ):
        problem(await post(api, own, what, **body), 422)
    assert await count(api, own) == 20
    headers = {**own.owner.headers, "Content-Type": "application/json"}
    wide = b'{"filter": {"a": [' + b"{}," * 1_000_000 + b"{}]}}"
    problem(await api.post(f"{own.embeddings}/delete", content=wide, headers=headers), 413)
    long = b'{"text_ids": ["' + b'","'.join([b"a"] * 2_000_000) + b'"]}'
    problem(await api.post(f"{own.embeddings}/get", content=long, headers=headers), 413)
