"""Rate limits for each user, for the admin, and for each address without a known key.

The user of a key is cached, so that all keys of a user share one budget. Unknown keys count for their address, which
limits guessing.
"""

import ipaddress
import math
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from limits import RateLimitItem, parse
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from service.errors import ApiError, TooManyRequests, Unauthorized
from service.observability.logs import logger

if TYPE_CHECKING:
    from service.http.request import Req

T = TypeVar("T")

MAX_REMEMBERED = 100_000
Headers: TypeAlias = dict[str, str]  # RateLimit-*; None without a limit


class RateLimits:
    """The budgets. `users` and `anonymous` are like `600/minute`, or empty for no limit.

    `storage`: `memory://` of this process, or a shared `redis://…`. If it is unavailable, all requests pass.
    """

    def __init__(self, *, users: str, anonymous: str, storage: str) -> None:
        self._users: RateLimitItem | None = parse(users) if users else None
        self._anonymous: RateLimitItem | None = parse(anonymous) if anonymous else None
        self._connections: Any = None
        if storage.startswith("redis"):
            from redis.asyncio import ConnectionPool  # the extra `redis`

            self._connections = ConnectionPool.from_url(storage.replace("redis+unix", "unix"))
        more = {"connection_pool": self._connections} if self._connections else {}
        self._limiter = SlidingWindowCounterRateLimiter(
            storage_from_string(f"async+{storage}", wrap_exceptions=True, implementation="redispy", **more)
        )
        self._known: dict[str, str] = {}

    async def aclose(self) -> None:
        """Closes the storage."""
        if self._connections is not None:
            await self._connections.aclose()

    async def hit(self, key_hash: str | None, is_admin: bool, address: str) -> Headers | None:
        """Counts a request of a known caller; returns None for an unknown key, which `identify` counts later.

        Raises TooManyRequests, also for an address that has sent too many unknown keys.
        """
        if is_admin:
            return await self._hit(self._users, "admin")
        if key_hash is None:
            return await self._hit(self._anonymous, _network(address))
        if key_hash in self._known:
            return await self._hit(self._users, "user", self._known[key_hash])
        if self._anonymous is not None and not await self._passes(self._anonymous, _network(address)):
            raise TooManyRequests(1)
        return None

    async def identify(self, key_hash: str, handle: str | None, address: str) -> Headers | None:
        """Counts a request with a key that was unknown before, for its user or else its address.

        Raises TooManyRequests.
        """
        if handle is None:
            return await self._hit(self._anonymous, _network(address))
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[key_hash] = handle
        return await self._hit(self._users, "user", handle)

    def knows(self, key_hash: str | None, is_admin: bool) -> bool:
        """Whether the caller of a key is known without a query."""
        return key_hash is None or is_admin or key_hash in self._known

    def forget(self, key_hash: str) -> None:
        """Forgets the user of a revoked key."""
        self._known.pop(key_hash, None)

    async def _passes(self, item: RateLimitItem, *who: str) -> bool:
        try:
            return await self._limiter.test(item, *who)
        except StorageError as error:
            logger.warning("The rate limits' storage does not answer.", kind=type(error).__name__)
            return True

    async def _hit(self, item: RateLimitItem | None, *who: str) -> Headers | None:
        if item is None:
            return None
        try:
            passes = await self._limiter.hit(item, *who)
            window = await self._limiter.get_window_stats(item, *who)
        except StorageError as error:
            logger.warning("The rate limits' storage does not answer.", kind=type(error).__name__)
            return None
        reset = max(1, math.ceil(window.reset_time - time.time()))
        headers = {
            "RateLimit-Limit": str(item.amount),
            "RateLimit-Remaining": str(max(window.remaining, 0)),
            "RateLimit-Reset": str(reset),
        }
        if not passes:
            raise TooManyRequests(reset, headers)
        return headers


def _network(address: str) -> str:
    """The network that shares a budget: the /64 of an IPv6 address, unless it maps an IPv4 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return address


async def counted(req: "Req", guarded: Callable[["Req"], Awaitable[T]], *, is_probe: bool) -> T:
    """The result of `guarded`, in which the guard identifies the caller. Counts the request before or after it.

    A probe counts only with a key that is not the service's own, which may be a guess. Raises TooManyRequests.
    """
    limits, given = req.services.rate_limits, req.credentials
    if limits is None or (is_probe and (given.key_hash is None or given.is_admin or req.is_metrics_key)):
        return await guarded(req)
    headers = await limits.hit(given.key_hash, given.is_admin, req.address)
    is_known = headers is not None or given.key_hash is None or given.is_admin
    req.answer_headers.update(headers or {})
    try:
        return await guarded(req)
    except Exception as error:
        if isinstance(error, Unauthorized) and given.key_hash is not None:
            limits.forget(given.key_hash)
        is_known = is_known or not isinstance(error, ApiError)  # the guard did not finish
        raise
    finally:
        if not is_known:
            headers = await limits.identify(given.key_hash or "", req.record.principal, req.address)
            req.answer_headers.update(headers or {})
