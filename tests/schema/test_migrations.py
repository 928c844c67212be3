"""Migrations on a real server: forward and backward, by several at once, and with the original's rows."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from service.schema import migrate
from tests.support.catalogue import embeddings, rows, schema

pytestmark = pytest.mark.slow

NAMES = migrate.names()
NewDatabase = Callable[..., str]


@pytest.fixture
def full(new_database: NewDatabase) -> str:
    return new_database()


@pytest.fixture
def empty(new_database: NewDatabase) -> str:
    return new_database(template=None)


def test_each_step_down_and_up_again_is_the_same_schema(empty: str) -> None:
    assert migrate.upgrade(empty) == NAMES
    above = full = schema(empty)
    for number in range(len(NAMES) - 1, -1, -1):
        target = NAMES[number - 1] if number else "0000"
        assert migrate.downgrade(empty, target) == [NAMES[number]]
        below = schema(empty)
        assert below != above
        assert migrate.upgrade(empty) == NAMES[number:]
        assert schema(empty) == full
        migrate.downgrade(empty, target)
        assert schema(empty) == below
        above = below
    assert schema(empty) == {key: [] for key in above}
    migrate.upgrade(empty)


def test_all_the_way_down_and_up_is_the_same_schema(full: str) -> None:
    before = schema(full)
    assert migrate.downgrade(full, "0000") == NAMES[::-1]
    assert migrate.upgrade(full) == NAMES
    assert schema(full) == before


def test_status_and_the_number_of_a_migration_as_target(empty: str) -> None:
    assert not any(one.applied for one in migrate.status(empty))
    migrate.upgrade(empty)
    assert migrate.upgrade(empty) == []
    assert migrate.downgrade(empty, "0003") == NAMES[:2:-1]
    assert [one.applied for one in migrate.status(empty)] == [True] * 3 + [False] * (len(NAMES) - 3)
    with pytest.raises(ValueError, match="Unknown migration 0099"):
        migrate.downgrade(empty, "0099")


def test_a_long_transaction_is_waited_for_without_blocking_requests(full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup reads all tables: a migration that waited for it would stop the service until its end."""
    monkeypatch.setattr(migrate, "LOCK_MILLISECONDS", 300)
    monkeypatch.setattr(migrate, "PAUSE_SECONDS", 1.0)
    migrate.downgrade(full, "0018")
    said: list[str] = []
    with psycopg.connect(full) as backup, ThreadPoolExecutor(1) as pool:
        backup.execute("LOCK TABLE api_standards IN ACCESS SHARE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            migrate.plan(full)
        upgrading = pool.submit(migrate.upgrade, full, say=said.append)
        with psycopg.connect(full, autocommit=True) as request:
            requests, deadline = 0, time.monotonic() + 60
            while requests < 20 or not any("perhaps a backup" in line for line in said):
                begin = time.monotonic()
                request.execute("SELECT count(*) FROM api_standards")
                assert time.monotonic() - begin < 10  # else until the backup ends, which is never
                assert begin < deadline
                requests += 1
                time.sleep(0.1)
        assert not upgrading.done()
        backup.rollback()
        assert upgrading.result(60) == NAMES[18:]


LIMITS_AND_USAGE = """
INSERT INTO users (user_handle, email, vdb_key) VALUES
    ('anna', 'a@x', repeat('a', 64)), ('bert', 'b@x', repeat('b', 64));
INSERT INTO llm_service_instances (owner, instance_handle, api_standard, dimensions, tokens_per_day)
    VALUES ('anna', 'limited', 'openai', 3, 1000), ('anna', 'free', 'openai', 3, NULL);
INSERT INTO llm_service_instances_shared_with (instance_id, user_handle, role, expires_at)
    VALUES (1, 'bert', 'reader', now() + interval '1 day');
INSERT INTO projects (owner, project_handle, llm_service_instance_id, text_search)
    VALUES ('anna', 'one', 1, 'readers'), ('anna', 'two', 1, 'editors');
INSERT INTO api_standards (api_standard_handle, key_method, dialect) VALUES ('house', 'auth_bearer', 'openai');
INSERT INTO instance_usage (instance_id, day, holder, caller, requests, texts, tokens, estimated_tokens, failures)
    VALUES (1, current_date, 'anna', 'anna', 1, 1, 9, 0, 0);
"""


def test_limits_and_usage_prevent_a_rollback_that_would_drop_them(full: str) -> None:
    """Otherwise a share for a day would be one for ever, and without a limit, after the next upgrade."""
    with psycopg.connect(full) as connection:
        connection.execute(LIMITS_AND_USAGE)
    assert migrate.downgrade(full, "0019") == NAMES[:18:-1]
    limits = "1 instances with limits, 1 shares with limits, 1 rows of the usage of instances, 1 dialects"
    with pytest.raises(migrate.Refused, match=f"cannot hold {limits}"):
        migrate.downgrade(full, "0018")
    with pytest.raises(migrate.Refused, match=f"cannot hold 1 settings of text_search, {limits}"):
        migrate.downgrade(full, "0017")
    assert migrate.upgrade(full) == NAMES[19:]
    assert rows(full, "SELECT expires_at > now() FROM llm_service_instances_shared_with") == [(True,)]
    assert migrate.downgrade(full, "0017", discard=True) == NAMES[:16:-1]


def test_users_prevent_a_rollback_of_everything(full: str) -> None:
    with psycopg.connect(full) as connection:
        connection.execute("INSERT INTO users (user_handle, email, vdb_key) VALUES ('anna', 'a@x', repeat('a', 64))")
    with pytest.raises(migrate.Refused, match="cannot hold 1 users with all their data"):
        migrate.downgrade(full, "0000")
    assert rows(full, "SELECT user_handle FROM users WHERE user_handle <> '_system'") == [("anna",)]
    assert migrate.downgrade(full, "0000", discard=True) == NAMES[::-1]


def test_many_at_once_end_well(empty: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: migrate.upgrade(empty), range(6)))
    assert sorted(done) == [[]] * 5 + [NAMES]


