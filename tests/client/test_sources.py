"""What can be uploaded: it is read as it is meant, and what is wrong with it is said."""

import dataclasses
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vecferry.rows import BadRow, Rows, SourceError
from vecferry.sources import Columns, Source, arrays, open_source
from vecferry.sources.checks import CHUNK_BYTES

IDS = ["a", "b", "c"]
VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
TEXTS = ["x", None, "ü\r\n"]
METADATA = [{"n": 1}, None, {"n": 2, "s": "t"}]
SOUND = list(zip(IDS, VECTORS, TEXTS, METADATA, strict=True))


def read(source: Source) -> tuple[list[Rows], list[BadRow]]:
    bad: list[BadRow] = []
    return list(source.chunks(bad.append)), bad


def records(several: list[Rows]) -> list[tuple[Any, ...]]:
    return [
        (text_id, vector, texts, metadata)
        for rows in several
        for text_id, vector, texts, metadata in zip(
            rows.ids,
            rows.vectors.tolist(),
            rows.texts or ["left out"] * len(rows),
            rows.metadata or ["left out"] * len(rows),
            strict=True,
        )
    ]


def reasons(source: Source) -> list[tuple[int, str | None, str]]:
    return [(bad.place, bad.text_id, bad.reason) for bad in read(source)[1]]


