"""The fork servers that run the commands of the tests: every exit code arrives, or a wait fails."""

import os
import signal
from pathlib import Path

import pytest

from tests.support import prepared
from tests.support.processes import environment

ROUNDS, COMMANDS = 3, 30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for output; the fork server is one of this test, which may be killed."""
    monkeypatch.setattr(prepared, "_started", {})
    return tmp_path


def started(folder: Path, *arguments: str) -> prepared.Prepared:
    out = folder / "out"
    return prepared.start("service", arguments, cwd=folder, values=environment(), out=out, err=out)


@pytest.mark.slow
def test_many_that_end_together_all_have_an_exit_code(folder: Path) -> None:
    for _ in range(ROUNDS):
        processes = [started(folder, "routes") for _ in range(COMMANDS)]
        for process in processes:
            process.kill()
        assert {process.wait(20) for process in processes} <= {-signal.SIGKILL, 0}
    assert started(folder, "routes").wait(20) == 0
    assert started(folder, "nothing").wait(20) == 2


def test_a_wait_fails_when_the_fork_server_has_ended(folder: Path) -> None:
    process = started(folder, "routes")
    server = prepared._started["service"]
    os.kill(process.pid, signal.SIGSTOP)
    server.process.kill()
    with pytest.raises(RuntimeError, match="The fork server ended with -9"):
        process.wait(20)
    process.kill()  # which is still possible
    server.stop()
    assert not Path(server.folder.name).exists()
