"""Pulls: the file is as the project is, also after interruptions, and only what has changed is fetched again."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
from vecferry import AsyncClient, BadAnswer, Rows, SourceError, open_source, remote
from vecferry.spool import Spool

from tests.client.samples import chunks, rows
from tests.client.test_push import SUFFIXES, changed
from tests.support.faulty_proxy import NONE, Fault, canned, faulty_proxy


@pytest.fixture(autouse=True)
def folder_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def pull(client: AsyncClient, project: str, path: Path, **options: Any) -> Any:
    return await client.project(project).pull(path, progress=False, **options)


async def upload(client: AsyncClient, project: str, *parts: Rows) -> None:
    await client.project(project).upload_rows(iter(parts), progress=False)


def assert_has(path: Path, *expected: Rows) -> None:
    """That a file has exactly these rows."""
    found: dict[str, tuple[bytes, str | None, Any]] = {}
    for part in open_source(path).chunks(lambda bad: pytest.fail(str(bad))):
        for place, text_id in enumerate(part.ids):
            assert text_id not in found
            text, metadata = (part.texts or [None] * len(part))[place], (part.metadata or [None] * len(part))[place]
            found[text_id] = (part.vectors[place].tobytes(), text, metadata)
    wanted = {
        text_id: (part.vectors[place].tobytes(), (part.texts or [])[place], (part.metadata or [])[place])
        for part in expected
        for place, text_id in enumerate(part.ids)
    }
    assert found == wanted


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_all_and_then_what_has_changed(client: AsyncClient, project: str, tmp_path: Path, suffix: str) -> None:
    path, sample = tmp_path / f"file{suffix}", rows(1000)
    await upload(client, project, sample)
    first = await pull(client, project, path)
    assert (first.rows, first.since_last) == (1000, False)
    assert_has(path, sample)
    same = await pull(client, project, path, since=True)
    assert (same.rows, same.since_last, same.changed) == (1000, True, 0)
    assert same.bytes_received < 2000
    new, other = rows(3, start=5000), changed(sample, 10)
    await upload(client, project, other.part(10, 11), new)
    await client.project(project).embeddings.delete(ids=[sample.ids[20]])
    second = await pull(client, project, path, since=True)
    assert (second.rows, second.since_last, second.changed, second.deleted) == (1002, True, 4, 1)
    assert second.bytes_received < first.bytes_received / 20
    assert_has(path, other.part(0, 20), other.part(21, 1000), new)
    assert not Spool(path).path.exists()


async def test_an_empty_project(client: AsyncClient, project: str, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"file{suffix}"
        assert (await pull(client, project, path)).rows == 0
        assert_has(path)


async def test_since_without_a_known_pull_fetches_all(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.jsonl", rows(10)
    await upload(client, project, sample)
    assert not (await pull(client, project, path, since=True)).since_last
    with path.open("a") as file:  # it is not as it was pulled
        file.write("{}\n")
    assert not (await pull(client, project, path, since=True)).since_last
    assert_has(path, sample)
    await client.project(project).embeddings.delete(ids=sample.ids)
    await client._transport.send("DELETE", f"/v1/embeddings/{project}", type(None))
    await upload(client, project, sample.part(0, 3))
    assert not (await pull(client, project, path, since=True)).since_last  # the log of deletions began anew
    assert_has(path, sample.part(0, 3))


@pytest.mark.slow
async def test_changes_while_it_reads(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.parquet", rows(3000)
    await upload(client, project, *chunks(3000, 3000))
    other = changed(sample, *range(0, 3000, 15))

    async def write() -> None:
        for place in range(0, 3000, 15):
            await upload(client, project, other.part(place, place + 1))
            if place % 75 == 0:
                await client.project(project).embeddings.delete(ids=[sample.ids[place + 1]])
                await upload(client, project, sample.part(place + 1, place + 2))

    writing = asyncio.create_task(write())
    while not writing.done():
        await pull(client, project, path, since=True)
    await writing
    await pull(client, project, path, since=True)
    assert_has(path, other)


async def test_an_interrupted_one_goes_on(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.parquet", rows(4000)
    await upload(client, project, sample)
    whole = (await pull(client, project, tmp_path / "other.parquet")).bytes_received
    transport = client._transport
    answer, count = transport.answer, 0

    async def until_the_tenth(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count > 10:
            raise ConnectionResetError("cut")
        return await answer(*arguments, **options)

    transport.answer = until_the_tenth  # type: ignore[method-assign]
    with pytest.raises(ConnectionResetError):
        await pull(client, project, path)
    transport.answer = answer  # type: ignore[method-assign]
    assert not path.exists()
    spool = Spool(path).path
    size = spool.stat().st_size
    with spool.open("rb+") as file:
        file.truncate(size - 100)  # the last answer was not written whole
    other = changed(sample, 0, 3999)  # of the pages that are there and of those that are not
    await upload(client, project, other)
    second = await pull(client, project, path)
    assert second.bytes_received < 0.8 * whole
    assert_has(path, other)
    assert not spool.exists()


async def test_pages_are_read_from_the_primary(
    service_url: str, client: AsyncClient, user: tuple[str, str], project: str, tmp_path: Path
) -> None:
    heads: list[bytes] = []

    def fault(head: bytes) -> Fault:
        heads.append(head.lower())
        return NONE

    await upload(client, project, rows(300))
    async with faulty_proxy(service_url, fault) as url, AsyncClient(url, user[1]) as other:
        await pull(other, project, tmp_path / "file.jsonl")
    pages = [head for head in heads if b"limit=200" in head.partition(b"\r\n")[0]]
    assert len(pages) == 2
    assert all(b"x-read-from: primary" in head for head in pages)


@pytest.mark.parametrize("path", [b"?limit=200", b"/changes?since="])
async def test_an_answer_that_is_not_of_the_service(
    service_url: str, client: AsyncClient, user: tuple[str, str], project: str, tmp_path: Path, path: bytes
) -> None:
    page = canned(200, body=b"<html>Sign in again</html>")
    await upload(client, project, rows(3))
    async with (
        faulty_proxy(service_url, lambda head: Fault(answer=page) if path in head else NONE) as url,
        AsyncClient(url, user[1]) as other,
    ):
        with pytest.raises(BadAnswer, match="Is the URL right"):
            await pull(other, project, tmp_path / "file.jsonl")
    await pull(client, project, tmp_path / "file.jsonl")
    assert_has(tmp_path / "file.jsonl", rows(3))


async def test_two_at_once_into_the_same_file(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.parquet", rows(3000)
    await upload(client, project, sample)
    both = [pull(client, project, path), pull(client, project, path)]
    found = await asyncio.gather(*both, return_exceptions=True)
    (refused,) = [one for one in found if isinstance(one, SourceError)]
    assert "Another process is pulling" in str(refused)
    assert_has(path, sample)


async def test_a_full_disk_leaves_the_old_file_and_goes_on_later(
    client: AsyncClient, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sample = tmp_path / "file.parquet", rows(3000)
    await upload(client, project, sample)
    path.write_bytes(b"the old file")
    add, count = Spool.add, 0

    def full(self: Spool, kind: bytes, content: bytes) -> None:
        nonlocal count
        count += 1
        if count == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, kind, content)

    monkeypatch.setattr(Spool, "add", full)
    with pytest.raises(OSError, match="No space left"):
        await pull(client, project, path)
    assert path.read_bytes() == b"the old file"
    await pull(client, project, path)
    assert_has(path, sample)


async def test_a_kind_that_cannot_be_written_is_told_first(client: AsyncClient, project: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be written"):
        await pull(client, project, tmp_path / "file.csv")


@pytest.mark.slow
async def test_texts_that_are_too_much_for_a_page(client: AsyncClient, project: str, tmp_path: Path) -> None:
    sample = rows(40)
    large = Rows(0, sample.ids, sample.vectors, ["x" * 400_000] * 40, [None] * 40)
    await upload(client, project, large)
    path = tmp_path / "file.jsonl"
    await pull(client, project, path)
    assert_has(path, large)
    other = changed(large, *range(40))
    await upload(client, project, other)
    result = await pull(client, project, path, since=True)
    assert (result.since_last, result.changed) == (True, 40)
    assert_has(path, other)


async def test_what_is_pulled_can_be_pushed(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.parquet", rows(2000)
    await upload(client, project, sample)
    await pull(client, project, path)
    result = await client.project(project).push(path, delete=True, progress=False)
    assert (result.unchanged, result.bytes_sent, result.deleted) == (2000, 0, 0)


async def test_large_rows_do_not_make_later_pages_small(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.jsonl", rows(2030)
    await upload(client, project, sample)
    await pull(client, project, path)
    large = changed(sample, *range(2030))
    await upload(client, project, Rows(0, large.ids[:30], large.vectors[:30], ["x" * 400_000] * 30, [None] * 30))
    await upload(client, project, large.part(30, 2030))
    answer, count = client._transport.answer, 0

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return await answer(*arguments, **options)

    client._transport.answer = counted  # type: ignore[method-assign]
    result = await pull(client, project, path, since=True)
    assert (result.since_last, result.changed, result.deleted) == (True, 2030, 0)
    assert count < 40


async def test_what_came_and_went_is_not_counted(client: AsyncClient, project: str, tmp_path: Path) -> None:
    path, sample = tmp_path / "file.jsonl", rows(10)
    await upload(client, project, sample.part(0, 8))
    await pull(client, project, path)
    await upload(client, project, sample.part(8, 10))
    await client.project(project).embeddings.delete(ids=[sample.ids[0], sample.ids[8]])
    result = await pull(client, project, path, since=True)
    assert (result.rows, result.since_last, result.changed, result.deleted) == (8, True, 1, 1)


@pytest.mark.parametrize("what", ["file", "spool"])
async def test_what_another_program_changes_meanwhile(
    client: AsyncClient, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The file is never taken for the project, and no row is lost without an error."""
    path, sample = tmp_path / "file.jsonl", rows(1000)
    await upload(client, project, sample)
    if what == "file":
        await pull(client, project, path)
        await upload(client, project, changed(sample, 5))
        sample = changed(sample, 5)
    position, count = remote.position, 0

    async def break_it(*arguments: Any) -> remote.Position:
        nonlocal count
        count += 1
        if count == 2 and what == "file":
            path.write_bytes(path.read_bytes().replace(b"The text 7", b"My text 70"))
        elif count == 2:
            with Spool(path).path.open("rb+") as file:
                file.seek(5000)
                file.write(b"zzzz")
        return await position(*arguments)

    monkeypatch.setattr(remote, "position", break_it)
    with pytest.raises(SourceError, match="was changed while" if what == "file" else "is damaged"):
        await pull(client, project, path, since=True)
    await pull(client, project, path, since=True)
    assert_has(path, sample)


async def test_a_file_system_without_locks(
    client: AsyncClient, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Lustre and NFS may be mounted."""

    def flock(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    await upload(client, project, rows(10))
    await pull(client, project, tmp_path / "file.jsonl")
    assert_has(tmp_path / "file.jsonl", rows(10))
