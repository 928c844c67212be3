"""A service that may call a provider on loopback, and a project whose instance is there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.conftest import client_of, settings_for
from tests.support import provider as fake
from tests.support.provider import KEY, Provider
from tests.support.world import Headers, User, unique, user

STANDARDS = {"openai": "/v1", "cohere": "/v2", "gemini": "/v1beta", "voyage": "/v1", "jina": "/v1", "mistral": "/v1",
             "azure-openai": "/openai/deployments/d", "ollama": "", "tei": ""}  # fmt: skip


@pytest.fixture(scope="session")
async def provider() -> AsyncIterator[Provider]:
    async with fake.running() as provider:
        yield provider


@pytest.fixture(scope="session")
def provider_database(new_database: Callable[..., str]) -> str:
    return new_database()


@pytest.fixture(scope="session")
async def service(provider_database: str, provider: Provider) -> AsyncIterator[httpx2.AsyncClient]:
    config = settings_for(
        provider_database,
        service_provider_hosts=f"http://127.0.0.1:{provider.port}, http://127.0.0.1:9, http://*.example.org",
        service_indexer=False,
        service_wait_seconds=30.0,  # fifty ask at once, on a machine that may be busy
    )
    async with client_of(config) as client:
        yield client


@pytest.fixture(autouse=True)
async def afresh(provider: Provider) -> None:
    """The provider is as at first, without calls that were given up; and the day does not end during a test."""
    now = datetime.now(UTC)
    left = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC) - now
    if left < timedelta(seconds=30):  # usage is of days in UTC
        await asyncio.sleep(left.total_seconds() + 0.1)
    while provider.at_once:
        await asyncio.sleep(0.02)
    provider.asked.clear()
    provider.bad_texts.clear()
    provider.counts_bytes = False
    provider.says = None
    provider.most, provider.seconds, provider.failures, provider.most_at_once = 10_000, 0.0, 0, 0


class Lent:
    """A user with an instance at the provider, and a project on it."""

    def __init__(self, api: httpx2.AsyncClient, owner: User, instance: str, project: str) -> None:
        self.api, self.owner, self.handle, self.project = api, owner, instance, project
        self.instance = f"/v1/llm-instances/{owner.handle}/{instance}"
        self.texts = f"/v1/texts/{owner.handle}/{project}"
        self.similars = f"/v1/similars/{owner.handle}/{project}?threshold=-1"
        self.embeddings = f"/v1/embeddings/{owner.handle}/{project}"

    async def put(self, texts: dict[str, str], headers: Headers | None = None) -> httpx2.Response:
        rows = [{"text_id": one, "text": text} for one, text in texts.items()]
        return await self.api.post(self.texts, json={"texts": rows}, headers=headers or self.owner.headers)

    async def embed(self, texts: list[str], headers: Headers | None = None, **body: Any) -> httpx2.Response:
        sent = {"input": texts, **body}
        return await self.api.post(f"{self.instance}/embed", json=sent, headers=headers or self.owner.headers)

    async def used(self, **query: str) -> list[dict[str, Any]]:
        answer = await self.api.get(f"{self.instance}/usage", params=query, headers=self.owner.headers)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["usage"]
        return found

    async def stored(self) -> list[str]:
        answer = await self.api.get(self.embeddings, headers=self.owner.headers)
        return [one["text_id"] for one in answer.json()["embeddings"]]


async def lent(
    api: httpx2.AsyncClient,
    admin: Headers,
    provider: Provider,
    standard: str = "openai",
    fault: str = "none",
    **changes: Any,
) -> Lent:
    """Makes a user, an instance at the provider, and a project."""
    owner = await user(api, admin)
    body = {
        "instance_handle": "here",
        "api_standard": standard,
        "endpoint": provider.url(STANDARDS[standard], fault),
        "model": "m",
        "dimensions": fake.DIMENSIONS,
        "api_key": KEY,
        **changes,
    }
    answer = await api.post(f"/v1/llm-instances/{owner.handle}", json=body, headers=owner.headers)
    assert answer.status_code == 201, answer.text
    handle = unique("p")
    project = {"project_handle": handle, "instance_handle": "here"}
    answer = await api.post(f"/v1/projects/{owner.handle}", json=project, headers=owner.headers)
    assert answer.status_code == 201, answer.text
    return Lent(api, owner, "here", handle)


async def gone(call: "asyncio.Task[httpx2.Response]", provider: Provider) -> None:
    """The client of a call goes away while the provider is asked; then nobody asks it any more."""
    async with asyncio.timeout(20):
        while not provider.at_once:
            await asyncio.sleep(0.01)
        call.cancel()
        while provider.at_once:
            await asyncio.sleep(0.01)
    await asyncio.gather(call, return_exceptions=True)


@pytest.fixture
async def one(service: httpx2.AsyncClient, admin: Headers, provider: Provider) -> Lent:
    """An instance at a provider without faults."""
    return await lent(service, admin, provider)


@pytest.fixture
async def other(service: httpx2.AsyncClient, admin: Headers) -> User:
    """A user who may be given a share of it."""
    return await user(service, admin)
