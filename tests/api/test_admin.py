"""Sanity check and reset, each on a service of its own."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, get_args

import asyncpg
import httpx2
import numpy as np
import pytest

from service.api import sanity_check
from service.api.sanity_check import REMEDIES
from service.database.pool import open_pool
from service.metadata.schemas import Schemas
from service.provider_keys.keyring import Keyring
from tests.conftest import ADMIN, ENCRYPTION_KEY, client_of, settings_for
from tests.support import factories
from tests.support.processes import ROOT
from tests.support.world import fetch, instance, problem, project, row, status, upload, user

pytestmark = pytest.mark.slow

TABLES = "SELECT count(*) FROM pg_class WHERE relname ~ '^embeddings_[0-9]+$'"
CHECK = "/v1/admin/sanity-check"


@pytest.fixture
async def own(new_database: Callable[..., str]) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """A client of a service of its own, and the URL of its database."""
    url = new_database()
    async with client_of(settings_for(url, service_debug=True)) as client:
        yield client, url


async def test_all_that_can_be_wrong_is_found(own: tuple[httpx2.AsyncClient, str]) -> None:
    api, url = own
    assert await fetch(api, CHECK, ADMIN) == {
        "status": "PASSED",
        "total_projects": 0,
        "issues_count": 0,
        "warnings_count": 0,
    }
    ada = await user(api, ADMIN)
    plain = await project(api, ada)
    report = await fetch(api, CHECK, ADMIN)
    assert (report["status"], report["total_projects"], report["warnings_count"]) == ("WARNING", 1, 1)
    assert report["warnings"] == [f"project {ada.handle}/{plain.handle} has no metadata schema"]

    strict = await project(api, ada, metadataScheme={"required": ["author"]})
    await upload(api, strict, *(row(name, [1, 2, 3], metadata={"author": "Kant"}) for name in ("good", "without")))
    sealed = await instance(api, ada, api_key="a provider's key")
    connection = await asyncpg.connect(url)
    await connection.execute(
        f"UPDATE embeddings_{strict.id} SET metadata = '{{\"title\": 1}}' WHERE text_id = 'good';"
        f"UPDATE embeddings_{strict.id} SET metadata = NULL WHERE text_id = 'without';"
        f"UPDATE llm_service_instances SET api_key_encrypted = 'x' WHERE instance_id = {sealed.id};"
        f"CREATE INDEX broken ON embeddings_{plain.id} (sequence);"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass;"
        f"ALTER TABLE embeddings_{plain.id} DROP CONSTRAINT embeddings_dimensions_check;"
        f"INSERT INTO embeddings_{plain.id} (project_id, text_id, vector) VALUES ({plain.id}, 'short', '[1,2]')"
    )
    await connection.close()
    report = await fetch(api, CHECK, ADMIN)
    assert report["status"] == "FAILED"
    assert report["issues_count"] == len(report["issues"]) == 5
    assert set(report["issues"]) == {
        f"project {ada.handle}/{plain.handle}: 1 vectors do not have 3 dimensions",
        f"project {ada.handle}/{strict.handle}, text_id 'good': metadata \"author\" is a required property",
        f"project {ada.handle}/{strict.handle}, text_id 'without': metadata \"author\" is a required property",
        f"instance {ada.handle}/{sealed.handle}: its provider key cannot be decrypted with ENCRYPTION_KEY",
        "index broken is invalid: its build was interrupted",
    }
    assert "provider's key" not in str(report)
    found = report["findings"]
    assert [one["message"] for one in found if one["level"] == "issue"] == report["issues"]
    assert [one["message"] for one in found if one["level"] == "warning"] == report["warnings"]
    assert {(one["kind"], one.get("project"), one.get("text_id"), one.get("instance")) for one in found} == {
        ("wrong_dimensions", f"{ada.handle}/{plain.handle}", None, None),
        ("no_schema", f"{ada.handle}/{plain.handle}", None, None),
        ("invalid_metadata", f"{ada.handle}/{strict.handle}", "good", None),
        ("invalid_metadata", f"{ada.handle}/{strict.handle}", "without", None),
        ("unopened_key", None, None, f"{ada.handle}/{sealed.handle}"),
        ("invalid_index", None, None, None),
    }
    assert {one["kind"]: one["remedy"] for one in found}.items() <= REMEDIES.items()


def test_every_kind_of_finding_has_its_remedy_in_the_documents() -> None:
    assert REMEDIES.keys() == set(get_args(sanity_check.Kind))
    section = (ROOT / "docs" / "OPERATIONS.md").read_text().partition("\n## Findings")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section, re.MULTILINE)) == REMEDIES


async def test_a_project_that_is_deleted_during_the_check(own: tuple[httpx2.AsyncClient, str]) -> None:
    api, url = own
    ada = await user(api, ADMIN)
    first, second = await project(api, ada), await project(api, ada)
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute(f"LOCK TABLE embeddings_{first.id} IN ACCESS EXCLUSIVE MODE")
        checking = asyncio.create_task(fetch(api, CHECK, ADMIN))
        waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass"
        async with asyncio.timeout(30):
            while not await connection.fetch(waits, f"embeddings_{first.id}"):  # it has listed both
                await asyncio.sleep(0.05)
        assert (await api.delete(second.path, headers=ada.headers)).status_code == 204
    await connection.close()
    report = await checking
    assert report["warnings"] == [f"project {ada.handle}/{first.handle} has no metadata schema"]


@pytest.mark.parametrize("way", ["reset", "footgun"])
async def test_reset_leaves_what_is_built_in(own: tuple[httpx2.AsyncClient, str], way: str) -> None:
    api, url = own
    ada = await user(api, ADMIN)
    await upload(api, await project(api, ada), row("a", [1, 2, 3]))
    problem(await api.post("/v1/admin/reset", json={"confirm": "yes"}, headers=ADMIN), 422)
    problem(await api.post("/v1/admin/reset", json={}, headers=ADMIN), 422)
    assert await status(api, ada.path, ADMIN) == 200
    if way == "reset":
        done = await api.post("/v1/admin/reset", json={"confirm": "delete all data"}, headers=ADMIN)
    else:
        done = await api.get("/v1/admin/footgun", headers=ADMIN)
    assert done.status_code == 204
    assert await fetch(api, "/v1/users", ADMIN) == ["_system"]
    assert len((await fetch(api, "/v1/llm-definitions/_system", ADMIN))["definitions"]) == 6
    assert len((await fetch(api, "/v1/api-standards", {}))["api_standards"]) == 10
    connection = await asyncpg.connect(url)
    assert await connection.fetchval(TABLES) == 0
    await connection.close()
    assert await status(api, ada.path, ada.headers) == 401


async def test_reset_takes_what_is_the_systems(own: tuple[httpx2.AsyncClient, str]) -> None:
    api, url = own
    mine = await project(api, await user(api, ADMIN))
    connection = await asyncpg.connect(url)
    # As an earlier version let anybody do, and the admin still can.
    await connection.execute("UPDATE projects SET owner = '_system' WHERE project_id = $1", mine.id)
    body = {"instance_handle": "builtin", "dimensions": 3}
    assert (await api.post("/v1/llm-instances/_system", json=body, headers=ADMIN)).status_code == 201
    done = await api.post("/v1/admin/reset", json={"confirm": "delete all data"}, headers=ADMIN)
    assert done.status_code == 204, done.text
    for table in ("projects", "llm_service_instances"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await connection.fetchval(TABLES) == 0
    await connection.close()


async def test_reset_takes_what_is_being_made(own: tuple[httpx2.AsyncClient, str]) -> None:
    api, url = own
    ada, bob = await user(api, ADMIN), await user(api, ADMIN)
    on = await instance(api, ada)
    share = {"share_with_handle": bob.handle, "role": "reader"}
    assert (await api.post(f"{on.path}/share", json=share, headers=ada.headers)).status_code == 201
    maker, watch = await asyncpg.connect(url), await asyncpg.connect(url)
    making = maker.transaction()
    await making.start()
    await factories.project(maker, bob.handle, on.handle, instance_owner=ada.handle)
    reset = asyncio.ensure_future(api.post("/v1/admin/reset", json={"confirm": "delete all data"}, headers=ADMIN))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not reset.done() and not await watch.fetchval(waiting):
        await asyncio.sleep(0.01)
    await making.commit()
    done = await reset
    assert done.status_code == 204, done.text
    assert await watch.fetchval("SELECT count(*) FROM projects") == 0
    assert await watch.fetchval(TABLES) == 0
    await maker.close()
    await watch.close()


async def test_without_debug_there_is_no_footgun(api: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    problem(await api.get("/v1/admin/footgun", headers=admin), 404)


def peak_from_now() -> int:
    """Forgets what this process has had before, for earlier tests; returns what it has now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most memory of this process, in KiB."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


async def test_a_project_of_100_000_rows_in_bounded_memory(new_database: Callable[..., str]) -> None:
    rows = 100_000
    async with await open_pool(new_database(), size=2, statement_timeout=60) as pool:
        number = await factories.filled(pool, metadata_scheme='{"properties": {"n": {"maximum": 99998}}}')
        vectors = np.ones((1, 3), dtype=np.float16)
        padding = "x" * 1000
        await pool.execute(
            f"INSERT INTO embeddings_{number} (project_id, text_id, vector, metadata) "
            f"SELECT {number}, n::text, $1, jsonb_build_object('n', n, 'padding', $2::text) "
            f"FROM generate_series(0, {rows - 1}) AS n",
            factories.to_binary(vectors)[0],
            padding,
        )
        before = peak_from_now()
        async with aclosing(Schemas(wait=10)) as schemas:
            report: Any = await sanity_check.check(pool, Keyring(ENCRYPTION_KEY), schemas, 0.99)
        grown = (peak() - before) / 1024
    assert report.issues_count == 1
    assert grown < 64, f"{grown} MiB"  # the metadata alone are 100 MB
