"""Files of embeddings: they give back what was written, and are complete or not there."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from vecferry.rows import BadRow, Rows, SourceError
from vecferry.sinks import open_sink
from vecferry.sources import open_source

SUFFIXES = [".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".npz"]
unicode = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | unicode,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(unicode, inner, max_size=3),
    max_leaves=5,
)
halves = st.floats(width=16, allow_nan=False, allow_infinity=False)


@st.composite
def several_rows(draw: st.DrawFn) -> list[Rows]:
    dimensions, texts, metadata = draw(st.integers(1, 5)), draw(st.booleans()), draw(st.booleans())
    found, start = [], 0
    for count in draw(st.lists(st.integers(0, 5), max_size=4)):
        vectors = draw(arrays(np.float16, (count, dimensions), elements=halves))
        vectors[~vectors.any(axis=1), 0] = 1  # a vector of zeros is none
        found.append(
            Rows(
                start,
                draw(st.lists(unicode.filter(bool), min_size=count, max_size=count)),
                vectors,
                draw(st.lists(st.none() | unicode, min_size=count, max_size=count)) if texts else None,
                draw(
                    st.lists(
                        st.none() | st.dictionaries(unicode, json_values, max_size=3), min_size=count, max_size=count
                    )
                )
                if metadata
                else None,
            )
        )
        start += count
    return found


def content(several: list[Rows]) -> tuple[list[Any], bytes]:
    """Everything in rows, whatever their parts."""
    records = [
        (
            row.start + place,
            text_id,
            "left out" if row.texts is None else row.texts[place],
            "left out" if row.metadata is None else row.metadata[place],
        )
        for row in several
        for place, text_id in enumerate(row.ids)
    ]
    return records, b"".join(row.vectors.tobytes() for row in several)


def read(path: Path) -> list[Rows]:
    bad: list[BadRow] = []
    rows = list(open_source(path).chunks(bad.append))
    assert not bad
    return rows


def some_rows(count: int = 3, start: int = 0) -> Rows:
    vectors = np.random.default_rng(0).standard_normal((count, 4)).astype(np.float16)
    return Rows(start, [f"id {start + row}" for row in range(count)], vectors, ["text"] * count, [{"a": 1}] * count)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@given(several=several_rows())
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read(several: list[Rows], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"some{suffix}")
        with open_sink(path) as sink:
            for rows in several:
                sink.write(rows)
        assert content(read(path)) == content(several)
        assert [file.name for file in Path(folder).iterdir()] == [path.name]


@pytest.mark.slow
def test_every_half_is_in_json_as_a_short_decimal(tmp_path: Path) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 1)
    every = every[np.isfinite(every).all(axis=1) & every.any(axis=1)]
    with open_sink(tmp_path / "every.jsonl") as sink:
        sink.write(Rows(0, [str(row) for row in range(len(every))], every, None, None))
    assert b"".join(rows.vectors.tobytes() for rows in read(sink.path)) == every.tobytes()
    decimals = [json.loads(line)["vector"][0] for line in sink.path.read_text().splitlines()]
    assert max(len(f"{abs(decimal):e}".split("e")[0].rstrip("0")) for decimal in decimals) <= 6  # 5 digits and a point


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_error_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    with open_sink(path) as sink:
        sink.write(some_rows())
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), open_sink(path) as sink:  # noqa: PT012
        sink.write(some_rows(5000))
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with open_sink(path) as sink:
        sink.write(some_rows(2))
    assert content(read(path)) == content([some_rows(2)])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_that_differ_from_the_first_are_refused(tmp_path: Path, suffix: str) -> None:
    rows = some_rows()
    others = [
        (Rows(3, rows.ids, rows.vectors[:, :3], rows.texts, rows.metadata), "3 dimensions, the first of .* 4"),
        (Rows(3, rows.ids, rows.vectors, None, rows.metadata), "have texts or none"),
        (Rows(3, rows.ids, rows.vectors, rows.texts, None), "have metadata or none"),
    ]
    for other, message in others:
        with pytest.raises(ValueError, match=message), open_sink(tmp_path / f"some{suffix}") as sink:  # noqa: PT012
            sink.write(rows)
            sink.write(other)
    assert not list(tmp_path.iterdir())


def test_other_suffixes_and_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for name in ("some.csv", "some", "some.json", "some.parquet.gz"):
        with pytest.raises(SourceError, match=r"these can: .parquet"):
            open_sink(tmp_path / name)
    with pytest.raises(FileNotFoundError), open_sink(tmp_path / "none" / "some.jsonl"):
        pass


def test_arrays_lose_zeros_at_the_end_of_ids_so_they_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"U\+0000"), open_sink(tmp_path / "some.npz") as sink:
        sink.write(Rows(0, ["a\0"], np.ones((1, 2), np.float16), None, None))


def test_numpy_reads_what_is_written_as_arrays(tmp_path: Path) -> None:
    rows = some_rows(4)
    with open_sink(tmp_path / "some.npz") as sink:
        sink.write(rows)
    with np.load(sink.path) as arrays_of:
        assert arrays_of["ids"].tolist() == rows.ids
        assert arrays_of["vectors"].tobytes() == rows.vectors.tobytes()
        assert [json.loads(line) for line in arrays_of["metadata"].tobytes().splitlines()] == rows.metadata


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_other_programs_read_the_tables(tmp_path: Path, suffix: str) -> None:
    polars = pytest.importorskip("polars")
    rows = some_rows(4)
    with open_sink(tmp_path / f"some{suffix}") as sink:
        sink.write(rows)
    frame = polars.read_parquet(sink.path) if suffix == ".parquet" else polars.read_ipc(sink.path)
    assert frame.columns == ["text_id", "vector", "text", "metadata"]
    assert frame["vector"].to_list() == rows.vectors.tolist()
    assert content(list(open_source(frame).chunks(pytest.fail))) == content([rows])


@pytest.mark.slow
def test_many_rows_become_several_row_groups(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    vectors = np.random.default_rng(1).standard_normal((3000, 1536)).astype(np.float16)
    with open_sink(tmp_path / "some.parquet") as sink:
        for start in range(0, 24_000, 3000):
            sink.write(Rows(start, [str(start + row) for row in range(3000)], vectors, None, None))
    groups = parquet.read_metadata(sink.path)
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [3_000] * 8
    assert [rows.start for rows in read(sink.path)][:2] == [0, len(read(sink.path)[0])]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_who_may_not_read_the_old_file_may_not_read_the_new_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    for mode in (0o600, 0o640, 0o444):
        path.touch()
        path.chmod(mode)
        with open_sink(path) as sink:
            (temporary,) = tmp_path.glob(".*.part")
            assert temporary.stat().st_mode & 0o777 == mode | 0o600
            sink.write(Rows(0, ["a"], np.ones((1, 2), np.float16), None, None))
        assert path.stat().st_mode & 0o777 == mode | 0o600
