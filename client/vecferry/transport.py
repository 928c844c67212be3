"""One request: the key, retries, timeouts and errors."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar

import httpx2
import msgspec
import numpy as np

from vecferry.errors import BY_STATUS, BadAnswer, ConnectionFailed, Problem, ServiceError

T = TypeVar("T")

CONNECT_SECONDS = 10.0
LAST_PORT = 65535
LONGEST_PAUSE = 30.0  # seconds between two attempts
LONGEST_WAIT = 120.0  # seconds that an answer may ask for: an exhausted daily budget is an error
REPEATED = {408, 429, 502, 503, 504}
logger = logging.getLogger("vecferry")


class Transport:
    """Requests to one service, each repeated where that is harmless and may help."""

    def __init__(
        self, url: str, key: str | None, *, timeout: float, retries: int, http: httpx2.AsyncClient | None
    ) -> None:
        base = httpx2.URL(url)
        if base.scheme not in ("http", "https") or not base.host or (base.port or 0) > LAST_PORT:
            raise ValueError(f"{url!r} is not the URL of a service: it looks like https://vectors.example.org.")
        # Else the HTTP library refuses the header, and shows it.
        if key is not None and not re.fullmatch(r"[!-~]+", key):
            raise ValueError("The key must be visible ASCII characters without spaces.")
        self.url = self._base = str(base.copy_with(query=None, fragment=None)).rstrip("/")
        self._shown = f"{base.scheme}://{base.netloc.decode().rpartition('@')[2]}"
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._timeout = httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        self._retries = retries
        self.bytes_received = 0
        self._http = http or httpx2.AsyncClient(timeout=self._timeout)
        self._is_own = http is None

    async def close(self) -> None:
        """Closes the connections, unless they belong to a client of HTTP that was given."""
        if self._is_own:
            await self._http.aclose()

    async def run(self, engine: Callable[[Transport], Awaitable[T]]) -> T:
        """Runs a function that sends several requests."""
        return await engine(self)

    async def send(self, method: str, path: str, kind: type[T], **options: Any) -> T:
        """Sends a request, and returns the answer as `kind`; the options are those of `answer`."""
        return decoded((await self.answer(method, path, **options)).content, kind)

    async def pages(self, path: str, kind: type[T], query: Mapping[str, Any] | None = None) -> AsyncIterator[T]:
        """All pages of a list, each fetched when it is wanted."""
        following: Mapping[str, Any] | None = query or {}
        while following is not None:
            answer = await self.answer("GET", path, query=following)
            yield decoded(answer.content, kind)
            # Only its query: behind a proxy the path may be another one.
            onward = answer.links.get("next", {}).get("url")
            following = None if onward is None else dict(httpx2.URL(onward).params)

    async def answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | Mapping[str, Any] | None = None,
        repeat: bool = True,
        never_repeat: frozenset[int] = frozenset(),
        refused: Callable[[int], None] | None = None,
        more_headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Sends a request until it succeeds or another attempt is useless. Raises ServiceError, or ConnectionFailed.

        `body`: bytes are MessagePack, all else becomes JSON. Without `repeat` only a request that never reached the
        service is sent again; answers with a status of `never_repeat` are not. `refused` is called with each refusal
        before the next attempt. `more_headers` are added to the usual ones, or replace them.
        """
        headers = {**self._headers, "Accept": "application/json", **(more_headers or {})}
        if body is not None:
            headers["Content-Type"] = "application/msgpack" if isinstance(body, bytes) else "application/json"
        content = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        parameters = (
            None if query is None else {name: _parameter(one) for name, one in query.items() if one is not None}
        )
        for attempt in range(self._retries + 1):
            is_last = attempt == self._retries
            pause = random.uniform(0, min(LONGEST_PAUSE, 0.5 * 2**attempt))  # noqa: S311
            try:
                answer = await self._http.request(
                    method,
                    self._base + path,
                    params=parameters,
                    content=content,
                    headers=headers,
                    timeout=self._timeout,
                    follow_redirects=False,  # the key goes nowhere else
                )
            except httpx2.RequestError as error:
                if is_last or not _may_be_sent_again(error, repeat):
                    what = str(error) or type(error).__name__
                    raise ConnectionFailed(f"No answer from {self._shown}: {what}.") from error
                logger.info("%s %s: %s; again in %.1f s", method, path, type(error).__name__, pause)
            else:
                self.bytes_received += answer.num_bytes_downloaded
                if answer.is_success:
                    return answer
                refusal = _refusal(answer)
                wait = refusal.retry_after or 0.0
                hopeless = refusal.status not in REPEATED - never_repeat or wait > LONGEST_WAIT
                if is_last or not repeat or hopeless:
                    raise refusal
                if refused is not None:
                    refused(refusal.status)
                pause += wait
                logger.info("%s %s: %s; again in %.1f s", method, path, refusal.status, pause)
            await asyncio.sleep(pause)
        raise AssertionError  # the last attempt has returned or raised


def decoded(content: bytes, kind: type[T], decode: Callable[..., T] = msgspec.json.decode) -> T:
    """The content of an answer, JSON or what `decode` reads. Raises BadAnswer."""
    if kind is type(None):
        return None
    try:
        return decode(content, type=kind, dec_hook=_vector)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"The answer is not one of the embedding service: {error}. Is the URL right?") from error


def _vector(kind: Any, value: Any) -> Any:
    return np.asarray(value, dtype=np.float16)


def _parameter(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ",".join(value) if isinstance(value, list | tuple) else str(value)


def _may_be_sent_again(error: httpx2.RequestError, repeat: bool) -> bool:
    """Whether another attempt may help, and is harmless: without `repeat` only if the service received nothing."""
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return False
    if repeat:
        return isinstance(error, httpx2.TransportError)
    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)


def _refusal(answer: httpx2.Response) -> ServiceError:
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):  # of a proxy
        phrase = HTTPStatus(answer.status_code).phrase if answer.status_code in set(HTTPStatus) else "unknown"
        problem = Problem(phrase, answer.status_code)
    kind = BY_STATUS.get(answer.status_code, ServiceError)
    retry_after = _seconds(answer.headers.get("retry-after"))
    return kind(problem, request_id=answer.headers.get("x-request-id"), retry_after=retry_after)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds: a number, or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
