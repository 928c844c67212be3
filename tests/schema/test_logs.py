"""The logs of deletions begin for the projects of older versions, while they are in use, and end with a rollback."""

import math
from collections.abc import Callable

import psycopg
import pytest

from service.schema import backfill, migrate
from tests.support.catalogue import rows, schema

pytestmark = pytest.mark.slow

BEFORE = "0019_call_providers"
PROJECTS = 5
FILL = f"""
INSERT INTO users (user_handle, email, vdb_key) VALUES ('ada', 'a@x', repeat('a', 64));
INSERT INTO llm_service_instances (owner, instance_handle, api_standard, dimensions) VALUES ('ada', 'i', 'openai', 3);
INSERT INTO projects (owner, project_handle, llm_service_instance_id)
SELECT 'ada', 'p' || number, instance_id FROM llm_service_instances, generate_series(1, {PROJECTS}) AS number;
SELECT fit_embeddings_partition(project_id, 3) FROM projects;
"""
ADD = "INSERT INTO embeddings_{0} (project_id, text_id, vector) VALUES ({0}, '{1}', '[1,2,3]')"
LOGS = "SELECT project_id, log_begins FROM embedding_counts WHERE log_begins IS NOT NULL ORDER BY 1"
DELETIONS = "SELECT project_id, text_id FROM embedding_deletions ORDER BY sequence"


@pytest.fixture
def old(copied: Callable[..., str]) -> str:
    """A database of the version before, with an embedding in each project."""
    return copied(fill)


def fill(url: str) -> None:
    migrate.upgrade(url)
    migrate.downgrade(url, BEFORE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL)
        for number in range(1, PROJECTS + 1):
            connection.execute(ADD.format(number, "a"))  # type: ignore[call-overload]


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def test_both_ways(old: str) -> None:
    before = schema(old)
    for _ in range(2):
        migrate.upgrade(old)
        begins = dict(rows(old, LOGS))
        assert begins.keys() == set(range(1, PROJECTS + 1))
        last = rows(old, "SELECT max(sequence) FROM embeddings_1")[0][0]
        assert begins[1] > last
        migrate.upgrade(old)  # again: nothing to do
        assert dict(rows(old, LOGS)) == begins
        execute(old, ADD.format(2, "b"))
        execute(old, "DELETE FROM embeddings_2 WHERE text_id = 'b'")
        assert rows(old, DELETIONS) == [(2, "b")]
        migrate.downgrade(old, BEFORE)
        assert schema(old) == before
        execute(old, ADD.format(2, "c"))
        execute(old, "DELETE FROM embeddings_2 WHERE text_id = 'c'")


def test_a_project_that_is_written_to_for_long_is_left_for_later(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "SECONDS_BETWEEN_REPORTS", math.inf)  # on a slow machine there would be some
    said: list[str] = []
    with psycopg.connect(old) as writer:
        writer.execute(ADD.format(3, "b"))  # type: ignore[call-overload]
        migrate.upgrade(old, say=said.append)
        assert [number for number, _ in rows(old, LOGS)] == [1, 2, 4, 5]
    assert said == ["Some projects are in use: their logs of deletions begin at the next start."]
    migrate.upgrade(old)
    assert [number for number, _ in rows(old, LOGS)] == [1, 2, 3, 4, 5]


def test_a_backup_does_not_hold_it(old: str) -> None:
    with psycopg.connect(old) as backup:
        for number in range(1, PROJECTS + 1):
            backup.execute(f"LOCK TABLE embeddings_{number} IN ACCESS SHARE MODE")  # type: ignore[call-overload]
        migrate.upgrade(old)
        assert len(rows(old, LOGS)) == PROJECTS


def test_an_older_version_empties_and_makes_projects_as_this_one(old: str) -> None:
    migrate.upgrade(old)
    before = dict(rows(old, LOGS))
    execute(old, "SELECT empty_embeddings_partition(4)")
    assert dict(rows(old, LOGS))[4] > before[4]
    execute(old, "DELETE FROM projects WHERE project_id = 5")
    with psycopg.connect(old) as connection:
        assert backfill.left_over(connection) == []
