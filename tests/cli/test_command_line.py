"""The commands, as processes: help, exit codes, JSON, clear errors, and a start and stop of the service."""

import json
import re
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from service.api.routes import endpoints
from service.schema import migrate
from tests.support.processes import ROOT, command, environment, served

pytestmark = pytest.mark.slow

SECRETS = {"SERVICE_ADMINKEY": "marked-admin-key", "ENCRYPTION_KEY": "marked-encryption-key"}


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["migrate", "--help"], ["--version"]])
def test_help(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("arguments", [["serve"], ["migrate"]])
def test_without_secrets_nothing_starts(arguments: list[str], tmp_path: Path) -> None:
    done = command(*arguments, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert done.stderr == (
        "Error: SERVICE_ADMINKEY is not set. Set it in the environment or in .env, "
        "for example to the output of `openssl rand -hex 32`.\n"
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"SERVICE_ADMINKEY": "marked-schlüssel-schlüssel"}, "Error: SERVICE_ADMINKEY must consist of printable ASCII"),
        ({"SERVICE_ADMINKEY": "marked"}, "Error: SERVICE_ADMINKEY must have 16 to 4,096 characters."),
        ({"ENCRYPTION_KEY": SECRETS["SERVICE_ADMINKEY"]}, "Error: SERVICE_ADMINKEY and ENCRYPTION_KEY must not be"),
        ({"SERVICE_METRICS_KEY": "change-me"}, "Error: SERVICE_METRICS_KEY is a placeholder."),
    ],
)
def test_an_unusable_secret_is_one_line(tmp_path: Path, values: dict[str, str], says: str) -> None:
    done = command("serve", cwd=tmp_path, PYTHONPATH=str(ROOT), **{**SECRETS, **values})
    assert done.returncode == 1
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == 1
    assert "marked" not in done.stderr


def test_a_key_with_a_newline_opens(new_database: Callable[..., str], tmp_path: Path) -> None:
    """As `echo … | base64` makes it for a Secret; and what is probably not meant is said."""
    values = {**SECRETS, "SERVICE_ADMINKEY": f"{SECRETS['SERVICE_ADMINKEY']}\n", "SERVICE_RATELIMIT": "1/minute"}
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_DATABASE_URL=new_database(), **values) as (_, url):
        headers = {"Authorization": f"Bearer {SECRETS['SERVICE_ADMINKEY']}"}
        assert httpx2.get(f"{url}/v1/users", headers=headers).status_code == 200
    assert (
        "WARNING: SERVICE_RATELIMIT is not a setting of this service; did you mean SERVICE_RATE_LIMIT?"
        in (tmp_path / "log").read_text()
    )


def test_a_database_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    url = "postgresql://somebody:marked-password@127.0.0.1:1/x"
    done = command("serve", cwd=tmp_path, PYTHONPATH=str(ROOT), **SECRETS, SERVICE_DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The database: ")
    assert "marked" not in done.stderr


def test_a_database_that_is_misspelt_is_not_repeated(tmp_path: Path) -> None:
    url = "postgresql://somebody:marked%password@127.0.0.1:1/x"
    for arguments in (["serve"], ["migrate"], ["keys", "status"], ["index", "--once"]):
        done = command(*arguments, cwd=tmp_path, PYTHONPATH=str(ROOT), **SECRETS, SERVICE_DATABASE_URL=url)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: SERVICE_DATABASE_URL must be like ")
        assert "marked" not in done.stderr


def test_migrate_and_its_status(new_database: Callable[..., str]) -> None:
    values = {**SECRETS, "SERVICE_DATABASE_URL": new_database(template=None)}
    pending = command("migrate", "--status", "--json", **values)
    assert pending.returncode == 3
    assert [one["applied"] for one in json.loads(pending.stdout)["migrations"]] == [False] * len(migrate.names())

    done = command("migrate", "--json", **values)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] == migrate.names()

    status = command("migrate", "--status", **values)
    assert status.returncode == 0
    assert status.stdout == "".join(f"applied  {name}\n" for name in migrate.names())

    back = command("migrate", "--to", "0005", **values)
    assert back.returncode == 0
    assert back.stdout.startswith(f"Rolled back {migrate.names()[-1]}.\n")

    unknown = command("migrate", "--to", "0099", **values)
    assert unknown.returncode == 1
    assert "Unknown migration 0099" in unknown.stderr


