"""Uploads without end: what is stored and said, chunk by chunk, whatever goes wrong."""

import asyncio
import gzip
import json
import re
import signal
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import numpy as np
import psycopg
import pytest

from service.uploads import chunks
from service.uploads.limits import CHUNK_ROWS
from tests.conftest import ADMIN_KEY, client_of, settings_for, variables_for
from tests.support.processes import served
from tests.support.world import Headers, Project, fetch, problem, project, row, status, upload, user

pytestmark = pytest.mark.slow

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES = {"Content-Type": "application/x-ndjson"}
PACKED = {"Content-Type": "application/msgpack"}
MIB = 1024 * 1024
WATCHED_MIB = 300  # of a stream whose memory is watched


@pytest.fixture
async def place(api: httpx2.AsyncClient, admin: Headers) -> Project:
    return await project(api, await user(api, admin))


def ndjson(*rows: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in rows)


def packed(*rows: Any) -> bytes:
    return b"".join(msgspec.msgpack.encode(one) for one in rows)


async def send(api: httpx2.AsyncClient, to: Project, body: Any, **query: str) -> list[dict[str, Any]]:
    kind = query.pop("kind", LINES["Content-Type"])
    headers = {**to.owner.headers, "Content-Type": kind, **{k: query.pop(k) for k in list(query) if "-" in k}}
    answer = await api.post(f"{to.embeddings}/stream", content=body, headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def stored(api: httpx2.AsyncClient, to: Project) -> dict[str, Any]:
    found = (await fetch(api, to.embeddings, to.owner.headers))["embeddings"]
    return {one["text_id"]: one["vector"] for one in found}


@pytest.mark.parametrize("form", ["lines", "packed", "gzip"])
async def test_thousands_of_records(api: httpx2.AsyncClient, place: Project, form: str) -> None:
    rows = [row(f"{number:05}", [1, number, 1]) for number in range(2500)]
    body = packed(*rows) if form == "packed" else ndjson(*rows)
    sent: dict[str, str] = {"kind": PACKED["Content-Type"]} if form == "packed" else {}
    if form == "gzip":
        body, sent = gzip.compress(body), {"Content-Encoding": "gzip"}
    lines = await send(api, place, body, **sent)
    assert [line["rows"] for line in lines] == [1000, 2000, 2500]
    last = {"rows": 2500, "inserted": 2500, "updated": 0, "unchanged": 0, "rejected": 0, "errors": [], "done": True}
    assert lines[-1] == last
    again = await send(api, place, body, **sent)
    assert again[-1] == {**last, "inserted": 0, "unchanged": 2500}
    counted = (await fetch(api, place.path, place.owner.headers))["number_of_embeddings"]
    assert counted == 2500


async def test_vectors_as_bytes(api: httpx2.AsyncClient, place: Project) -> None:
    halves = np.array([1, 2, 3], dtype="<f2").tobytes()
    await send(api, place, packed({"text_id": "a", "vector": halves}), kind=PACKED["Content-Type"], encoding="f2")
    await send(api, place, packed({"text_id": "b", "vector": [1, 2, 3]}), kind=PACKED["Content-Type"])
    assert await stored(api, place) == {"a": [1, 2, 3], "b": [1, 2, 3]}


@pytest.mark.parametrize("bad", [0, 1, 999, 1000, 1500, 2099])
@pytest.mark.parametrize("form", ["lines", "packed"])
async def test_a_bad_record(api: httpx2.AsyncClient, place: Project, bad: int, form: str) -> None:
    rows: list[Any] = [row(f"{number:05}", [1, number, 1]) for number in range(2100)]
    rows[bad] = {"text_id": "the bad one", "vector": [1, 2]}
    join, kind = (packed, PACKED["Content-Type"]) if form == "packed" else (ndjson, LINES["Content-Type"])
    error = {
        "row": bad,
        "text_id": "the bad one",
        "message": "vector: vector dimension mismatch: expected 3 dimensions, got 2",
    }
    stopped = await send(api, place, join(*rows), kind=kind)
    assert stopped[-1]["errors"] == [error]
    assert stopped[-1]["error"] == f"Row {bad} is not valid; it and the remaining records were not stored."
    assert "done" not in stopped[-1]
    assert (stopped[-1]["rows"], stopped[-1]["inserted"], stopped[-1]["rejected"]) == (bad + 1, bad, 1)
    assert (await fetch(api, place.path, place.owner.headers))["number_of_embeddings"] == bad
    skipped = await send(api, place, join(*rows), kind=kind, on_error="skip")
    assert [one for line in skipped for one in line["errors"]] == [error]
    last = skipped[-1]
    assert (last["rows"], last["inserted"], last["unchanged"], last["rejected"]) == (2100, 2099 - bad, bad, 1)
    assert last["done"] is True


async def test_every_kind_of_bad_record_is_named(api: httpx2.AsyncClient, place: Project) -> None:
    lines = [
        b'{"text_id": "good", "vector": [1, 2, 3]}',
        b"no JSON",
        b'{"text_id": "a", "vector": [0, 0, 0]}',
        b'{"text_id": "b", "vector": [1, 2, 3], "more": 1}',
        b"[]",
        b"",
        b'{"text_id": "c", "vector": [1, 2, 3], "metadata": {"a": "\\u0000"}}',
        b'{"text_id": "", "vector": [1, 2, 3]}',
        b'{"text_id": "d\xff", "vector": [1, 2, 3]}',
        b'{"text_id": "last", "vector": [1, 2, 3]}',
    ]
    (line,) = await send(api, place, b"\n".join(lines), on_error="skip")
    assert (line["rows"], line["inserted"], line["rejected"], line["done"]) == (9, 2, 7, True)
    assert [(one["row"], one["text_id"]) for one in line["errors"]] == [
        (1, ""), (2, "a"), (3, "b"), (4, ""), (5, "c"), (6, ""), (7, ""),
    ]  # fmt: skip
    assert all(one["message"] for one in line["errors"])
    assert (await stored(api, place)).keys() == {"good", "last"}


async def test_a_later_record_replaces_an_earlier_one(api: httpx2.AsyncClient, place: Project) -> None:
    rows = [row("a", [1, 1, 1]), row("b", [1, 1, 1]), row("a", [2, 1, 1]), row("a", [3, 1, 1]), row("c", [1, 1, 1])]
    (line,) = await send(api, place, ndjson(*rows))
    assert (line["rows"], line["inserted"], line["updated"], line["done"]) == (5, 3, 2, True)
    assert (await stored(api, place))["a"] == [3, 1, 1]


@pytest.mark.parametrize("form", ["lines", "packed"])
async def test_a_record_without_end(api: httpx2.AsyncClient, place: Project, form: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield ndjson(row("a", [1, 2, 3])) if form == "lines" else packed(row("a", [1, 2, 3]))
        yield b'{"text": "' if form == "lines" else b"\x81\xa4text\xdb\x7f\xff\xff\xff"
        for _ in range(40):
            yield b"x" * MIB

    kind = (LINES if form == "lines" else PACKED)["Content-Type"]
    lines = await send(api, place, body(), kind=kind, on_error="skip")
    assert lines[-1]["rows"] == 1
    assert "done" not in lines[-1]
    assert re.search("A record may have at most 8,388,608 bytes|no MessagePack record", lines[-1]["error"])
    assert (await stored(api, place)).keys() == {"a"}


async def test_what_is_no_messagepack_ends_a_packed_stream(api: httpx2.AsyncClient, place: Project) -> None:
    good = packed(row("a", [1, 2, 3]), row("b", [1, 2, 3]))
    for bad, says in (
        (b"\xc1", "No MessagePack record begins"),
        (good[:9], "The stream ends in the middle of a record."),
    ):
        lines = await send(api, place, good + bad, kind=PACKED["Content-Type"], on_error="skip")
        assert lines[-1]["rows"] == 2
        assert says in lines[-1]["error"]


async def test_a_broken_compression_ends_a_stream(api: httpx2.AsyncClient, place: Project) -> None:
    body = gzip.compress(ndjson(*[row(f"{number}", [1, 2, number]) for number in range(3000)]))
    lines = await send(api, place, body[: len(body) // 2], **{"Content-Encoding": "gzip"})
    assert "it ends too early" in lines[-1]["error"]
    assert lines[-1]["rows"] == lines[-1]["inserted"] > 1000
    assert (await fetch(api, place.path, place.owner.headers))["number_of_embeddings"] == lines[-1]["rows"]


async def test_before_the_first_byte_of_the_answer_a_refusal_is_a_refusal(
    api: httpx2.AsyncClient, place: Project
) -> None:
    path, owner = f"{place.embeddings}/stream", place.owner.headers
    body = ndjson(row("a", [1, 2, 3]))
    problem(await api.post(path, content=body, headers={**owner, "Content-Type": "application/json"}), 415)
    problem(await api.post(path, content=body, headers=LINES), 401)
    problem(await api.post(f"{path}?on_error=ignore", content=body, headers={**owner, **LINES}), 422)
    problem(await api.post(f"{place.embeddings}x/stream", content=body, headers={**owner, **LINES}), 404)


async def test_an_embedding_may_be_called_stream(api: httpx2.AsyncClient, place: Project) -> None:
    await upload(api, place, row("stream", [1, 2, 3]))
    assert (await fetch(api, place.embedding("stream"), place.owner.headers))["vector"] == [1, 2, 3]
    assert (await api.delete(place.embedding("stream"), headers=place.owner.headers)).status_code == 204
    assert await status(api, place.embedding("stream"), place.owner.headers) == 404


class Raw:
    """A client that writes and reads as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def line(self) -> Any:
        while True:
            text = (await asyncio.wait_for(self.reader.readline(), 60)).strip()
            if text.startswith(b"{"):
                return json.loads(text)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def opened(api: httpx2.AsyncClient, to: Project, kind: str = "application/x-ndjson", **more: str) -> Raw:
    client = Raw(*await asyncio.open_connection(api.base_url.host, api.base_url.port))
    heads = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
    client.writer.write(
        f"POST {to.embeddings}/stream?on_error=skip HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{heads}"
        f"Authorization: {to.owner.headers['Authorization']}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    return client


SOON = chunks.CHUNK_SECONDS + 8  # for a line, on a machine that does other things too; else it never comes


class Form:
    """A form of a stream: how records are written, and flushed, so that they can be read before the next come."""

    def __init__(self, name: str) -> None:
        self.kind = PACKED["Content-Type"] if name == "packed" else LINES["Content-Type"]
        self.write = packed if name == "packed" else ndjson
        self.headers = {"Content_Encoding": name} if name in ("gzip", "zstd") else {}
        gzipped, framed = zlib.compressobj(wbits=31), zstd.ZstdCompressor()
        self.flush: Callable[[bytes], bytes] = {
            "gzip": lambda data: gzipped.compress(data) + gzipped.flush(zlib.Z_SYNC_FLUSH),
            "zstd": lambda data: framed.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK),
        }.get(name, lambda data: data)
        self.finish: Callable[[], bytes] = {"gzip": gzipped.flush, "zstd": framed.flush}.get(name, lambda: b"")


@pytest.fixture(params=["lines", "packed", "gzip", "zstd"])
def form(request: pytest.FixtureRequest) -> Form:
    return Form(request.param)


async def test_a_feeder_that_waits_for_each_line_gets_it(api: httpx2.AsyncClient, place: Project, form: Form) -> None:
    client = await opened(api, place, form.kind, **form.headers)
    for number in range(3):
        await client.send(form.flush(form.write(row(f"{number}", [1, 2, 3]))))
        line = await asyncio.wait_for(client.line(), SOON)
        assert (line["rows"], line.get("done")) == (number + 1, None)
        assert len(await stored(api, place)) == number + 1
    if rest := form.finish():
        await client.send(rest)
    await client.send(b"")
    last = await client.line()
    assert (last["rows"], last["done"]) == (3, True)
    await client.close()


async def test_a_full_chunk_waits_for_nothing(api: httpx2.AsyncClient, place: Project) -> None:
    client = await opened(api, place)
    records = [ndjson(*[row(f"{number}", [1, 2, turn]) for number in range(CHUNK_ROWS)]) for turn in range(4)]
    took = []
    for turn, chunk in enumerate(records):
        start = time.perf_counter()
        await client.send(chunk)
        assert (await client.line())["rows"] == (turn + 1) * CHUNK_ROWS
        took.append(time.perf_counter() - start)
    assert min(took) < chunks.CHUNK_SECONDS
    await client.close()


async def test_a_trickle_does_not_put_off_its_line(api: httpx2.AsyncClient, place: Project) -> None:
    client = await opened(api, place)

    async def trickle() -> None:
        for number in range(100):
            await client.send(ndjson(row(f"{number}", [1, 2, 3])))
            await asyncio.sleep(chunks.CHUNK_SECONDS / 5)

    sending = asyncio.create_task(trickle())
    said = [(await asyncio.wait_for(client.line(), SOON))["rows"] for _ in range(3)]
    assert said == sorted(set(said))
    assert said[0] < 5 * (1 + SOON)
    sending.cancel()
    await client.close()


async def test_a_part_of_a_record_waits_for_the_rest(api: httpx2.AsyncClient, place: Project, form: Form) -> None:
    client = await opened(api, place, form.kind, **form.headers)
    record = form.write(row("b", [1, 2, 3]))
    await client.send(form.flush(form.write(row("a", [1, 2, 3])) + record[:9]))
    line = await asyncio.wait_for(client.line(), SOON)
    assert (line["rows"], line["rejected"]) == (1, 0)
    await asyncio.sleep(chunks.CHUNK_SECONDS * 1.5)
    assert (await stored(api, place)).keys() == {"a"}
    await client.send(form.flush(record[9:]))
    line = await asyncio.wait_for(client.line(), SOON)
    assert (line["rows"], line["rejected"], line["inserted"]) == (2, 0, 2)
    await client.close()


async def test_a_bad_record_is_named_at_the_pause(api: httpx2.AsyncClient, place: Project) -> None:
    client = await opened(api, place)
    await client.send(ndjson(row("a", [1, 2, 3]), row("b", [1, 2])))
    line = await asyncio.wait_for(client.line(), SOON)
    assert (line["rows"], line["rejected"], line["errors"][0]["row"]) == (2, 1, 1)
    await client.send(ndjson(row("c", [1, 2, 3])))
    line = await asyncio.wait_for(client.line(), SOON)
    assert (line["rows"], line["rejected"], line["errors"]) == (3, 1, [])
    await client.close()


async def test_lines_come_while_the_client_still_sends(api: httpx2.AsyncClient, place: Project) -> None:
    client = await opened(api, place)
    await client.send(ndjson(*[row(f"{number}", [1, 2, 3]) for number in range(3)]))
    assert (await asyncio.wait_for(client.line(), SOON))["rows"] == 3
    await client.send(ndjson(row("more", [1, 2, 3])))
    await client.send(b"")
    last = await client.line()
    assert (last["rows"], last["done"]) == (4, True)
    await client.close()


async def test_a_chunk_that_is_stored_slowly_costs_the_next_nothing(
    new_database: Callable[..., str], admin: Headers
) -> None:
    """A caller may have one connection, and waits a tenth of a second for it."""
    url = new_database()
    few = {"service_pool_size": 1, "service_wait_seconds": 0.1, "service_indexer": False}

    async def chunks() -> AsyncIterator[bytes]:
        for first in (0, CHUNK_ROWS):
            yield ndjson(*(row(str(first + number), [1, 2, 3]) for number in range(CHUNK_ROWS)))
            await asyncio.sleep(0.5)

    async with client_of(settings_for(url, **few)) as api:
        place = await project(api, await user(api, admin))
        async with await psycopg.AsyncConnection.connect(url) as other:
            await other.execute(f"LOCK TABLE embeddings_{place.id} IN EXCLUSIVE MODE".encode())
            sending = asyncio.create_task(send(api, place, chunks()))
            await asyncio.sleep(1.5)
        last = (await sending)[-1]
    assert (last["rows"], last.get("error")) == (2 * CHUNK_ROWS, None)


async def test_whoever_is_kept_waiting_for_a_line_is_not_slow(new_database: Callable[..., str], admin: Headers) -> None:
    """What the storing takes is not the client's silence; what follows its line is."""
    url, silence = new_database(), 2
    async with client_of(settings_for(url, service_body_seconds=silence, service_indexer=False)) as api:
        place = await project(api, await user(api, admin))
        client = await opened(api, place)
        await client.send(ndjson(row("a", [1, 2, 3])))
        await asyncio.wait_for(client.line(), SOON)
        async with await psycopg.AsyncConnection.connect(url) as other:
            await other.execute(f"LOCK TABLE embeddings_{place.id} IN EXCLUSIVE MODE".encode())
            await client.send(ndjson(row("b", [1, 2, 3])))
            await asyncio.sleep(silence * 2)
        line = await asyncio.wait_for(client.line(), SOON)
        assert (line["rows"], line.get("error")) == (2, None)
        await asyncio.sleep(silence / 4)
        start = time.perf_counter()  # before it is sent: the service's silence begins with it
        await client.send(ndjson(row("c", [1, 2, 3])))
        assert (await asyncio.wait_for(client.line(), SOON))["rows"] == 3
        last = await client.line()
        assert last["error"] == f"No part of the body arrived for {silence} seconds."
        assert silence * 0.9 < time.perf_counter() - start < silence + 2 * SOON
        await client.close()


async def test_what_came_is_stored_when_the_service_is_told_to_stop(
    new_database: Callable[..., str], tmp_path: Path
) -> None:
    values = variables_for(new_database())
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_INDEXER="false", **values) as (process, url):
        async with httpx2.AsyncClient(base_url=url) as api:
            place = await project(api, await user(api, {"Authorization": f"Bearer {ADMIN_KEY}"}))
            client = await opened(api, place)
            await client.send(ndjson(row("a", [1, 2, 3])))
            await asyncio.wait_for(client.line(), SOON)
            await client.send(ndjson(row("b", [1, 2, 3])) + b'{"text_id": "c"')
            await asyncio.sleep(chunks.CHUNK_SECONDS / 2)  # it has come, and is not stored yet
        process.send_signal(signal.SIGTERM)
        lines = [await client.line()]
        while "error" not in lines[-1]:
            lines.append(await client.line())
        assert (lines[-1]["rows"], lines[-1]["inserted"]) == (2, 2)
        assert "The service is shutting down" in lines[-1]["error"]
        await client.close()
        assert await asyncio.to_thread(process.wait, 20) == 0


async def test_a_lost_connection_keeps_what_was_said(api: httpx2.AsyncClient, place: Project) -> None:
    client = await opened(api, place)
    for start in (0, 1000, 2000):
        await client.send(ndjson(*[row(f"{number:05}", [1, 2, number]) for number in range(start, start + 1000)]))
    await client.send(ndjson(row("one more", [1, 2, 3]))[:-9])
    said = (await client.line())["rows"]
    client.writer.transport.abort()
    await asyncio.sleep(0.5)
    kept = (await fetch(api, place.path, place.owner.headers))["number_of_embeddings"]
    assert said <= kept <= 3000
    assert kept % 1000 == 0


async def test_a_project_that_goes_away_ends_its_stream(api: httpx2.AsyncClient, place: Project) -> None:
    client = await opened(api, place)
    await client.send(ndjson(row("a", [1, 2, 3])))
    assert (await client.line())["rows"] == 1
    assert (await api.delete(place.path, headers=place.owner.headers)).status_code == 204
    await client.send(ndjson(row("b", [1, 2, 3])))
    await client.send(b"")
    lines = [await client.line()]
    while "error" not in lines[-1]:
        lines.append(await client.line())
    assert lines[-1]["rows"] == 1
    assert "was not found" in lines[-1]["error"]
    await client.close()


def memory(pid: int) -> int:
    found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="LEFT OUT: the memory of a process; it needs /proc")
def test_memory_stays_where_it_is(new_database: Callable[..., str], tmp_path: Path) -> None:
    dimensions = 1536
    values = variables_for(new_database())
    vectors = np.random.default_rng(1).normal(size=(500, dimensions)).astype("<f2")
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with (
        served(tmp_path / "log", cwd=tmp_path, SERVICE_INDEXER="false", **values) as (process, url),
        httpx2.Client(base_url=url, timeout=300, headers=headers) as client,
    ):
        client.put("/v1/users/alice", json={"user_handle": "alice", "email": "a@x"})
        client.put("/v1/llm-instances/alice/inst", json={"instance_handle": "inst", "dimensions": dimensions})
        client.put("/v1/projects/alice/proj", json={"project_handle": "proj", "instance_handle": "inst"})

        def upload(mebibytes: int, watch: list[int]) -> Any:
            def body() -> Any:
                sent = number = 0
                while sent < mebibytes * MIB:
                    record = msgspec.msgpack.encode(
                        {"text_id": f"{number % 2000}", "vector": vectors[number % 500].tobytes(), "text": "t" * 1000}
                    )
                    sent += len(record)
                    number += 1
                    if number % 1000 == 0:
                        watch.append(memory(process.pid))
                    yield record

            path = "/v1/embeddings/alice/proj/stream?encoding=f2"
            answer = client.post(path, content=body(), headers=PACKED)
            return json.loads(answer.text.splitlines()[-1])

        assert upload(30, [])["done"]
        before = memory(process.pid)
        seen: list[int] = []
        last = upload(WATCHED_MIB, seen)
    assert last["done"]
    assert last["rows"] > 70_000 * WATCHED_MIB // 300
    assert (max(seen) - before) / 1024 < 64, (before, max(seen))
