"""`push`, `pull`, `sync`: which side is the file, and what is refused before anything is sent."""

import asyncio
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from vecferry import AsyncClient, Columns, Rows
from vecferry.cli.files import _columns, is_file
from vecferry.cli.group import commands
from vecferry.sinks import open_sink

from tests.client.commands import Ferry
from tests.client.samples import assert_stored, rows
from tests.support.faulty_proxy import NONE, Fault, faulty_proxy

pytestmark = pytest.mark.slow

User = tuple[str, str]


def written(path: Path, part: Rows) -> None:
    with open_sink(path) as sink:
        sink.write(part)


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
        (["push", "a.parquet", "alice/poems", "--metadata", "m", "--metadata-column", "n"], 2, "but not both"),
        (["push", "a.parquet", "alice/poems", "--delete"], 2, "give --yes to delete, or --dry-run"),
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
        (["sync", "a.parquet", "alice/poems"], 2, "give --yes to delete, or --dry-run"),
        (["sync", "alice/poems", "a.parquet"], 2, "give --yes to delete, or --dry-run"),
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
    assert _columns(None, None, None, None) is None
    assert _columns("key", None, None, None) == Columns(text_id="key")
    assert _columns(None, "numbers", "words", "about") == Columns(vector="numbers", text="words", metadata="about")
    assert _columns(None, None, None, ("author",)) == Columns(metadata=("author",))
    assert _columns(None, None, None, ("author", "year")) == Columns(metadata=("author", "year"))


async def test_a_file_becomes_a_project_and_a_project_a_file(
    ferry: Ferry, client: AsyncClient, project: str, tmp_path: Path
) -> None:
    written(tmp_path / "a.parquet", rows(30))
    dry = await ferry("push", "a.parquet", project, "--dry-run")
    assert dry.out == "30 would be inserted, 0 updated, 0 unchanged.\n", dry.err
    pushed = await ferry("push", "a.parquet", project)
    assert (pushed.out, pushed.err) == ("30 inserted, 0 updated, 0 unchanged.\n", "")
    await assert_stored(client, project, [rows(30)])
    assert (await ferry("push", "a.parquet", project, "--json")).json["unchanged"] == 30

    pulled = await ferry("pull", project, "b.jsonl.gz")
    assert (pulled.code, pulled.out) == (0, f"b.jsonl.gz has 30 embeddings of {project}.\n"), pulled.err
    await client.project(project).upload_rows(iter([rows(2, start=40)]))
    await client.project(project).embeddings.delete(ids=rows(1).ids)
    since = await ferry("pull", project, "b.jsonl.gz", "--since")
    assert since.out == f"b.jsonl.gz has 31 embeddings of {project}: 2 new or changed, 1 deleted.\n", since.err
    assert (await ferry("pull", project, "c.jsonl", "--json")).json["rows"] == 31
    wrong = await ferry("pull", project, "c.csv")
    assert wrong.code == 1
    assert "these can: " in wrong.err
    nowhere = await ferry("pull", project, "none/c.jsonl")
    assert (nowhere.code, nowhere.err) == (1, f"{tmp_path / 'none'}: There is no such folder.\n")
    np.save(tmp_path / "d.npy", rows(2).vectors)
    bare = await ferry("push", "d.npy", project)
    assert (bare.code, "give them as ids= (--ids)" in bare.err) == (1, True)


@pytest.mark.slow
async def test_deletions_of_a_push_are_asked_for(
    ferry: Ferry, client: AsyncClient, project: str, tmp_path: Path
) -> None:
    await client.project(project).upload_rows(iter([rows(30)]))
    written(tmp_path / "a.jsonl", rows(27))
    dry = await ferry("push", "a.jsonl", project, "--delete", "--dry-run")
    assert dry.out == "0 would be inserted, 0 updated, 27 unchanged, 3 deleted.\n", dry.err
    until = f"Delete 3 embeddings of {project} that a.jsonl does not have? [y/N]: "
    refused = await ferry.on_terminal("push", "a.jsonl", project, "--delete", answer="n", until=until)
    assert refused.code == 1
    interrupted = await ferry.on_terminal("push", "a.jsonl", project, "--delete", answer=None, until=until)
    assert interrupted.code == 130
    await assert_stored(client, project, [rows(30)])
    agreed = await ferry.on_terminal("push", "a.jsonl", project, "--delete", answer="y", until=until)
    assert agreed.out == "0 inserted, 0 updated, 27 unchanged, 3 deleted.\n", agreed.err
    await assert_stored(client, project, [rows(27)])


