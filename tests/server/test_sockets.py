"""Clients that send what is no HTTP, or send and read as slowly as they can: refused, and nobody else notices."""

import asyncio
import json
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from tests.conftest import ADMIN_KEY, variables_for
from tests.support.processes import served
from tests.support.watched import sockets
from tests.support.world import Headers, Project, batch, fetch, project, row, upload, user

pytestmark = pytest.mark.slow

SECONDS = 1  # of both settings
LONGEST = 8  # of what they end: a head may take 10 seconds by default, a body 30
QUICK_SECONDS = 5  # for another client's search or upload, on a machine that does other things too
GROWN_MIB = 32  # beside what is waiting to be read
MIB = 1024 * 1024
AT_ONCE = 50
EACH = 4

BODY = json.dumps(batch(row("refused", [1, 2, 3]))).encode()
EMPTY = b'{"embeddings":   []}'
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
LAST = GET + b"Connection: close\r\n\r\n"


class Service:
    """A service of its own with short limits, and what raw clients need to know of it."""

    def __init__(self, pid: int, port: int, neighbour: httpx2.AsyncClient, place: Project, large: Project) -> None:
        self.pid, self.port, self.neighbour, self.place, self.large = pid, port, neighbour, place, large
        key = place.owner.headers["Authorization"]
        rest = f"Host: x\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
        self.upload = f"POST {place.embeddings} HTTP/1.1\r\n{rest}".encode()
        self.stream = self.upload.replace(b" HTTP", b"/stream HTTP").replace(b"/json", b"/x-ndjson")
        self.list = f"GET {large.embeddings} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n\r\n".encode()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def memory(self) -> float:
        """Of the process, in MiB."""
        found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0

    async def others_are_served(self) -> None:
        """Another client's search and upload are answered, and quickly; nothing is there that was refused."""
        to, headers = self.place, self.place.owner.headers
        start = time.perf_counter()
        found = await self.neighbour.get(to.similar("kept"), params={"threshold": 0}, headers=headers)
        searched = time.perf_counter()
        stored = await self.neighbour.post(to.embeddings, json=batch(row("kept", [1, 0, 0])), headers=headers)
        uploaded = time.perf_counter()
        assert (found.status_code, stored.status_code) == (200, 201)
        assert searched - start < QUICK_SECONDS
        assert uploaded - searched < QUICK_SECONDS
        assert "refused" not in {one["id"] for one in found.json()["results"]}