def lines(*values: Any) -> bytes:
    return b"".join(value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n" for value in values)


def sound_table() -> Any:
    pa = pytest.importorskip("pyarrow")
    encoded = [value and json.dumps(value) for value in METADATA]
    return pa.table({"text_id": IDS, "vector": VECTORS, "text": TEXTS, "metadata": encoded})


# What is sound.


def write_npz(path: Path) -> None:
    as_lines = [np.frombuffer(lines(*values), np.uint8) for values in (TEXTS, METADATA)]
    np.savez_compressed(path, ids=np.array(IDS), vectors=np.array(VECTORS), texts=as_lines[0], metadata=as_lines[1])


def write_parquet(path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(sound_table(), path, row_group_size=2)


def write_arrow(path: Path, *, stream: bool = False) -> None:
    import pyarrow as pa

    table = sound_table()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def as_lines() -> bytes:
    keys = ("text_id", "vector", "text", "metadata")
    return lines(*(dict(zip(keys, record, strict=True)) for record in SOUND))


def write_frames(path: Path) -> None:
    zstd = pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    whole = as_lines()
    path.write_bytes(zstd.compress(whole[:50]) + zstd.compress(whole[50:]))


def write_members(path: Path) -> None:
    whole = as_lines()
    path.write_bytes(gzip.compress(whole[:50]) + gzip.compress(whole[50:]))


FILES: dict[str, Callable[[Path], Any]] = {
    "some.npz": write_npz,
    "some.parquet": write_parquet,
    "some.arrow": write_arrow,
    "some.feather": lambda path: write_arrow(path, stream=True),
    "some.jsonl": lambda path: path.write_bytes(as_lines()),
    "some.ndjson": lambda path: path.write_bytes(
        b"\xef\xbb\xbf\r\n" + as_lines().replace(b"\n", b"\r\n \r\n").rstrip()
    ),
    "some.jsonl.gz": write_members,
    "some.jsonl.zst": write_frames,
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_and_can_be_read_again(tmp_path: Path, name: str) -> None:
    FILES[name](tmp_path / name)
    source = open_source(tmp_path / name)
    assert source.can_be_read_again
    assert source.total in {None, 3}
    for _ in range(2):
        rows, bad = read(source)
        assert (records(rows), bad) == (SOUND, [])
    assert records(read(open_source(str(tmp_path / name)))[0]) == SOUND


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_named(tmp_path: Path, name: str) -> None:
    """Wherever the file ends: an error, or what comes before; never rows that are not so."""
    path = tmp_path / name
    FILES[name](path)
    whole, refused = path.read_bytes(), 0
    for length in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        refusal = ""
        try:
            rows, bad = read(open_source(path))
        except SourceError as error:
            rows, bad, refusal = [], [], str(error)
        assert records(rows) == SOUND[: len(records(rows))]
        assert len(bad) <= 1
        assert not refusal or str(path) in refusal
        refused += bool(refusal)
    assert refused or name in {"some.jsonl", "some.ndjson"}


@pytest.mark.parametrize("kind", ["polars", "pandas", "pyarrow", "batch", "duckdb"])
def test_frames_are_read(kind: str) -> None:
    table = sound_table()
    if kind == "polars":
        polars = pytest.importorskip("polars")
        frame = polars.from_arrow(table).with_columns(polars.col("vector").cast(polars.Array(polars.Float32, 2)))
    elif kind == "pandas":
        frame = pytest.importorskip("pandas").DataFrame(
            {"text_id": IDS, "vector": [np.array(v) for v in VECTORS], "text": TEXTS, "metadata": METADATA}
        )
    elif kind == "duckdb":
        frame = pytest.importorskip("duckdb").from_arrow(table)
    else:
        frame = table if kind == "pyarrow" else table.to_batches()[0]
    source = open_source(frame)
    for _ in range(2):
        assert (source.total, source.can_be_read_again) == (3, True)
        rows, bad = read(source)
        assert (records(rows), bad) == (SOUND, [])


def test_a_reader_gives_its_rows_once() -> None:
    source = open_source(sound_table().to_reader())
    assert (source.total, source.can_be_read_again) == (None, False)
    assert records(read(source)[0]) == SOUND
    with pytest.raises(SourceError, match="only once"):
        read(source)


@pytest.mark.parametrize("of", ["halffloat", "float", "double", "int32", "decimal128(9, 2)"])
@pytest.mark.parametrize("kind", ["list_", "large_list", "fixed", "view"])
def test_all_lists_of_numbers_are_vectors(of: str, kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    from decimal import Decimal

    number = pa.decimal128(9, 2) if of.startswith("decimal") else pa.type_for_alias(of)
    values = [
        [np.float16(n) if of == "halffloat" else Decimal(n) if of.startswith("dec") else n for n in v]
        for v in [[9, 9], [1, 2], [3, 4]]
    ]
    lists = {"fixed": lambda t: pa.list_(t, 2), "view": pa.list_view}.get(kind) or getattr(pa, kind)
    table = pa.table({"id": ["_", "a", "b"], "vector": pa.array(values, lists(number))})
    assert records(read(open_source(table.slice(1)))[0]) == [
        ("a", [1.0, 2.0], "left out", "left out"),
        ("b", [3.0, 4.0], "left out", "left out"),
    ]


@pytest.mark.parametrize("kind", ["list_", "large_list", "fixed"])
def test_null_and_ragged_lists_are_bad_rows(kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    of = pa.list_(pa.float32(), 2) if kind == "fixed" else getattr(pa, kind)(pa.float32())
    values = [[0.5, 9.0], [1.0, 2.0], None, [3.0, None], [4.0, 5.0] if kind == "fixed" else [4.0], [5.0, 6.0]]
    table = pa.table({"id": ["_", "a", "b", "c", "d", None], "vector": pa.array(values, of)}).slice(1)
    expected = [
        (1, "b", "it has no vector"),
        (2, "c", "component 1 of its vector is null; it must be a number"),
        (3, "d", "its vector has 1 dimensions; the first of the source has 2"),
        (4, None, "it has no text_id"),
    ]
    if kind == "fixed":
        del expected[2]
    assert reasons(open_source(table)) == expected
    rows = read(open_source(table))[0]
    assert [row.start for row in rows] == ([0, 3] if kind == "fixed" else [0])
    assert rows[0].vectors.tolist() == [[1.0, 2.0]]


def test_metadata_may_be_structs_maps_json_or_columns() -> None:
    pa = pytest.importorskip("pyarrow")
    import datetime

    base = {"id": ["a", "b"], "vector": [[1.0], [2.0]]}
    day = datetime.date(2024, 1, 2)
    structs = pa.array(
        [{"n": 1, "d": day}, None], pa.struct([("n", pa.int64()), ("d", pa.date32()), ("x", pa.string())])
    )
    maps = pa.array([[("n", 1.5)], None], pa.map_(pa.string(), pa.float64()))
    nested = [{"a": {"b": 1}, "c": [{"d": 1}, {"e": 2}, None]}, {"a": {"f": None}, "c": []}]
    for column, expected in (
        (structs, [{"n": 1, "d": "2024-01-02"}, None]),
        (maps, [{"n": 1.5}, None]),
        (pa.array(nested), [nested[0], {"a": {}, "c": []}]),
        (pa.array(['{"n": [1]}', "null"]), [{"n": [1]}, None]),
        (pa.array(['{"n": 1}', None]).dictionary_encode(), [{"n": 1}, None]),
        (pa.nulls(2), [None, None]),
    ):
        (rows,), bad = read(open_source(pa.table({**base, "metadata": column})))
        assert (rows.metadata, bad) == (expected, [])
    table = pa.table({**base, "n": [1.0, float("nan")], "s": ["t", None], "metadata": ["?", "?"]})
    (rows,), _ = read(open_source(table, columns=Columns(metadata=["n", "s"])))
    assert rows.metadata == [{"n": 1.0, "s": "t"}, {"n": None}]
    assert reasons(open_source(table)) == [
        (row, text_id, "its metadata is not JSON: JSON is malformed: invalid character (byte 0)")
        for row, text_id in enumerate("ab")
    ]
    (bad,) = reasons(open_source(pa.table({"id": ["a"], "vector": [[1.0]], "metadata": ["[1]"]})))
    assert bad[2] == "its metadata must be a JSON object or null: Expected `object | null`, got `array`"


def test_columns_have_the_names_that_are_given(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    columns = Columns(text_id="word", vector="v", text="word", metadata="m")
    table = pa.table({"word": ["a"], "v": [[1.0]], "m": ['{"n": 1}'], "id": ["no"]})
    (tmp_path / "some.jsonl").write_bytes(lines({"word": "a", "v": [1], "m": {"n": 1}, "id": "no"}))
    for data in (table, tmp_path / "some.jsonl", [{"word": "a", "v": [1], "m": {"n": 1}}]):
        assert records(read(open_source(data, columns=columns))[0]) == [("a", [1.0], "a", {"n": 1})]
    gathered = Columns(text_id="word", vector="v", metadata=["id"])
    for data in (table, tmp_path / "some.jsonl"):
        assert records(read(open_source(data, columns=gathered))[0]) == [("a", [1.0], "left out", {"id": "no"})]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("of", ["<f2", "<f4", ">f4", "<f8", "<i4"])
def test_npy_files_of_any_order_and_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, of: str) -> None:
    chunk_bytes = CHUNK_BYTES // 16  # so that several chunks are little data
    monkeypatch.setattr(arrays, "CHUNK_BYTES", chunk_bytes)
    count = 2 * chunk_bytes // (1000 * np.dtype(of).itemsize) + 7
    vectors = np.random.default_rng(0).integers(-1000, 1000, (count, 1000)).astype(of, order=order)
    ids = [f"id {row}" for row in range(count)]
    np.save(tmp_path / "v.npy", vectors)
    np.savez(tmp_path / "v.npz", vectors=vectors, ids=np.array(ids))
    np.save(tmp_path / "ids.npy", np.array(ids))
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(ids).encode())
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    sources = [open_source(tmp_path / "v.npz")]
    besides = (tmp_path / "ids.npy", str(tmp_path / "ids.txt"), tmp_path / "ids.json", ids, np.array(ids))
    sources += [open_source(tmp_path / "v.npy", ids=beside) for beside in besides]
    sources.append(open_source(vectors, ids=ids))
    for source in sources:
        rows, bad = read(source)
        assert (source.total, bad) == (count, [])
        assert [text_id for row in rows for text_id in row.ids] == ids
        assert [row.start for row in rows] == np.cumsum([0, *map(len, rows)]).tolist()[:-1]
        assert len(rows) == 3
        assert np.concatenate([row.vectors for row in rows]).tobytes() == vectors.astype(np.float16).tobytes()


class Struct(msgspec.Struct):
    text_id: str
    vector: Any
    text: str | msgspec.UnsetType | None = msgspec.UNSET


@dataclasses.dataclass
class Data:
    id: str
    embedding: Any


class Named(NamedTuple):
    vector: Any
    text_id: str


def test_records_may_be_what_python_has() -> None:
    data = [
        {"text_id": "a", "vector": [1, 2]},
        ("b", (1, 2.5)),
        ("c", np.array([1, 2], np.float32), "t"),
        ("d", np.array([1, 2], np.int8), None, {"n": float("nan"), 5: (1,)}),
        Struct("e", np.array([1, 2], np.float16), None),
        Struct("f", [1, 2]),
        Data("g", [np.float32(1), 2]),
        Named([1, 2], "h"),
    ]
    source = open_source(data)
    rows, bad = read(source)
    left = "left out"
    assert bad == []
    assert records(rows) == [
        ("a", [1.0, 2.0], left, left),
        ("b", [1.0, 2.5], left, left),
        ("c", [1.0, 2.0], "t", left),
        ("d", [1.0, 2.0], None, {"n": None, "5": [1]}),
        ("e", [1.0, 2.0], None, left),
        ("f", [1.0, 2.0], left, left),
        ("g", [1.0, 2.0], left, left),
        ("h", [1.0, 2.0], left, left),
    ]
    assert source.can_be_read_again
    assert records(read(source)[0]) == records(rows)
    once = open_source(iter(data))
    assert not once.can_be_read_again
    assert records(read(once)[0]) == records(rows)
    with pytest.raises(SourceError, match="only once"):
        read(once)


# What is not.


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"vector": [1, 2]}, "it has no text_id or id or ids"),
        ({"text_id": 5, "vector": [1, 2]}, 'its text_id is the number 5; ids are texts, such as "5"'),
        ({"text_id": None, "vector": [1, 2]}, "its text_id is null; it must be a text"),
        ({"text_id": ["x"], "vector": [1, 2]}, "its text_id is of the type list; it must be a text"),
        ({"text_id": "x"}, "it has no vector or embedding or vectors"),
        ({"text_id": "x", "vector": None}, "its vector is null; it must be a list or an array of numbers"),
        ({"text_id": "x", "vector": "[1, 2]"}, "its vector is of the type str; it must be a list"),
        ({"text_id": "x", "vector": [1, "2"]}, "component 1 of its vector is of the type str; it must be a number"),
        ({"text_id": "x", "vector": [1, None]}, "component 1 of its vector is null; it must be a number"),
        ({"text_id": "x", "vector": [[1, 2]]}, "component 0 of its vector is of the type list; it must be a number"),
        ({"text_id": "x", "vector": []}, "its vector has no components"),
        ({"text_id": "x", "vector": [1, 2, 3]}, "its vector has 3 dimensions; the first of the source has 2"),
        ({"text_id": "x", "vector": [0, 1e-9]}, "all components of its vector are 0 in float16"),
        ({"text_id": "x", "vector": [1, 65505]}, "component 1 of its vector is 65505; float16 goes from"),
        ({"text_id": "x", "vector": [1, 2], "text": 7}, "its text is of the type int; it must be a text"),
        ({"text_id": "x", "vector": [1, 2], "metadata": [1]}, "its metadata is of the type list; it must be an object"),
        ({"text_id": "x", "vector": [1, 2], "metadata": "{"}, "its metadata is not JSON: Input data was truncated"),
        ([1, 2], ""),
        (5, ""),
        (None, ""),
    ],
)
def test_bad_records_are_reported_and_the_rest_is_read(tmp_path: Path, record: Any, reason: str) -> None:
    good = {"text_id": "a", "vector": [1, 2]}
    (tmp_path / "some.jsonl").write_bytes(lines(good, record, good))
    for data in ([good, record, good], tmp_path / "some.jsonl"):
        rows, (bad,) = read(open_source(data))
        assert [(row.start, row.ids) for row in rows] == [(0, ["a"]), (2, ["a"])]
        assert bad.place == 1
        assert bad.text_id == ("x" if isinstance(record, dict) and record.get("text_id") == "x" else None)
        assert bad.reason.startswith(reason)
        assert reason or "object" in bad.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text_id": "x", "vector": [1, NaN]}\n', "JSON has no NaN and no Infinity"),
        (b'{"text_id": "x", "vector": [1, 2\n', "line 2: it is not JSON: Input data was truncated"),
        (b'{"text_id": "\xff", "vector": [1, 2]}\n', "line 2: it is not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b'{"text_id": "\\ud800", "vector": [1, 2]}\n', "line 2: it is not JSON: "),
        (b'{"text_id": "x", "vector": [1, 1e999]}\n', "line 2: it is not JSON: Number out of range"),
        (b"[" * 100_000 + b"\n", "line 2: it is not JSON: "),
        (b'{"text_id": "x", "vector": [1, 2], "metadata": ' + b'{"a":' * 100_000 + b"\n", "line 2: it is not JSON: "),
        (b"vector\n", "line 2: it is not JSON: "),
    ],
)
def test_bad_lines_are_reported_and_the_rest_is_read(tmp_path: Path, line: bytes, reason: str) -> None:
    good = {"text_id": "a", "vector": [1, 2]}
    (tmp_path / "some.jsonl").write_bytes(lines(good, line, good))
    rows, (bad,) = read(open_source(tmp_path / "some.jsonl"))
    assert [(row.start, row.ids) for row in rows] == [(0, ["a"]), (2, ["a"])]
    assert bad.place == 1
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (("x",), "it is a tuple of 1; it must be (text_id, vector, text, metadata)"),
        (("\ud800", [1, 2]), "its text_id is not Unicode text: surrogates not allowed at character 0"),
        (("x", [1, 2], "a\udfff"), "its text is not Unicode text: surrogates not allowed at character 1"),
        (("x", [1, 2], None, {"a": {1j}}), "its metadata cannot be written as JSON: "),
        (("x", [1, 10**400]), "its vector is of the type list; it must be a list or an array of numbers"),
        (("x", np.ones((1, 2))), "its vector is an array (1, 2) of float64; it must be (dimensions,) of numbers"),
        (("x", np.array(["1", "2"])), "its vector is an array (2,) of <U1"),
        (("x", np.array([1, 2j])), "its vector is an array (2,) of complex128"),
        (("x", b"1234"), "its vector is of the type bytes"),
        (("x", [np.inf, 1]), "component 0 of its vector is inf; it must be a finite number"),
        (object(), "it has no text_id or id or ids"),
    ],
)
def test_bad_objects_are_reported(record: Any, reason: str) -> None:
    rows, (bad,) = read(open_source([("a", [1, 2]), record]))
    assert records(rows) == [("a", [1.0, 2.0], "left out", "left out")]
    assert bad.reason.startswith(reason)


