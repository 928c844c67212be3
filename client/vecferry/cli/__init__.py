"""The command line. Its modules import slow packages (NumPy, HTTP, Arrow) only when used."""

import contextlib
import os
import sys

from vecferry.cli import account, completion, embeddings, files, projects  # noqa: F401 (they add their commands)
from vecferry.cli.group import commands


def main() -> None:
    """Runs the command of `sys.argv`, and ends the process with its exit code.

    Python does not finish its threads first: if one still reads a file, pyarrow would abort the process.
    """
    try:
        commands(prog_name="vecferry")
    except SystemExit as end:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                if stream is not None:  # a closed one is None
                    stream.flush()
        os._exit(int(end.code or 0))
