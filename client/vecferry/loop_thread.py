"""An event loop in a thread of its own, on which the synchronous client runs the asynchronous one."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import httpx2

from vecferry.transport import Transport

T = TypeVar("T")


class SyncTransport:
    """A Transport whose methods wait. It works where an event loop runs already, as in notebooks."""

    def __init__(
        self, url: str, key: str | None, *, timeout: float, retries: int, http: httpx2.AsyncClient | None
    ) -> None:
        self._transport = Transport(url, key, timeout=timeout, retries=retries, http=http)
        self._loop = asyncio.new_event_loop()
        # A daemon: a client that nobody closes does not keep the program from its end.
        self._thread = threading.Thread(target=_run, args=(self._loop,), name="vecferry", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, _end, self._transport, self._loop)

    def close(self) -> None:
        """Closes the connections, and ends the thread."""
        self._end()
        self._thread.join()

    def run(self, engine: Callable[[Transport], Awaitable[T]]) -> T:
        """Runs what sends several requests."""
        return self._wait_for(self._transport.run(engine))

    def send(self, method: str, path: str, kind: type[T], **options: Any) -> T:
        """Sends a request, and returns the answer as `kind`."""
        return self._wait_for(self._transport.send(method, path, kind, **options))

    def pages(self, path: str, kind: type[T], query: Mapping[str, Any] | None = None) -> Iterator[T]:
        """All pages of a list, each fetched when it is wanted."""
        following = self._transport.pages(path, kind, query)
        while (page := self._wait_for(_next(following))) is not None:
            yield page

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if not self._end.alive or not self._thread.is_alive():
            coroutine.close()
            raise RuntimeError("The client is closed, or was made in another process: make a client in this one.")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C, above all: the request ends too
            future.cancel()
            raise


def _end(transport: Transport, loop: asyncio.AbstractEventLoop) -> None:
    async def close() -> None:
        await transport.close()
        loop.stop()

    asyncio.run_coroutine_threadsafe(close(), loop)


async def _next(pages: AsyncIterator[T]) -> T | None:
    return await anext(pages, None)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
