"""Limits of requests that embed texts: their memory, and instances that change meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx2
import msgspec
import pytest

from service.providers import limits
from tests.conftest import client_of, settings_for
from tests.providers.conftest import Lent, lent
from tests.support.provider import Provider
from tests.support.world import Headers, problem

pytestmark = pytest.mark.slow

MIB = 1024 * 1024


async def test_vectors_in_memory_are_limited(
    new_database: Callable[..., str], admin: Headers, provider: Provider
) -> None:
    config = settings_for(
        new_database(),
        service_provider_hosts=f"http://127.0.0.1:{provider.port}",
        service_bodies_bytes=MIB,
        service_max_body_bytes=MIB,
        service_wait_seconds=1.0,  # also for new connections to the database, on a busy machine
        service_indexer=False,
    )
    async with client_of(config) as api:
        one = await lent(api, admin, provider)
        provider.seconds = 3.0
        texts = ["a"] * 1000  # 208,000 bytes each time
        answers = await asyncio.gather(*(one.embed(texts) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [503] * 3
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert "bytes of large requests and answers" in problem(refused, 503)["detail"]
        assert (await one.embed(texts)).status_code == 200


async def test_answers_of_providers_in_memory_are_limited(
    new_database: Callable[..., str], admin: Headers, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of two answers with 128 vectors, which may have 92,160 bytes each
    monkeypatch.setattr(limits, "ANSWERS_BYTES", 300_000)
    monkeypatch.setattr(limits, "ANSWERS_BYTES_OF_INSTANCE", 200_000)
    hosts = f"http://127.0.0.1:{provider.port}"
    config = settings_for(new_database(), service_provider_hosts=hosts, service_indexer=False)
    async with client_of(config) as api:
        one = await lent(api, admin, provider)
        provider.seconds, provider.most_at_once = 0.4, 0
        for _ in range(2):  # also after the first ones gave back what they had reserved
            answer = await one.embed([f"{n}" for n in range(6 * limits.TEXTS_A_CALL)])
            assert answer.status_code == 200, answer.text
        assert provider.most_at_once == 2


async def test_many_vectors_of_more_dimensions(service: httpx2.AsyncClient, admin: Headers, provider: Provider) -> None:
    one, before = await lent(service, admin, provider), provider.dimensions
    provider.dimensions = 1000
    try:
        body = problem(await one.embed(["a"] * 100), 502)
    finally:
        provider.dimensions = before
    assert body["detail"].endswith("perhaps its vectors have more dimensions than the instance.")


async def test_dimensions_that_change_while_the_texts_arrive(
    service: httpx2.AsyncClient, provider: Provider, one: Lent
) -> None:

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"texts": [{"text_id": "a",'
        await asyncio.sleep(0.5)
        provider.dimensions = 9
        change = await service.patch(one.instance, json={"dimensions": 9}, headers=one.owner.headers)
        assert change.status_code == 200, change.text
        yield b'"text": "one"}]}'

    before = provider.dimensions
    try:
        headers = {**one.owner.headers, "Content-Type": "application/json"}
        answer = await service.post(one.texts, content=slow(), headers=headers)
        assert "have just changed" in problem(answer, 409)["detail"]
        assert (await one.put({"a": "one"})).status_code == 201
    finally:
        provider.dimensions = before


@pytest.mark.parametrize("way", ["batch", "stream"])
async def test_a_model_that_changes_while_texts_are_embedded(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, way: str
) -> None:
    """Its owner deletes the old vectors then; those of the old model must not come afterwards."""
    one = await lent(service, admin, provider)
    provider.seconds = 1.0

    async def upload() -> str:
        if way == "batch":
            return str(problem(await one.put({"a": "one"}), 409)["detail"])
        headers = {**one.owner.headers, "Content-Type": "application/x-ndjson"}
        answer = await service.post(f"{one.texts}/stream", content='{"text_id":"a","text":"one"}', headers=headers)
        last: dict[str, str] = msgspec.json.decode(answer.text.splitlines()[-1])
        return last["error"]

    uploading = asyncio.create_task(upload())
    await asyncio.sleep(0.5)
    change = await service.patch(one.instance, json={"model": "another"}, headers=one.owner.headers)
    assert change.status_code == 200, change.text
    assert "has just changed" in await uploading
    provider.seconds = 0.0
    answer = await one.put({"a": "one"})
    assert (answer.status_code, answer.json()["inserted"]) == (201, 1)