def test_faulty_vectors_of_an_array_are_reported_and_runs_have_no_gap() -> None:
    vectors = np.array([[np.nan, 1], [1, 2], [3, 4], [1, np.inf], [0, 0], [1e5, 1], [5, 6]], np.float32)
    rows, bad = read(open_source(vectors, ids=list("abcdefg"), texts=list("ABCDEFG")))
    assert [(row.start, row.ids, row.texts) for row in rows] == [(1, ["b", "c"], ["B", "C"]), (6, ["g"], ["G"])]
    assert [(one.place, one.text_id) for one in bad] == [(0, "a"), (3, "d"), (4, "e"), (5, "f")]


def test_a_callback_that_raises_ends_the_reading() -> None:
    def stop(bad: BadRow) -> None:
        raise OSError(bad.reason)

    with pytest.raises(OSError, match="no vector"):
        list(open_source([("a", [1.0]), {"id": "b"}]).chunks(stop))


def test_the_same_id_twice_is_passed_on() -> None:
    (rows,), bad = read(open_source([("a", [1.0]), ("a", [2.0])]))
    assert (rows.ids, bad) == (["a", "a"], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": np.ones((2, 2))}, "have no ids: give them as ids="),
        ({"data": np.ones((2, 2)), "ids": ["a"]}, "ids has 1 values, but there are 2 vectors"),
        ({"data": np.ones(2), "ids": ["a"]}, r"must be numbers \(n, dimensions\).* it is an array \(2,\) of float64"),
        ({"data": np.array([["a"]]), "ids": ["a"]}, r"it is an array \(1, 1\) of <U1"),
        ({"data": [[1], [1, 2]], "ids": ["a", "b"]}, "are not an array"),
        ({"data": np.ones((1, 2)), "ids": "ids.csv"}, "must be a file of .txt, .json or .npy"),
        ({"data": np.ones((1, 2)), "ids": "none.txt"}, "none.txt cannot be read: No such file"),
        ({"data": np.ones((1, 2)), "ids": {"a"}}, "must be a list, or the path of a file; not of the type set"),
        ({"data": np.ones((1, 2)), "ids": ["a"], "columns": Columns()}, "columns= goes with tables and records"),
        ({"data": "some.jsonl", "ids": ["a"]}, "ids= goes with arrays and .npy files"),
        ({"data": "none.parquet"}, "there is no file none.parquet"),
        ({"data": "/dev/null"}, "null is not a regular file, which is needed"),
        ({"data": {"a": 1}}, "a dict cannot be uploaded"),
        ({"data": 5}, "a int cannot be uploaded"),
    ],
)
def test_sources_that_are_not_right_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(**arguments)


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ({"id": [1], "vector": [[1.0]]}, None, "column 'id' of .* is int64; it must be texts: ids are texts"),
        ({"id": ["a"], "vector": ["[1.0]"]}, None, "column 'vector' of .* is string; it must be lists of float16"),
        ({"id": ["a"], "vector": [["1"]]}, None, r"is list<.*string>; it must be lists of float16"),
        ({"id": ["a"], "v": [[1.0]]}, None, r"no column 'vector', 'embedding' or 'vectors' .* Columns\(vector="),
        ({"v": [[1.0]]}, None, r"no column 'text_id', 'id' or 'ids' for the ids. It has 'v': name"),
        ({"id": ["a"], "vector": [[1.0]]}, Columns(text="txt"), "has no column 'txt'. It has 'id' and 'vector'"),
        ({"id": ["a"], "vectr": [[1.0]]}, Columns(vector="vector"), "no column 'vector'; did you mean 'vectr'?"),
        ({"id": ["a"], "vector": [[1.0]], "text": [b"x"]}, None, "column 'text' of .* is binary; it must be texts"),
        (
            {"id": ["a"], "vector": [[1.0]], "metadata": [1]},
            None,
            "'metadata' of .* is int64; it must be structs, maps",
        ),
    ],
)
def test_wrong_columns_are_refused(table: dict[str, Any], columns: Columns | None, message: str) -> None:
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(SourceError, match=message):
        open_source(pa.table(table), columns=columns)
    twice = pa.table([pa.array(["a"]), pa.array([[1.0]]), pa.array(["b"])], names=["id", "vector", "id"])
    with pytest.raises(SourceError, match="has several columns 'id'"):
        open_source(twice)


