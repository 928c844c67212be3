"""HTTP connections to providers: no redirects, no compression, and answers of bounded size.

Uses the engine of httpx2 directly: httpx2 itself does not accept a network backend (`service.providers.targets`), and
its other features (redirects, cookies, proxies of the environment) are not wanted.
"""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import httpcore2
import msgspec

from service import __version__
from service.providers.errors import BadAnswer, Late, Lost, Refused, Unreachable
from service.providers.limits import CALLS, CONNECT_SECONDS, MAX_ERROR_BYTES
from service.providers.targets import AddressRefused, CheckedNetwork, Targets

IDLE_SECONDS = 5.0
Headers: TypeAlias = Mapping[bytes | str, bytes | str]

HEADERS: Headers = {
    "User-Agent": f"embedding-service/{__version__}",
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}


class Answer(msgspec.Struct, frozen=True):
    """The answer of a provider; headers by name in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_json(self) -> bool:
        """Whether the media type is JSON."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")


class Connection:
    """Connections to all providers. A call takes at most `seconds`.

    Idle connections are closed after some seconds, so that host names are resolved again.
    """

    def __init__(
        self, targets: Targets, seconds: float, *, ca_file: Path | None = None, proxy: str | None = None
    ) -> None:
        self._seconds = seconds
        verified = ssl.create_default_context(cafile=ca_file)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=verified,
            proxy=_proxy(proxy) if proxy else None,
            max_connections=CALLS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=None if proxy else CheckedNetwork(targets),  # a proxy resolves names itself
        )

    async def post(self, url: str, headers: Headers, content: bytes, most_bytes: int) -> Answer:
        """Sends a body and returns the answer with any status.

        Raises Unreachable, Lost, Late, Refused for a host without a permitted address, BadAnswer above `most_bytes`.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(url, headers, content, most_bytes)
        except (httpcore2.ReadTimeout, httpcore2.WriteTimeout, TimeoutError):
            raise Late("did not answer in time") from None
        except AddressRefused:
            raise Refused("has no public address, so this service does not call it") from None
        except httpcore2.ConnectError as error:
            if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
                raise Refused("has no certificate that this service trusts") from None
            raise Unreachable("cannot be reached") from None
        except (httpcore2.ConnectTimeout, httpcore2.PoolTimeout, httpcore2.ProxyError):
            raise Unreachable("cannot be reached") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
            raise Lost("closed the connection") from None

    async def _post(self, url: str, headers: Headers, content: bytes, most_bytes: int) -> Answer:
        times = {"connect": CONNECT_SECONDS, "read": self._seconds, "write": self._seconds, "pool": self._seconds}
        async with self._pool.stream(
            "POST", url, headers={**HEADERS, **headers}, content=content, extensions={"timeout": times}
        ) as answer:
            named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
            is_good = 200 <= answer.status < 300
            if is_good and named.get("content-encoding", "identity") != "identity":
                raise BadAnswer("sent a compressed answer, contrary to the request")
            body = bytearray()
            async for piece in answer.aiter_stream():
                body += piece
                if len(body) > most_bytes and is_good:
                    raise BadAnswer(
                        f"sent an answer of more than {most_bytes:,} bytes: "
                        "perhaps its vectors have more dimensions than the instance"
                    )
                if len(body) > MAX_ERROR_BYTES and not is_good:
                    break
            return Answer(answer.status, named, bytes(body))

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._pool.aclose()


def _proxy(url: str) -> httpcore2.Proxy:
    """A proxy with the login of its URL, which httpcore ignores."""
    split = urlsplit(url)
    login = (unquote(split.username).encode(), unquote(split.password or "").encode()) if split.username else None
    return httpcore2.Proxy(url, auth=login)
