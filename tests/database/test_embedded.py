"""The embedded PostgreSQL: real servers, real processes, real kills."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import psycopg
import pytest

from service.database import embedded
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

USER = """
import sys
from pathlib import Path
from service.database import embedded
with embedded.running(Path(sys.argv[1]), durable=False) as url:
    print(url, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder with a path that is short enough for a socket, in a folder that only its user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        yield data_dir
        if (data_dir / "cluster" / "postmaster.pid").exists():  # a test that failed has left a server
            with embedded.running(data_dir, durable=False):
                pass


def run_user(data_dir: Path) -> subprocess.Popen[str]:
    """A process that uses the server until its standard input ends; returns when the server runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(data_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline().strip() == embedded.url(data_dir)
    return process


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "cluster" / "postmaster.pid").read_text().split()[0])


def is_running(data_dir: Path) -> bool:
    try:
        psycopg.connect(embedded.url(data_dir), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_data_survive_a_second_start_which_is_quick(data_dir: Path) -> None:
    start = time.monotonic()
    with embedded.running(data_dir) as url, psycopg.connect(url) as connection:
        first = time.monotonic() - start
        connection.execute("CREATE EXTENSION vector; CREATE TABLE kept AS SELECT '[1,2]'::halfvec AS v")
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert not is_running(data_dir)
    start = time.monotonic()
    with embedded.running(data_dir) as url:
        assert time.monotonic() - start < max(3, first)  # without initdb
        client = await asyncpg.connect(url)
        assert await client.fetchval("SELECT v::text FROM kept") == "[1,2]"
        await client.close()


def test_the_last_of_two_users_stops_the_server(data_dir: Path) -> None:
    first, second = run_user(data_dir), run_user(data_dir)
    end(first)
    assert is_running(data_dir)
    end(second)
    assert not is_running(data_dir)


def test_a_killed_user_does_not_keep_the_server_for_ever(data_dir: Path) -> None:
    killed = run_user(data_dir)
    killed.kill()
    killed.communicate()
    assert is_running(data_dir)
    adopted = postmaster(data_dir)
    with embedded.running(data_dir):
        assert postmaster(data_dir) == adopted
    assert not is_running(data_dir)


def test_a_killed_server_recovers_what_was_committed(data_dir: Path) -> None:
    with embedded.running(data_dir) as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        os.kill(postmaster(data_dir), signal.SIGKILL)
        while is_running(data_dir):
            time.sleep(0.05)
    with embedded.running(data_dir) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_a_stale_pid_file_with_the_pid_of_another_process(data_dir: Path) -> None:
    with embedded.running(data_dir):
        lines = (data_dir / "cluster" / "postmaster.pid").read_text().splitlines()
    lines[0] = str(os.getpid())
    (data_dir / "cluster" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    (data_dir / "cluster" / "postmaster.pid").chmod(0o666)
    with embedded.running(data_dir):
        assert is_running(data_dir)


def test_a_stale_pid_file_with_the_pid_of_a_process_of_the_same_user(data_dir: Path) -> None:
    with embedded.running(data_dir):
        lines = (data_dir / "cluster" / "postmaster.pid").read_text().splitlines()
        owner = (data_dir / "cluster" / "postmaster.pid").stat()
    # Also where the tests run as root, and PostgreSQL does not.
    other = subprocess.Popen(["sleep", "60"], user=owner.st_uid, group=owner.st_gid, extra_groups=[])
    try:
        lines[0] = str(other.pid)
        (data_dir / "cluster" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        os.chown(data_dir / "cluster" / "postmaster.pid", owner.st_uid, owner.st_gid)
        with embedded.running(data_dir):
            assert is_running(data_dir)
        assert not is_running(data_dir)
        assert other.poll() is None  # it was not taken for the server, and stopped
    finally:
        other.kill()
        other.wait()


def test_a_server_that_is_still_stopping_is_started_again(data_dir: Path) -> None:
    with embedded.running(data_dir, durable=False) as url:
        connection = psycopg.connect(url)
        os.kill(postmaster(data_dir), signal.SIGTERM)  # waits for the end of connections, and refuses new ones
        while is_running(data_dir):
            time.sleep(0.05)
        user = subprocess.Popen(
            [sys.executable, "-c", USER, str(data_dir)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert user.stdout
        time.sleep(2)
        connection.close()
        assert user.stdout.readline().strip() == url
        assert is_running(data_dir)
    end(user)


def test_a_server_without_its_socket_is_told(data_dir: Path) -> None:
    with embedded.running(data_dir, durable=False):
        (data_dir / "socket" / ".s.PGSQL.5432").unlink()  # as cleaners of folders for temporary files do
        start = time.monotonic()
        with (
            pytest.raises(embedded.EmbeddedPostgresError, match="runs, but does not answer"),
            embedded.running(data_dir, durable=False),
        ):
            pass
        assert time.monotonic() - start < 60


def test_many_at_once_share_one_server(data_dir: Path) -> None:
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(data_dir)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for user in users:
        assert user.stdout
        assert user.stdout.readline()
    assert is_running(data_dir)
    for user in users:
        end(user)
    assert not is_running(data_dir)


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * 100) / "data"
    with embedded.running(data_dir, durable=False) as url:
        assert is_running(data_dir)
        assert "x" * 100 not in url


def test_an_interrupted_making_is_no_obstacle(data_dir: Path) -> None:
    (data_dir / "cluster.new" / "base").mkdir(parents=True)
    with embedded.running(data_dir, durable=False):
        assert is_running(data_dir)


def test_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "PG_VERSION").write_text("14\n")
    with (
        pytest.raises(embedded.EmbeddedPostgresError, match="is of PostgreSQL 14, but this package has 18"),
        embedded.running(tmp_path),
    ):
        pass


def test_a_start_that_fails_shows_the_log(data_dir: Path) -> None:
    with embedded.running(data_dir, durable=False):
        pass
    broken = data_dir / "cluster" / "postgresql.conf"
    sound = broken.read_text()
    broken.write_text("nonsense\n")
    with pytest.raises(embedded.EmbeddedPostgresError, match="syntax error in file"), embedded.running(data_dir):
        pass
    broken.write_text(sound)


def test_nobody_else_may_come_near(data_dir: Path) -> None:
    with embedded.running(data_dir, durable=False):
        for name in ("cluster", "socket"):
            assert stat.S_IMODE((data_dir / name).stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE((data_dir / "postgres.log").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user, and can make one")
def test_several_processes_make_the_user_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a fresh machine: `useradd` fails while another one has its lock, and when the user exists already."""
    name = f"embedding-test-{os.getpid()}"
    monkeypatch.setattr(embedded, "SYSTEM_USER", name)
    try:
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(lambda _: embedded._account().pw_name, range(8)))
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)
    assert made == [name] * 8


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_user_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_missing: bool) -> None:
    if not is_missing:
        (tmp_path / "useradd").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "useradd").chmod(0o755)
    start = time.monotonic()
    monkeypatch.setattr(embedded, "SYSTEM_USER", "no-such-user")
    monkeypatch.setattr(embedded, "ACCOUNT_SECONDS", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(embedded.EmbeddedPostgresError, match=r"useradd .* no-such-user.* failed"):
        embedded._account()
    assert (time.monotonic() - start > 0.2) == (not is_missing)  # a missing program is not waited for


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_root_lets_the_server_pass_and_nothing_else(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with embedded.running(closed / "data", durable=False):
        assert stat.S_IMODE(closed.stat().st_mode) == 0o701
        assert (closed / "data" / "cluster" / "postmaster.pid").stat().st_uid != 0
