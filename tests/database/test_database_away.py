"""A database that is closed or gone is 503, and the service recovers by itself."""

import re
from collections.abc import Callable

import httpx2
import psycopg
import pytest

from tests.conftest import ADMIN_KEY, serving, settings_for

pytestmark = pytest.mark.slow

ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


async def faults(client: httpx2.AsyncClient) -> float:
    """The failed requests in the metrics, for which there is an alert."""
    metrics = (await client.get("/metrics", headers=ADMIN)).text
    return float(re.findall(r"^embedding_service_faults_total (\S+)$", metrics, re.MULTILINE)[0])


async def test_a_closed_database(new_database: Callable[..., str], server: str) -> None:
    url = new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    async with serving(settings_for(url)) as base, httpx2.AsyncClient(base_url=base) as client:
        assert (await client.get("/readyz")).status_code == 200
        before = await faults(client)
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[call-overload]
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            for path in ("/readyz", "/v1/users", "/readyz"):
                answer = await client.get(path, headers=ADMIN)
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"] == "1"
                assert answer.headers["content-type"] == "application/problem+json"
            assert (await client.get("/healthz")).status_code == 200
            metrics = await client.get("/metrics", headers=ADMIN)  # which show it
            assert metrics.status_code == 200
            assert re.search(r'requests_total\{.*route="/v1/users",status="503"\}', metrics.text)
            assert await faults(client) == before + 3
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[call-overload]
        assert (await client.get("/readyz")).status_code == 200
