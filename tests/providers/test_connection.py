"""The connection to a provider: its certificate, and a proxy."""

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.providers.connection import Connection
from service.providers.errors import Refused, Unreachable
from service.providers.targets import Targets

ANSWER = json.dumps({"data": []}).encode()


@asynccontextmanager
async def answering(
    tls: ssl.SSLContext | None = None, heads: list[bytes] | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers everything alike; yields its port, and the first lines that it was sent."""
    lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines.append(head.split(b"\r\n")[0])
        if heads is not None:
            heads.append(head)
        length = b"Content-Length: %d" % len(ANSWER)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + length + b"\r\n\r\n" + ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], lines


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate of 127.0.0.1 that signs itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return folder / "certificate.pem", context


async def test_certificates_are_verified(certificate: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, context = certificate
    async with answering(context) as (port, lines):
        targets, url = Targets([], [f"https://127.0.0.1:{port}"]), f"https://127.0.0.1:{port}/v1"
        suspicious, trusting = Connection(targets, 5), Connection(targets, 5, ca_file=ca_file)
        with pytest.raises(Refused, match="no certificate that this service trusts"):
            await suspicious.post(url, {}, b"{}", 1000)
        assert (await trusting.post(url, {}, b"{}", 1000)).body == ANSWER
        assert lines == [b"POST /v1 HTTP/1.1"]
        for one in (suspicious, trusting):
            await one.aclose()


async def test_through_a_proxy() -> None:
    async with answering() as (port, lines):
        proxied = Connection(Targets([]), 5, proxy=f"http://127.0.0.1:{port}")
        answer = await proxied.post("http://api.example.org/v1/embeddings", {}, b"{}", 1000)
        assert (answer.status, answer.body) == (200, ANSWER)
        assert lines == [b"POST http://api.example.org/v1/embeddings HTTP/1.1"]
        await proxied.aclose()


async def test_through_a_proxy_with_a_login() -> None:
    heads: list[bytes] = []
    async with answering(heads=heads) as (port, _):
        proxied = Connection(Targets([]), 5, proxy=f"http://us%40er:p%3Ass@127.0.0.1:{port}")
        assert (await proxied.post("http://api.example.org/v1", {}, b"{}", 1000)).status == 200
        await proxied.aclose()
    assert b"\r\nProxy-Authorization: Basic " + base64.b64encode(b"us@er:p:ss") + b"\r\n" in heads[0]


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering() as (port, lines), answering() as (other, there):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
        direct = Connection(Targets([], [f"http://127.0.0.1:{other}"]), 5)
        assert (await direct.post(f"http://127.0.0.1:{other}/v1", {}, b"{}", 1000)).status == 200
        assert (lines, len(there)) == ([], 1)
        await direct.aclose()


async def test_nothing_listens_there() -> None:
    one = Connection(Targets([], ["http://127.0.0.1:9"]), 5)
    with pytest.raises(Unreachable):
        await one.post("http://127.0.0.1:9/", {}, b"{}", 1000)
    with pytest.raises(Unreachable):
        await one.post("http://no-such-host.invalid/", {}, b"{}", 1000)
    await one.aclose()
