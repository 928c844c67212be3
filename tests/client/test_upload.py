"""Uploads: complete, equal and in order, whatever the service and the network do."""

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from vecferry import AsyncClient, BadRows, Conflict, NotFound, Progress, Rows, SourceError, Unauthorized, Unavailable
from vecferry.bodies import MOST_ROWS, Bodies
from vecferry.pace import MIB, Pace

from tests.client.conftest import DIMENSIONS
from tests.client.samples import assert_stored, chunks, rows
from tests.conftest import ADMIN_KEY, serving, settings_for
from tests.support.faulty_proxy import NONE, Fault, canned, faulty_proxy

User = tuple[str, str]


def is_upload(head: bytes) -> bool:
    return head.startswith(b"POST /v1/embeddings/")


async def test_all_rows_are_stored_and_sending_them_again_changes_nothing(client: AsyncClient, project: str) -> None:
    told: list[Progress] = []
    upload = client.project(project).upload_rows
    result = await upload(chunks(5000, 700), total=5000, progress=told.append)
    assert (result.inserted, result.updated, result.unchanged, result.bad_count) == (5000, 0, 0, 0)
    assert result.seconds > 0
    assert [one.stored for one in told] == sorted(one.stored for one in told)
    assert (told[-1].stored, told[-1].total, told[-1].bytes_sent) == (5000, 5000, result.bytes_sent)
    await assert_stored(client, project, list(chunks(5000, 700)))
    again = await upload(chunks(5000, 700))
    assert (again.inserted, again.unchanged) == (0, 5000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_it_is_complete_over_a_network_that_breaks(service_url: str, user: User, project: str, seed: int) -> None:
    chance = random.Random(seed)
    met: list[Fault] = []

    def fault_of(head: bytes) -> Fault:
        faults = [
            Fault(cut_request=chance.randrange(1_000_000)),
            Fault(cut_answer=chance.randrange(300)),
            Fault(answer=canned(503, "Retry-After: 0")),
            Fault(answer=canned(429, "Retry-After: 0")),
            Fault(answer=canned(502, "Content-Type: text/html", body=b"<html>")),
            Fault(delay=0.05),
        ]
        if not is_upload(head) or chance.random() < 0.6:
            return NONE
        met.append(chance.choice(faults))
        return met[-1]

    async with faulty_proxy(service_url, fault_of) as url, AsyncClient(url, user[1], retries=12) as client:
        result = await client.project(project).upload_rows(chunks(12_000, 500, text_size=2000))
        assert met
        assert (result.stored, result.bad_count) == (12_000, 0)
        await assert_stored(client, project, list(chunks(12_000, 500, text_size=2000)))


async def test_a_key_that_ends_in_the_middle(service_url: str, user: User, project: str) -> None:
    uploads = iter(range(1000))

    def fault_of(head: bytes) -> Fault:
        no = b'{"title": "Unauthorized", "status": 401, "detail": "The key is not known."}'
        is_refused = is_upload(head) and next(uploads) >= 3
        return Fault(answer=canned(401, body=no)) if is_refused else NONE

    async with faulty_proxy(service_url, fault_of) as url, AsyncClient(url, user[1]) as client:
        with pytest.raises(Unauthorized) as refused:
            await client.project(project).upload_rows(chunks(20_000, 500))
        stored = (await client.project(project).get()).number_of_embeddings
    assert stored == 3 * MOST_ROWS
    assert refused.value.uploaded is not None
    assert refused.value.uploaded.stored == stored
    expected = "The key is not known. 3,000 rows were stored before; sending all again is harmless."
    assert str(refused.value) == expected


@pytest.mark.slow
async def test_a_service_that_limits_how_often_it_is_asked(
    new_database: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vecferry")
    async with (
        serving(settings_for(new_database(), service_rate_limit="4/5second", service_indexer=False)) as url,
        AsyncClient(url, ADMIN_KEY) as admin,
    ):
        key = (await admin.users.put("alice", email="alice@example.org")).key
        await admin.instances.put("alice/inst", dimensions=DIMENSIONS)
        await admin.projects.put("alice/poems", instance="alice/inst")
        async with AsyncClient(url, key) as client:
            result = await client.project("alice/poems").upload_rows(chunks(6000, 500, text_size=2000))
    assert result.inserted == 6000
    assert any(": 429; again in " in line for line in caplog.messages)


async def test_a_service_that_stays_away(service_url: str, user: User, project: str) -> None:
    def fault_of(head: bytes) -> Fault:
        return Fault(answer=canned(503, "Retry-After: 0")) if is_upload(head) else NONE

    async with faulty_proxy(service_url, fault_of) as url, AsyncClient(url, user[1], retries=1) as client:
        with pytest.raises(Unavailable, match="0 rows were stored before"):
            await client.project(project).upload_rows(chunks(10, 10))


@pytest.mark.slow
async def test_rows_that_the_service_refuses_are_named_with_their_place(client: AsyncClient, project: str) -> None:
    parts = list(chunks(3000, 500))
    for place in range(250):  # more than the service names at a time
        parts[0].ids[2 * place] = "x" * 301
    assert parts[3].texts
    parts[3].texts[7] = "with a \0"
    assert parts[5].metadata
    parts[5].metadata[1] = {"number": float("nan")}
    result = await client.project(project).upload_rows(iter(parts))
    assert (result.inserted, result.bad_count) == (3000 - 252, 252)
    bad = {one.place: one for one in result.bad}
    assert sorted(bad) == [*range(0, 500, 2), 1507, 2501]
    assert bad[0].text_id == "x" * 301
    assert "text_id: " in bad[498].reason
    assert "must not contain a NUL" in bad[1507].reason
    assert bad[1507].text_id == "text-0001507"
    stored = [one.text_id async for one in client.embeddings(project).list(include=["text"])]
    assert stored == [f"text-{place:07}" for place in range(3000) if place not in bad]


async def test_rows_that_break_the_schema_of_the_project(client: AsyncClient, user: User) -> None:
    scheme = {"type": "object", "properties": {"odd": {"const": True}}}
    strict = await client.projects.put(f"{user[0]}/strict", instance=f"{user[0]}/inst", metadata_scheme=scheme)
    result = await strict.upload_rows(iter([rows(10)]))
    assert sorted((one.place, "schema" in one.reason) for one in result.bad) == [
        (2, True),
        (4, True),
        (6, True),
        (8, True),
    ]
    assert result.inserted == 6


async def test_rows_that_cannot_be_encoded(client: AsyncClient, project: str) -> None:
    part = rows(10)
    assert part.texts
    assert part.metadata
    part.texts[1] = "half of a pair: \ud800"
    part.metadata[2] = {"huge": 2**70}
    part.metadata[3] = {"what": object()}
    result = await client.project(project).upload_rows(iter([part]))
    assert sorted(one.place for one in result.bad) == [1, 2, 3]
    assert all(one.reason.startswith("cannot be sent: ") for one in result.bad)
    assert result.inserted == 7


@pytest.mark.parametrize("place", [0, 2600])
async def test_it_stops_at_a_bad_row_when_asked(client: AsyncClient, project: str, place: int) -> None:
    parts = list(chunks(20_000, 500))
    parts[place // 500].ids[place % 500] = ""
    with pytest.raises(BadRows, match=f"Row {place} .text_id ''. cannot be stored: text_id") as stopped:
        await client.project(project).upload_rows(iter(parts), on_bad_row="stop")
    assert stopped.value.uploaded is not None
    assert (await client.project(project).get()).number_of_embeddings == stopped.value.uploaded.stored < 20_000


async def test_only_the_first_thousand_bad_rows_are_kept(client: AsyncClient, project: str) -> None:
    part = rows(1500)
    ids = [text_id * 30 for text_id in part.ids]
    result = await client.project(project).upload_rows(iter([Rows(0, ids, part.vectors, None, None)]))
    assert (result.stored, result.bad_count, len(result.bad)) == (0, 1500, 1000)


async def test_of_rows_with_the_same_id_the_last_one_counts(client: AsyncClient, project: str) -> None:
    """In one body, and in bodies that would be sent at the same time."""
    parts = [rows(900, start=900 * number) for number in range(8)]
    same = [Rows(part.start, parts[0].ids, part.vectors, part.texts, part.metadata) for part in parts]
    result = await client.project(project).upload_rows(iter(same), parallel=8)
    assert (result.inserted, result.updated) == (900, 7 * 900)
    await assert_stored(client, project, same[-1:])
    twice = Rows(0, ["one", "two", "one"], parts[0].vectors[:3], [None] * 3, [None] * 3)
    await client.project(project).upload_rows(iter([twice]))
    assert np.array_equal((await client.embeddings(project).get("one")).vector, parts[0].vectors[2])  # type: ignore[arg-type]


@pytest.mark.slow
async def test_bodies_are_no_larger_than_a_proxy_takes(service_url: str, user: User, project: str) -> None:
    sizes: list[int] = []

    def fault_of(head: bytes) -> Fault:
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) if is_upload(head) else 0
        sizes.append(size)
        return Fault(answer=canned(413, "Content-Type: text/html", body=b"<html>")) if size > 40_000 else NONE

    async with faulty_proxy(service_url, fault_of) as url, AsyncClient(url, user[1]) as client:
        result = await client.project(project).upload_rows(chunks(9000, 3000))
        assert (result.inserted, result.bad_count) == (9000, 0)
        await assert_stored(client, project, list(chunks(9000, 3000)))
    assert sum(size > 40_000 for size in sizes) < 8  # learnt, not tried each time


async def test_a_row_that_is_larger_than_the_service_takes(client: AsyncClient, project: str) -> None:
    part = rows(30)
    assert part.texts
    part.texts[17] = "x" * 5_000_000
    result = await client.project(project).upload_rows(iter([part]))
    assert [(one.place, one.text_id) for one in result.bad] == [(17, "text-0000017")]
    assert "at most 4194304 bytes" in result.bad[0].reason
    assert result.inserted == 29


async def test_texts_and_metadata_that_the_source_does_not_have_stay(client: AsyncClient, project: str) -> None:
    before = rows(4)
    await client.project(project).upload_rows(iter([before]))
    vectors = rows(4, start=100).vectors
    bare = [Rows(0, before.ids[:2], vectors[:2], None, None), Rows(2, before.ids[2:], vectors[2:], [None] * 2, None)]
    result = await client.project(project).upload_rows(iter(bare))
    assert result.updated == 4
    await assert_stored(
        client, project, [Rows(0, before.ids, vectors, [*before.texts[:2], None, None], before.metadata)]
    )  # type: ignore[index]


async def test_vectors_of_other_dimensions_end_it_at_once(client: AsyncClient, project: str) -> None:
    with pytest.raises(SourceError, match="have 3 dimensions, but the project takes 8"):
        await client.project(project).upload_rows(chunks(100_000, 1000, dimensions=3))
    with pytest.raises(NotFound):
        await client.project(f"{project}-not").upload_rows(chunks(10, 10))


async def test_a_source_that_breaks_ends_it(client: AsyncClient, project: str) -> None:
    def broken() -> Iterator[Rows]:
        yield from chunks(3000, 500)
        raise SourceError("row 3000 is cut off")

    with pytest.raises(SourceError, match=r"row 3000 is cut off\. [\d,]+ rows were stored before") as stopped:
        await client.project(project).upload_rows(broken())
    assert stopped.value.uploaded is not None
    assert (await client.project(project).get()).number_of_embeddings == stopped.value.uploaded.stored >= 2000


@pytest.mark.parametrize("is_wanted", [True, False, None])
async def test_a_bar_is_shown_where_it_is_wanted(
    client: AsyncClient, project: str, capsys: pytest.CaptureFixture[str], is_wanted: bool | None
) -> None:
    part = rows(900)
    part.ids[7] = "x" * 301
    await client.project(project).upload_rows(iter([part]), total=900, progress=is_wanted)
    shown = capsys.readouterr().err
    lines = [line for line in shown.splitlines() if not line.startswith("{")]  # the log of the service
    assert any("900/900" in line and "bad=1" in line for line in lines) is (
        is_wanted is True
    )  # none without a terminal


async def test_nothing_is_uploaded_from_nothing(client: AsyncClient, project: str) -> None:
    result = await client.project(project).upload_rows(iter(()))
    assert (result.stored, result.bad, result.bytes_sent) == (0, [], 0)


async def test_a_cancelled_upload_ends_and_closes_its_source(client: AsyncClient, project: str) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless() -> Iterator[Rows]:
        try:
            for start in range(0, 10**9, 500):
                yield rows(500, start=start)
        finally:
            loop.call_soon_threadsafe(closed.set)

    running = asyncio.create_task(client.project(project).upload_rows(endless()))
    while not (await client.project(project).get()).number_of_embeddings:
        await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(closed.wait(), 60)


@pytest.mark.parametrize("method", ["upload", "push"])
async def test_the_loop_runs_while_a_source_is_opened(client: AsyncClient, project: str, method: str) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"id": ["a"], "vector": [[1.0] * DIMENSIONS]})
    has_run = threading.Event()

    class Query:
        """As a relation of DuckDB is, which asks the database when it is opened."""

        def __len__(self) -> int:
            return 1

        def __arrow_c_stream__(self, requested: object = None) -> object:
            assert has_run.wait(20)
            return table.__arrow_c_stream__(requested)

    asyncio.get_running_loop().call_later(0.2, has_run.set)
    assert (await getattr(client.project(project), method)(Query(), progress=False)).inserted == 1


