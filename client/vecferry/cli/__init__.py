"""The command line. Its modules import slow packages (NumPy, HTTP, Arrow) only when used."""

import contextlib
import os
import sys

from vecferry.cli.account import login, logout, whoami
from vecferry.cli.completion import completion
from vecferry.cli.embeddings import delete, get, search
from vecferry.cli.files import pull, push, sync
from vecferry.cli.group import commands
from vecferry.cli.projects import create, projects, share, unshare

for _command in (
    login,
    logout,
    whoami,
    projects,
    create,
    share,
    unshare,
    search,
    get,
    delete,
    push,
    pull,
    sync,
    completion,
):
    commands.add_command(_command)


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
