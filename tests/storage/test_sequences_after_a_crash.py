"""A cursor that a crash of PostgreSQL makes later than the sequences that are given after it."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from chaos.places import Database
from service.schema import migrate
from tests.conftest import client_of, settings_for
from tests.contract.test_changes import all_changes
from tests.support.world import Headers, project, row, upload, user

pytestmark = pytest.mark.slow


async def test_a_cursor_misses_nothing_after_a_crash(admin: Headers, tmp_path: Path) -> None:
    database = Database(tmp_path / "data")
    migrate.upgrade(database.url)
    try:
        async with client_of(settings_for(database.url, service_indexer=False)) as api:
            owner = await user(api, admin)
            own, busy = await project(api, owner), await project(api, owner)
            await upload(api, own, row("first", [1, 2, 3]))
            await all_changes(api, own, 0)
            other = await asyncpg.connect(database.url)
            await other.execute("SELECT 1")
            writing = other.transaction()
            await writing.start()
            await other.execute(
                f"INSERT INTO embeddings_{busy.id} (project_id, text_id, vector)"
                f" SELECT {busy.id}, n::text, '[1,2,3]' FROM generate_series(1, 100) n"
            )
            _, since = await all_changes(api, own, 0)
            await asyncio.to_thread(database.kill)
            await asyncio.to_thread(database.restart)
            async with asyncio.timeout(60):
                while (await api.get(own.path, headers=owner.headers)).status_code != 200:
                    await asyncio.sleep(0.2)
            await upload(api, own, *(row(f"lost {n}", [1, 2, 3]) for n in range(200)))
            found, _ = await all_changes(api, own, since)
            assert len(found) == 200
    finally:
        database.stop()