@pytest.fixture(scope="module")
async def service(new_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("sockets")
    values = variables_for(new_database())
    limits = {"SERVICE_HEAD_SECONDS": str(SECONDS), "SERVICE_BODY_SECONDS": str(SECONDS)}
    admin: Headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with served(folder / "log", cwd=folder, SERVICE_INDEXER="false", **values, **limits) as (process, url):
        async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
            owner = await user(client, admin)
            place, large = await project(client, owner), await project(client, owner)
            await upload(client, place, row("kept", [1, 0, 0]), row("other", [1, 1, 0]))
            await upload(client, large, *[row(f"{number}", [1, 2, 3], text="t" * 100_000) for number in range(150)])
            yield Service(process.pid, int(url.rpartition(":")[2]), client, place, large)
            assert process.poll() is None
    log = (folder / "log").read_text()
    assert "Traceback" not in log, log
    assert '"level":"error"' not in log, log


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


async def say(service: Service, sent: bytes, *, half: bool = False) -> bytes:
    """Sends it at once, and reads until the service closes, which it must."""
    reader, writer = await service.open()
    writer.write(sent)
    if half:
        writer.write_eof()
    answer = b""
    try:
        async with asyncio.timeout(60):
            while piece := await reader.read(MIB):
                answer += piece
    except ConnectionResetError:
        pass
    writer.close()
    return answer


# `@` stands for an upload's first lines, all but how long its body is.
CASES: dict[str, tuple[bytes, list[int]]] = {
    "all is well": (b"@Content-Length: 20\r\n\r\n" + b'{"embeddings":   []}' + LAST, [201, 200]),
    # Lengths
    "too short a length": (b"@Content-Length: 10\r\n\r\n" + BODY, [400, 400]),
    "no length": (b"@\r\n" + BODY, [400, 400]),
    "a negative length": (b"@Content-Length: -1\r\n\r\n" + BODY, [400]),
    "a length of many digits": (b"@Content-Length: " + b"20\r\n\r\n".zfill(5000) + EMPTY + LAST, [201, 200]),
    "a signed length": (b"@Content-Length: +%d\r\n\r\n" % len(BODY) + BODY, [400]),
    "a length above any number": (b"@Content-Length: " + b"9" * 30 + b"\r\n\r\n" + BODY, [400]),
    "a length in hexadecimal": (b"@Content-Length: 0x37\r\n\r\n" + BODY, [400]),
    "a length that is a word": (b"@Content-Length: many\r\n\r\n" + BODY, [400]),
    "a length that is a list": (b"@Content-Length: %d, %d\r\n\r\n" % (len(BODY), len(BODY)) + BODY, [400]),
    "an empty length": (b"@Content-Length: \r\n\r\n" + BODY, [400]),
    "the length twice": (b"@Content-Length: %d\r\n" % len(BODY) + LENGTH + BODY, [400]),
    "two lengths": (b"@Content-Length: 3\r\n" + LENGTH + BODY, [400]),
    # Chunks
    "a chunk size that is a word": (b"@" + CHUNKED + b"\r\nzz\r\n" + BODY, [400]),
    "a negative chunk size": (b"@" + CHUNKED + b"\r\n-1\r\n" + BODY, [400]),
    "a chunk size above any number": (b"@" + CHUNKED + b"\r\n" + b"f" * 17 + b"\r\n" + BODY, [400]),
    "a chunk size with 0x": (b"@" + CHUNKED + b"\r\n0x" + CHUNK + b"0\r\n\r\n", [400]),
    "a space before a chunk size": (b"@" + CHUNKED + b"\r\n " + CHUNK + b"0\r\n\r\n", [400]),
    "a chunk longer than it says": (b"@" + CHUNKED + b"\r\n5\r\n" + BODY + b"\r\n0\r\n\r\n", [400]),
    "a chunk without its end": (b"@" + CHUNKED + b"\r\n" + CHUNK[:-2] + b"0\r\n\r\n", [400]),
    "a chunk that ends with a bare LF": (b"@" + CHUNKED + b"\r\n" + CHUNK.replace(b"\r", b"") + b"0\r\n\r\n", [400]),
    "many trailers": (b"@" + CHUNKED + b"\r\n" + CHUNK + b"0\r\n" + b"a: b\r\n" * 101 + b"\r\n", [431]),
    "trailers without end": (b"@" + CHUNKED + b"\r\n" + CHUNK + b"0\r\n" + b"a: b\r\n" * 50_000, [431]),
    "a trailer without end": (b"@" + CHUNKED + b"\r\n" + CHUNK + b"0\r\na: " + b"b" * MIB, [431]),
    "a trailer that is none": (b"@" + CHUNKED + b"\r\n" + CHUNK + b"0\r\na b c\r\n\r\n", [400]),
    # Heads
    "101 lines": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n", [431]),
    "lines without end": (GET + b"a: b\r\n" * 200_000, [431]),
    "a long line": (GET + b"a: " + b"b" * 65_536 + b"\r\n\r\n", [431]),
    "a line without end": (GET + b"a: " + b"b" * 2 * MIB, [431]),
    "a name without end": (GET + b"a" * 2 * MIB, [431]),
    "a path without end": (b"GET /" + b"a" * 2 * MIB, [431]),
    "a long path": (b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [431]),
    "a method without end": (b"A" * 2 * MIB, [400]),
    "a folded line": (GET + b"a: b\r\n c\r\n\r\n", [400]),
    "a line without a name": (GET + b": b\r\n\r\n", [400]),
    "a line without a colon": (GET + b"a\r\n\r\n", [400]),
    "a space before a colon": (GET + b"a : b\r\n\r\n", [400]),
    "a NUL in a header": (GET + b"a: b\0c\r\n\r\n", [400]),
    "a NUL in a name": (GET + b"a\0b: c\r\n\r\n", [400]),
    "a NUL in the path": (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "NULs": (b"\0" * 1000, [400]),
    "a CR in a header": (GET + b"a: b\rc: d\r\n\r\n", [400]),
    "bare LFs": (GET.replace(b"\r", b"") + b"\n", [400]),
    "no Host": (b"GET /healthz HTTP/1.1\r\n\r\n", [400]),
    "two Hosts": (GET + b"Host: y\r\n\r\n", [400]),
    "no Host in HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", [200]),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", [400]),
    "HTTP/0.9 by name": (b"GET /healthz HTTP/0.9\r\n\r\n", [400]),
    "HTTP/2.0 by name": (b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", [400]),
    "HTTP/1.9": (b"GET /healthz HTTP/1.9\r\nHost: x\r\n\r\n", [400]),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), [400]),
    "the hello of TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(189), [400]),
    "an unknown method": (b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", [400]),
    "a path that is not ASCII": ("GET /ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(), [400]),
    # Two opinions on where a request ends
    "a length and chunks": (b"@" + CHUNKED + LENGTH + CHUNK + b"0\r\n\r\n", [400]),
    "chunks and a length": (b"@" + LENGTH[:-2] + CHUNKED + b"\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks, but not last": (b"@Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks twice": (b"@" + CHUNKED * 2 + b"\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks of a kind": (b"@Transfer-Encoding: xchunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [501]),
    "chunks after a tab": (b"@Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks with a space": (b"@Transfer-Encoding : chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks in a folded line": (b"@Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks of what is compressed": (b"@Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [501]),
    "two codings": (b"@Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n" + CHUNK + b"0\r\n\r\n", [501]),
    "a coding that is none": (b"@Transfer-Encoding: ,chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [501]),
    "another coding": (b"@Transfer-Encoding: gzip\r\n\r\n" + CHUNK + b"0\r\n\r\n", [501]),
    "chunks in HTTP/1.0": (b"POST /v1/users HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + GET + b"\r\n", [401]),
    # One after the other
    "pipelined": ((GET + b"\r\n") * 3 + LAST, [200] * 4),
    "pipelined, then nonsense": ((GET + b"\r\n") * 2 + b"nonsense\r\n\r\n", [200, 200, 400]),
    "pipelined, then a broken body": ((GET + b"\r\n") * 2 + b"@" + CHUNKED + b"\r\nzz\r\n", [200, 200, 400]),
    "pipelined without end": ((GET + b"\r\n") * 50_000, [*[200] * 101, 400]),
    "wishes without end": ((GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n") * 5000, [*[200] * 101, 400]),
    "nonsense after the last": (LAST + b"nonsense", [200]),
}  # fmt: skip


# What no URL may have, and whether it is the path that is told to be wrong.
LINES: dict[str, tuple[bytes, bool]] = {
    "a letter in the path": ("GET /v1/users/é HTTP/1.1\r\nHost: x\r\n\r\n".encode(), True),
    "a letter in the query": ("GET /v1/users?name=é HTTP/1.1\r\nHost: x\r\n\r\n".encode(), True),
    "a letter in Latin-1": ("GET /v1/users/é HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"), True),
    "a letter first": ("GET é HTTP/1.1\r\nHost: x\r\n\r\n".encode(), True),
    "a letter in the fragment": ("GET /#é HTTP/1.1\r\nHost: x\r\n\r\n".encode(), True),
    "a space in the path": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", True),
    "a space in the query": (b"GET /a?b=c d HTTP/1.1\r\nHost: x\r\n\r\n", True),
    "a tab": (b"GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", True),
    "a NUL": (b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", True),
    "a letter in a method": ("GÉT / HTTP/1.1\r\nHost: x\r\n\r\n".encode(), False),
    "a letter in the name of a header": ("GET / HTTP/1.1\r\nHost: x\r\né: x\r\n\r\n".encode(), False),
    "after a request that is fine": (GET + b"\r\n" + "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(), True),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_what_must_be_percent_encoded_is_told(service: Service, name: str, in_pieces: bool) -> None:
    sent, is_told = LINES[name]
    reader, writer = await service.open()
    for start in range(0, len(sent), 5 if in_pieces else len(sent)):
        writer.write(sent[start : start + (5 if in_pieces else len(sent))])
        await asyncio.sleep(0.002)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert statuses(answer)[-1] == 400
    detail = json.loads(answer.rpartition(b"\r\n\r\n")[2])["detail"]
    assert ("percent-encoded" in detail) == is_told, detail
    assert ("Malformed HTTP/1.1" in detail) != is_told


@pytest.mark.parametrize("name", CASES)
async def test_at_once(service: Service, name: str) -> None:
    sent, expected = CASES[name]
    answer = await say(service, sent.replace(b"@", service.upload, 1))
    assert statuses(answer) == expected, answer[:2000]
    if expected and expected[-1] >= 400:
        head, _, body = answer[answer.rindex(b"HTTP/1.1 %d" % expected[-1]) :].partition(b"\r\n\r\n")
        assert b"content-type: application/problem+json" in head.lower()
        assert b"connection: close" in head.lower()
        assert b"x-request-id: " in head.lower()
        assert b"cache-control: no-store" in head.lower()
        assert b"x-content-type-options: nosniff" in head.lower()
        assert b"vary: origin" in head.lower()
        # Without it a page could not read a refusal, of whose headers nothing is known.
        assert (b"access-control-allow-origin: *" in head.lower()) == (expected[-1] != 401)
        assert json.loads(body)["status"] == expected[-1]
    await service.others_are_served()


KEPT = json.dumps(batch(row("kept", [1, 0, 0]))).encode()
KEPT_CHUNK = b"%x\r\n%s\r\n" % (len(KEPT), KEPT)
ODD_BUT_RIGHT: dict[str, bytes] = {
    "a byte a chunk": CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in KEPT) + b"0\r\n\r\n",
    "a chunk extension": CHUNKED + b"\r\n" + KEPT_CHUNK.replace(b"\r\n", b';a="b"\r\n', 1) + b"0;c\r\n\r\n",
    "zeros before a size": CHUNKED + b"\r\n0000" + KEPT_CHUNK + b"000\r\n\r\n",
    "zeros before the length": b"Content-Length: " + b"0" * 5000 + b"%d\r\n\r\n%s" % (len(KEPT), KEPT),
    "a trailer": CHUNKED + b"Trailer: a\r\n\r\n" + KEPT_CHUNK + b"0\r\na: b\r\n\r\n",
    "a wish for trailers": b"TE: gzip, chunked, trailers\r\nConnection: TE\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(KEPT), KEPT),
    "chunks in capitals": b"Transfer-Encoding:  CHUNKED \r\n\r\n" + KEPT_CHUNK + b"0\r\n\r\n",
    "a wish for HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(KEPT), KEPT),
    "a wish for a WebSocket": b"Connection: upgrade\r\nUpgrade: websocket\r\n" + CHUNKED + b"\r\n" + KEPT_CHUNK
    + b"0\r\n\r\n",
    "empty lines before it": b"Content-Length: %d\r\n\r\n%s\r\n\r\n" % (len(KEPT), KEPT),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_BUT_RIGHT)
@pytest.mark.parametrize("cut", [False, True], ids=["at once", "in pieces"])
async def test_odd_but_right(service: Service, name: str, cut: bool) -> None:
    sent = service.upload + ODD_BUT_RIGHT[name] + LAST
    if not cut:
        assert statuses(await say(service, sent)) == [201, 200]
        return
    reader, writer = await service.open()
    for start in range(0, len(sent), 97):
        writer.write(sent[start : start + 97])
        await asyncio.sleep(0)
    assert statuses(await asyncio.wait_for(reader.read(), 30)) == [201, 200]
    writer.close()


async def test_a_trailer_is_no_header(service: Service) -> None:
    key = service.place.owner.headers["Authorization"].encode()
    without = service.upload.replace(b"Authorization: " + key + b"\r\n", b"")
    assert key not in without
    trailer = b"Authorization: " + key + b"\r\n"
    answer = await say(service, without + CHUNKED + b"\r\n" + CHUNK + b"0\r\n" + trailer + b"\r\n" + LAST)
    assert statuses(answer) == [401, 200]
    await service.others_are_served()


async def test_a_body_is_no_request(service: Service) -> None:
    hidden = b"DELETE " + service.place.embeddings.encode() + service.upload[service.upload.index(b" HTTP") :] + b"\r\n"
    wish = b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    assert statuses(await say(service, service.upload + wish + hidden + LAST)) == [400, 200]
    reader, writer = await service.open()
    writer.write(service.upload + wish)
    await asyncio.sleep(0.1)
    writer.write(hidden + LAST)
    assert statuses(await asyncio.wait_for(reader.read(), 30)) == [400, 200]
    writer.close()
    assert (
        len((await fetch(service.neighbour, service.place.embeddings, service.place.owner.headers))["embeddings"]) == 2
    )


async def test_refusals_are_counted(service: Service) -> None:
    line = 'embedding_service_requests_total{method="other",route="none",status="431"} '

    async def counted() -> float:
        text = (await service.neighbour.get("/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"})).text
        return float((line + "0\n" + text).rpartition(line)[2].split()[0])

    before = await counted()
    assert statuses(await say(service, GET + b"a: b\r\n" * 200)) == [431]
    assert await counted() == before + 1


async def drip(service: Service, first: bytes, rest: bytes, pause: float) -> tuple[bytes, float]:
    """Sends a byte now and then until the service closes; returns its answer, and after how many seconds."""
    start = time.perf_counter()  # before the connection: the service's own time begins while we wait for our turn
    reader, writer = await service.open()

    async def send() -> None:
        writer.write(first)
        for byte in rest:
            await asyncio.sleep(pause)
            writer.write(bytes([byte]))

    sending = asyncio.create_task(send())
    answer = b""
    try:
        async with asyncio.timeout(2 * LONGEST):
            while piece := await reader.read(MIB):
                answer += piece
    except ConnectionResetError:
        pass
    sending.cancel()
    writer.close()
    return answer, time.perf_counter() - start


# What is sent at once, what by and by, and the statuses of the answer.
SLOW: dict[str, tuple[bytes, bytes, list[int]]] = {
    "nothing": (b"", b"", []),
    "a head that stops": (GET, b"", []),
    "a head": (b"", GET * 100, []),
    "empty lines": (b"", b"\r\n" * 100, []),
    "a second head": (GET + b"\r\n", GET * 100, [200]),
    "a body that stops": (b"@" + LENGTH + BODY[:20], b"", [408]),
    "a body": (b"@" + LENGTH, BODY, [408]),
    "a body in chunks": (b"@" + CHUNKED + b"\r\n", b"1\r\n \r\n" * 100, [408]),
    "a chunk extension": (b"@" + CHUNKED + b"\r\n37;", b"x" * 500, [408]),
    "a trailer": (b"@" + CHUNKED + b"\r\n" + CHUNK + b"0\r\na:", b"b" * 500, [408]),
    "a compressed body": (b"@Content-Encoding: gzip\r\n" + LENGTH, b"\x1f\x8b\x08", [408]),
    "a body that nobody reads": (GET + b"Content-Length: 500\r\n\r\n", b"x" * 500, [200]),
    "a body that is refused": (b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n", b"x" * 500, [401]),
    "too long a length": (b"@Content-Length: 1000\r\n\r\n" + BODY, b"", [408]),
    "the largest length": (b"@Content-Length: %d\r\n\r\n" % (2**64 - 1) + BODY, b"", [413]),
    "a chunk that is cut": (b"@" + CHUNKED + b"\r\n" + CHUNK[:20], b"", [408]),
    "chunks without the last": (b"@" + CHUNKED + b"\r\n" + CHUNK, b"", [408]),
    "a chunk extension without end": (b"@" + CHUNKED + b"\r\n37;" + b"x" * MIB, b"", [408]),
    "empty lines without end": (b"\r\n" * MIB, b"", []),
    "a stream that stops": (b"^" + LENGTH + BODY[:20], b"", [200]),
}


async def test_many_slow_ones_at_once(service: Service) -> None:
    slow = []
    for name, (first, rest, _) in SLOW.items():
        start = first.replace(b"@", service.upload).replace(b"^", service.stream)
        slow += [(name, asyncio.create_task(drip(service, start, rest, 0.05))) for _ in range(EACH)]
    assert len(slow) >= AT_ONCE
    rounds = 0
    while not all(one.done() for _, one in slow):
        await service.others_are_served()
        await asyncio.sleep(0.1)
        rounds += 1
    assert rounds > 1  # the others did not wait until the slow ones were cut off
    for name, one in slow:
        answer, seconds = one.result()
        assert statuses(answer) == SLOW[name][2], (name, answer)
        assert SECONDS * 0.9 < seconds < LONGEST, name
        assert (b"No part of the body arrived" in answer) or "stream" not in name
    await service.others_are_served()


async def test_a_stream_may_be_slow_but_not_stop(service: Service) -> None:
    line = json.dumps(row("kept", [1, 0, 0])).encode()
    head = service.stream + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(line)
    answer, seconds = await drip(service, head, line, 0.05)
    assert seconds > 1.5 * SECONDS
    assert b'"done":true' in answer


@pytest.mark.parametrize("end", ["half", "reset"])
@pytest.mark.parametrize("name", SLOW)
async def test_gone_in_the_middle(service: Service, name: str, end: str) -> None:
    first = SLOW[name][0].replace(b"@", service.upload).replace(b"^", service.stream)

    async def leave() -> None:
        reader, writer = await service.open()
        writer.write(first)
        await writer.drain()
        if end == "half":
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 30)
        else:
            # It is reset when what was sent may not linger.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    await asyncio.gather(*[leave() for _ in range(AT_ONCE)])
    await service.others_are_served()


async def test_a_broken_chunk_in_a_stream_breaks_its_answer_off(service: Service) -> None:
    reader, writer = await service.open()
    line = json.dumps(row("kept", [1, 0, 0])).encode()
    writer.write(service.stream + CHUNKED + b"\r\n%x\r\n%s\r\n" % (len(line), line))
    assert b" 200 " in await reader.readline()
    writer.write(b"zz\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)
    assert statuses(answer) == []
    assert not answer.endswith(b"0\r\n\r\n")
    writer.close()


def connections(service: Service, clients: list[socket.socket]) -> int:
    """How many of these clients the service is still connected to: reading, they would let it go on."""
    ports = {client.getsockname()[1] for client in clients}
    return sum(one.here == service.port and one.there in ports and one.is_open for one in sockets())


async def test_answers_that_nobody_reads(service: Service) -> None:
    whole = len(await say(service, service.list.replace(b"Host", b"Connection: close\r\nHost")))
    assert whole > 15_000_000
    before = service.memory()
    clients = []
    for _ in range(5):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", service.port))
        await asyncio.get_running_loop().sock_sendall(client, service.list * 20)
        clients.append(client)
    await asyncio.sleep(0.5)
    await service.others_are_served()
    async with asyncio.timeout(30):
        while connections(service, clients):  # until the service has cut them off
            await asyncio.sleep(0.1)
    for client in clients:
        came = 0
        try:
            while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, MIB), 30):
                came += len(piece)
        except ConnectionResetError:
            pass
        client.close()
        assert came < whole
    await service.others_are_served()
    assert service.memory() - before < 2 * whole / MIB * len(clients) + GROWN_MIB


async def test_an_answer_that_is_read_slowly_comes_whole(service: Service) -> None:
    reader, writer = await service.open()
    writer.write(service.list.replace(b"Host", b"Connection: close\r\nHost"))
    came = slept = 0
    while piece := await reader.read(MIB):
        came += len(piece)
        if came > (slept + 1) * MIB // 2:
            slept += 1
            await asyncio.sleep(0.1)
    assert slept > 20
    writer.close()
    assert came > 15_000_000


async def test_what_has_no_end_takes_no_memory(service: Service) -> None:
    endless = [
        GET + b"a: " + b"b" * 4 * MIB,
        GET + b"a: b\r\n" * 600_000,
        service.upload + CHUNKED + b"\r\n" + CHUNK + b"0\r\n" + b"a: b\r\n" * 600_000,
        service.upload + CHUNKED + b"\r\n" + CHUNK + b"0\r\na: " + b"b" * 4 * MIB,
        (GET + b"\r\n") * 100_000,
    ]
    await asyncio.gather(*[say(service, one) for one in endless])
    before = service.memory()
    flood = [asyncio.create_task(say(service, endless[number % len(endless)])) for number in range(AT_ONCE)]
    peak = before
    while not all(one.done() for one in flood):
        await service.others_are_served()
        peak = max(peak, service.memory())
        await asyncio.sleep(0.05)
    assert all(statuses(one.result())[-1:] in ([431], [400]) for one in flood)
    assert peak - before < GROWN_MIB
