"""What the programs of child processes share: limits, and messages with their length before them.

Imports little, so that a child stays small.
"""

import contextlib
import os
import resource
import signal
from pathlib import Path
from typing import BinaryIO

LENGTH_BYTES = 4
FAILED = 3  # exit code after an error


def framed(content: bytes) -> bytes:
    """A message with its length."""
    return len(content).to_bytes(LENGTH_BYTES) + content


def send(channel: BinaryIO, content: bytes) -> None:
    """Sends a message at once."""
    channel.write(framed(content))
    channel.flush()


def received(channel: BinaryIO) -> bytes:
    """The next message. Raises EOFError if the other end is closed."""
    head = channel.read(LENGTH_BYTES)
    content = channel.read(int.from_bytes(head))
    if len(head) < LENGTH_BYTES or len(content) < int.from_bytes(head):
        raise EOFError
    return content


def set_limits() -> None:
    """Leaves signals to the parent, writes no core dump, and gives way when processor or memory are short."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the process group; the parent ends this process
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        os.nice(10)  # less priority than the service
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel kills this process before the service


def limit(kind: int, most: int) -> None:
    """Sets a limit of memory, unless there is a lower one."""
    hard = resource.getrlimit(kind)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(kind, (most, hard))
