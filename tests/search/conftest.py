"""A database of each module's own, with a pool, and a service that does not index by itself."""

from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from service.database.pool import Pool, open_pool
from tests.conftest import client_of, settings_for


@pytest.fixture(scope="module")
def url(new_database: Callable[..., str]) -> str:
    return new_database()


@pytest.fixture(scope="module")
async def pool(url: str) -> AsyncIterator[Pool]:
    async with await open_pool(url, size=4, statement_timeout=60) as pool:
        yield pool


@pytest.fixture(scope="module")
async def api(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(settings_for(url, service_indexer=False)) as client:
        yield client
