"""From partitions to tables, and back, with data, while they are in use."""

import contextlib
import math
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from service.schema import backfill, migrate
from service.settings import IndexAims
from service.storage import indexer
from tests.conftest import ADMIN_KEY
from tests.support.catalogue import embeddings, rows, schema
from tests.support.processes import started

pytestmark = pytest.mark.slow

SETTINGS = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": "k" * 32}
BEFORE = "0014_add_metadata_indexes"
COLUMNS = "project_id, text_id, sequence, vector::text, created_at, updated_at"
PROJECTS = 250  # three batches
PARTITIONS = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'embeddings'::regclass"
FILL = """
INSERT INTO users (user_handle, email, vdb_key) VALUES ('ada', 'a@x', repeat('a', 64));
INSERT INTO llm_service_instances (owner, instance_handle, api_standard, dimensions) VALUES ('ada', 'i', 'openai', 3);
"""
ADD = """
INSERT INTO projects (owner, project_handle, llm_service_instance_id)
SELECT 'ada', 'p' || number, instance_id FROM llm_service_instances, generate_series(%s::int, %s::int) AS number
"""


@pytest.fixture
def old(copied: Callable[..., str]) -> str:
    """A database of the version before, with partitions of which each has as many rows as its number modulo 3."""
    return copied(fill)


def fill(url: str) -> None:
    migrate.upgrade(url)
    migrate.downgrade(url, BEFORE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL)
        for first in range(1, PROJECTS, 50):
            connection.execute(ADD, [first, first + 49])
            connection.execute(
                "SELECT fit_embeddings_partition(project_id, 3) FROM projects WHERE project_id >= %s", [first]
            )
        for number in range(1, PROJECTS + 1):
            connection.execute(
                f"INSERT INTO embeddings_{number} (project_id, text_id, vector)"  # type: ignore[call-overload]
                f" SELECT {number}, text_id, '[1,2,3]' FROM generate_series(1, {number % 3}) AS text_id"
            )


async def test_both_ways_with_data(old: str) -> None:
    before, stored = schema(old), embeddings(old, COLUMNS)
    for _ in range(2):
        migrate.upgrade(old)
        assert rows(old, PARTITIONS) == [(0,)]
        assert embeddings(old, COLUMNS) == stored
        counts = "SELECT project_id, count_embeddings(project_id) FROM projects ORDER BY 1"
        expected = [(number, number % 3) for number in range(1, PROJECTS + 1)]
        assert rows(old, counts) == expected
        await indexer.run_once(old, IndexAims(threshold=1000, memory=2**26))
        assert rows(old, "SELECT project_id, embeddings FROM embedding_counts ORDER BY 1") == expected
        migrate.downgrade(old, BEFORE)
        assert rows(old, PARTITIONS) == [(PROJECTS,)]
        assert embeddings(old, COLUMNS) == stored
        assert schema(old) == before


def test_partitions_in_use_are_left_for_later(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "SECONDS_BETWEEN_REPORTS", math.inf)  # on a slow machine there would be some
    said: list[str] = []
    with psycopg.connect(old) as reader:
        reader.execute("SELECT FROM embeddings_100")
        migrate.upgrade(old, say=said.append)
        assert rows(old, PARTITIONS) == [(1,)]
    assert said == ["Some partitions are in use: they work unchanged, and are detached at the next start."]
    with psycopg.connect(old, autocommit=True) as connection:
        add = "INSERT INTO embeddings_100 (project_id, text_id, vector) VALUES (100, 'new', '[1,2,3]')"
        connection.execute(add)
        assert connection.execute("SELECT count_embeddings(100)").fetchone() == (2,)
    migrate.upgrade(old, say=said.append)
    assert rows(old, PARTITIONS) == [(0,)]
    assert rows(old, "SELECT count_embeddings(100)") == [(2,)]
    assert len(said) == 1


def test_a_backup_of_all_does_not_hold_the_start_up(old: str) -> None:
    with psycopg.connect(old) as backup:
        backup.execute("LOCK TABLE embeddings IN ACCESS SHARE MODE")
        begin = time.monotonic()
        migrate.upgrade(old)
        assert time.monotonic() - begin < 2 * backfill.MOST_LEFT_OVER
        assert rows(old, PARTITIONS)[0][0] > 0
    migrate.upgrade(old)
    assert rows(old, PARTITIONS) == [(0,)]


@pytest.mark.parametrize("way", ["forth", "back"])
def test_an_interrupted_migration_is_completed_by_the_next(old: str, tmp_path: Path, way: str) -> None:
    stored, chance = embeddings(old, COLUMNS), random.Random(15)
    if way == "back":
        migrate.upgrade(old)
    arguments = ["migrate"] if way == "forth" else ["migrate", "--to", BEFORE]
    before, interrupted = rows(old, PARTITIONS), 0
    for number in range(5):
        running = started(*arguments, log=tmp_path / "log", **SETTINGS, SERVICE_DATABASE_URL=old)
        if number == 0:  # it is killed after its first batch
            with psycopg.connect(old, autocommit=True) as connection:
                while connection.execute(PARTITIONS).fetchall() == before and running.poll() is None:
                    pass
                running.kill()
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(chance.uniform(0.05, 0.5))
        running.kill()
        interrupted += running.wait() == -signal.SIGKILL
    assert interrupted > 0
    migrate.upgrade(old)
    assert rows(old, PARTITIONS) == [(0,)]
    assert embeddings(old, COLUMNS) == stored
    migrate.downgrade(old, BEFORE)
    assert rows(old, PARTITIONS) == [(PROJECTS,)]
    assert embeddings(old, COLUMNS) == stored


def test_partitions_of_deleted_projects_are_dropped_later(old: str) -> None:
    with psycopg.connect(old, autocommit=True) as connection:
        connection.execute("DELETE FROM projects WHERE project_id IN (7, 8)")
    migrate.upgrade(old)
    assert rows(old, "SELECT project_id FROM deleted_projects ORDER BY 1") == [(7,), (8,)]
    assert rows(old, "SELECT count(*) FROM embedding_counts") == [(PROJECTS - 2,)]
