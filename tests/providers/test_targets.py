"""URLs that users wrote: which of them the service calls, and at which addresses."""

import asyncio
import socket
from typing import Any

import httpx2
import pytest

from service.errors import Conflict
from service.providers.targets import Targets, is_public
from service.settings import PROVIDER_HOSTS
from tests.providers.conftest import lent
from tests.support.provider import Provider
from tests.support.world import Headers, problem


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
     "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
     "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1",
     "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
     "2002:a00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "2001:db8::1", "100::1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1", "https://API.OpenAI.com/v1", "https://api.openai.com:443/v1",
     "https://x.openai.azure.com/d?api-version=1", "http://localhost:11434", "http://[fd00::1]:80/v1"],
)  # fmt: skip
def test_allowed_urls(url: str) -> None:
    Targets([*PROVIDER_HOSTS, "http://localhost:11434", "http://[fd00::1]"]).check(url, "a/b")


@pytest.mark.parametrize(
    "url",
    ["http://api.openai.com/v1", "https://api.openai.com:8443/", "https://api.openai.com.evil.org/",
     "https://evilopenai.azure.com/", "https://openai.azure.com/", "https://api.openai.com@evil.org/",
     "https://user:password@api.openai.com/", "https://evil.org/?https://api.openai.com", "file:///etc/passwd",
     "gopher://api.openai.com/", "//api.openai.com/", "api.openai.com", "", "https://", "https://api.openai.com:x/",
     "https://api.openai.com\\@evil.org/", "https://api.openai.com\n.evil.org/", "https://\uff41pi.openai.com/",
     "https://127.0.0.1/", "https://0x7f.1/", "https://2130706433/", "https://[::1]/", "https://[::ffff:7f00:1]/",
     "http://169.254.169.254/latest/meta-data", "http://localhost:11435", "https://localhost:11434",
     "https://api.openai.com%2eevil.org/", "https://x.openai.azure.com#@evil.org:1/", "unix:///run/x.sock"],
)  # fmt: skip
def test_refused_urls(url: str) -> None:
    if url == "https://x.openai.azure.com#@evil.org:1/":  # the rest is a fragment, which is not sent
        Targets(PROVIDER_HOSTS).check(url, "a/b")
        return
    with pytest.raises(Conflict):
        Targets([*PROVIDER_HOSTS, "http://localhost:11434"]).check(url, "a/b")


async def test_a_refused_endpoint_is_a_conflict_that_names_the_setting(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, endpoint="http://169.254.169.254/latest")
    body = problem(await one.embed(["text"]), 409)
    assert "SERVICE_PROVIDER_HOSTS" in body["detail"]
    assert str(provider.port) not in body["detail"]  # what else is allowed is nobody's business


def resolving(monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> list[str]:
    """Lets names of example.org have these addresses, one after the other; returns the names that are asked for."""
    loop = asyncio.get_running_loop()
    real, asked = loop.getaddrinfo, []

    async def resolve(host: Any, port: Any, **options: Any) -> Any:
        if not str(host).endswith("example.org"):
            return await real(host, port, **options)
        asked.append(str(host))
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(loop, "getaddrinfo", resolve, raising=False)
    return asked


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "10.0.0.1"])
async def test_names_with_addresses_that_are_not_public(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    one = await lent(service, admin, provider, endpoint="http://rebinds.example.org/v1")
    asked = resolving(monkeypatch, [address])
    body = problem(await one.embed(["text"]), 424)
    assert "has no public address" in body["detail"]
    assert address not in body["detail"]
    assert asked == ["rebinds.example.org"]
    assert provider.asked == []


async def test_a_name_that_changes_between_two_looks(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was checked is the one that is called; the next look finds one that is refused."""
    one = await lent(service, admin, provider, endpoint="http://rebinds.example.org/v1")
    asked = resolving(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    connected: list[str] = []

    monkeypatch.setattr("anyio.connect_tcp", connect_instead(connected))
    answer = await one.embed(["text"])
    assert "has no public address" in problem(answer, 424)["detail"]
    assert connected == ["8.8.8.8"]
    assert len(asked) == 2
    assert provider.asked == []


def connect_instead(connected: list[str]) -> Any:
    async def connect(remote_host: str, remote_port: int, **options: Any) -> None:
        connected.append(remote_host)
        raise OSError("nothing is there")

    return connect
