"""The command `vecferry`, in a process of its own, with a home of its own."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import prepared
from tests.support.processes import ROOT

VECFERRY = [sys.executable, "-m", "vecferry"]


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Ferry:
    """Runs commands in a home, with the variables of the environment that are given."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home, self.variables = home, variables

    def environment(self, **more: str) -> dict[str, str]:
        base = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}
        return {**base, **self.variables, **more}

    async def start(
        self, *arguments: str | Path, stdin: int = subprocess.PIPE, **more: Any
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *VECFERRY,
            *arguments,
            env=self.environment(),
            cwd=self.home,
            stdin=stdin,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )

    async def __call__(self, *arguments: str | Path, stdin: str = "") -> Done:
        """Runs a command to its end, in a process that has imported the client before."""
        ended = await asyncio.to_thread(
            prepared.run,
            "vecferry",
            [str(one) for one in arguments],
            cwd=self.home,
            values=self.environment(),
            timeout=100,
            stdin=stdin,
        )
        done = Done(ended.returncode, ended.stdout, ended.stderr)
        assert "Traceback" not in done.err, done.err
        return done

    async def on_terminal(self, *arguments: str | Path, answer: str | None, until: str) -> Done:
        """Answers what is asked on a terminal; None is Ctrl-C. `err` is all that the terminal shows."""
        controller, terminal = pty.openpty()
        process = await self.start(*arguments, stdin=terminal, stderr=terminal, start_new_session=True)
        os.close(terminal)
        shown = b""
        while until.encode() not in shown:
            shown += await asyncio.to_thread(os.read, controller, 1000)
        if answer is None:
            ending = asyncio.create_task(process.wait())
            while not ending.done():  # one that comes just before Python waits for a line only sets a flag
                process.send_signal(signal.SIGINT)
                await asyncio.wait([ending], timeout=2)
        else:
            os.write(controller, answer.encode() + b"\n")
        out, _ = await process.communicate()
        try:
            while more := await asyncio.to_thread(os.read, controller, 1000):
                shown += more
        except OSError:  # how a terminal ends on Linux
            pass
        os.close(controller)
        assert process.returncode is not None
        assert b"Traceback" not in shown, shown
        return Done(process.returncode, out.decode(), shown.decode())


def path_of_command(folder: Path) -> str:
    """The search path of this process with `vecferry` as a command, which is put into the folder."""
    program = folder / "bin" / "vecferry"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(VECFERRY)} "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"
