"""`login`, `logout`, `whoami`, and where keys are kept."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from vecferry import AsyncClient

from tests.client.commands import Ferry
from tests.conftest import ADMIN_KEY

User = tuple[str, str]
NO_KEYRING = "keyring.backends.null.Keyring"
FAILING = "keyring.backends.fail.Keyring"
IN_A_FILE = "tests.client.file_keyring.FileKeyring"


def kept(home: Path) -> Path:
    (file,) = home.rglob("profiles.json")
    return file


@pytest.fixture
def ferry(tmp_path: Path) -> Ferry:
    return Ferry(tmp_path, PYTHON_KEYRING_BACKEND=NO_KEYRING)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [NO_KEYRING, FAILING, "there.is.None"])
async def test_without_a_working_keyring_the_key_is_in_a_file_of_0600(
    service_url: str, user: User, tmp_path: Path, backend: str
) -> None:
    ferry = Ferry(tmp_path, PYTHON_KEYRING_BACKEND=backend)
    done = await ferry("login", service_url, "--key-stdin", stdin=f"{user[1]}\nmore\n")
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.out == f"Logged in to {service_url} as {user[0]}. The key is in {kept(tmp_path)}.\n"
    file = kept(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    assert json.loads(file.read_text()) == {"default": {"url": service_url, "user": user[0], "key": user[1]}}

    who = await ferry("whoami", "--json")
    assert who.json == {"url": service_url, "user": user[0], "profile": "default", "kept_in": "file"}
    assert user[1] not in (await ferry("whoami")).out
    assert (await ferry("projects", "--json")).json == []

    out = await ferry("logout")
    assert (out.code, out.out) == (0, f"The key of {user[0]} at {service_url} is forgotten.\n")
    assert user[1] not in file.read_text()
    again = await ferry("logout")
    assert (again.code, again.err) == (3, "There is no profile 'default'. Nothing was removed.\n")
    assert (await ferry("whoami")).err.startswith("There is no profile 'default'. Log in first, with `vecferry login ")


async def test_a_keyring_that_works_keeps_the_key(service_url: str, user: User, tmp_path: Path) -> None:
    pytest.importorskip("keyring")
    ferry = Ferry(tmp_path, PYTHON_KEYRING_BACKEND=IN_A_FILE, KEYRING_FILE=str(tmp_path / "ring"))
    done = await ferry("login", service_url, "--key-stdin", stdin=user[1])
    assert done.out == f"Logged in to {service_url} as {user[0]}. The key is in the system's keyring.\n", done.err
    assert user[1] not in kept(tmp_path).read_text()
    assert json.loads((tmp_path / "ring").read_text()) == {f"vecferry: default at {service_url}": user[1]}
    assert (await ferry("whoami", "--json")).json["kept_in"] == "keyring"

    (tmp_path / "ring").rename(tmp_path / "away")
    locked = await ferry("whoami")
    assert locked.code == 3
    assert "does not give it: unlock it, or log in again." in locked.err
    (tmp_path / "away").rename(tmp_path / "ring")

    # To another URL: the key of the former one goes.
    moved = f"{service_url}/"
    assert (await ferry("login", moved, "--key-stdin", "--json", stdin=user[1])).json["kept_in"] == "keyring"
    assert json.loads((tmp_path / "ring").read_text()) == {f"vecferry: default at {moved}": user[1]}
    assert (await ferry("logout")).code == 0
    assert json.loads((tmp_path / "ring").read_text()) == {}


async def test_a_key_is_checked_before_it_is_kept(
    service_url: str, user: User, client: AsyncClient, ferry: Ferry
) -> None:
    unknown = await ferry("login", service_url, "--key-stdin", stdin="not-a-key")
    assert unknown.code == 3
    assert "not-a-key" not in unknown.err + unknown.out
    assert unknown.err.endswith("Log in first, with `vecferry login URL`.\n")
    assert list(ferry.home.iterdir()) == []

    done = await ferry("login", service_url, "--key-stdin", stdin=user[1])
    assert done.code == 0, done.err
    before = kept(ferry.home).read_text()
    assert (await ferry("login", service_url, "--key-stdin", stdin="not-a-key")).code == 3
    assert kept(ferry.home).read_text() == before
    await client.keys.exchange(user[0])
    for command in ("whoami", "projects"):
        assert (await ferry(command)).code == 3


async def test_the_service_tells_whose_key_it_is(service_url: str, ferry: Ferry) -> None:
    done = await ferry("login", service_url, "--key-stdin", stdin=ADMIN_KEY)
    assert done.out == f"Logged in to {service_url} as the admin. The key is in {kept(ferry.home)}.\n", done.err
    assert json.loads(kept(ferry.home).read_text())["default"]["user"] == "admin"
    assert (await ferry("whoami", "--json")).json["user"] == "admin"
    assert (await ferry("whoami")).out.splitlines()[0].split(maxsplit=1) == ["user", "the admin"]
    projects = await ferry("projects")
    assert (projects.code, projects.out) == (2, "")
    assert projects.err.startswith("The admin has no projects: give a user, `vecferry projects USER`. ")
    assert (await ferry("logout")).out == f"The key of the admin at {service_url} is forgotten.\n"


async def test_what_cannot_be_a_login_is_a_usage_error(service_url: str, ferry: Ferry) -> None:
    for arguments, stdin, reason in [
        (("login", service_url), "", "Prompting for the key needs a terminal"),
        (("login", service_url, "--key-stdin"), "", "the first line of standard input is empty"),
        (("login", service_url, "--key-stdin"), "two words", "visible ASCII"),
        (("login", "example.org", "--key-stdin"), "key", "looks like https://vectors.example.org"),
        (("login", "http://me:hush@example.org", "--key-stdin"), "key", "leave it out"),
        (("login", service_url, "alice", "--key-stdin"), "key", "unexpected extra argument (alice)"),
        (("login",), "", "Missing argument 'URL'"),
    ]:
        done = await ferry(*arguments, stdin=stdin)
        assert done.code == 2, done
        assert reason in done.err
        assert done.err.endswith("See `vecferry login --help`.\n")
        assert done.err.count("\n") == 1
        assert "hush" not in done.err
        assert "two words" not in done.err


async def test_on_a_terminal_the_key_is_asked_for_without_echo(service_url: str, user: User, ferry: Ferry) -> None:
    done = await ferry.on_terminal("login", service_url, answer=user[1], until="Key: ")
    assert done.code == 0, done.err
    assert user[1] not in done.err + done.out
    assert (await ferry("whoami")).code == 0
    interrupted = await ferry.on_terminal("login", service_url, answer=None, until="Key: ")
    assert interrupted.code == 130
    assert interrupted.err.split() == ["Key:", "Interrupted."]


@pytest.mark.slow
async def test_profiles_are_apart_and_the_environment_wins(
    service_url: str, user: User, client: AsyncClient, project: str, ferry: Ferry
) -> None:
    await ferry("login", service_url, "--key-stdin", stdin=user[1])
    await ferry("login", service_url, "--key-stdin", "--profile", "boss", stdin=ADMIN_KEY)
    assert (await ferry("whoami", "--profile", "boss", "--json")).json["user"] == "admin"
    chosen = Ferry(ferry.home, VECFERRY_PROFILE="boss")
    assert (await chosen("whoami", "--json")).json["profile"] == "boss"
    assert (await chosen("whoami", "--json", "--profile", "default")).json["user"] == user[0]

    key_only = Ferry(ferry.home, VECFERRY_KEY=ADMIN_KEY)
    assert (await key_only("whoami", "--json")).json == {
        "url": service_url,
        "user": "admin",
        "profile": None,
        "kept_in": "environment",
    }
    both = Ferry(ferry.home / "elsewhere", VECFERRY_URL=service_url, VECFERRY_KEY=user[1])
    both.home.mkdir()
    assert [line.split(maxsplit=1) for line in (await both("whoami")).out.splitlines()] == [
        ["user", user[0]],
        ["service", service_url],
        ["key", "from the environment"],
    ]
    assert (await both("whoami", user[0])).code == 2
    assert [one["project_handle"] for one in (await both("projects", "--json")).json] == ["poems"]
    warned = await key_only("login", service_url, "--key-stdin", stdin=user[1])
    assert warned.err == "Warning: VECFERRY_URL and VECFERRY_KEY override the profile, until they are unset.\n"

    # The kept key goes to its own URL only: to another one nobody's.
    same = Ferry(ferry.home, VECFERRY_URL=f"{service_url}/")
    assert (await same("whoami", "--json")).json["user"] == user[0]
    other = Ferry(ferry.home, VECFERRY_URL=service_url.replace("127.0.0.1", "localhost"))
    done = await other("get", project, "x")
    assert done.code == 3
    assert done.err.endswith("Log in first, with `vecferry login URL`.\n")
    for command in ("whoami", "projects"):
        assert (await other(command)).code == 3
    await client.project(project).patch({"public_read": True})
    assert (await other("get", project, "x")).code == 4


async def test_a_file_that_others_can_read_is_refused(service_url: str, user: User, ferry: Ferry) -> None:
    await ferry("login", service_url, "--key-stdin", stdin=user[1])
    file = kept(ferry.home)
    file.chmod(0o640)
    for command in (["whoami"], ["logout"], ["login", service_url, "--key-stdin"]):
        done = await ferry(*command, stdin=user[1])
        assert done.code == 3
        assert f"Others can read {file}" in done.err
        assert f"chmod 600 '{file}'" in done.err
        assert user[1] not in done.err
    file.chmod(0o600)
    file.write_text(file.read_text().replace('"user"', f"{user[1]}"))
    damaged = await ferry("whoami")
    assert (damaged.code, damaged.err) == (3, f"{file} is damaged: remove it, and log in again.\n")


async def test_a_folder_that_cannot_be_made_is_told(service_url: str, user: User, ferry: Ferry) -> None:
    (ferry.home / ".config").write_text("a file")
    done = await Ferry(ferry.home, XDG_CONFIG_HOME=str(ferry.home / ".config"))(
        "login", service_url, "--key-stdin", stdin=user[1]
    )
    assert done.code == 3
    assert "Not a directory" in done.err


async def test_an_umask_and_a_new_login_leave_the_file_as_it_must_be(
    service_url: str, user: User, ferry: Ferry
) -> None:
    before = os.umask(0)
    try:
        for profile in ("one", "two", "one"):
            done = await ferry("login", service_url, "--key-stdin", "--profile", profile, stdin=user[1])
            assert done.code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept(ferry.home).stat().st_mode) == 0o600
    assert stat.S_IMODE(kept(ferry.home).parent.stat().st_mode) == 0o700
    assert sorted(json.loads(kept(ferry.home).read_text())) == ["one", "two"]


async def test_logins_at_once_are_all_kept(service_url: str, user: User, ferry: Ferry, tmp_path: Path) -> None:
    names = [f"profile-{number}" for number in range(6)]
    logins = [ferry("login", service_url, "--key-stdin", "--profile", name, stdin=user[1]) for name in names]
    assert [one.code for one in await asyncio.gather(*logins)] == [0] * 6
    assert sorted(json.loads(kept(tmp_path).read_text())) == names