def test_wrong_arrays_in_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.npy"
    np.save(path, np.ones((3, 2)))
    whole = path.read_bytes()
    for length in (0, 5, 20, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(
            SourceError, match="not an array as numpy.save writes it" if length < 100 else "is truncated"
        ):
            open_source(path, ids=IDS)
    np.save(path, np.array(["a", 5], object), allow_pickle=True)
    with pytest.raises(SourceError, match="holds Python objects"):
        open_source(path, ids=["a", "b"])
    np.save(path, np.ones((3, 2)))
    for ids, message in (
        (np.arange(3), r"must be texts \(n,\), as array.astype\(str\)"),
        (np.array([b"a"] * 3), "must be texts"),
    ):
        np.save(tmp_path / "ids.npy", ids)
        with pytest.raises(SourceError, match=message):
            open_source(path, ids=tmp_path / "ids.npy")
    (tmp_path / "ids.txt").write_bytes(b"a\nb\n\xff\n")
    with pytest.raises(SourceError, match=r"ids.txt is not UTF-8"):
        open_source(path, ids=tmp_path / "ids.txt")
    (tmp_path / "ids.json").write_text('{"a": 1}')
    with pytest.raises(SourceError, match="not a JSON list"):
        open_source(path, ids=tmp_path / "ids.json")
    assert (
        reasons(open_source(path, ids=["a", 5, ""]))[0][2] == 'its text_id is the number 5; ids are texts, such as "5"'
    )
    np.savez(tmp_path / "some.npz", vectors=np.ones((1, 2)))
    with pytest.raises(SourceError, match="has no array 'ids'; it has vectors"):
        open_source(tmp_path / "some.npz")
    few = np.frombuffer(b"null\n", np.uint8)
    np.savez(tmp_path / "some.npz", vectors=np.ones((2, 2)), ids=np.array(["a", "b"]), texts=few)
    with pytest.raises(SourceError, match=r"'texts' of .* ends after 1 values, but there are 2 vectors"):
        read(open_source(tmp_path / "some.npz"))
    np.savez_compressed(tmp_path / "some.npz", vectors=np.ones((2, 2), order="F"), ids=np.array(["a", "b"]))
    with pytest.raises(SourceError, match=r"save numpy.ascontiguousarray"):
        open_source(tmp_path / "some.npz")


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    ids = np.array([f"id {row}" for row in range(1000)])
    np.savez(path, vectors=np.random.default_rng(0).random((1000, 100)), ids=ids)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 255
    path.write_bytes(whole)
    with pytest.raises(SourceError, match=r"array 'vectors' of .* is damaged: Bad CRC-32"):
        read(open_source(path))


def test_texts_in_tables_that_are_not_utf8_are_bad_rows() -> None:
    pa = pytest.importorskip("pyarrow")
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"x", b"\xff"]).buffers())
    table = pa.table({"id": broken, "vector": [[1.0], [2.0]]})
    assert reasons(open_source(table)) == [(1, None, "its text_id is not UTF-8: invalid start byte at byte 0")]
    table = pa.table({"id": ["a", "b"], "vector": [[1.0], [2.0]], "text": broken})
    assert reasons(open_source(table)) == [(1, "b", "its text is not UTF-8: invalid start byte at byte 0")]


