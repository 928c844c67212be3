"""What could make a push or a pull wrong, and does not: found by a reviewer who tried."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vecferry import AsyncClient, Rows, SourceError, remote
from vecferry import spool as spool_module
from vecferry.pull import Pull
from vecferry.sinks import open_sink
from vecferry.spool import Spool

from tests.client.conftest import DIMENSIONS
from tests.client.samples import assert_stored, rows
from tests.client.test_pull import assert_has, pull, upload
from tests.client.test_push import changed, push, write
from tests.conftest import ADMIN_KEY, serving, settings_for

Patch = pytest.MonkeyPatch
Databases = Callable[..., str]


@pytest.fixture(autouse=True)
def folder_of_memory(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def age(path: Path) -> None:
    os.utime(path, (time.time() - 60,) * 2)


def between(monkeypatch: Patch, happens: Callable[[], Any]) -> None:
    """Something happens after the first reading of the file, before the second."""
    real = remote.remote_rows

    async def rows_of(*arguments: Any) -> Any:
        happens()
        return await real(*arguments)

    monkeypatch.setattr(remote, "remote_rows", rows_of)


async def fill(url: str, part: Rows) -> None:
    async with AsyncClient(url, ADMIN_KEY) as admin:
        await admin.users.put("anna", email="anna@example.org")
        await admin.instances.put("anna/inst", dimensions=DIMENSIONS)
        await admin.projects.put("anna/poems", instance="anna/inst")
        if len(part):
            await admin.project("anna/poems").upload_rows(iter([part]), progress=False)


async def test_duplicates_make_a_project_with_more_are_seen(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.parquet", rows(3)
    extra = rows(1, start=100)
    await upload(client, project, extra)
    write(path, Rows(0, [*sample.ids, sample.ids[0]], sample.vectors[[0, 1, 2, 0]], None, None))
    await push(client, project, path)
    result = await push(client, project, path, delete=True)
    assert result.deleted == 1, result


async def test_texts_and_metadata_from_the_same_file_are_apart(
    client: AsyncClient, project: str, tmp_path: Path
) -> None:
    sample = rows(3)
    vectors, ids, other = tmp_path / "v.npy", tmp_path / "ids.txt", tmp_path / "o.json"
    np.save(vectors, sample.vectors)
    ids.write_text("\n".join(sample.ids))
    other.write_text("[null, null, null]")
    for path in (vectors, ids, other):
        age(path)
    await upload(client, project, Rows(0, sample.ids, sample.vectors, ["a", "b", "c"], [{"a": 1}, {"b": 1}, {"c": 1}]))
    await push(client, project, vectors, ids=ids, texts=other)
    await push(client, project, vectors, ids=ids, metadata=other)
    stored = [one.metadata async for one in client.embeddings(project)]
    assert not any(stored), stored


async def test_a_file_that_is_being_written_anew_deletes_nothing(
    client: AsyncClient, project: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    path, sample = tmp_path / "file.jsonl", rows(1000)
    write(path, sample)
    await push(client, project, path)
    write(path, changed(sample, *range(0, 1000, 5)))
    whole = path.read_bytes()
    between(monkeypatch, lambda: path.write_bytes(whole[: len(whole) // 2]))  # its writer is not done yet
    result = None
    with contextlib.suppress(SourceError):
        result = await push(client, project, path, delete=True)
    left = (await remote.position(client._transport, project)).number_of_embeddings
    assert left == 1000, result  # every version of the file has the same 1,000 ids


async def test_a_link_that_is_switched_while_it_is_pushed(
    client: AsyncClient, project: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    first, second, link = tmp_path / "1.parquet", tmp_path / "2.parquet", tmp_path / "current.parquet"
    sample = rows(20)
    other = changed(sample, *range(20))
    await upload(client, project, changed(other, *range(20)))
    write(first, sample)
    write(second, other)
    link.symlink_to(first)

    def switch() -> None:
        link.unlink()
        link.symlink_to(second)

    with monkeypatch.context() as patch:
        between(patch, switch)
        with contextlib.suppress(SourceError):
            await push(client, project, link)
    link.unlink()
    link.symlink_to(first)
    await push(client, project, link)
    await assert_stored(client, project, [sample])


async def test_a_copy_with_the_times_of_the_old_one(client: AsyncClient, project: str, tmp_path: Path) -> None:
    """As tar, zip and reproducible builds leave files, whose times are all the same; ctime would tell."""
    path, ids, sample = tmp_path / "v.npy", tmp_path / "ids.txt", rows(3)
    ids.write_text("\n".join(sample.ids))
    os.utime(ids, (1, 1))
    for vectors in (sample.vectors, sample.vectors + np.float16(1)):
        if path.exists():
            path.unlink()
        np.save(path, vectors)
        os.utime(path, (1, 1))
        await push(client, project, path, ids=ids)
    stored = np.array([one.vector async for one in client.embeddings(project)])
    assert np.array_equal(stored, vectors)


@pytest.mark.slow
async def test_another_database_under_the_same_url_push(new_database: Databases, tmp_path: Path) -> None:
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    write(a, rows(50))
    write(b, rows(50, start=1000))
    for number, file in enumerate((a, b)):
        async with serving(settings_for(new_database())) as url, AsyncClient(url, ADMIN_KEY) as one:
            await fill(url, rows(0))
            one._transport.url = "http://localhost:8888"
            await push(one, "anna/poems", file)
            if number:
                result = await push(one, "anna/poems", a)
                assert result.inserted == 50, result


@pytest.mark.slow
async def test_another_database_under_the_same_url_pull(new_database: Databases, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for part in (rows(50), rows(60, start=1000)):
        async with serving(settings_for(new_database())) as url, AsyncClient(url, ADMIN_KEY) as one:
            await fill(url, part)
            one._transport.url = "http://localhost:8888"
            await pull(one, "anna/poems", path, since=True)
            assert_has(path, part)


async def test_a_project_made_again_while_it_is_pulled(
    client: AsyncClient, project: str, user: tuple[str, str], tmp_path: Path, monkeypatch: Patch
) -> None:
    path, old, new = tmp_path / "file.jsonl", rows(300), rows(50, start=1000)
    await upload(client, project, old)
    fetch = Pull._fetch_pages

    async def then_replaced(self: Pull, expected: int) -> None:
        await fetch(self, expected)
        monkeypatch.undo()  # once
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        await client.project(project).delete()
        await client.projects.put(project, instance=f"{user[0]}/inst")
        await upload(client, project, new)

    monkeypatch.setattr(Pull, "_fetch_pages", then_replaced)
    await pull(client, project, path)
    assert_has(path, new)


@pytest.mark.parametrize("where", ["in a vector", "elsewhere"])
async def test_a_spool_with_zeros_after_a_loss_of_power(
    client: AsyncClient, user: tuple[str, str], tmp_path: Path, monkeypatch: Patch, where: str
) -> None:
    await client.instances.put(f"{user[0]}/wide", dimensions=4096)
    name = (await client.projects.put(f"{user[0]}/wide", instance=f"{user[0]}/wide")).name
    path, sample = tmp_path / "file.jsonl", rows(300, dimensions=4096)
    await upload(client, name, *[sample.part(n, n + 50) for n in range(0, 300, 50)])

    async def cut(self: Pull) -> int:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(Pull, "_fetch_changes", cut)
        with pytest.raises(ConnectionResetError):
            await pull(client, name, path)
    spool = Spool(path).path
    content = spool.read_bytes()
    starts = [content.index(vector.tobytes()) for vector in sample.vectors[:100]]
    blocks = range(0, len(content) // 2, 4096)
    within = [any(start <= block and block + 4096 <= start + 8192 for start in starts) for block in blocks]
    block = blocks[within.index(where == "in a vector", 3)]
    with spool.open("rb+") as file:  # a block that the disk had not yet written
        file.seek(block)
        file.write(bytes(4096))
    await pull(client, name, path)
    assert_has(path, sample)


async def test_a_pull_leaves_the_file_of_another_pull(
    client: AsyncClient, project: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    sample = rows(100)
    await upload(client, project, sample)
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    with open_sink(packed) as sink:  # what `pull … a.jsonl.gz` is doing meanwhile
        sink.write(sample)
        await pull(client, project, plain)
    assert_has(packed, sample)


async def test_the_lock_of_a_spool_that_was_just_removed(
    client: AsyncClient, project: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    sample = rows(100)
    await upload(client, project, sample)
    path = tmp_path / "a.jsonl"
    lock, first = spool_module._lock, True

    def late(file: Any, name: Path) -> None:
        nonlocal first
        if first:
            first = False
            name.unlink()  # the pull before this one ends between open and flock
        lock(file, name)

    monkeypatch.setattr(spool_module, "_lock", late)
    await pull(client, project, path)
    assert_has(path, sample)


async def test_a_spool_that_is_a_link(client: AsyncClient, project: str, tmp_path: Path) -> None:
    """Somebody who may write in the folder could have put it there."""
    await upload(client, project, rows(3))
    (tmp_path / "mine").write_text("precious")
    Spool(tmp_path / "file.jsonl").path.symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"):
        await pull(client, project, tmp_path / "file.jsonl")
    assert (tmp_path / "mine").read_text() == "precious"


async def test_a_pull_into_a_link(client: AsyncClient, project: str, tmp_path: Path) -> None:
    sample = rows(10)
    await upload(client, project, sample)
    target, link = tmp_path / "data.jsonl", tmp_path / "link.jsonl"
    target.write_text("")
    link.symlink_to(target)
    await pull(client, project, link)
    assert link.is_symlink()
    assert_has(target, sample)


async def test_an_empty_file_deletes_nothing(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.jsonl", rows(1000)
    await upload(client, project, sample)
    path.write_bytes(b"")  # its writer has just begun, or the disk was full
    age(path)
    with pytest.raises(SourceError, match="no rows"):
        await push(client, project, path, delete=True)
    await assert_stored(client, project, [sample])


@pytest.mark.parametrize("options", [{"delete": True}, {"dry_run": True}, {}])
async def test_data_that_are_there_only_once_delete_nothing(
    client: AsyncClient, project: str, options: dict[str, bool]
) -> None:
    sample = rows(20)
    await upload(client, project, sample)

    class Cursor:
        """Gives what was not fetched yet, as one of psycopg does."""

        left = list(zip(sample.ids, sample.vectors + np.float16(1), strict=True))

        def __iter__(self) -> Iterator[tuple[str, Any]]:
            while self.left:
                yield self.left.pop()

    with pytest.raises(SourceError, match="other rows when they are read a second time"):
        await push(client, project, Cursor(), **options)
    await assert_stored(client, project, [sample])


async def test_what_was_changed_while_it_was_asked_stays(client: AsyncClient, project: str) -> None:
    """A colleague uploads a row anew between the comparison and the answer to the question; it is deleted."""
    sample = rows(10)
    await upload(client, project, sample)
    loop = asyncio.get_running_loop()

    def confirm(count: int) -> bool:
        asyncio.run_coroutine_threadsafe(upload(client, project, changed(sample, 9).part(9, 10)), loop).result()
        return True

    await push(client, project, sample.vectors[:9], ids=sample.ids[:9], delete=True, confirm=confirm)
    assert (await remote.position(client._transport, project)).number_of_embeddings == 10