@pytest.mark.parametrize("arguments", [("keys", "status"), ("keys", "rotate"), ("index", "--once")])
def test_a_database_without_the_schema(new_database: Callable[..., str], arguments: tuple[str, ...]) -> None:
    refused = command(*arguments, **SECRETS, SERVICE_DATABASE_URL=new_database(template=None))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The database does not have the schema of this version: run `migrate`" in refused.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--to", "0005", "--dry-run"], "--status and --dry-run cannot be used with --to."),
        (["--to", "0005", "--status"], "--status and --dry-run cannot be used with --to."),
        (["--discard"], "--discard can only be used with --to."),
    ],
)
def test_migrate_refuses_options_without_an_effect(options: list[str], says: str) -> None:
    # Nothing listens there: the command ends before it connects.
    refused = command("migrate", *options, **SECRETS, SERVICE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert says in refused.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_migrates_and_stops_cleanly(new_database: Callable[..., str], tmp_path: Path, workers: str) -> None:
    values = {**SECRETS, "SERVICE_DATABASE_URL": new_database(template=None)}
    with served(tmp_path / "log", "--workers", workers, cwd=tmp_path, **values) as (process, url):
        assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    log = (tmp_path / "log").read_text()
    assert f"Applied migration {migrate.names()[-1]}." in log
    assert "marked" not in log
    assert "Traceback" not in log


def test_each_line_of_a_log_in_json_is_json(new_database: Callable[..., str], tmp_path: Path) -> None:
    values = {**SECRETS, "SERVICE_DATABASE_URL": new_database(template=None), "SERVICE_RATELIMIT": "1/minute"}
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_LOG_FORMAT="json", **values) as (_, url):
        assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    level_of = {one["event"]: one["level"] for one in lines}
    assert level_of[f"Applied migration {migrate.names()[-1]}."] == "info"
    assert [event for event, level in level_of.items() if level == "warning"] == [
        "SERVICE_RATELIMIT is not a setting of this service; did you mean SERVICE_RATE_LIMIT?"
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_that_fails_has_an_exit_code(new_database: Callable[..., str], workers: str) -> None:
    values = {"SERVICE_DATABASE_URL": new_database(), "SERVICE_PORT": "0", "SERVICE_RATE_LIMIT": "9/minute"}
    storage = "redis://127.0.0.1:no-port"
    failed = command("serve", "--workers", workers, **SECRETS, **values, SERVICE_RATE_LIMIT_STORAGE=storage)
    assert failed.returncode == 3
    assert "Application startup failed" in failed.stderr


def test_serve_with_the_embedded_database_and_the_template(tmp_path: Path) -> None:
    env = re.sub(r"(\w+)=change-me", r"\1=a-secret-for-\1", (ROOT / "template.env").read_text()).replace("=8880", "=0")
    (tmp_path / ".env").write_text(env)
    for _ in range(2):  # the data are kept
        with served(tmp_path / "log", cwd=tmp_path, SERVICE_PORT="") as (process, url):
            headers = {"Authorization": "Bearer a-secret-for-SERVICE_ADMINKEY"}
            body = {"user_handle": "alice", "email": "alice@example.org"}
            key = httpx2.put(f"{url}/v1/users/alice", json=body, headers=headers).json()["vdb_key"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert key == "not changed"
    assert not (tmp_path / ".data" / "cluster" / "postmaster.pid").exists()


def test_a_closed_terminal_stops_the_embedded_database(tmp_path: Path) -> None:
    with served(tmp_path / "log", cwd=tmp_path, **SECRETS) as (process, _):
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0
    assert not (tmp_path / ".data" / "cluster" / "postmaster.pid").exists()


def test_make_writes_an_env_file_with_fresh_secrets(tmp_path: Path) -> None:
    for name in ("Makefile", "template.env"):
        (tmp_path / name).write_text((ROOT / name).read_text())

    def make() -> str:
        return subprocess.run(
            ["make", ".env"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
        ).stdout

    said = make()
    written = (tmp_path / ".env").read_text()
    secrets = re.findall(r"^(?:SERVICE_ADMINKEY|ENCRYPTION_KEY)=([0-9a-f]{64})$", written, re.MULTILINE)
    assert len(set(secrets)) == 2
    assert "change-me" not in written
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert "mode 0600" in said
    make()
    assert (tmp_path / ".env").read_text() == written


def test_routes_lists_every_endpoint_with_its_guard_and_handler(tmp_path: Path) -> None:
    listed = command("routes", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == len(endpoints)
    assert re.search(
        r"^POST +/v1/similars/\{user\}/\{project\} +searcher +similars\.post_similars$",
        listed.stdout,
        re.MULTILINE,
    )
    lines = json.loads(command("routes", "--json", cwd=tmp_path, PYTHONPATH=str(ROOT)).stdout)
    assert [(line["method"], line["path"]) for line in lines] == [(one.method, one.path) for one in endpoints]
    older = next(line for line in lines if line["path"] == "/v1/llm-services/{user}")
    assert older["successor"] == "/v1/llm-instances/{user}"