def test_values_that_python_cannot_have_are_bad_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    days = pa.array([-800_000, 0, None], pa.int32()).cast(pa.date32())  # of 221 before Christ
    table = pa.table({"id": ["qin", "unix", "none"], "vector": [[1.0]] * 3, "day": days})
    (rows,), bad = read(open_source(table, columns=Columns(metadata=["day"])))
    assert (rows.ids, rows.metadata) == (["unix", "none"], [{"day": "1970-01-01"}, {}])
    assert [(one.place, one.text_id, one.reason) for one in bad] == [
        (0, "qin", "its column 'day' cannot be read: date value out of range")
    ]
    metadata = pa.StructArray.from_arrays([days], ["day"])
    table = pa.table({"id": ["qin", "unix", "none"], "vector": [[1.0]] * 3, "metadata": metadata})
    assert reasons(open_source(table)) == [(0, "qin", "its metadata cannot be read: date value out of range")]
    table = pa.table({"id": ["a"], "vector": pa.array([[2**60]], pa.list_(pa.int64()))})
    assert reasons(open_source(table)) == [
        (0, "a", "component 0 of its vector is 1.15292e+18; float16 goes from -65504 to 65504")
    ]


def test_values_of_numpy_and_pandas_in_metadata_are_those_of_python(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    times = pandas.Series(["2020-01-02 03:04:05", None], dtype="datetime64[ns]")
    frame = pandas.DataFrame({"id": ["a", "b"], "vector": [[1.0], [2.0]], "time": times})
    frame.to_parquet(tmp_path / "some.parquet")
    for data in (frame, tmp_path / "some.parquet"):  # pyarrow makes objects of pandas of them where it is installed
        (rows,), bad = read(open_source(data, columns=Columns(metadata=["time"])))
        assert (rows.metadata, bad) == ([{"time": "2020-01-02T03:04:05"}, {}], [])
    values = {
        "time": times[0],
        "day": pandas.NaT,
        "none": pandas.NA,
        "long": pandas.Timedelta("1s"),
        "n": np.int64(3),
        "x": np.float32(0.5),
        "nan": np.float64("nan"),
        "is": np.bool_(True),
        "some": np.arange(2),
    }
    (rows,), bad = read(open_source([{"id": "a", "vector": [1.0], "metadata": values}]))
    assert (rows.metadata, bad) == (
        [
            {
                "time": "2020-01-02T03:04:05",
                "day": None,
                "none": None,
                "long": "PT1S",
                "n": 3,
                "x": 0.5,
                "nan": None,
                "is": True,
                "some": [0, 1],
            }
        ],
        [],
    )


def test_decimals_in_metadata_are_numbers() -> None:
    from decimal import Decimal

    duckdb = pytest.importorskip("duckdb")
    query = "select 'a' as id, [1.0] as vector, 1.50 as price, sum(3) as copies"
    (rows,), _ = read(open_source(duckdb.sql(query), columns=Columns(metadata=["price", "copies"])))
    assert rows.metadata == [{"price": 1.5, "copies": 3}]
    (rows,), _ = read(open_source([{"id": "a", "vector": [1.0], "metadata": {"price": Decimal("1.50")}}]))
    assert rows.metadata == [{"price": 1.5}]


def test_sources_without_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    np.save(tmp_path / "some.npy", np.empty((0, 3)))
    for name, content in (
        ("a.jsonl", b""),
        ("b.jsonl", b"\n\r\n"),
        ("c.jsonl.gz", gzip.compress(b"")),
        ("d.jsonl", b"\xef\xbb\xbf"),
    ):
        (tmp_path / name).write_bytes(content)
        assert read(open_source(tmp_path / name)) == ([], [])
    sources = [
        open_source([]),
        open_source(iter([])),
        open_source(np.empty((0, 3)), ids=[]),
        open_source(tmp_path / "some.npy", ids=[]),
        open_source(pa.table({"id": [], "vector": []})),
        open_source(pa.table({"id": pa.array([], pa.int8()), "vector": pa.array([], pa.int8())})),
        open_source(pytest.importorskip("pandas").DataFrame({"id": [], "vector": []})),
    ]
    for source in sources:
        assert read(source) == ([], [])
    assert reasons(open_source(np.empty((2, 0)), ids=["a", "b"])) == [
        (row, text_id, "its vector has no components") for row, text_id in enumerate("ab")
    ]
    assert reasons(open_source(pa.table({"id": ["a"], "vector": pa.nulls(1)}))) == [(0, "a", "it has no vector")]


def test_pandas_has_nan_for_what_is_not_there() -> None:
    pandas = pytest.importorskip("pandas")
    texts = pandas.Series(["x", None], dtype="str")
    (rows,), bad = read(open_source(np.ones((2, 2)), ids=pandas.Series(["a", "b"]), texts=texts))
    assert (rows.ids, rows.texts, bad) == (["a", "b"], ["x", None], [])
    texts = pandas.Series(["x", None], dtype="string")  # whose NA can be compared with nothing
    (rows,), bad = read(open_source(np.ones((2, 2)), ids=pandas.Series(["a", "b"]), texts=texts))
    assert (rows.texts, bad) == (["x", None], [])


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "npz", "array", "records"])
def test_large_texts_make_small_chunks(tmp_path: Path, kind: str) -> None:
    texts = [letter * CHUNK_BYTES for letter in "abcd"]
    some = [{"text_id": text[0], "vector": [1.0], "text": text} for text in texts]
    path = tmp_path / f"some.{kind}"
    data: Any = path
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(some), path)
    elif kind == "jsonl":
        path.write_bytes(lines(*some))
    elif kind == "npz":
        as_bytes = np.frombuffer(lines(*texts), np.uint8)
        np.savez(path, vectors=np.ones((4, 1)), ids=np.array(list("abcd")), texts=as_bytes)
    else:
        data = some
    source = open_source(np.ones((4, 1)), ids=list("abcd"), texts=texts) if kind == "array" else open_source(data)
    rows, bad = read(source)
    assert ([row.ids for row in rows], bad) == ([["a"], ["b"], ["c"], ["d"]], [])
    assert [row.texts for row in rows] == [[text] for text in texts]


