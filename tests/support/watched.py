"""A service as a process of its own that is watched: how long others wait for /healthz, how much memory it takes."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conftest import variables_for
from tests.support.processes import served

LONGEST_WAIT = 0.1  # in seconds, of a request for /healthz
MEMORY = 300 * 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(database: str, folder: Path, *arguments: str, program: str = "service") -> Iterator[tuple[int, str]]:
    values = variables_for(database)
    with served(folder / "log", *arguments, cwd=folder, program=program, **values) as (started, url):
        yield started.pid, url


def descendants(number: int) -> set[int]:
    """The processes that a process has started, and those that these have."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{number}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child} | descendants(child)
    return found


def resident(number: int) -> int:
    """The memory of a process and of those that it has started."""
    total = 0
    for one in {number} | descendants(number):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE
    return total


def command_line(number: int) -> str:
    return Path(f"/proc/{number}/cmdline").read_text()


class Socket(NamedTuple):
    """An end of a TCP connection: both ports, whether it is open, and the bytes that wait to be sent or read."""

    here: int
    there: int
    is_open: bool
    waiting: int


def sockets() -> list[Socket]:
    """All of this machine, over IPv4."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, state, queues, *_rest = line.split()
        ports = [int(place.rpartition(":")[2], 16) for place in (here, there)]
        found.append(Socket(*ports, state == "01", sum(int(queue, 16) for queue in queues.split(":"))))
    return found


def is_alive(number: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Asks until its standard input ends, then says how long the longest answer took. A process of its own: what the client
# under test does with its answers would hold up a thread.
ASKS = """
import http.client, sys, threading, time
connection, done, longest = http.client.HTTPConnection(sys.argv[1]), threading.Event(), 0.0
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
for turn in range(10**9):
    start = time.monotonic()
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    answer.read()
    if turn == 1:
        print("asking", flush=True)
    if turn > 1:
        longest = max(longest, time.monotonic() - start)
    if done.wait(0.005):
        break
print(longest)
"""


class Watched:
    """How long others wait for /healthz, and how much memory a service takes, while a block runs."""

    def __init__(self, process: tuple[int, str]) -> None:
        self._number, self._url = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.longest = 0.0
        self.grown = 0

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.grown = max(self.grown, resident(self._number) - self._before)

    def __enter__(self) -> "Watched":
        self._before = resident(self._number)
        command = [sys.executable, "-c", ASKS, self._url.removeprefix("http://")]
        self._asking = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._asking.stdout is not None
        assert self._asking.stdout.readline() == "asking\n"
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        said, _nothing = self._asking.communicate()
        assert self._asking.returncode == 0, "somebody got no answer from /healthz"
        self.longest = float(said)
