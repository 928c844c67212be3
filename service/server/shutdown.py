"""Graceful shutdown: fail readiness first, then stop accepting requests. Before the start: end at once."""

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def announced(draining: asyncio.Event, seconds: float) -> Iterator[None]:
    """On SIGTERM and SIGINT, sets `draining`, and calls the previous signal handler `seconds` later.

    uvicorn's handler stops accepting connections at once, while load balancers still send some: /readyz must fail
    first. A second signal does not wait.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread only
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    is_repeated = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_repeated
        handler = before[signal.Signals(number)]
        loop.call_soon_threadsafe(draining.set)
        if not callable(handler):
            return
        if is_repeated or not seconds:
            handler(number, frame)
        else:
            loop.call_later(seconds, handler, number, frame)
        is_repeated = True

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def at_once() -> Iterator[None]:
    """During the block, SIGTERM and SIGINT end the process at once, although uvicorn has its handlers already."""
    before = {number: signal.signal(number, lambda *_: sys.exit(0)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