def test_a_server_that_is_too_old_is_refused_before_anything_changes(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(migrate, "OLDEST_POSTGRESQL", 990_000)
        with pytest.raises(migrate.UnsupportedDatabase, match=r"This is PostgreSQL \d+"):
            migrate.upgrade(empty)
    with monkeypatch.context() as newer:
        newer.setattr(migrate, "OLDEST_PGVECTOR", (99, 0, 0))
        with pytest.raises(migrate.UnsupportedDatabase, match=r"This server has pgvector 0\.\d+\.\d+"):
            migrate.upgrade(empty)
    assert rows(empty, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


ORIGINAL = """
INSERT INTO users (user_handle, email, vdb_key) VALUES
    ('anna', 'a@x', repeat('a', 64)), ('bert', 'b@x', repeat('b', 64)), ('carl', 'c@x', repeat('c', 64));
INSERT INTO projects (owner, project_handle, public_read) VALUES
    ('anna', 'two', NULL), ('anna', 'one', true), ('bert', 'none', false);
INSERT INTO users_projects (user_handle, project_id, role) VALUES
    ('anna', 1, 'owner'), ('bert', 1, 'reader'), ('carl', 1, 'editor'), ('anna', 2, 'owner'), ('bert', 3, 'owner');
INSERT INTO llm_services (llm_service_handle, owner, endpoint, api_standard, model, dimensions) VALUES
    ('small', 'anna', 'http://s', 'openai', 's', 3), ('large', 'anna', 'http://l', 'openai', 'l', 4);
INSERT INTO users_llm_services (user_handle, llm_service_id, role) VALUES
    ('anna', 1, 'owner'), ('anna', 2, 'owner'), ('bert', 1, 'reader');
INSERT INTO projects_llm_services (project_id, llm_service_id, created_at) VALUES
    (1, 2, '2025-01-02'), (1, 1, '2025-01-01'), (2, 2, '2025-01-01');
INSERT INTO embeddings (text_id, owner, project_id, llm_service_id, text, vector, vector_dim, metadata, created_at)
VALUES
    ('https%3A%2F%2Fx%2F1', 'anna', 1, 1, 'text', '[1,2,3]', 3, '{"k": 1}', '2025-03-30 02:30'),
    ('plain', 'anna', 1, 1, NULL, '[0.1,0.2,0.3]', 3, NULL, '2025-01-01'),
    ('plain', 'anna', 1, 2, NULL, '[1,2,3,4]', 4, NULL, '2025-01-01'),
    ('four', 'anna', 2, 2, NULL, '[4,3,2,1]', 4, NULL, '2025-01-01'),
    (NULL, 'anna', 2, 2, NULL, '[4,3,2,2]', 4, NULL, '2025-01-01'),
    ('lost', 'bert', 3, 1, NULL, '[1,1,1]', 3, NULL, '2025-01-01');
"""

EVERYTHING = {
    "users": "SELECT user_handle, email, vdb_key, created_at FROM users WHERE user_handle <> '_system' ORDER BY 1",
    "projects": "SELECT project_id, owner, project_handle, coalesce(public_read, false) FROM projects ORDER BY 1",
    "roles": "SELECT user_handle, project_id, role FROM users_projects ORDER BY 1, 2",
    "services": "SELECT llm_service_id, llm_service_handle, owner, endpoint, model, dimensions FROM llm_services "
    "ORDER BY 1",
    "service_roles": "SELECT user_handle, llm_service_id, role FROM users_llm_services ORDER BY 1, 2",
    "embeddings": "SELECT embeddings_id, text_id, owner, project_id, llm_service_id, text, vector::text, vector_dim, "
    "metadata, created_at FROM embeddings ORDER BY 1",
}


def test_embeddings_go_back_from_a_schema_without_the_latest_functions(full: str) -> None:
    migrate.downgrade(full, "0003")
    with psycopg.connect(full) as connection:
        connection.execute(ORIGINAL)
    before = {name: rows(full, statement) for name, statement in EVERYTHING.items()}
    migrate.upgrade(full)
    migrate.downgrade(full, "0010")
    migrate.downgrade(full, "0003", discard=True)
    assert rows(full, EVERYTHING["embeddings"]) == before["embeddings"]


def test_the_rows_of_the_original_go_forth_and_back(full: str) -> None:
    migrate.downgrade(full, "0003")
    with psycopg.connect(full) as connection:
        connection.execute(ORIGINAL)
    before = {name: rows(full, statement) for name, statement in EVERYTHING.items()}

    migrate.upgrade(full)
    assert rows(full, "SELECT project_id, llm_service_instance_id, public_read FROM projects ORDER BY 1") == [
        (1, 1, False),
        (2, 2, True),
        (3, None, False),
    ]
    assert rows(full, "SELECT user_handle, project_id, role FROM project_access ORDER BY 2, 1") == [
        ("anna", 1, "owner"),
        ("bert", 1, "reader"),
        ("carl", 1, "editor"),
        ("anna", 2, "owner"),
        ("bert", 3, "owner"),
    ]
    assert rows(full, "SELECT user_handle, instance_id, role FROM instance_access ORDER BY 2, 1") == [
        ("anna", 1, "owner"),
        ("bert", 1, "reader"),
        ("anna", 2, "owner"),
    ]
    assert embeddings(
        full,
        "project_id, text_id, sequence, vector::text, text, metadata, "
        "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')",
    ) == [
        (1, "https%3A%2F%2Fx%2F1", 1, "[1,2,3]", "text", {"k": 1}, "2025-03-30 02:30"),
        (1, "plain", 2, "[0.099975586,0.19995117,0.30004883]", None, None, "2025-01-01 00:00"),
        (2, "four", 4, "[4,3,2,1]", None, None, "2025-01-01 00:00"),
    ]
    # What has no place is kept, and can be fetched: an earlier service's, one without an id, one without a service.
    assert rows(full, "SELECT embeddings_id, text_id FROM embeddings_unmigrated ORDER BY 1") == [
        (3, "plain"),
        (5, None),
        (6, "lost"),
    ]
    assert rows(full, "SELECT nextval('embeddings_sequence') > 6") == [(True,)]

    migrate.downgrade(full, "0003")
    assert {name: rows(full, statement) for name, statement in EVERYTHING.items()} == before
