"""Graceful shutdown: fail readiness first, then stop accepting requests. Before the start: end at once."""

import asyncio
import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TOGETHER_SECONDS = 1.5  # uvicorn looks for a signal, to pass it on, every half second


@contextmanager
def announced(draining: asyncio.Event, seconds: float) -> Iterator[None]:
    """On SIGTERM and SIGINT, sets `draining`, and calls the previous signal handler `seconds` later.

    uvicorn's handler stops accepting connections at once, while load balancers still send some: /readyz must fail
    first. A second signal does not wait, unless it comes together with the first: systemd and terminals send a signal
    to all processes of a service, and the first process of several passes it on. If that is killed, the others end too:
    they would keep its port.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread only
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    first: float | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal first
        handler = before[signal.Signals(number)]
        loop.call_soon_threadsafe(draining.set)
        if not callable(handler):
            return
        if not seconds or (first is not None and loop.time() - first > TOGETHER_SECONDS):
            handler(number, frame)
        elif first is None:
            first = loop.time()
            loop.call_later(seconds, handler, number, frame)

    def end_alone(sentinel: int) -> None:
        loop.remove_reader(sentinel)
        signal.raise_signal(signal.SIGTERM)

    for number in before:
        signal.signal(number, stop)
    if (parent := multiprocessing.parent_process()) is not None:
        loop.add_reader(parent.sentinel, end_alone, parent.sentinel)
    try:
        yield
    finally:
        if parent is not None:
            loop.remove_reader(parent.sentinel)
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
