"""Commands of projects and embeddings, what they print, and how they end."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from vecferry import AsyncClient
from vecferry.cli.group import commands

from tests.client.commands import VECFERRY, Ferry, path_of_command
from tests.client.samples import rows
from tests.conftest import ADMIN_KEY, serving, settings_for
from tests.support.faulty_proxy import Fault, faulty_proxy

pytestmark = pytest.mark.slow

User = tuple[str, str]
ESCAPE = "\x1b[31m"


def run(*arguments: str, **environment: str) -> Result:
    """In this process."""
    return CliRunner(env={"VECFERRY_URL": None, "VECFERRY_KEY": None, **environment}).invoke(commands, arguments)


@pytest.fixture
async def filled(client: AsyncClient, project: str) -> str:
    """The name of a project with some rows."""
    part = rows(6)
    await client.project(project).upload_rows(iter([part]))
    record = {"text_id": "näh", "vector": part.vectors[0], "text": f"{ESCAPE}Zwei\nZeilen " + "lang " * 99}
    await client.project(project).upload([{**record, "metadata": {"author": "Blake"}}])
    return project


async def test_projects_are_made_shown_and_shared(
    ferry: Ferry, user: User, new_user: object, client: AsyncClient, admin_client: AsyncClient
) -> None:
    await admin_client.users.put(f"{user[0]}-friend", email=f"{user[0]}-friend@example.org")
    name, friend = f"{user[0]}/verses", f"{user[0]}-friend"
    made = await ferry("create", name, "--instance", f"{user[0]}/inst")
    assert (made.code, made.out, made.err) == (0, f"{name} is made.\n", "")
    again = await ferry("create", name, "--instance", f"{user[0]}/inst")
    assert (again.code, again.err) == (1, f"There is a project {name} already.\n")
    more = await ferry("create", f"{user[0]}/more", "--instance", f"{user[0]}/inst", "--json")
    assert more.json["instance"]["instance_handle"] == "inst"
    await client.project(name).upload_rows(iter([rows(1200)]))

    shown = await ferry("projects", user[0])
    assert [line.split() for line in shown.out.splitlines()] == [
        ["PROJECT", "ROLE", "EMBEDDINGS", "PUBLIC"],
        [f"{user[0]}/more", "owner", "0", "no"],
        [name, "owner", "1,200", "no"],
    ]
    assert len({line.index("owner") for line in shown.out.splitlines()[1:]}) == 1
    assert [one["number_of_embeddings"] for one in (await ferry("projects", user[0], "--json")).json] == [0, 1200]

    shared = await ferry("share", name, friend, "--role", "editor")
    assert shared.out == f"{friend} is an editor of {name}.\n", shared.err
    assert [(one.user_handle, one.role) async for one in client.project(name).shared_with()] == [(friend, "editor")]
    ended = await ferry("unshare", name, friend, "--json")
    assert ended.json == {"project": name, "user": friend, "role": None}
    assert [one async for one in client.project(name).shared_with()] == []
    assert (await ferry("share", name, "nobody-there", "--role", "reader")).code in (1, 4)


async def test_search_shows_a_table_or_the_whole_answer(ferry: Ferry, filled: str, tmp_path: Path) -> None:
    shown = await ferry("search", filled, "--id", "text-0000000", "--limit", "3")
    head, first, *others = shown.out.splitlines()
    assert head.split() == ["SIMILARITY", "ID", "TEXT"]
    assert first.split()[:2] == ["1.0000", "näh"]
    assert first.index("näh") == head.index("ID")
    assert len(others) == 2
    assert first.endswith("…")
    assert all(len(line) <= 120 for line in shown.out.splitlines())
    assert "\x1b" not in shown.out
    assert "\ufffd[31mZwei Zeilen lang" in first

    vector = rows(6).vectors[4]
    np.save(tmp_path / "one.npy", vector.reshape(1, -1))
    (tmp_path / "one.json").write_text(json.dumps(vector.tolist()))
    for file in ("one.npy", "one.json"):
        found = await ferry("search", filled, "--vector", file, "--limit", "2", "--json", "--include", "metadata")
        assert found.json["results"][0]["id"] == "text-0000004"
        assert found.json["results"][0]["metadata"] == {"place": 4, "odd": False}
        assert found.json["search"] == {"method": "exact", "recall": 1.0}
        assert len(found.json["results"]) == 2  # also what is not similar at all
    only = await ferry(
        "search", filled, "--vector", "one.npy", "--filter", '{"author": "Blake"}', "--include", "metadata"
    )
    assert [line.split()[1:] for line in only.out.splitlines()] == [["ID", "METADATA"], ["näh", '{"author":"Blake"}']]

    text = await ferry("search", filled, "a flower")
    assert text.code == 1  # this instance embeds nothing
    assert text.err.startswith("The ")
    (tmp_path / "two.npy").write_bytes(b"no array")
    np.save(tmp_path / "many.npy", np.ones((2, 8)))
    np.save(tmp_path / "nan.npy", np.full(8, np.nan))
    for arguments, reason in [
        (["a flower", "--id", "x"], "Give one of TEXT, --id and --vector."),
        ([], "Give one of TEXT, --id and --vector."),
        (["--vector", "none.npy"], "does not exist"),
        (["--vector", "two.npy"], "two.npy is neither an array of numbers (.npy) nor a list"),
        (["--vector", "many.npy"], "many.npy has 2 vectors, and one is needed"),
        (["--vector", "nan.npy"], "it has NaN or a number beyond half precision"),
        (["--id", "x", "--filter", "[1]"], 'It is not a JSON object such as \'{"author": "Blake"}\''),
        (["--id", "x", "--limt", "3"], "No such option"),
    ]:
        done = await ferry("search", filled, *arguments)
        assert done.code == 2, done
        assert reason in done.err
        assert done.err.count("\n") == 1


async def test_embeddings_are_shown_by_id(ferry: Ferry, filled: str) -> None:
    shown = await ferry("get", filled, "text-0000001", "näh")
    assert shown.code == 0, shown.err
    assert [line.split()[0] for line in shown.out.splitlines()] == ["ID", "näh", "text-0000001"]
    assert '{"odd":true,"place":1}' in shown.out
    found = await ferry("get", filled, "text-0000001", "none", "--json")
    assert (found.code, found.err) == (4, "")  # a program reads errors as objects; this is in the document
    assert found.json["missing"] == ["none"]
    assert (await ferry("get", filled, "none")).err == f"Not in {filled}: none.\n"
    (one,) = found.json["embeddings"]
    assert np.array_equal(np.array(one["vector"], np.float16), rows(6).vectors[1])
    assert max(len(str(number)) for number in one["vector"]) <= 10  # the shortest decimals
    assert (one["text"], one["metadata"]) == ("The text 1", {"place": 1, "odd": True})


@pytest.mark.slow
async def test_deletions_are_asked_for_or_said_before(ferry: Ferry, filled: str, client: AsyncClient) -> None:
    async def count() -> int | None:
        return (await client.project(filled).get()).number_of_embeddings

    nobody = await ferry("delete", filled, "näh")
    assert nobody.code == 2
    assert "give --yes to delete, or --dry-run" in nobody.err
    assert (await ferry("delete", filled)).code == 2
    assert (await ferry("delete", filled, "näh", "--filter", "{}", "--yes")).code == 2
    dry = await ferry("delete", filled, "--filter", '{"odd": true}', "--dry-run", "--json")
    assert dry.json == {"deleted": 2, "text_ids": ["text-0000001", "text-0000003"], "dry_run": True}
    assert (await ferry("delete", filled, "näh", "none", "--dry-run")).out == "1 embedding would be deleted.\n"

    refused = await ferry.on_terminal("delete", filled, "näh", answer="n", until="[y/N]: ")
    assert refused.code == 1
    assert f"Delete 1 embedding of {filled}? [y/N]: " in refused.err
    assert "Nothing was deleted." in refused.err
    interrupted = await ferry.on_terminal("delete", filled, "näh", answer=None, until="[y/N]: ")
    assert interrupted.code == 130
    assert interrupted.err.count("Interrupted.") == 1
    assert await count() == 7
    agreed = await ferry.on_terminal("delete", filled, "näh", "--json", answer="y", until="[y/N]: ")
    assert (agreed.code, agreed.json["deleted"]) == (0, 1)
    assert (await ferry("delete", filled, "--filter", '{"odd": true}', "--yes")).out == "2 embeddings deleted.\n"
    assert await count() == 4


async def test_exit_codes_tell_what_went_wrong(ferry: Ferry, project: str, user: User, tmp_path: Path) -> None:
    async def code(*arguments: str, **variables: str) -> tuple[int, str]:
        done = await Ferry(tmp_path, **{**ferry.variables, **variables})(*arguments)
        assert done.out == ""
        assert done.err.count("\n") == 1
        assert user[1] not in done.err
        return done.code, done.err

    assert (await code("get", project, "x", VECFERRY_KEY="unknown"))[0] == 3
    assert (await code("get", "somebody/poems", "x"))[0] == 3
    assert (await code("get", f"{user[0]}/none", "x"))[0] == 4
    assert (await code("search", project, "--id", "none"))[0] == 4
    assert (await code("create", f"{user[0]}/x", "--instance", f"{user[0]}/inst"))[0] == 1
    away = await code("projects", user[0], VECFERRY_URL="http://127.0.0.1:9")
    assert away[0] == 5
    assert away[1].startswith("No answer from http://127.0.0.1:9: ")
    for arguments in (
        ["projekts"],
        ["get", "poems", "x"],
        ["get", "a/b/c", "x"],
        ["--wrong"],
        ["get", project, "\udcff"],
    ):
        assert (await code(*arguments))[0] == 2
    wrong = await code("projects", user[0], VECFERRY_URL="ftp://me:hush@example.org")
    assert wrong[0] == 2
    assert "hush" not in wrong[1]
    nothing = await Ferry(tmp_path)("projects")
    assert nothing.code == 3


async def test_errors_are_an_object_with_json(ferry: Ferry, project: str, user: User) -> None:
    done = await ferry("create", f"{user[0]}/x", "--instance", f"{user[0]}/inst", "--json")
    assert (done.code, done.out) == (1, "")
    error = json.loads(done.err)["error"]
    assert (error["exit_code"], error["status"]) == (1, 422)
    assert error["message"]
    assert error["request_id"]
    assert error["problems"][0]["message"]
    usage = await ferry("search", project, "--json")
    assert json.loads(usage.err)["error"]["exit_code"] == 2
    text = await ferry("search", project, "--id", "x", "--limit", "0", "--", "--json")  # that one is a text
    assert text.err.startswith("Invalid value for '--limit'")


async def test_a_service_that_does_not_answer_ends_with_5(service_url: str, user: User, tmp_path: Path) -> None:
    async with faulty_proxy(service_url, lambda head: Fault(cut_answer=5)) as url:
        done = await Ferry(tmp_path, VECFERRY_URL=url, VECFERRY_KEY=user[1])("projects", user[0])
    assert done.code == 5
    other = await asyncio.start_server(_something_else, "127.0.0.1", 0)
    async with other:
        url = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        done = await Ferry(tmp_path, VECFERRY_URL=url, VECFERRY_KEY=user[1])("projects", user[0], "--json")
    assert done.code == 5
    assert "Is the URL right?" in json.loads(done.err)["error"]["message"]


async def _something_else(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>")
    await writer.drain()
    writer.close()


async def _silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize("extra", [[], ["--json"]])
async def test_ctrl_c_ends_a_command_that_waits(ferry: Ferry, user: User, extra: list[str]) -> None:
    asked = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await _silence(reader, writer)

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as server:
        ferry.variables["VECFERRY_URL"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        process = await ferry.start("projects", user[0], *extra)
        await asked.wait()
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (130, b"")
    if extra:
        assert json.loads(err) == {"error": {"message": "Interrupted.", "exit_code": 130}}
    else:
        assert err == b"Interrupted.\n"


ENDING = """
import atexit, sys
from vecferry.cli import main
atexit.register(print, "Python ended by itself", file=sys.stderr)
main()
"""


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["--wrong"], 2), (["get", "a/b", "x"], 3)])
def test_a_command_does_not_wait_for_its_threads(tmp_path: Path, arguments: list[str], code: int) -> None:
    """One that reads a file in pyarrow aborted the process while Python ended, with -6."""
    program = [sys.executable, "-c", ENDING, *arguments]
    done = subprocess.run(program, env=Ferry(tmp_path).environment(), capture_output=True, check=False, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout + done.stderr
    assert "Python ended" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="LEFT OUT: pipes; they need bash")
async def test_nobody_reads_what_is_printed(ferry: Ferry, client: AsyncClient, project: str) -> None:
    await client.project(project).upload_rows(iter([rows(200, text_size=2000)]))
    ids = " ".join(rows(200).ids)
    for end in ("| true", "| head -c 1", ">&-"):
        for extra in ("", "--json"):
            line = f"set -o pipefail; {' '.join(VECFERRY)} get {project} {ids} {extra} {end}"
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", line, env=ferry.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            _, err = await process.communicate()
            assert (process.returncode, err) == (0, b""), (end, extra)
    full = f"{' '.join(VECFERRY)} get {project} {ids} > /dev/full"
    process = await asyncio.create_subprocess_exec("bash", "-c", full, env=ferry.environment(), stderr=subprocess.PIPE)
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"No space left on device.\n")


async def test_letters_that_a_terminal_does_not_have(ferry: Ferry, filled: str) -> None:
    ferry.variables["PYTHONIOENCODING"] = "latin-1"
    process = await ferry.start("get", filled, "näh")
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert " ?[31mZwei Zeilen " in out.decode("latin-1")
    assert (await ferry("get", filled, "näh", "--json")).json["embeddings"][0]["text_id"] == "näh"


def test_the_help_of_every_command_has_an_example() -> None:
    assert {"login", "push", "pull", "sync", "completion", "search"} <= commands.commands.keys()
    for name, command in commands.commands.items():
        shown = run(name, "--help")
        assert shown.exit_code == 0
        (example,) = re.findall(r"Example: vecferry (.*)", shown.output)
        assert example.startswith(name)
        assert "--json" in shown.output
        assert not command.get_short_help_str(60).endswith("..."), name
    top = run().output
    assert top == run("--help").output == run("-h").output
    for code in (0, 1, 2, 3, 4, 5, 130):
        assert re.search(rf"^    {code} +\w", top, re.MULTILINE)
    assert run("--version").output == "vecferry, version 0.1.0\n"


HEAVY = """
import sys
from vecferry.cli import commands
try:
    commands(["push", "--help"])
