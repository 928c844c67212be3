"""Child processes: what becomes of their sockets."""

import asyncio
import os
import subprocess
import threading
from typing import Any

import pytest

from service import children
from service.metadata import worker


async def test_a_cancelled_start_leaves_the_socket_to_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a child could get the file that has its number meanwhile, like the connection of a client."""
    begun, cancelled = threading.Event(), threading.Event()
    seen: list[tuple[int, int]] = []

    def popen(*_: Any, stdin: int, **__: Any) -> None:
        before = os.fstat(stdin)
        begun.set()
        cancelled.wait(10)
        try:
            seen.append((before.st_ino, os.fstat(stdin).st_ino))
        except OSError:
            seen.append((before.st_ino, 0))
        raise OSError

    monkeypatch.setattr(subprocess, "Popen", popen)
    starting = asyncio.create_task(children.Child.start(worker.__file__))
    await asyncio.to_thread(begun.wait, 10)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    cancelled.set()
    async with asyncio.timeout(10):
        while not seen:
            await asyncio.sleep(0.01)
    ((before, after),) = seen
    assert before == after
