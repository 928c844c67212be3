"""The service as a process of its own, as its users run it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from service.settings import Settings
from tests.support import prepared

ROOT = prepared.ROOT
NEEDS_CURL = pytest.mark.skipif(not shutil.which("curl"), reason="LEFT OUT: the documents' examples; they need curl")


def environment(**values: str) -> dict[str, str]:
    """This process's environment without any setting of the service, and with these."""
    names = {field.upper() for field in Settings.__struct_fields__}
    return {**{name: value for name, value in os.environ.items() if name not in names}, **values}


def command(
    *arguments: str, cwd: Path = ROOT, python: str | None = None, **values: str
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m service …` to its end; with `python` named in a new interpreter, else in a prepared one."""
    if python is None:
        return prepared.run("service", arguments, cwd=cwd, values=environment(**values), timeout=100)
    return subprocess.run(
        [python, "-m", "service", *arguments],
        cwd=cwd,
        env=environment(**values),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def started(*arguments: str, log: Path, cwd: Path = ROOT, **values: str) -> prepared.Prepared:
    """Starts `python -m service …` in a prepared process; `log` gets its output."""
    log.write_text("")
    return prepared.start("service", arguments, cwd=cwd, values=environment(**values), out=log, err=log)


@contextmanager
def served(
    log: Path, *arguments: str, cwd: Path = ROOT, program: str = "service", **values: str
) -> Iterator[tuple["subprocess.Popen[str] | prepared.Prepared", str]]:
    """Runs `python -m service serve …` until the block ends; yields the process and its URL. `log` gets its output.

    With other arguments, or another program, it is started in a new interpreter.
    """
    values = {"SERVICE_PORT": "0", **values}
    process: subprocess.Popen[str] | prepared.Prepared
    if program == "service" and not arguments:
        process = started("serve", log=log, cwd=cwd, **values)
    else:
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", program, "serve", *arguments],
                cwd=cwd,
                env=environment(PYTHONPATH=str(ROOT), **values),
                stdout=output,
                stderr=output,
                text=True,
            )
    try:
        yield process, wait_until_ready(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_until_ready(process: "subprocess.Popen[str] | prepared.Prepared", log: Path) -> str:
    """The URL that the log names, once the service answers on it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if "running on " in (text := log.read_text()):
            url = text.partition("running on ")[2].split()[0]
            with contextlib.suppress(httpx2.TransportError):  # several workers listen before they serve
                if httpx2.get(f"{url}/readyz").status_code == 200:
                    return url
        time.sleep(0.05)
    raise AssertionError(f"the service did not start:\n{log.read_text()}")