def test_the_loss_is_told() -> None:
    tiny = np.array([1e-6, 1e-7])
    source = open_source(np.array([[1.0, 0.1], tiny, [1.0, 2.0]]), ids=IDS)
    read(source)
    assert source.loss.largest == pytest.approx(np.abs(tiny.astype(np.float16).astype(np.float64) - tiny).max() / 1e-6)
    first = msgspec.structs.replace(source.loss)
    read(source)
    assert source.loss == first
    source = open_source(np.array([[1.0, 0.5]], np.float32), ids=["a"])
    read(source)
    assert source.loss.largest == 0.0


def test_frames_of_the_older_protocol_are_refused() -> None:
    class Frame:
        def __dataframe__(self) -> None: ...

    with pytest.raises(SourceError, match=r"pandas does from 2.2 on"):
        open_source(Frame())


@pytest.mark.parametrize("what", ["some.parquet", "some.arrow", "exported"])
def test_without_pyarrow_tables_say_what_to_install(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data: Any = sound_table() if what == "exported" else tmp_path / what
    if what != "exported":
        data.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match=r"pip install 'vecferry\[parquet\]'"):
        open_source(data)


def test_without_zstandard_files_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "backports" if sys.version_info < (3, 14) else "compression"
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "some.jsonl.zst").write_bytes(b"")
    with pytest.raises(SourceError, match=r"pip install 'vecferry\[zstd\]'"):
        open_source(tmp_path / "some.jsonl.zst")


def test_arrays_and_lines_need_no_pyarrow() -> None:
    program = "import sys, vecferry.sources, vecferry.sinks; print('pyarrow' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(sys.modules["vecferry"].__path__[0]).parent)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@given(st.lists(st.sampled_from(["good", "bad", "no text", "no metadata"]), max_size=30))
def test_places_are_those_of_the_source(kinds: list[str]) -> None:
    def record(row: int, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = {"text_id": str(row), "vector": [float(row + 1)], "text": "t", "metadata": {"row": row}}
        found.pop(kind.removeprefix("no "), None)
        return found | ({"vector": None} if kind == "bad" else {})

    rows, bad = read(open_source([record(row, kind) for row, kind in enumerate(kinds)]))
    assert [one.place for one in bad] == [row for row, kind in enumerate(kinds) if kind == "bad"]
    seen = [(part.start + place, text_id, part) for part in rows for place, text_id in enumerate(part.ids)]
    assert [(place, str(place)) for place, kind in enumerate(kinds) if kind != "bad"] == [one[:2] for one in seen]
    assert all((part.texts is None) == (kinds[place] == "no text") for place, _, part in seen)
    assert all((part.metadata is None) == (kinds[place] == "no metadata") for place, _, part in seen)
