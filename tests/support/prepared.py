"""Processes that have imported the service or the client, and fork for each command: that saves the imports.

A command runs to its end in a process of its own, with arguments, environment, folder, input and output of its own, as
`python -m service` and `python -m vecferry` have them.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

IMPORTED = {
    "service": ["service.cli"],
    "vecferry": [
        "vecferry.cli",
        "vecferry.synchronous",
        "vecferry.sources",
        "vecferry.sinks",
        "pyarrow.parquet",
        "httpcore2",
    ],
}
"""These modules and their parts. Without `keyring`, which reads the environment when it is imported."""
_lock = threading.Lock()
_started: "dict[str, subprocess.Popen[bytes]]" = {}


def run(
    program: str,
    arguments: Sequence[str],
    *,
    root: Path,
    cwd: Path,
    values: dict[str, str],
    timeout: float,
    stdin: str = "",
) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m service …` or `python -m vecferry …` to its end, or kills it after `timeout`; one at a time."""
    with _lock, tempfile.TemporaryDirectory() as folder:
        process = _process(program, root)
        assert process.stdin is not None
        assert process.stdout is not None
        files = [Path(folder) / name for name in ("in", "out", "err")]
        files[0].write_text(stdin)
        asked = {"arguments": arguments, "cwd": str(cwd), "values": values, "files": list(map(str, files))}
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        number = int(process.stdout.readline())
        if not select.select([process.stdout], [], [], timeout)[0]:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
                os.kill(number, signal.SIGKILL)
            process.stdout.readline()
            raise subprocess.TimeoutExpired(arguments, timeout)
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, files[1].read_text(), files[2].read_text())


def _process(program: str, root: Path) -> "subprocess.Popen[bytes]":
    if program not in _started:
        command = [sys.executable, "-m", "tests.support.prepared", program]
        paths = {**os.environ, "PYTHONPATH": f"{root}:{root / 'client'}"}
        # Unbuffered, because `select` does not see what a buffer has taken beyond the line that was read.
        one = subprocess.Popen(command, bufsize=0, cwd=root, env=paths, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(_stop, one)
        _started[program] = one
    return _started[program]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.communicate()


def _become(program: str, asked: dict[str, Any]) -> None:
    """Makes a forked process what `python -m program` is from its start on."""
    for number, (path, flags) in enumerate(
        zip(asked["files"], (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT), strict=True)
    ):
        os.dup2(os.open(path, flags), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(asked["values"])
    os.chdir(asked["cwd"])
    sys.argv = [program, *asked["arguments"]]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


def main(program: str) -> None:
    """Reads what is asked for, a line each, until there is no more."""
    for name in IMPORTED[program]:
        for part in pkgutil.iter_modules(getattr(importlib.import_module(name), "__path__", [])):
            importlib.import_module(f"{name}.{part.name}")
    gc.freeze()  # a collection in a child would copy all memory
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _become(program, json.loads(line))
            sys.exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1])
