"""Stopping in two steps: the service says that it will, and then it does."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def announced(draining: asyncio.Event, seconds: float) -> Iterator[None]:
    """On SIGTERM and SIGINT, sets `draining`, and runs the previous signal handler `seconds` later.

    uvicorn takes no more connections from its signal handler on, which is too early where others still send some: they
    must have seen first that /readyz says no. Told twice, it does not wait.
    """
    if threading.current_thread() is not threading.main_thread():  # only there are signals handled
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        handler = before[signal.Signals(number)]
        loop.call_soon_threadsafe(draining.set)
        if not callable(handler):
            return
        if told or not seconds:
            handler(number, frame)
        else:
            loop.call_later(seconds, handler, number, frame)
        told = True

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