@pytest.mark.parametrize("kind", ["array", "records", "generator", "asynchronous", "jsonl", "npy"])
async def test_any_data(client: AsyncClient, project: str, tmp_path: Path, kind: str) -> None:
    part = rows(1200)
    assert part.texts
    assert part.metadata
    records = [
        {"text_id": text_id, "vector": vector.tolist(), "text": text, "metadata": metadata}
        for text_id, vector, text, metadata in zip(part.ids, part.vectors, part.texts, part.metadata, strict=True)
    ]

    async def one_by_one() -> AsyncIterator[dict[str, Any]]:
        for record in records:
            if record["text_id"] == part.ids[700]:
                await asyncio.sleep(0.01)
            yield record

    data: Any = {
        "array": part.vectors.astype(np.float64),
        "records": records,
        "generator": iter(records),
        "asynchronous": one_by_one(),
        "jsonl": tmp_path / "rows.jsonl",
        "npy": str(tmp_path / "rows.npy"),
    }[kind]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, records)))
    np.save(tmp_path / "rows.npy", part.vectors)
    beside = {"ids": part.ids, "texts": part.texts, "metadata": part.metadata} if kind in ("array", "npy") else {}
    result = await client.project(project).upload(data, **beside)
    assert (result.inserted, result.bad, result.largest_loss) == (1200, [], 0.0)
    await assert_stored(client, project, [part])


