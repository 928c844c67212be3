"""What operators see: a line of log a request, metrics, traces; and no secret in any of them."""

import asyncio
import contextlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import psycopg
import pytest

from chaos.places import free_port
from service import __version__
from service.storage import indexer
from tests.conftest import ADMIN, ADMIN_KEY, ENCRYPTION_KEY, client_of, settings_for
from tests.support import world
from tests.support.processes import served, started

pytestmark = pytest.mark.slow

METRICS_KEY = "marked-metrics-key"
SETTINGS = {
    "SERVICE_ADMINKEY": ADMIN_KEY,
    "ENCRYPTION_KEY": ENCRYPTION_KEY,
    "SERVICE_METRICS_KEY": METRICS_KEY,
    "SERVICE_LOG_FORMAT": "json",
    "SERVICE_INDEXER": "false",
}


def value(text: str, name: str, **labels: str) -> float:
    """The sum of a metric over all lines with these labels."""
    total = 0.0
    for line in text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name:
            has = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
            total += float(found[3]) if labels.items() <= has.items() else 0
    return total


async def test_a_line_a_request(new_database: Callable[..., str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served(log, cwd=tmp_path, SERVICE_DATABASE_URL=new_database(), **SETTINGS) as (_, url):
        async with httpx2.AsyncClient(base_url=url) as api:
            owner = await world.user(api, ADMIN)
            project = await world.project(api, owner)
            rows = [world.row("a", [1, 0, 0]), world.row("b", [0, 1, 0])]
            await world.upload(api, project, *rows)
            await world.upload(api, project, rows[0], world.row("b", [0, 0, 1]), world.row("c", [1, 1, 0]))
            await api.post(f"{project.embeddings}/stream", content=json.dumps(rows[0]), headers=owner.headers)
            await api.get(
                f"{project.similars}/a?metadata_path=a&metadata_value=marked-query",
                headers={**owner.headers, "X-Request-ID": "mine"},
            )
            await api.get(f"{project.similars}/a", headers={"Authorization": "Bearer marked-unknown-key"})
            await api.get("/nowhere/marked-path", headers=ADMIN)
            await api.request("PROPFIND", "/healthz")
            await api.get("/healthz")
    lines = [json.loads(line) for line in log.read_text().splitlines()]  # uvicorn's too
    assert {"Application startup complete.", "Application shutdown complete."} <= {one["event"] for one in lines}
    requests = [one for one in lines if one["event"] == "request"]
    assert all(one["level"] == "info" and one["timestamp"] and one["ms"] > 0 for one in requests)
    seen = [(one["method"], one["route"], one["status"], one["principal"]) for one in requests]
    upload, similars = "/v1/embeddings/{user}/{project}", "/v1/similars/{user}/{project}/{text_id}"
    assert seen[-7:] == [
        ("POST", upload, 201, owner.handle),
        ("POST", upload, 201, owner.handle),
        ("POST", f"{upload}/stream", 200, owner.handle),
        ("GET", similars, 200, owner.handle),
        ("GET", similars, 401, None),
        ("GET", "none", 404, None),
        ("PROPFIND", "/healthz", 405, None),
    ]  # the probe is left out
    assert [one["rows"] for one in requests if "rows" in one] == [
        {"inserted": 2, "updated": 0, "unchanged": 0},
        {"inserted": 1, "updated": 1, "unchanged": 1},
        {"inserted": 0, "updated": 0, "unchanged": 1, "rejected": 0},
    ]
    (search,) = [one for one in requests if one.get("search")]
    assert (search["request_id"], search["search"]) == ("mine", "exact")
    for secret in (
        "sk-Zq7Xw2Jv9Kt4",
        "marked-query",
        "marked-unknown-key",
        "marked-path",
        ADMIN_KEY,
        ENCRYPTION_KEY,
        owner.key,
    ):
        assert secret not in log.read_text()


async def test_a_log_that_cannot_be_written_ends_no_work(url: str) -> None:
    port = free_port()  # nobody can read in the log which one it has
    values = {**SETTINGS, "SERVICE_INDEXER": "true", "SERVICE_DATABASE_URL": url, "SERVICE_PORT": str(port)}
    process = started("serve", log=Path("/dev/full"), **values)  # as of a full disk
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as api:
                deadline = time.monotonic() + 60
                while True:
                    with contextlib.suppress(httpx2.TransportError):
                        if (await api.get("/readyz")).status_code == 200:
                            break
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                await asyncio.sleep(4)  # the indexer logs that it lost its connection, and retries
                project = await world.project(api, await world.user(api, ADMIN))
                await world.upload(api, project, world.row("a", [1, 0, 0]))
                text = (await api.get("/metrics", headers=ADMIN)).text
                assert value(text, "embedding_service_requests_total", route="/v1/embeddings/{user}/{project}") == 1
                deadline = time.monotonic() + 20
                while connection.execute("SELECT FROM embedding_count_deltas").fetchall():  # the indexer adds them up
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


async def test_metrics(new_database: Callable[..., str]) -> None:
    settings = settings_for(new_database(), service_metrics_key=METRICS_KEY, service_indexer=False)
    async with client_of(settings) as api:

        async def scrape(key: str = METRICS_KEY) -> str:
            answer = await api.get("/metrics", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/plain")
            return answer.text

        before, start = await scrape(), time.perf_counter()
        owner = await world.user(api, ADMIN)
        project = await world.project(api, owner)
        await world.upload(api, project, world.row("a", [1, 0, 0]), world.row("b", [0, 1, 0]))
        await world.upload(api, project, world.row("a", [1, 0, 0]))
        for _ in range(3):
            await api.get(f"{project.similars}/a", headers=owner.headers)
        await api.request("PROPFIND", "/nowhere")
        after, taken = await scrape(ADMIN_KEY), time.perf_counter() - start

        def grown(name: str, **labels: str) -> float:
            return value(after, f"embedding_service_{name}", **labels) - value(
                before, f"embedding_service_{name}", **labels
            )

        upload, similars = "/v1/embeddings/{user}/{project}", "/v1/similars/{user}/{project}/{text_id}"
        assert grown("requests_total", method="POST", route=upload, status="201") == 2
        assert grown("requests_total", route=similars) == 3
        assert grown("requests_total", method="other", route="none", status="404") == 1
        assert "PROPFIND" not in after
        assert grown("request_seconds_count", route=similars) == 3
        assert 0 < grown("request_seconds_sum", route=similars) < taken  # in seconds
        assert (grown("rows_total", result="inserted"), grown("rows_total", result="unchanged")) == (2, 1)
        assert grown("search_seconds_count", method="exact") == 3
        assert value(after, "embedding_service_connections") >= 1
        assert value(after, "embedding_service_index_projects") == 0
        assert value(after, "embedding_service_build_info", version=__version__) == 1
        for text in (before, after):
            assert owner.key not in text
            assert owner.handle not in text  # no label grows with the users
        for headers, status in (({}, 401), ({"Authorization": "Bearer x"}, 401), (owner.headers, 403)):
            assert (await api.get("/metrics", headers=headers)).status_code == status
        read = {"Authorization": f"Bearer {METRICS_KEY}"}
        assert (await api.get("/v1/users", headers=read)).status_code == 401  # it opens nothing else


async def test_metrics_while_the_database_does_not_answer(url: str) -> None:
    settings = settings_for(url, service_metrics_key=METRICS_KEY, service_indexer=False, service_statement_timeout=0.5)
    read = {"Authorization": f"Bearer {METRICS_KEY}"}
    async with client_of(settings) as api:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE project_indexes IN ACCESS EXCLUSIVE MODE")
            answer = await api.get("/metrics", headers=read)
        assert answer.status_code == 200, answer.text
        assert value(answer.text, "embedding_service_connections") >= 1


async def test_metrics_show_that_all_connections_are_in_use(url: str) -> None:
    settings = settings_for(url, service_pool_size=1, service_caller_share=1, service_indexer=False)
    async with client_of(settings) as api:
        project = await world.project(api, await world.user(api, ADMIN))
        with psycopg.connect(url) as connection:
            connection.execute(f"LOCK TABLE embeddings_{project.id} IN ACCESS EXCLUSIVE MODE".encode())
            uploading = asyncio.create_task(world.upload(api, project, world.row("a", [1, 0, 0])))
            waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
            async with asyncio.timeout(30):
                while not connection.execute(waits, [f"embeddings_{project.id}"]).fetchall():
                    await asyncio.sleep(0.05)
            answer = await api.get("/metrics", headers=ADMIN)
            connection.rollback()
            await uploading
        assert answer.status_code == 200
        assert value(answer.text, "embedding_service_connections", state="idle") == 0
        assert value(answer.text, "embedding_service_connections", state="used") == 1
        assert value(answer.text, "embedding_service_connections", state="unopened") == 0
        assert "embedding_service_index_projects 0.0" in answer.text


async def test_metrics_show_connections_that_may_be_opened(url: str) -> None:
    """A pool begins with two: when both are in use, the service is not out of connections."""
    settings = settings_for(url, service_pool_size=5, service_caller_share=1, service_indexer=False)
    async with client_of(settings) as api:
        project = await world.project(api, await world.user(api, ADMIN))
        with psycopg.connect(url) as connection:
            connection.execute(f"LOCK TABLE embeddings_{project.id} IN ACCESS EXCLUSIVE MODE".encode())
            reading = [asyncio.create_task(api.get(project.embeddings, headers=ADMIN)) for _ in range(2)]
            await asyncio.sleep(0.5)
            text = (await api.get("/metrics", headers=ADMIN)).text
            connection.rollback()
            await asyncio.gather(*reading)
    states = {one: value(text, "embedding_service_connections", state=one) for one in ("used", "idle", "unopened")}
    assert states == {"used": 2, "idle": 0, "unopened": 3}


async def test_the_metric_of_rounds_is_that_of_any_indexer(url: str, tmp_path: Path) -> None:
    """The service has no indexer. Another process has one, which then hangs."""
    settings = settings_for(url, service_metrics_key=METRICS_KEY, service_indexer=False)
    an_hour_ago = "UPDATE indexer_state SET last_round = now() - interval '1 hour'"
    async with client_of(settings) as api:

        async def age() -> float:
            answer = await api.get("/metrics", headers={"Authorization": f"Bearer {METRICS_KEY}"})
            return time.time() - value(answer.text, "embedding_service_indexer_last_round_timestamp_seconds")

        assert 0 <= await age() < 24 * 3600  # the time of the migration
        connection = await asyncpg.connect(url)
        await connection.execute(an_hour_ago)
        assert 3590 < await age() < 3700
        process = started("index", log=tmp_path / "log", cwd=tmp_path, SERVICE_DATABASE_URL=url, **SETTINGS)
        try:
            async with asyncio.timeout(30):
                while await age() > 10:
                    await asyncio.sleep(0.1)
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.5)
            await connection.execute(an_hour_ago)
            await asyncio.sleep(2 * indexer.SECONDS_BETWEEN_POLLS)
            assert await age() > 3590
        finally:
            process.kill()
            process.wait(10)
            await connection.close()


def test_metrics_of_all_workers(new_database: Callable[..., str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served(log, "--workers", "2", cwd=tmp_path, SERVICE_DATABASE_URL=new_database(), **SETTINGS) as (_, url):
        for _ in range(40):  # a connection each, so that both workers get some
            assert httpx2.get(f"{url}/v1/api-standards").status_code == 200
        counted, deadline = 0.0, time.monotonic() + 30
        while counted < 40 and time.monotonic() < deadline:  # one is counted after its answer, by the other worker
            text = httpx2.get(f"{url}/metrics", headers={"Authorization": f"Bearer {METRICS_KEY}"}).text
            counted = value(text, "embedding_service_requests_total", route="/v1/api-standards", status="200")
        assert counted == 40
        assert value(text, "embedding_service_build_info", version=__version__) == 1


def test_a_killed_worker_has_no_connections(new_database: Callable[..., str], tmp_path: Path) -> None:
    def connections() -> tuple[set[str], float]:
        """The ids of the processes with a file, and the connections of all."""
        for _ in range(20):  # both workers get some
            text = httpx2.get(f"{url}/metrics", headers={"Authorization": f"Bearer {METRICS_KEY}"}).text
        (shared,) = (folder for folder in tmp_path.glob("tmp*") if list(folder.glob("*.db")))
        workers = {file.stem.rpartition("_")[2] for file in shared.glob("gauge_livesum_*.db")}
        total = sum(value(text, "embedding_service_connections", state=state) for state in ("idle", "used"))
        return workers, total

    more = {"SERVICE_DATABASE_URL": new_database(), "SERVICE_POOL_SIZE": "1", "TMPDIR": str(tmp_path)}
    with served(tmp_path / "log", "--workers", "2", cwd=tmp_path, **SETTINGS, **more) as (_, url):
        deadline = time.monotonic() + 30
        before, total = connections()
        while total != 2 and time.monotonic() < deadline:  # until both workers have answered
            before, total = connections()
        assert len(before) == total == 2
        killed = before.pop()
        os.kill(int(killed), signal.SIGKILL)
        deadline = time.monotonic() + 30
        while True:  # until uvicorn has started another worker
            with contextlib.suppress(httpx2.TransportError):
                workers, total = connections()
                if len(workers) == total == 2 and killed not in workers:
                    break
            assert time.monotonic() < deadline, (workers, total)
            time.sleep(0.5)


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Somebody who takes traces (OTLP over HTTP); its URL and what it was sent."""
    sent: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(self.path.encode() + self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    thread.join()
    server.server_close()


async def test_traces(new_database: Callable[..., str], tmp_path: Path, collector: tuple[str, list[bytes]]) -> None:
    to, sent = collector
    more = {"SERVICE_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": to, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
    more |= {"SERVICE_PROVIDER_HOSTS": "http://127.0.0.1:9"}
    database = new_database()
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_DATABASE_URL=database, **SETTINGS, **more) as (_, url):
        async with httpx2.AsyncClient(base_url=url) as api:
            owner = await world.user(api, ADMIN)
            project = await world.project(api, owner)
            await world.upload(api, project, world.row("a", [1, 0, 0], text="marked-text"))
            trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            path = f"{project.similars}/a?limit=3&metadata_path=a&metadata_value=marked-query"
            found = await api.get(path, headers={**owner.headers, **trace})
            assert found.status_code == 200
            instance = f"/v1/llm-instances/{owner.handle}"
            body = {"instance_handle": "away", "dimensions": 3, "model": "m", "api_key": "sk-Zq7Xw2Jv9Kt4"}
            made = await api.post(instance, json={**body, "endpoint": "http://127.0.0.1:9/v1"}, headers=owner.headers)
            assert made.status_code == 201
            called = await api.post(f"{instance}/away/embed", json={"input": ["marked-text"]}, headers=owner.headers)
            assert called.status_code == 503
    everything = b"".join(sent)
    assert all(one.startswith(b"/v1/traces") for one in sent)
    for name in (
        b"UpsertEmbeddings",
        b"RetrieveProjectAccess",
        b"GetSimilarsByVector",
        b"embedding-service",
        b"embed openai",
    ):
        assert name in everything
    assert bytes.fromhex("0af7651916cd43dd8448eb211c80319c") in everything  # the caller's trace goes on
    for secret in ("sk-Zq7Xw2Jv9Kt4", "marked-query", "marked-text", ADMIN_KEY, ENCRYPTION_KEY, owner.key, owner.email):
        assert secret.encode() not in everything
