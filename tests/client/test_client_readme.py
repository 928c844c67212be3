"""The client's README and its example run as they are, but for the question for the key, and say what is true."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
import vecferry
from vecferry.cli import group
from vecferry.cli.files import SUFFIXES

from tests.client.commands import Ferry, path_of_command
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

User = tuple[str, str]
CLIENT = ROOT / "client"
README = (CLIENT / "README.md").read_text()


@pytest.fixture
def ferry(tmp_path: Path, user: User) -> Ferry:
    """A home with `vecferry` as a command."""
    return Ferry(tmp_path, PATH=path_of_command(tmp_path), PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring")


async def test_the_examples_run(service_url: str, user: User, ferry: Ferry) -> None:
    here = README.replace("https://vectors.example.org", service_url).replace("alice", user[0])
    before = ""
    printed = {"bash": "", "python": ""}
    for language, example in re.findall(r"^```(\w+)\n(.*?)^```$", here, re.MULTILINE | re.DOTALL):
        if language == "bash":
            example = example.replace(" login ", " login --key-stdin ")
            command, more = ["bash", "-euo", "pipefail", "-c", example], {}
        else:
            before += example  # what a reader has in the same session; all of it may be done again
            command, more = [sys.executable, "-W", "error", "-c", before], {"VECFERRY_KEY": user[1]}
        process = await asyncio.create_subprocess_exec(
            *command,
            env=ferry.environment(**more),
            cwd=ferry.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate(user[1].encode())
        assert (process.returncode, err) == (0, b""), example + err.decode()
        printed[language] += out.decode()
    assert printed["bash"].splitlines()[0].startswith(f"Logged in to {service_url} as {user[0]}. ")
    assert re.search(r"^ +0\.\d+  rose +The modest rose", printed["bash"], re.MULTILINE)
    assert f"verses.parquet has 3 embeddings of {user[0]}/verses." in printed["bash"]
    assert "3 inserted, 0 updated, 0 unchanged." in printed["bash"]
    assert "0 would be inserted, 0 updated, 3 unchanged, 0 deleted." in printed["bash"]
    assert printed["python"].startswith("1000 0 0\n")
    assert "['lily']" in printed["python"]
    assert "['copy', 'numbers', 'verses']" in printed["python"]
    assert "404 " in printed["python"]


async def test_the_notebook_runs(service_url: str, user: User, ferry: Ferry) -> None:
    script = CLIENT / "examples" / "from_texts_to_search.py"
    cells = script.read_text().split("# %%")
    assert len(cells) > 10
    for run in ("10 inserted, 0 unchanged", "0 inserted, 10 unchanged"):
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-W", "error", str(script)],
            env=ferry.environment(VECFERRY_URL=service_url, VECFERRY_KEY=user[1]),
            cwd=ferry.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b""), err.decode()
        text = out.decode()
        assert run in text
        assert re.search(r"^0\.\d{3}  dogs ", text, re.MULTILINE)
        assert re.search(r"^\['lightning', '(rain|cloud)'\]$", text, re.MULTILINE)  # of the weather only
        assert "(10, 256) float16 (10, 3) float32" in text
        assert text.endswith("10 rows in proverbs.jsonl\n")


def test_what_is_named_exists() -> None:
    help_text = group.commands.epilog
    assert help_text is not None
    codes = re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE)
    assert [int(code) for code, _ in codes] == [0, 1, 2, 3, 4, 5, 130]
    for code, meaning in codes:
        assert re.search(rf"^  {code} +{re.escape(meaning)}$", help_text, re.MULTILINE)
    files = re.findall(r"^\| `(\.\w+)` \| yes", README, re.MULTILINE)
    assert sorted(files) == sorted(SUFFIXES)
    for command in re.findall(r"`?vecferry (\w+) ", "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL))):
        assert command in group.commands.commands
    project = vecferry.Client("http://127.0.0.1:9").project("alice/verses")
    table = re.findall(r"^\| (`project\..*?) \|", README, re.MULTILINE)
    for name in re.findall(r"[`.](\w+)`", " ".join(table)):
        assert hasattr(project, name), name