async def test_what_float16_loses_is_told_and_bad_rows_of_the_source_too(client: AsyncClient, project: str) -> None:
    vectors = rows(6).vectors.astype(np.float64)
    vectors[1] += 1e-4
    vectors[4, 2] = np.inf
    result = await client.project(project).upload(vectors, ids=list("abcdef"))
    assert result.inserted == 5
    assert [(one.place, one.text_id) for one in result.bad] == [(4, "e")]
    assert 0 < result.largest_loss < 1e-3
    with pytest.raises(BadRows, match="Row 4"):
        await client.project(project).upload(vectors, ids=list("abcdef"), on_bad_row="stop")


async def test_texts_of_a_project_that_cannot_embed(client: AsyncClient, project: str) -> None:
    with pytest.raises(Conflict, match="0 rows were stored before"):
        await client.project(project).texts([{"text_id": "rose", "text": "A rose"}])


def test_bodies_have_the_wanted_size_and_are_taken_apart() -> None:
    bodies = Bodies(chunks(5000, 300), DIMENSIONS, lambda bad: pytest.fail(str(bad)))
    whole = list(iter(lambda: bodies.next(20_000), None))
    assert all(len(body.content) <= 20_000 for body in whole)
    assert [place for body in whole for place in body.places] == list(range(5000))
    assert len(whole) < 40  # none is small
    body = whole[3]
    decoded = msgspec.msgpack.decode(body.content)
    assert decoded["encoding"] == "f2"
    assert [one["text_id"] for one in decoded["embeddings"]] == body.ids
    taken = body.take([0, 2, len(body) - 1])
    assert msgspec.msgpack.decode(taken.content)["embeddings"] == [decoded["embeddings"][row] for row in (0, 2, -1)]
    assert taken.places == [body.places[0], body.places[2], body.places[-1]]
    parts = body.parts(3000)
    assert all(len(part.content) <= 3000 for part in parts)
    assert [one for part in parts for one in msgspec.msgpack.decode(part.content)["embeddings"]] == decoded[
        "embeddings"
    ]
    assert len(Bodies(chunks(9000, 9000), DIMENSIONS, print).next(8 * MIB) or ()) == MOST_ROWS


def test_the_pace_climbs_while_it_pays_and_halves_when_the_service_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace = Pace(None)

    def run(answers: int, most_at_once: int, seconds: float = 0.2) -> None:
        """A service that is faster with more at once, up to a number."""
        nonlocal now
        for _ in range(answers):
            now += seconds / min(pace.parallel, most_at_once)
            pace.answered(pace.size, seconds)

    run(300, most_at_once=5)
    assert (pace.parallel, pace.size) == (5, MIB)
    pace.refused(503)
    assert pace.parallel == 2
    run(300, most_at_once=100)
    assert pace.parallel == 8
    pace.refused(429)
    assert pace.parallel == 4
    pace.refused(502)
    assert pace.parallel == 4
    run(10, most_at_once=100, seconds=0.05)
    assert pace.size == 8 * MIB
    pace.answered(pace.size, 6.0)
    assert pace.size == 4 * MIB
    pace.too_large(100_000)
    run(300, most_at_once=3, seconds=0.01)
    assert pace.size == 100_000
    fixed = Pace(3)
    fixed.refused(503)
    assert fixed.parallel == 3
    with pytest.raises(ValueError, match="parallel must be at least 1, not 0"):
        Pace(0)  # an upload would wait for its turn forever, and let nothing else run
