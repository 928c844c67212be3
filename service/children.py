"""Child processes: new Pythons that run a program of the service with limits of their own (`service.child`)."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from service.child import LENGTH_BYTES, framed


class Child:
    """A child process, and the socket that is its standard input and output."""

    def __init__(self, process: subprocess.Popen[bytes], streams: tuple[Any, Any]) -> None:
        self._process = process
        self._reader, self._writer = streams

    @staticmethod
    async def start(program: str, environment: Mapping[str, str] = {}) -> "Child":
        """Starts a program with the module path of this process, and none of its environment, which has secrets."""
        ours, theirs = socket.socketpair()
        try:
            # In a thread, because it takes some milliseconds.
            process = await asyncio.to_thread(_spawn, program, theirs, environment)
            return Child(process, await asyncio.open_unix_connection(sock=ours))
        except BaseException:
            ours.close()  # the process ends, if there is one
            raise

    async def send(self, content: bytes) -> None:
        """Sends a message, with back-pressure. Raises OSError if the process has ended."""
        self._writer.write(framed(content))
        await self._writer.drain()

    async def receive(self) -> bytes:
        """The next message. Raises OSError or EOFError if the process has ended."""
        length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES))
        received: bytes = await self._reader.readexactly(length)
        return received

    async def aclose(self) -> int:
        """Kills the process, unless it has already ended, and returns its exit code."""
        self._writer.close()
        self._process.kill()
        return await asyncio.to_thread(self._process.wait)


def _spawn(program: str, channel: socket.socket, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with channel:  # here, because this goes on after a cancellation
        return subprocess.Popen(
            [sys.executable, "-P", program],
            stdin=channel.fileno(),
            stdout=channel.fileno(),
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(sys.path), **environment},
        )
