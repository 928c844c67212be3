"""Proofs of what FINDINGS.md names and is not fixed here: each fails. Not to be merged as it is."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import msgspec

from tests.conftest import ADMIN_KEY, ENCRYPTION_KEY, serving, settings_for
from tests.contract import world
from tests.processes import served

ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
MIB = 1024 * 1024


def most_memory(pid: int) -> float:
    """The most that a process has had, in MiB."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0


async def test_a_page_of_long_texts_takes_bounded_memory(new_database: Callable[..., str], tmp_path: Path) -> None:
    values = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": ENCRYPTION_KEY, "SERVICE_INDEXER": "false"}
    with served(tmp_path / "log", SERVICE_DATABASE_URL=new_database(), **values) as (process, url):
        async with httpx2.AsyncClient(base_url=url, timeout=60) as api:
            project = await world.project(api, await world.user(api, ADMIN), public_read=True)
            for number in range(40):
                await world.upload(api, project, world.row(f"{number}", [1, number, 0], text="x" * 5 * MIB))
            before = most_memory(process.pid)
            async with api.stream("GET", project.embeddings):
                assert most_memory(process.pid) - before < 200


async def test_a_reset_leaves_nothing_of_the_systems_own(new_database: Callable[..., str]) -> None:
    async with (
        serving(settings_for(new_database(), service_indexer=False)) as url,
        httpx2.AsyncClient(base_url=url, timeout=60) as api,
    ):
        instance = {"instance_handle": "mine", "dimensions": 3, "api_key": "the provider's"}
        made = await api.put("/v1/llm-instances/_system/mine", json=instance, headers=ADMIN)
        if made.status_code == 201:  # or it should not be possible
            assert (await api.post("/v1/admin/reset", json={"confirm": "delete all data"}, headers=ADMIN)).is_success
            assert await world.status(api, "/v1/llm-instances/_system/mine", ADMIN) == 404


async def test_a_filter_with_no_number_is_refused(new_database: Callable[..., str]) -> None:
    async with (
        serving(settings_for(new_database(), service_indexer=False)) as url,
        httpx2.AsyncClient(base_url=url, timeout=60) as api,
    ):
        project = await world.project(api, await world.user(api, ADMIN))
        await world.upload(api, project, world.row("a", [1, 0, 0], metadata={"year": None}))
        body = msgspec.msgpack.encode({"vector": [1.0, 0.0, 0.0], "filter": {"year": float("nan")}})
        headers = {**project.owner.headers, "Content-Type": "application/msgpack"}
        answer = await api.post(project.similars, content=body, headers=headers)
        assert answer.status_code == 422, answer.text  # it is taken for null, and finds the row