@pytest.mark.slow
async def test_ctrl_c_ends_a_push_and_the_next_one_sends_the_rest(
    ferry: Ferry, service_url: str, client: AsyncClient, project: str, tmp_path: Path
) -> None:
    uploads, waits = 0, asyncio.Event()

    def fault_of(head: bytes) -> Fault:
        nonlocal uploads
        if not head.startswith(b"POST /v1/embeddings"):
            return NONE
        uploads += 1
        if uploads < 4:
            return NONE
        waits.set()
        return Fault(delay=1000)

    written(tmp_path / "a.parquet", rows(12_000))
    async with faulty_proxy(service_url, fault_of) as url:
        process = await Ferry(tmp_path, **{**ferry.variables, "VECFERRY_URL": url}).start("push", "a.parquet", project)
        await waits.wait()
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out, err) == (130, b"", b"Interrupted.\n")
    assert 0 < ((await client.project(project).get()).number_of_embeddings or 0) < 12_000
    assert (await ferry("push", "a.parquet", project)).code == 0
    assert (await client.project(project).get()).number_of_embeddings == 12_000


async def test_bad_rows_are_told_and_the_rest_is_stored(
    ferry: Ferry, client: AsyncClient, project: str, tmp_path: Path
) -> None:
    records = [{"key": f"r{place}", "numbers": [1.0] * 8, "author": "Blake", "year": place} for place in range(20)]
    for place in range(4, 16):
        records[place]["numbers"] = [1.0] * 7
    (tmp_path / "a.ndjson").write_text("".join(f"{json.dumps(one)}\n" for one in records))
    columns = ["--id-column", "key", "--vector-column", "numbers"]
    columns += ["--metadata-column", "author", "--metadata-column", "year"]
    done = await ferry("push", "a.ndjson", project, *columns, "--delete", "--yes")
    assert done.code == 1
    assert done.out.startswith("8 inserted, ")
    lines = done.err.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("Row 4 (r4) is bad: ")
    assert lines[10] == "12 rows are bad, of which the first 10 are shown."
    assert lines[11].startswith("Nothing is deleted while rows are bad")
    assert (await client.project(project).embeddings.get("r3")).metadata == {"author": "Blake", "year": 3}
    as_json = await ferry("push", "a.ndjson", project, *columns, "--json")
    assert (as_json.code, as_json.json["bad_count"], as_json.json["bad"][0]["place"]) == (1, 12, 4)
    assert as_json.err == ""  # a program reads errors as objects; these rows are in the document

    np.save(tmp_path / "v.npy", rows(3).vectors)
    assert (await ferry("push", "v.npy", project)).code == 1
    (tmp_path / "ids.txt").write_text("x\ny\nz\n")
    assert (await ferry("push", "v.npy", project, "--ids", "ids.txt")).out.startswith("3 inserted")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
async def test_metadata_are_a_column_or_made_of_columns(
    ferry: Ferry, client: AsyncClient, project: str, tmp_path: Path, suffix: str
) -> None:
    encoded = [json.dumps({"pages": place}) for place in range(3)]
    columns = {
        "author": ["Blake", '{"not": "read"}', None],
        "year": [1794, 0, -3],
        "dead": [True, False, None],
        "about": [{"pages": place} for place in range(3)],
        "encoded": encoded,
    }
    table = {"text_id": ["a", "b", "c"], "vector": rows(3).vectors.astype(float).tolist(), **columns}
    file = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet")  # which is part of it only once it is imported
        pa.parquet.write_table(pa.table(table), file)
    else:
        records = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        file.write_text("".join(f"{json.dumps(one)}\n" for one in records))

    for name, values in columns.items():
        done = await ferry("push", file, project, "--metadata-column", name)
        assert (done.code, done.err) == (0, "")
        found = await client.project(project).embeddings.get_many(["a", "b", "c"])
        assert [one.metadata or {} for one in found.embeddings] == [
            {} if value is None else {name: value} for value in values
        ]
    for name in ("about", "encoded"):
        await ferry("push", file, project, "--metadata-column", "year")
        done = await ferry("push", file, project, "--metadata", name)
        assert (done.code, done.out) == (0, "0 inserted, 3 updated, 0 unchanged.\n"), done.err
        found = await client.project(project).embeddings.get_many(["a", "b", "c"])
        assert [one.metadata for one in found.embeddings] == columns["about"]
    plain = await ferry("push", file, project, "--metadata", "year")
    assert plain.code == 1
    assert "metadata" in plain.err


