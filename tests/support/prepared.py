"""Fork servers: one process has imported the service, one the client, and each forks for a command to save the imports.

They have also read the certificates of the system, which takes an HTTP client 23 ms of a processor.

A command has a process, arguments, environment, folder, input and output of its own, as with `python -m service` or
`python -m vecferry`. When it ends, the fork server writes its exit code into a file.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpcore2

ROOT = Path(__file__).parents[2]
IMPORTED = {
    "service": ["service.cli"],
    "vecferry": [
        "vecferry.cli",
        "vecferry.synchronous",
        "vecferry.sources",
        "vecferry.sinks",
        "pyarrow.parquet",
    ],
}
"""These modules and their parts. Without `keyring`, which reads the environment when it is imported."""
WRITES = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # both outputs may go into one file
LOOKS = 0.01  # seconds between two looks whether a process has ended


@dataclass
class _Server:
    """A fork server, and the folder of the exit codes that it writes."""

    process: "subprocess.Popen[bytes]"
    folder: "tempfile.TemporaryDirectory[str]"
    numbers: "count[int]" = field(default_factory=count)

    def stop(self) -> None:
        self.process.communicate()
        self.folder.cleanup()


_lock = threading.Lock()
_started: dict[str, _Server] = {}


class Prepared:
    """A forked process, with the methods of `subprocess.Popen` for one that was started."""

    def __init__(self, number: int, ending: Path, arguments: Sequence[str], server: "subprocess.Popen[bytes]") -> None:
        self.pid = number
        self.args = arguments
        self.returncode: int | None = None
        self._ending = ending
        self._server = server

    def poll(self) -> int | None:
        if self.returncode is None:
            gone = self._server.poll()  # first: it may write the file just before it ends
            if self._ending.exists():
                self.returncode = int(self._ending.read_text())
                self._ending.unlink()
            elif gone is not None:
                raise RuntimeError(f"The fork server ended with {gone}; the exit code of {self.args} is unknown.")
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + timeout if timeout is not None else float("inf")
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(LOOKS)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None and not self._ending.exists():  # even if the fork server has ended
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    program: str,
    arguments: Sequence[str],
    *,
    cwd: Path,
    values: dict[str, str],
    out: Path,
    err: Path,
    stdin: Path | None = None,
) -> Prepared:
    """Starts `python -m service …` or `python -m vecferry …`, its output into these files, which may be the same."""
    with _lock:
        server = _server(program)
        process = server.process
        assert process.stdin is not None
        assert process.stdout is not None
        ending = Path(server.folder.name) / str(next(server.numbers))
        files = [str(stdin or os.devnull), str(out), str(err)]
        asked = {"arguments": arguments, "cwd": str(cwd), "values": values, "files": files, "ending": str(ending)}
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        return Prepared(int(process.stdout.readline()), ending, arguments, process)


def run(
    program: str,
    arguments: Sequence[str],
    *,
    cwd: Path,
    values: dict[str, str],
    timeout: float,
    stdin: str = "",
) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m service …` or `python -m vecferry …` to its end, or kills it after `timeout`."""
    with tempfile.TemporaryDirectory() as folder:
        given, out, err = (Path(folder) / name for name in ("in", "out", "err"))
        given.write_text(stdin)
        process = start(program, arguments, cwd=cwd, values=values, out=out, err=err, stdin=given)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def _server(program: str) -> _Server:
    if program not in _started:
        command = [sys.executable, "-m", "tests.support.prepared", program]
        paths = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}
        process = subprocess.Popen(command, cwd=ROOT, env=paths, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _started[program] = _Server(process, tempfile.TemporaryDirectory(prefix=f"prepared-{program}-"))
        atexit.register(_started[program].stop)
    return _started[program]


def _become(program: str, asked: dict[str, Any], certificates: ssl.SSLContext) -> None:
    """Makes a forked process what `python -m program` is from its start on."""
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & asked["values"].keys():
        httpcore2.default_ssl_context = lambda **_: certificates
    for number, (path, flags) in enumerate(zip(asked["files"], (os.O_RDONLY, WRITES, WRITES), strict=True)):
        os.dup2(os.open(path, flags), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", errors="backslashreplace")  # noqa: SIM115
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also if the tests run under nohup
    os.environ.clear()
    os.environ.update(asked["values"])
    os.chdir(asked["cwd"])
    sys.argv = [program, *asked["arguments"]]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


_going_on: dict[int, str] = {}


def _reap(*_: object) -> None:
    """Writes the exit code of each child that has ended, into a file that is complete as soon as it exists."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # or the next one would interrupt this one
    for number, ending in list(_going_on.items()):
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            del _going_on[number]
            unfinished = Path(f"{ending}.new")
            unfinished.write_text(str(os.waitstatus_to_exitcode(status)))
            unfinished.rename(ending)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(program: str) -> None:
    """Reads what is asked for, a line each, until there is no more."""
    for name in IMPORTED[program]:
        for part in pkgutil.iter_modules(getattr(importlib.import_module(name), "__path__", [])):
            importlib.import_module(f"{name}.{part.name}")
    certificates = httpcore2.default_ssl_context()
    gc.freeze()  # a collection in a child would copy all memory
    signal.signal(signal.SIGCHLD, _reap)
    while line := sys.stdin.readline():
        asked = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # until it is known who has ended
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            _become(program, asked, certificates)
            sys.exit(0)
        _going_on[child] = asked["ending"]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        print(child, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1])
