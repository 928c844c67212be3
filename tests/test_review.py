"""Probes."""
import asyncio
import socket
import struct
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest

from tests.conftest import ADMIN_KEY, serving, settings_for
from tests.contract import world

ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


async def raw(base: str, data: bytes, seconds: float = 5) -> bytes:
    url = urlsplit(base)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(data)
    got = b""
    try:
        async with asyncio.timeout(seconds):
            while piece := await reader.read(65536):
                got += piece
    except TimeoutError:
        pass
    writer.close()
    return got


@pytest.mark.parametrize("host", ["[", "a/b", "[::1", "x]", "a?b", "a#b", "", "a:b:c"])
async def test_host(api, admin, host):
    for path in ("/v1/llm-services/nobody", "/v1/llm-instances/nobody", "/healthz", "/docs", "/nothing"):
        got = await raw(str(api.base_url), f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        print(host, path, got[:400])
        assert b" 500 " not in got.split(b"\r\n")[0], path
        assert b"text/plain" not in got


@pytest.mark.parametrize("path", ["http://[/v1/llm-services/nobody", "http://evil/v1/llm-services/nobody", "//v1/llm-services/x", "*", "/v1/llm-services/a%0d%0aX:y", "/v1/llm-services/a>b", "/v1/llm-services/\xff\xfe", "/v1/llm-services/[", "/v1/llm-services/a;b#c", "http://x:99999999/v1/llm-services/nobody"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "HEAD"])
async def test_path(api, admin, path, method):
    got = await raw(str(api.base_url), f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
    print(method, path, got[:500])
    assert b" 500 " not in got.split(b"\r\n")[0], path
    assert b"text/plain" not in got


def ext(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


CASES = {
    "nan": float("nan"),
    "inf": float("inf"),
    "bytes": b"\xff\x00",
    "ext": msgspec.msgpack.Ext(5, b"abc"),
    "intkey": {1: 2},
    "floatkey": {1.5: 2},
    "nonekey": {None: 2},
    "boolkey": {True: 2},
    "byteskey": {b"x": 2},
    "tuplekey": {(1, 2): 2},
    "u64": 2**64 - 1,
    "i64": -(2**63),
    "denormal": 5e-324,
    "max": 1.7976931348623157e308,
    "negzero": -0.0,
}


@pytest.mark.parametrize("name", CASES)
async def test_msgpack_metadata(api, admin, name):
    u = await world.user(api, admin)
    p = await world.project(api, u)
    body = ext({"embeddings": [{"text_id": "a", "vector": [1.0, 0, 0], "metadata": {"v": CASES[name]}}]})
    r = await api.post(p.embeddings, content=body, headers={**u.headers, "Content-Type": "application/msgpack"})
    print("upload", name, r.status_code, r.text[:300])
    r2 = await api.post(p.embeddings + "/stream", content=ext({"text_id": "b", "vector": [1.0, 0, 0], "metadata": {"v": CASES[name]}}), headers={**u.headers, "Content-Type": "application/msgpack"})
    print("stream", name, r2.status_code, r2.text[:300])
    r4 = await api.post(p.similars, content=ext({"vector": [1.0, 0, 0], "filter": {"v": CASES[name]}}), headers={**u.headers, "Content-Type": "application/msgpack"})
    print("filter", name, r4.status_code, r4.text[:300])
    r3 = await api.get(p.embeddings, headers=u.headers)
    print("get", name, r3.status_code, r3.text[-200:])
    for one in (r, r2, r3, r4):
        assert one.status_code < 500
        assert "Something went wrong" not in one.text


@pytest.mark.parametrize("value", ["1e308", "1e-400", "0." + "0" * 5000 + "1", "1" * 4300, "1" * 4301, "-0.0", "1E+0000000000000000000001", "1e-130000", "1" * 400])
async def test_json_numbers(api, admin, value):
    u = await world.user(api, admin)
    p = await world.project(api, u)
    H = {**u.headers, **world.JSON_TYPE}
    r = await api.post(p.embeddings, content='{"embeddings":[{"text_id":"a","vector":[1,0,0],"metadata":{"v":%s}}]}' % value, headers=H)
    r2 = await api.post(p.embeddings + "/stream", content='{"text_id":"b","vector":[1,0,0],"metadata":{"v":%s}}' % value, headers={**u.headers, "Content-Type": "application/x-ndjson"})
    r4 = await api.post(p.similars, content='{"vector":[1,0,0],"filter":{"v":{"$gt":%s}}}' % value, headers=H)
    r5 = await api.post(p.similars, content='{"vector":[1,0,0],"filter":{"v":{"$exists":%s}}}' % value, headers=H)
    r6 = await api.post(p.similars, content='{"vector":[%s,0,0]}' % value, headers=H)
    r7 = await api.post(f"{p.similars}?limit={value}", content='{"vector":[1,0,0]}', headers=H)
    r8 = await api.post(f"{p.similars}?threshold={value}&recall={value}", content='{"vector":[1,0,0]}', headers=H)
    r3 = await api.get(p.embeddings, headers=u.headers)
    r9 = await api.get(f"{p.embeddings}?offset={value}", headers=u.headers)
    for name, one in dict(upload=r, stream=r2, gt=r4, exists=r5, vector=r6, limit=r7, threshold=r8, get=r3, offset=r9).items():
        print(name, one.status_code, one.text[:200], one.text[-100:])
    for one in (r, r2, r3, r4, r5, r6, r7, r8, r9):
        assert one.status_code < 500
        assert "Something went wrong" not in one.text


@pytest.mark.parametrize("text_id", ["/", "a/b", "..", ".", "%2F", "a%00", "\u202e", "\uffff", "é", "e\u0301", "a b", "a+b", "?", "#", "\n", "x" * 300, "\U0001f600" * 300])
async def test_text_ids(api, admin, text_id):
    u = await world.user(api, admin)
    p = await world.project(api, u)
    r = await api.post(p.embeddings, json=world.batch(world.row(text_id, [1, 0, 0]), world.row("other", [1, 0, 0])), headers=u.headers)
    print(r.status_code, r.text[:200])
    if r.status_code != 201:
        assert r.status_code < 500
        return
    r = await api.get(p.embedding(text_id), headers=u.headers)
    assert r.status_code == 200 and r.json()["text_id"] == text_id
    r = await api.get(p.similar(text_id), headers=u.headers)
    assert r.status_code == 200 and [x["id"] for x in r.json()["results"]] == ["other"]
    r = await api.delete(p.embedding(text_id), headers=u.headers)
    assert r.status_code == 204
    assert await world.status(api, p.embedding("other"), u.headers) == 200