@pytest.mark.slow
async def test_the_destination_becomes_as_the_source(
    ferry: Ferry, client: AsyncClient, project: str, tmp_path: Path
) -> None:
    written(tmp_path / "a.parquet", rows(10))
    assert (await ferry("sync", "a.parquet", project, "--yes")).out.startswith("10 inserted, ")
    await client.project(project).upload_rows(iter([rows(5, start=20)]))
    dry = await ferry("sync", "a.parquet", project, "--dry-run", "--json")
    assert (dry.json["deleted"], dry.json["unchanged"]) == (5, 10)
    assert (await ferry("sync", "a.parquet", project, "--yes")).out.endswith(" 5 deleted.\n")
    await assert_stored(client, project, [rows(10)])

    new = await ferry("sync", project, "b.parquet", "--dry-run")
    assert new.out == "10 would be added to b.parquet, 0 changed, 0 deleted.\n", new.err
    assert not (tmp_path / "b.parquet").exists()
    await client.project(project).embeddings.delete(ids=rows(3).ids)
    await client.project(project).upload_rows(iter([rows(1, start=30)]))
    assert (await ferry("sync", project, "a.parquet", "--dry-run")).out == (
        "1 would be added to a.parquet, 0 changed, 3 deleted.\n"
    )
    until = f"Delete 3 embeddings of a.parquet that {project} does not have? [y/N]: "
    before = (tmp_path / "a.parquet").read_bytes()
    assert (await ferry.on_terminal("sync", project, "a.parquet", answer="n", until=until)).code == 1
    assert (tmp_path / "a.parquet").read_bytes() == before
    agreed = await ferry.on_terminal("sync", project, "a.parquet", answer="y", until=until)
    assert agreed.out == f"a.parquet has 8 embeddings of {project}.\n", agreed.err
    assert (await ferry("sync", project, "a.parquet", "--dry-run")).out == (
        "0 would be added to a.parquet, 0 changed, 0 deleted.\n"
    )


async def test_a_file_with_an_id_twice_or_other_dimensions(ferry: Ferry, project: str, tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", rows(3))
    (tmp_path / "a.jsonl").write_text((tmp_path / "a.jsonl").read_text() * 2)
    for option in ("--dry-run", "--json"):
        pushed = await ferry("push", "a.jsonl", project, option)
        assert pushed.code == 0
    assert (pushed.json["inserted"], pushed.json["updated"], pushed.json["repeated"]) == (3, 0, 3)
    again = await ferry("push", "a.jsonl", project)
    assert again.out == "0 inserted, 0 updated, 6 unchanged.\n"
    assert again.err == "Note: of an id that comes again the last row counts. Left out: 3 rows.\n"

    written(tmp_path / "b.jsonl", rows(3, dimensions=3))
    for options in ([], ["--dry-run"]):
        refused = await ferry("push", "b.jsonl", project, *options)
        assert refused.code == 1
        assert refused.err == "The vectors have 3 dimensions, but the project takes 8.\n"
    other = await ferry("sync", project, "b.jsonl", "--dry-run")
    assert other.code == 1
    assert "of b.jsonl have other dimensions than those of" in other.err
    assert (await ferry("pull", project, "b.jsonl")).code == 0


async def test_a_file_without_rows_or_with_bad_ones_becomes_as_the_project(
    ferry: Ferry, client: AsyncClient, project: str, tmp_path: Path
) -> None:
    assert (await ferry("sync", project, "a.jsonl", "--yes")).out.startswith("a.jsonl has 0 embeddings")
    await client.project(project).upload_rows(iter([rows(10)]))
    dry = await ferry("sync", project, "a.jsonl", "--dry-run")
    assert (dry.code, dry.out) == (0, "10 would be added to a.jsonl, 0 changed, 0 deleted.\n"), dry.err
    written(tmp_path / "a.jsonl", rows(4))
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"text_id": "bad", "vector": [0, 0, 0, 0, 0, 0, 0, 0]}\n')
    assert (await ferry("sync", project, "a.jsonl", "--dry-run")).out == (
        "6 would be added to a.jsonl, 0 changed, 1 deleted.\n"
    )


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl", ".npz"])
async def test_names_and_ids_that_are_not_utf8(
    ferry: Ferry, client: AsyncClient, project: str, tmp_path: Path, suffix: str
) -> None:
    name = f"caf\udce9{suffix}"  # in Latin-1
    written(tmp_path / name, rows(3))
    assert (await ferry("push", name, project)).out == "3 inserted, 0 updated, 0 unchanged.\n"
    assert (await ferry("pull", project, name)).code == 0
    refused = await ferry("push", name, project, "--ids", name, "--json")
    assert (refused.code, json.loads(refused.err)["error"]["exit_code"]) == (1, 1)

    np.savez(tmp_path / "ids.npz", ids=np.array(["fine", "caf\udce9"]), vectors=rows(2).vectors)
    done = await ferry("push", "ids.npz", project, "--json")
    assert (done.code, done.json["inserted"], done.json["bad"]) == (
        1,
        1,
        [
            {
                "place": 1,
                "text_id": None,
                "reason": "its text_id is not Unicode text: surrogates not allowed at character 3",
            }
        ],
    )
