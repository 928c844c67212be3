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

from tests.contract.world import Headers, Project, batch, fetch, project, row, upload, user
from tests.processes import served

SECONDS = 1  # of both settings
QUICK_SECONDS = 1.0  # for another client's search or upload, on a machine that does other things too
GROWN_MIB = 64
MIB = 1024 * 1024
AT_ONCE = 50

BODY = json.dumps(batch(row("refused", [1, 2, 3]))).encode()
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
async def service(
    new_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("sockets")
    values = {"SERVICE_ADMINKEY": "admin", "ENCRYPTION_KEY": "b", "SERVICE_DATABASE_URL": new_database()}
    limits = {"SERVICE_HEAD_SECONDS": str(SECONDS), "SERVICE_BODY_SECONDS": str(SECONDS)}
    admin: Headers = {"Authorization": "Bearer admin"}
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
        async with asyncio.timeout(10):
            while piece := await reader.read(MIB):
                answer += piece
    except ConnectionResetError:
        pass
    writer.close()
    return answer


# The request begins with `@`: an upload's first lines, all but how long its body is. What is not closed at once is after
# a second, with the status of what is still open: 408 within a body, none within a head.
CASES: dict[str, tuple[bytes, list[int]]] = {
    "all is well": (b"@Content-Length: 20\r\n\r\n" + b'{"embeddings":   []}' + LAST, [201, 200]),
    # Lengths
    "too short a length": (b"@Content-Length: 10\r\n\r\n" + BODY, [400, 400]),
    "too long a length": (b"@Content-Length: 1000\r\n\r\n" + BODY, [408]),
    "no length": (b"@\r\n" + BODY, [400, 400]),
    "a negative length": (b"@Content-Length: -1\r\n\r\n" + BODY, [400]),
    "a signed length": (b"@Content-Length: +%d\r\n\r\n" % len(BODY) + BODY, [400]),
    "a length above any number": (b"@Content-Length: " + b"9" * 30 + b"\r\n\r\n" + BODY, [400]),
    "the largest length": (b"@Content-Length: %d\r\n\r\n" % (2**64 - 1) + BODY, [413]),
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
    "a chunk that is cut": (b"@" + CHUNKED + b"\r\n" + CHUNK[:20], [408]),
    "chunks without the last": (b"@" + CHUNKED + b"\r\n" + CHUNK, [408]),
    "a chunk extension without end": (b"@" + CHUNKED + b"\r\n37;" + b"x" * MIB, [408]),
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
    "empty lines without end": (b"\r\n" * MIB, []),
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
    "chunks of a kind": (b"@Transfer-Encoding: xchunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks after a tab": (b"@Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks with a space": (b"@Transfer-Encoding : chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "chunks in a folded line": (b"@Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    "another coding": (b"@Transfer-Encoding: gzip\r\n\r\n" + CHUNK + b"0\r\n\r\n", [400]),
    # One after the other
    "pipelined": ((GET + b"\r\n") * 3 + LAST, [200] * 4),
    "pipelined, then nonsense": ((GET + b"\r\n") * 2 + b"nonsense\r\n\r\n", [200, 200, 400]),
    "pipelined, then a broken body": ((GET + b"\r\n") * 2 + b"@" + CHUNKED + b"\r\nzz\r\n", [200, 200, 400]),
    "pipelined without end": ((GET + b"\r\n") * 50_000, [*[200] * 101, 400]),
    "nonsense after the last": (LAST + b"nonsense", [200]),
}  # fmt: skip


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
        assert json.loads(body)["status"] == expected[-1]
    await service.others_are_served()
