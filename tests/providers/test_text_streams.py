"""Streams of texts: embedded several chunks at once, stored in order, and never twice."""

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import httpx2
import msgspec
import pytest

from tests.conftest import client_of, settings_for
from tests.providers.conftest import Lent, gone, lent
from tests.support.provider import Provider
from tests.support.world import Headers, problem
from tests.uploads.test_streams import SOON, opened

pytestmark = pytest.mark.slow


def records(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def row(number: int, text: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"text_id": f"{number:05}", "text": text or f"text {number}", **fields}


async def send(one: Lent, content: Any, kind: str = "application/x-ndjson", **query: str) -> list[dict[str, Any]]:
    headers = {**one.owner.headers, "Content-Type": kind}
    answer = await one.api.post(f"{one.texts}/stream", content=content, headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_texts_without_end(service: httpx2.AsyncClient, admin: Headers, provider: Provider) -> None:
    one = await lent(service, admin, provider)
    provider.seconds = 0.3
    rows = [row(number, metadata={"number": number}) for number in range(950)]
    lines = await send(one, records(rows))
    last = lines[-1]
    assert last == {
        "rows": 950, "inserted": 950, "updated": 0, "unchanged": 0, "rejected": 0, "errors": [], "done": True,
        "usage": {"texts": 950, "tokens": 1900, "requests": 10, "unchanged": 0},
    }  # fmt: skip
    assert [line["rows"] for line in lines] == [950]
    assert provider.most_at_once > 3
    found = await service.post(f"{one.similars}&limit=1", json={"text": "text 700"}, headers=one.owner.headers)
    assert found.json()["results"][0]["id"] == "00700"
    (used,) = await one.used(by="user")
    assert (used["texts"], used["requests"], used["tokens"]) == (951, 11, 1902)

    provider.asked.clear()
    again = (await send(one, records(rows)))[-1]
    assert (again["unchanged"], again["usage"]) == (950, {"texts": 0, "tokens": 0, "requests": 0, "unchanged": 950})
    assert provider.asked == []
    rows[3] = row(3, "another text", metadata={"number": 3})
    rows[4]["metadata"] = {"number": "four"}
    changed = (await send(one, records(rows)))[-1]
    assert (changed["updated"], changed["usage"]["texts"]) == (2, 1)
    packed = b"".join(msgspec.msgpack.encode(one) for one in rows)
    assert (await send(one, packed, "application/msgpack"))[-1]["unchanged"] == 950


async def test_the_later_of_two_of_the_same_id_is_stored_with_its_own_vector(
    service: httpx2.AsyncClient, one: Lent
) -> None:
    await one.put({"00001": "first"})
    last = (await send(one, records([row(1, "first"), row(1, "second"), row(2, "third")])))[-1]
    assert (last["rows"], last["done"]) == (3, True)
    for text, text_id in (("second", "00001"), ("third", "00002")):
        found = await service.post(f"{one.similars}&limit=1", json={"text": text}, headers=one.owner.headers)
        best = found.json()["results"][0]
        assert (best["id"], round(best["similarity"], 2)) == (text_id, 1)


async def test_the_later_of_two_of_the_same_id_in_different_chunks(service: httpx2.AsyncClient, one: Lent) -> None:
    """Chunks are prepared together: the second must not find what is stored before the first is."""
    await one.put({"00001": "old"})
    rows = [row(1, "new"), *(row(number) for number in range(2, 1001)), row(1, "old")]
    last = (await send(one, records(rows)))[-1]
    assert (last["rows"], last["done"]) == (1001, True)
    stored = (await service.get(f"{one.embeddings}/00001", headers=one.owner.headers)).json()
    assert stored["text"] == "old"
    found = await service.post(f"{one.similars}&limit=1", json={"text": "old"}, headers=one.owner.headers)
    best = found.json()["results"][0]
    assert (best["id"], round(best["similarity"], 2)) == ("00001", 1)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
async def test_bad_records(provider: Provider, one: Lent, on_error: str) -> None:
    provider.bad_texts = {"text 150", "text 160"}
    rows = [row(number) for number in range(300)]
    rows[120]["text"] = ""
    last = (await send(one, records(rows), on_error=on_error))[-1]
    lines = await send(one, records(rows), on_error=on_error)
    bad = [error for line in lines for error in line["errors"]]
    if on_error == "stop":
        assert [error["row"] for error in bad] == [120]
        assert last["rows"] == 121
        assert "Row 120 is not valid" in last["error"]
        assert len(await one.stored()) == 120
        return
    assert [error["row"] for error in bad] == [120, 150, 160]
    assert "maximum context length" in bad[1]["message"]
    assert (last["done"], last["rows"], last["rejected"], last["inserted"]) == (True, 300, 3, 297)
    assert last["usage"]["texts"] >= 297


async def test_a_provider_that_fails_ends_the_stream_and_says_what_is_stored(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, fault="quota")
    last = (await send(one, records([row(number) for number in range(150)])))[-1]
    assert (last["rows"], last["inserted"]) == (0, 0)
    assert "is used up" in last["error"]
    assert await one.stored() == []
    budget = await lent(service, admin, provider, tokens_per_day=40_000)
    provider.counts_bytes = True
    last = (await send(budget, records([row(number, "x" * 100) for number in range(500)])))[-1]
    assert "The budget is exceeded" in last["error"]
    assert last["usage"]["tokens"] == 39_900  # as many as there can be
    assert last["rows"] == last["inserted"] <= 399  # all before the first that was not embedded
    provider.asked.clear()
    again = (await send(budget, records([row(number, "x" * 100) for number in range(500)])))[-1]
    assert again["unchanged"] == last["rows"]


async def test_a_budget_for_less_than_a_group_of_texts_is_used_up(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, tokens_per_day=1000)
    provider.counts_bytes = True
    last = (await send(one, records([row(number, "x" * 100) for number in range(300)])))[-1]
    assert last["error"] == (
        f"The budget is exceeded: {one.owner.handle}/here is allowed 1,000 tokens a day: 900 are spent, "
        "and this text needs up to 116."
    )
    assert (last["rows"], last["inserted"], last["usage"]["tokens"]) == (9, 9, 900)
    assert await one.stored() == [f"{number:05}" for number in range(9)]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
async def test_a_text_beyond_the_whole_budget_is_a_bad_record(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, on_error: str
) -> None:
    one = await lent(service, admin, provider, tokens_per_day=1000)
    sent = records([row(0, "short"), row(1, "x" * 1000), row(2, "short")])
    lines = await send(one, sent, on_error=on_error)
    assert [error for line in lines for error in line["errors"]] == [
        {
            "row": 1,
            "text_id": "00001",
            "message": f"text: needs up to 1,016 tokens, but {one.owner.handle}/here is allowed 1,000 tokens a day",
        }
    ]
    assert await one.stored() == (["00000", "00002"] if on_error == "skip" else ["00000"])


async def test_a_budget_of_none_ends_the_stream_and_is_named(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, tokens_per_day=0)
    last = (await send(one, records([row(number) for number in range(3)]), on_error="skip"))[-1]
    assert last["error"] == (
        f"No text was embedded (needs up to 66 tokens, but {one.owner.handle}/here is allowed 0 tokens a day)."
    )
    assert (last["rows"], provider.asked) == (0, [])


async def test_lines_come_while_records_are_still_sent(service: httpx2.AsyncClient, one: Lent) -> None:
    client = await opened(service, SimpleNamespace(embeddings=one.texts, owner=one.owner))  # type: ignore[arg-type]
    for number in (1, 2):
        await client.send(records([row(number)]))
        line = await asyncio.wait_for(client.line(), SOON)
        assert (line["rows"], line["usage"]["texts"]) == (number, number)
    await client.close()


async def test_a_client_that_goes_away_stops_the_calls(
    provider_database: str, admin: Headers, provider: Provider
) -> None:
    config = settings_for(
        provider_database,
        service_provider_hosts=f"http://127.0.0.1:{provider.port}",
        service_provider_seconds=2.5,  # the calls that are made end by themselves, and no other follows
        service_indexer=False,
    )
    async with client_of(config) as service:
        one = await lent(service, admin, provider, fault="hang")
        headers = {**one.owner.headers, "Content-Type": "application/x-ndjson"}
        content = records([row(number) for number in range(500)])
        await gone(asyncio.create_task(service.post(f"{one.texts}/stream", content=content, headers=headers)), provider)


async def test_who_may(service: httpx2.AsyncClient, one: Lent) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    problem(await service.post(f"{one.texts}/stream", content=records([row(1)]), headers=headers), 401)
    plain = {**one.owner.headers, "Content-Type": "text/plain"}
    problem(await service.post(f"{one.texts}/stream", content=b"x", headers=plain), 415)


@pytest.mark.alone
async def test_ten_thousand_texts(provider: Provider, one: Lent) -> None:
    """A provider that takes a second: ten times as fast as one call after the other; unchanged, without any."""
    texts = [row(number, f"{number} " + "x" * 1000) for number in range(10_000)]
    content = records(texts)
    provider.seconds = 1
    start = time.perf_counter()
    last = (await send(one, content))[-1]
    taken = time.perf_counter() - start
    assert (last["done"], last["inserted"]) == (True, 10_000)
    calls = last["usage"]["requests"]
    start = time.perf_counter()
    assert (await send(one, content))[-1]["usage"]["requests"] == 0
    again = time.perf_counter() - start
    print(f"{calls} calls of 1 s in {taken:.2f} s ({calls / taken:.1f} times as fast); again in {again:.2f} s")
    assert taken < calls / 10
