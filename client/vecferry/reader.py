"""A thread that reads what is uploaded."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_own_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function in a thread of its own."""
    reader = Reader()
    try:
        return await reader.call(function, *arguments)
    finally:
        reader.end(lambda: None)


class Reader:
    """A thread of its own, always the same, as some sources want it.

    A daemon, unlike those of `concurrent.futures`: a source that waits for more does not keep a program from its end.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="vecferry-reader", daemon=True).start()

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Calls a function in the thread, after those before it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(set_it: Callable[[Any], None], value: Any) -> None:
            if not future.cancelled():
                set_it(value)

        def work() -> None:
            set_it: Callable[[Any], None] = future.set_result
            value: Any
            try:
                value = function(*arguments)
            except BaseException as error:
                set_it, value = future.set_exception, error
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, set_it, value)

        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody need ask for it
        self._work.put(work)
        return future

    def end(self, last: Callable[[], None]) -> None:
        """Ends the thread after what it has to do, and a last call."""
        self._work.put(last)
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
