"""`push`, `pull`, `sync`: which side is the file, and what is refused before anything is sent."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from vecferry import Columns
from vecferry.cli.files import _columns, is_file
from vecferry.cli.group import commands


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files, in which commands run, without a profile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "VECFERRY_URL", "VECFERRY_KEY", "VECFERRY_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("a.parquet", "ids.txt"):
        (tmp_path / name).write_bytes(b"x\n")
    (tmp_path / "alice").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        ("poems.parquet", True),
        ("alice/poems.jsonl", True),
        ("poems.JSONL.gz", True),
        ("poems.ndjson.zst", True),
        ("poems.npz", True),
        ("poems.npy", True),
        ("poems.arrow", True),
        ("poems.feather", True),
        ("./poems", True),
        ("../poems", True),
        ("/data/poems", True),
        ("alice/poems", False),
        ("alice/poems.txt", False),
        ("alice/poems.gz", False),
        ("alice/parquet", False),
        ("poems", False),
    ],
)
def test_what_is_a_file(side: str, expected: bool) -> None:
    assert is_file(side) is expected


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["push", "none.parquet", "alice/poems"], 2, "File 'none.parquet' does not exist"),
        (["push", "alice", "alice/poems"], 2, "is a directory"),
        (["push", "a.parquet", "poems"], 2, "is not a name of the form owner/name"),
        (["push", "alice/poems", "a.parquet"], 2, "does not exist"),
        (["push", "a.parquet", "alice/poems", "--ids", "none.txt"], 2, "File 'none.txt' does not exist"),
        (["push", "a.parquet", "alice/poems", "--delete"], 2, "say --yes to delete, or --dry-run"),
        (["push", "a.parquet", "alice/poems", "--delete", "--yes"], 3, "Log in first"),
        (["push", "a.parquet", "alice/poems", "--delete", "--dry-run"], 3, "Log in first"),
        (["push", "a.parquet", "alice/poems"], 3, "Log in first"),
        (["pull", "alice/poems", "alice"], 2, "is a directory"),
        (["pull", "a.parquet", "alice/poems"], 2, "is not a name of the form owner/name"),
        (["pull", "alice/poems", "b.parquet"], 3, "Log in first"),
        (["sync", "a.parquet", "b.parquet"], 2, "here both are files"),
        (
            ["sync", "alice/poems", "alice/verses"],
            2,
            "here neither is a file: one begins with ./ or ends like .parquet",
        ),
        (["sync", "a.parquet", "poems"], 2, "is not a name of the form owner/name"),
        (["sync", "none.parquet", "alice/poems"], 2, "There is no file none.parquet"),
        (["sync", "./alice", "alice/poems"], 2, "There is no file ./alice"),
        (["sync", "a.parquet", "alice/poems"], 2, "say --yes to delete, or --dry-run"),
        (["sync", "alice/poems", "a.parquet"], 2, "say --yes to delete, or --dry-run"),
        (["sync", "alice/poems", "a.parquet", "--dry-run"], 3, "Log in first"),
        (["sync", "alice/poems", "new.parquet"], 3, "Log in first"),
    ],
)
def test_what_is_refused_before_anything_is_sent(in_folder: Path, arguments: list[str], code: int, reason: str) -> None:
    done = CliRunner().invoke(commands, arguments)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(one.name for one in in_folder.iterdir()) == ["a.parquet", "alice", "ids.txt"]


def test_columns_are_those_that_are_named() -> None:
    assert _columns(None, None, None, ()) is None
    assert _columns("key", None, None, ()) == Columns(text_id="key")
    assert _columns(None, "numbers", "words", ("about",)) == Columns(vector="numbers", text="words", metadata="about")
    assert _columns(None, None, None, ("author", "year")) == Columns(metadata=("author", "year"))
