"""Pushes: only what differs is sent, and afterwards both sides are equal."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vecferry import AsyncClient, BadRows, Rows, SourceError
from vecferry.sinks import open_sink

from tests.client.conftest import DIMENSIONS
from tests.client.samples import assert_stored, rows

SUFFIXES = [".parquet", ".jsonl", ".jsonl.gz", ".npz", ".arrow"]


@pytest.fixture(autouse=True)
def folder_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vecferry"


def write(path: Path, *parts: Rows, age: float = 60) -> None:
    with open_sink(path) as sink:
        for part in parts:
            sink.write(part)
    os.utime(path, (time.time() - age,) * 2)


def changed(part: Rows, *places: int) -> Rows:
    vectors = part.vectors.copy()
    vectors[list(places)] += np.float16(1)
    return Rows(part.start, part.ids, vectors, part.texts, part.metadata)


async def push(client: AsyncClient, project: str, data: Any, **options: Any) -> Any:
    return await client.project(project).push(data, progress=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_only_what_differs_is_sent(client: AsyncClient, project: str, tmp_path: Path, suffix: str) -> None:
    path, sample = tmp_path / f"file{suffix}", rows(3000)
    write(path, sample)
    first = await push(client, project, path)
    assert (first.inserted, first.updated, first.unchanged, first.total) == (3000, 0, 0, 3000)
    await assert_stored(client, project, [sample])
    new = rows(2, start=10_000)
    write(path, changed(sample, 5, 2000), new)
    tried = await push(client, project, path, dry_run=True)
    assert (tried.inserted, tried.updated, tried.unchanged, tried.bytes_sent) == (2, 2, 2998, 0)
    await assert_stored(client, project, [sample])
    second = await push(client, project, path)
    assert (second.inserted, second.updated, second.unchanged, second.total) == (2, 2, 2998, 3002)
    assert 0 < second.bytes_sent < 1000
    await assert_stored(client, project, [changed(sample, 5, 2000), new])


async def test_what_is_equal_is_not_even_read(
    client: AsyncClient, project: str, tmp_path: Path, folder_of_memory: Path
) -> None:
    path, sample = tmp_path / "file.parquet", rows(500)
    write(path, sample)
    await push(client, project, path)
    again = await push(client, project, path)
    assert (again.unchanged, again.total, again.bytes_sent) == (500, 500, 0)
    assert again.bytes_received < 2000  # so not even digests were asked for
    for remembered in os.listdir(folder_of_memory):  # noqa: PTH208
        (folder_of_memory / remembered).unlink()
    again = await push(client, project, path)
    assert again.unchanged == 500
    assert again.bytes_received > 100_000
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, (time.time() - 60,) * 2)
    with pytest.raises(SourceError):
        await push(client, project, path)


async def test_a_change_of_the_project_is_seen(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.parquet", rows(500)
    write(path, sample)
    await push(client, project, path)
    await client.project(project).embeddings.delete(ids=sample.ids[7:9])
    result = await push(client, project, path)
    assert (result.inserted, result.unchanged) == (2, 498)
    await client.project(project).upload_rows(iter([changed(sample.part(0, 1), 0)]), progress=False)
    result = await push(client, project, path)
    assert (result.updated, result.unchanged) == (1, 499)
    await assert_stored(client, project, [sample])


async def test_a_file_that_was_written_just_now_is_read_again(
    client: AsyncClient, project: str, tmp_path: Path
) -> None:
    path, sample = tmp_path / "file.npz", rows(300)
    write(path, sample, age=0)
    await push(client, project, path)
    times, other = path.stat(), changed(sample, 3)
    write(path, other)
    assert path.stat().st_size == times.st_size
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = await push(client, project, path)
    assert (result.updated, result.unchanged) == (1, 299)
    await assert_stored(client, project, [other])


async def test_deleting_what_the_file_has_not(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.parquet", rows(2500)
    write(path, sample)
    await push(client, project, path)
    write(path, sample.part(0, 900))
    asked: list[int] = []

    def no(count: int) -> bool:
        asked.append(count)
        return False

    kept = await push(client, project, path)
    assert (kept.deleted, kept.unchanged) == (0, 900)
    refused = await push(client, project, path, delete=True, confirm=no)
    tried = await push(client, project, path, delete=True, dry_run=True)
    assert (asked, refused.deleted, tried.deleted) == ([1600], 0, 1600)
    await assert_stored(client, project, [sample])
    done = await push(client, project, path, delete=True)
    assert (done.deleted, done.unchanged) == (1600, 900)
    await assert_stored(client, project, [sample.part(0, 900)])
    assert (await push(client, project, path, delete=True)).deleted == 0


async def test_nothing_is_deleted_when_rows_are_bad(client: AsyncClient, project: str) -> None:
    sample = rows(10)
    await client.project(project).upload_rows(iter([sample]), progress=False)
    vectors = sample.vectors[:5].astype(np.float32)
    vectors[2, 0] = np.nan
    result = await push(client, project, vectors, ids=sample.ids[:5], delete=True)
    assert (result.bad_count, result.bad[0].place, result.deleted, result.unchanged) == (1, 2, 0, 4)
    await assert_stored(client, project, [sample])
    with pytest.raises(BadRows):
        await push(client, project, vectors, ids=sample.ids[:5], on_bad_row="stop")


async def test_bad_rows_of_the_service_have_their_places(client: AsyncClient, project: str) -> None:
    sample = rows(300)
    await client.project(project).upload_rows(iter([sample]), progress=False)
    records = [
        {
            "text_id": text_id,
            "vector": vector.tolist(),
            "text": "new" if place % 100 == 50 else (sample.texts or [])[place],
        }
        for place, (text_id, vector) in enumerate(zip(sample.ids, sample.vectors, strict=True))
    ]
    records[250]["text_id"] = "x" * 301  # too long
    result = await push(client, project, records)
    assert [(one.place, one.text_id) for one in result.bad] == [(250, "x" * 301)]
    assert (result.updated, result.inserted) == (2, 0)


async def test_the_total_is_without_the_rows_that_the_service_refuses(client: AsyncClient, project: str) -> None:
    sample = rows(10)
    sample.ids[3] = "x" * 301
    for inserted in (9, 0):
        result = await push(client, project, sample.vectors, ids=sample.ids)
        assert (result.total, result.bad_count, result.inserted, result.unchanged) == (9, 1, inserted, 9 - inserted)


async def test_metadata_that_are_nested_deeply_are_a_bad_row(client: AsyncClient, project: str, tmp_path: Path) -> None:
    sample = rows(2)
    await client.project(project).upload_rows(iter([sample.part(1, 2)]), progress=False)
    lines = [
        json.dumps({"id": text_id, "vector": vector})
        for text_id, vector in zip(sample.ids, sample.vectors.tolist(), strict=True)
    ]
    (tmp_path / "deep.jsonl").write_text(
        lines[0][:-1] + ', "metadata": {"a": ' + "[" * 700 + "]" * 700 + "}}\n" + lines[1]
    )
    result = await push(client, project, tmp_path / "deep.jsonl")
    assert (result.unchanged, [one.place for one in result.bad]) == (1, [0])
    assert "must not be nested more than 64 levels deep" in result.bad[0].reason


async def test_what_the_source_does_not_say_stays(client: AsyncClient, project: str) -> None:
    sample = rows(2000)
    await client.project(project).upload_rows(iter([sample]), progress=False)
    same = await push(client, project, sample.vectors, ids=sample.ids)
    assert (same.unchanged, same.bytes_sent) == (2000, 0)
    other = changed(sample, 4)
    result = await push(client, project, other.vectors, ids=sample.ids)
    assert result.updated == 1
    await assert_stored(client, project, [other])


async def test_of_rows_with_the_same_id_the_last_counts(client: AsyncClient, project: str) -> None:
    sample = rows(50)
    await client.project(project).upload_rows(iter([sample]), progress=False)
    other = changed(sample, *range(50))
    both = np.concatenate([other.vectors, sample.vectors])
    for _ in range(2):
        await push(client, project, both, ids=[*sample.ids, *sample.ids])
        stored = await client.project(project).embeddings.get(sample.ids[3])
        assert np.array_equal(stored.vector, sample.vectors[3])  # type: ignore[arg-type]
    both = np.concatenate([sample.vectors, other.vectors])
    await push(client, project, both, ids=[*sample.ids, *sample.ids])
    stored = await client.project(project).embeddings.get(sample.ids[3])
    assert np.array_equal(stored.vector, other.vectors[3])  # type: ignore[arg-type]


@pytest.mark.parametrize("is_filled", [False, True])
async def test_rows_that_a_later_one_of_their_id_replaces_are_not_sent_again(
    client: AsyncClient, project: str, tmp_path: Path, is_filled: bool
) -> None:
    sample, path = rows(60), tmp_path / "twice.jsonl"
    write(path, changed(sample.part(0, 50), *range(40)), sample)  # forty differ the second time, ten are the same
    if is_filled:
        await client.project(project).upload_rows(iter([sample.part(30, 60)]), progress=False)
    new = 30 if is_filled else 60
    for options in ({"dry_run": True}, {}):
        first = await push(client, project, path, **options)
        assert (first.inserted, first.updated, first.unchanged) == (new, 0, 110 - new)
        assert (first.repeated, first.total) == (50, 110)
    await assert_stored(client, project, [sample])
    await client.project(project).embeddings.delete(ids=[sample.ids[0]])  # so that the file is read
    second = await push(client, project, path, delete=True)
    assert (second.inserted, second.updated, second.unchanged) == (1, 0, 109)
    assert (second.repeated, second.total, second.deleted) == (50, 110, 0)
    assert 0 < second.bytes_sent < 200
    await assert_stored(client, project, [sample])


@pytest.mark.parametrize("is_filled", [False, True])
async def test_vectors_of_other_dimensions_are_refused_also_when_nothing_is_sent(
    client: AsyncClient, project: str, is_filled: bool
) -> None:
    if is_filled:
        await client.project(project).upload_rows(iter([rows(5)]), progress=False)
    other = rows(5, dimensions=3)
    for dry_run in (True, False):
        with pytest.raises(SourceError, match="have 3 dimensions, but the project takes 8"):
            await push(client, project, other.vectors, ids=other.ids, delete=True, dry_run=dry_run)
    await assert_stored(client, project, [rows(5)] if is_filled else [])


async def test_integers_beyond_64_bits_are_bad_rows_with_their_place(client: AsyncClient, project: str) -> None:
    sample = rows(3)
    metadata = [{"n": 2**64 - 1, "m": -(2**63)}, {"a": {"b": [1, {"c": 2**64}]}}, {"n": -(2**63) - 1}]
    for dry_run in (True, False):
        result = await push(client, project, sample.vectors, ids=sample.ids, metadata=metadata, dry_run=dry_run)
        assert [(one.place, one.reason) for one in result.bad] == [
            (1, "its metadata has at a.b[1].c the integer 18446744073709551616, beyond 64 bits; write it as a text"),
            (2, "its metadata has at n the integer -9223372036854775809, beyond 64 bits; write it as a text"),
        ]
        assert (result.inserted, result.bad_count) == (1, 2)
    stored = await client.project(project).embeddings.get(sample.ids[0])
    assert stored.metadata == metadata[0]


async def test_a_push_that_has_ended_reads_no_more(client: AsyncClient, project: str) -> None:
    await client.project(project).upload_rows(iter([rows(1)]), progress=False)
    count = 0

    class Endless:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            nonlocal count
            while True:
                count += 1
                yield {"text_id": str(count), "vector": [1.0] * DIMENSIONS, "text": "x" * 10_000}

    running = asyncio.create_task(push(client, project, Endless()))
    while count < 2000:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    before = -1
    async with asyncio.timeout(30):
        while before < count:
            before = count
            await asyncio.sleep(0.3)


async def test_an_iterator_cannot_be_pushed(client: AsyncClient, project: str) -> None:
    with pytest.raises(SourceError, match="reads twice"):
        await push(client, project, iter([]))


@pytest.mark.slow
async def test_many_changes(client: AsyncClient, project: str) -> None:
    sample = rows(20_000)  # so that all buckets differ, and the request names none
    await client.project(project).upload_rows(iter([sample]), progress=False)
    places = list(range(0, 20_000, 3))
    other = changed(sample, *places)
    result = await push(client, project, other.vectors, ids=sample.ids)
    assert (result.updated, result.unchanged, result.inserted) == (len(places), 20_000 - len(places), 0)
    again = await push(client, project, other.vectors, ids=sample.ids)
    assert again.unchanged == 20_000
