"""Permitted hosts and addresses of providers: users choose the URLs of instances (protection against SSRF).

A host name is resolved once per connection, and the connection uses a checked address, which prevents DNS rebinding.
Addresses that are not public (loopback, private, link-local, of cloud metadata, multicast, also embedded in IPv6
addresses) are refused, unless the setting contains this exact host.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from httpcore2 import SOCKET_OPTION, AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream, ConnectError

from service.errors import Conflict
from service.setting_forms import PROVIDER_HOST

PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")  # private, although deprecated (RFC 3879); for ipaddress it is global
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?|\[[0-9a-f:.]+\]")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(ConnectError):
    """A host has no permitted address."""


class Targets:
    """The permitted hosts, from patterns like `https://*.example.org` or `http://localhost:11434`.

    `named` hosts may have any address.
    """

    def __init__(self, patterns: Iterable[str], named: Iterable[str] = ()) -> None:
        self._targets = ["{}://{}:{}".format(*_parts(one)) for one in patterns]
        self._named = {_parts(one)[1:] for one in named}  # no host has the name of a pattern with `*`

    def check(self, url: str, instance: str) -> None:
        """Raises Conflict for a URL that is not permitted, without listing the permitted hosts."""
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise Conflict(f"The endpoint of the instance {instance} is not a URL.") from None
        if scheme not in PORTS or not host or re.search(r"[\x00-\x20\x7f-\U0010ffff\\]", url):
            raise Conflict(f"The endpoint of the instance {instance} is not an https:// or http:// URL.")
        if "@" in parts.netloc:
            raise Conflict(f"The endpoint of the instance {instance} must not contain a user name or password.")
        place = f"{scheme}://{host}:{port or PORTS[scheme]}"
        if not _HOST.fullmatch(host if ":" not in host else f"[{host}]") or not any(
            fnmatchcase(place, one) for one in self._targets
        ):
            raise Conflict(
                f"Calls to {scheme}://{host}, the endpoint of the instance {instance}, are not permitted. The operator "
                "permits hosts with SERVICE_PROVIDER_HOSTS."
            )

    def permitted(self, host: str, port: int, addresses: Sequence[str]) -> list[str]:
        """The permitted addresses of a host."""
        if (host.lower(), port) in self._named:
            return list(addresses)
        return [address for address in addresses if is_public(address)]


def is_public(text: str) -> bool:
    """Whether an address, and any IPv4 address embedded in it, is public."""
    address = ipaddress.ip_address(text.partition("%")[0])
    is_global = all(one.is_global and not one.is_multicast and not one.is_reserved for one in _meant(address))
    return is_global and address not in _SITE_LOCAL


def _meant(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.teredo is not None:
        return [address, *address.teredo]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if address in _NAT64 or int(address) >> 32 == 0:  # the latter: IPv4-compatible
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


def _parts(pattern: str) -> tuple[str, str, int]:
    """Scheme, host and port of a pattern."""
    match = PROVIDER_HOST.fullmatch(pattern)
    if match is None:
        raise ValueError(f"{pattern!r} is not like https://api.example.org or http://localhost:11434")
    scheme, port = match["scheme"], match["port"]
    return scheme, match["host"].strip("[]"), int(port) if port else PORTS[scheme]


class CheckedNetwork(AsyncNetworkBackend):
    """A network backend that connects to permitted addresses only."""

    def __init__(self, targets: Targets) -> None:
        self._targets, self._network = targets, AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (of the interface)
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connects to the first reachable address of a host. Raises ConnectError and ConnectTimeout."""
        failure: Exception = ConnectError("The host name does not resolve.")
        for address in await self._addresses(host, port):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except ConnectError as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            return []
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        permitted = self._targets.permitted(host, port, addresses)
        if addresses and not permitted:
            raise AddressRefused("Its addresses are not public.")
        return permitted

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)