except SystemExit:
    print({"numpy", "httpx2", "pyarrow", "tqdm", "asyncio", "keyring"} & {*sys.modules})
"""
NAMES = """
import vecferry
for name in vecferry.__all__:
    getattr(vecferry, name)
print({*vecferry.__all__} - {*dir(vecferry)})
"""


@pytest.mark.parametrize("program", [HEAVY, NAMES])
def test_names_are_imported_when_they_are_used(program: str) -> None:
    """The help needs nothing heavy: what takes the time is looked at, as time says little on a loaded machine."""
    environment = Ferry(Path()).environment()
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"set()"


@pytest.mark.alone
def test_the_help_is_there_at_once() -> None:
    def seconds() -> float:
        began = time.monotonic()
        subprocess.run([*VECFERRY, "--help"], env=Ferry(Path()).environment(), capture_output=True, check=True)
        return time.monotonic() - began

    assert min(seconds() for _ in range(5)) < 0.5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_given_their_completion(shell: str) -> None:
    script = run("completion", shell).output
    assert f"_VECFERRY_COMPLETE={shell}_complete" in script
    assert json.loads(run("completion", shell, "--json").output) == {"shell": shell, "script": script[:-1]}


@pytest.mark.skipif(not shutil.which("bash"), reason="LEFT OUT: the completion of bash; it needs bash")
async def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    environment = Ferry(tmp_path).environment(PATH=path_of_command(tmp_path))
    for typed, expected in [
        (["sea"], ["search"]),
        (["share", "a/b", "c", "--role", "e"], ["editor"]),
        (["p"], ["projects", "pull", "push"]),
    ]:
        words = " ".join(["vecferry", *typed])
        script = (
            'eval "$(vecferry completion bash)"\n'
            f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}\n"
            '_vecferry_completion vecferry\nprintf "%s\\n" "${COMPREPLY[@]}"'
        )
        process = await asyncio.create_subprocess_exec("bash", "-c", script, env=environment, stdout=subprocess.PIPE)
        out, _ = await process.communicate()
        assert out.decode().split() == expected


async def test_a_rate_limit_that_lasts_is_a_refusal(new_database: object, tmp_path: Path) -> None:
    limited = settings_for(new_database(), service_rate_limit_anonymous="1/year")  # type: ignore[operator]
    async with serving(limited) as url:
        ferry = Ferry(tmp_path, VECFERRY_URL=url)
        assert (await ferry("get", "alice/poems", "x")).code == 3
        assert (await ferry("get", "alice/poems", "x")).code == 1
        assert (await Ferry(tmp_path, VECFERRY_URL=url, VECFERRY_KEY=ADMIN_KEY)("projects", "nobody")).code == 4
