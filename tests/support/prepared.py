"""A process that has imported the service, and forks for each command: that saves the half second of the imports.

A command runs to its end in a process of its own, with arguments, environment, folder and output of its own, as
`python -m service` has them.
"""

import atexit
import contextlib
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
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_started: "subprocess.Popen[str] | None" = None


def run(
    arguments: tuple[str, ...], *, root: Path, cwd: Path, values: dict[str, str], timeout: float
) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m service …` to its end; one at a time."""
    with _lock, tempfile.TemporaryDirectory() as folder:
        process = _process(root)
        assert process.stdin is not None
        assert process.stdout is not None
        out, err = Path(folder) / "out", Path(folder) / "err"
        asked = {"arguments": arguments, "cwd": str(cwd), "values": values, "out": str(out), "err": str(err)}
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        number = int(process.stdout.readline())
        if not select.select([process.stdout], [], [], timeout)[0]:
            os.kill(number, signal.SIGKILL)
            process.stdout.readline()
            raise subprocess.TimeoutExpired(arguments, timeout)
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def _process(root: Path) -> "subprocess.Popen[str]":
    global _started
    if _started is None:
        command = [sys.executable, "-m", "tests.support.prepared"]
        _started = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(_stop, _started)
    return _started


def _stop(process: "subprocess.Popen[str]") -> None:
    process.communicate()


def _become(asked: dict[str, Any]) -> None:
    """Makes a forked process what `python -m service` is from its start on."""
    for number, (path, flags) in enumerate(
        ((os.devnull, os.O_RDONLY), (asked["out"], os.O_WRONLY | os.O_CREAT), (asked["err"], os.O_WRONLY | os.O_CREAT))
    ):
        os.dup2(os.open(path, flags), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(asked["values"])
    os.chdir(asked["cwd"])
    sys.argv = ["service", *asked["arguments"]]
    runpy.run_module("service", run_name="__main__", alter_sys=True)


def main() -> None:
    """Reads what is asked for, a line each, until there is no more."""
    commands = importlib.import_module("service.cli")
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"service.cli.{module.name}")
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            sys.exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
