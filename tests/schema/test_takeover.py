"""Databases of the original system, taken over: dry run, rows one by one, interruptions, the way back."""

import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from chaos.standby import postgres_program
from service.schema import migrate, takeover
from tests.conftest import ADMIN_KEY, serving, settings_for
from tests.support import legacy
from tests.support.catalogue import embeddings, rows, schema
from tests.support.prepared import Prepared
from tests.support.processes import ROOT, command, environment, started

pytestmark = pytest.mark.slow

NewDatabase = Callable[..., str]
SETTINGS = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": legacy.ENCRYPTION_KEY}


@pytest.fixture(params=[3, 4])
def old(request: pytest.FixtureRequest, copied: NewDatabase) -> tuple[str, int]:
    """A database of the original system, and its version."""
    return copied(legacy.build, request.param), request.param


def build_and_take_over(url: str, version: int) -> None:
    legacy.build(url, version)
    migrate.upgrade(url, take_over=True)


@pytest.fixture(params=[3, 4])
def taken(request: pytest.FixtureRequest, copied: NewDatabase) -> tuple[str, int]:
    """A database that was taken over, and the version that it was of."""
    return copied(build_and_take_over, request.param), request.param


def everything(url: str) -> dict[str, list[Any]]:
    """Every row of every table as text, but for yoyo's."""
    names = rows(
        url,
        "SELECT relname FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname !~ 'yoyo' ORDER BY 1",
    )
    return {name: sorted(rows(url, f'SELECT t::text FROM "{name}" AS t')) for (name,) in names}


def carried(url: str) -> list[Any]:
    return embeddings(
        url,
        "sequence, text_id, project_id, text, vector::text, metadata, "
        "created_at AT TIME ZONE 'UTC', updated_at AT TIME ZONE 'UTC'",
    )


def left(url: str) -> dict[int, tuple[str, str]]:
    found = rows(
        url,
        "SELECT embeddings_id, owner_of.owner || '/' || project_handle, obstacle "
        "FROM embeddings_unmigrated JOIN projects AS owner_of USING (project_id)",
    )
    return {number: (project, obstacle) for number, project, obstacle in found}


def test_a_dry_run_says_what_will_be_done_and_changes_nothing(old: tuple[str, int]) -> None:
    url, version = old
    before = everything(url), schema(url)
    plan = migrate.plan(url)
    assert (everything(url), schema(url)) == before
    assert plan.takes_over == version
    assert plan.migrations == migrate.names()[version:]
    assert plan.contents == {
        "users": 3,
        "projects": 5,
        "instances": 3,
        "definitions": 0 if version == 3 else 1,
        "embeddings_to_migrate": len(legacy.EMBEDDINGS) - len(legacy.LEFT_OVER),
        "encrypted_keys": 0 if version == 3 else 1,
        "plaintext_keys": 2 if version == 3 else 0,
    }
    assert sorted((one.project, one.reason) for one in plan.left_over) == sorted(legacy.LEFT_OVER.values())
    done = command("migrate", "--dry-run", "--json", **SETTINGS, SERVICE_DATABASE_URL=url)
    assert json.loads(done.stdout)["contents"] == plan.contents
    done = command("migrate", "--dry-run", **SETTINGS, SERVICE_DATABASE_URL=url)
    assert done.returncode == 3
    assert f"This is a database of dhamps-vdb, version {version}; it would be taken over." in done.stdout
    assert "would not be migrated: 1 embeddings of bert/none: its project has no instance" in done.stdout


def test_serving_does_not_take_over_unasked(old: tuple[str, int]) -> None:
    url, version = old
    before = everything(url)
    done = command("serve", **SETTINGS, SERVICE_DATABASE_URL=url)
    assert done.returncode == 1
    assert f"This is a database of dhamps-vdb, version {version}." in done.stderr
    assert everything(url) == before
    status = command("migrate", "--status", **SETTINGS, SERVICE_DATABASE_URL=url)
    assert status.returncode == 3
    assert "applied" not in status.stdout
    assert everything(url) == before


def test_the_schema_is_the_one_of_a_new_database(old: tuple[str, int], new_database: NewDatabase) -> None:
    url, version = old
    assert migrate.upgrade(url, take_over=True) == migrate.names()[version:]
    mine, new = schema(url), schema(new_database())
    partitions = ("embeddings_1", "embeddings_2", "embeddings_4", "embeddings_5", "db_version")
    for kind in ("columns", "constraints", "indexes", "functions", "triggers", "views"):
        found = [one for one in mine[kind] if not str(one[0]).startswith(partitions)]
        assert found == new[kind], kind
    assert migrate.upgrade(url) == []
    assert rows(url, "SELECT version FROM db_version") == [(takeover.TAKEN_OVER + version,)]
    definitions = "SELECT definition_handle, endpoint, dimensions, context_limit FROM llm_service_definitions " \
        "WHERE owner = '_system' ORDER BY 1"  # fmt: skip
    assert rows(url, definitions) == rows(new_database(), definitions)


def test_every_row_is_where_it_belongs(old: tuple[str, int]) -> None:
    url, version = old
    before = {row[0]: row[1:] for row in rows(
        url,
        "SELECT embeddings_id, text_id, project_id, text, vector::text, metadata, created_at, updated_at "
        "FROM embeddings",
    )}  # fmt: skip
    times = "SELECT {}, created_at{zone}, updated_at{zone} FROM {} WHERE {} <> '_system' ORDER BY 1"
    users = rows(url, times.format("user_handle", "users", "user_handle", zone=""))
    assert migrate.upgrade(url, take_over=True)

    assert left(url) == legacy.LEFT_OVER
    stored = {row[0]: row[1:] for row in carried(url)}
    assert stored == {number: row for number, row in before.items() if number not in legacy.LEFT_OVER}
    assert stored[12][3] == "[5.9604645e-08,65504,-1]"
    kept = rows(url, "SELECT embeddings_id, vector::text, text FROM embeddings_unmigrated ORDER BY 1")
    assert kept == [(number, before[number][3], before[number][2]) for number in sorted(legacy.LEFT_OVER)]
    assert rows(url, "SELECT nextval('embeddings_sequence')") > [(len(before),)]

    assert rows(url, times.format("user_handle", "users", "user_handle", zone=" AT TIME ZONE 'UTC'")) == users
    assert rows(url, "SELECT project_id, owner, project_handle, llm_service_instance_id, public_read, metadata_scheme "
                     "FROM projects ORDER BY 1") == [
        (1, "anna", "two", 1, False, None),
        (2, "anna", "one", 2, True, "no JSON"),
        (3, "bert", "none", None, False, None),
        (4, "Zoë van Ää", "a b", 3, False, '{"type": "object"}'),
        (5, "anna", "empty", 1, False, None),
    ]  # fmt: skip
    assert rows(url, "SELECT project_id, user_handle, role FROM users_projects ORDER BY 1, 2") == [
        (1, "Zoë van Ää", "editor"),
        (1, "bert", "reader"),
        (2, "bert", "editor"),
    ]
    assert rows(url, "SELECT instance_id, user_handle, role FROM llm_service_instances_shared_with ORDER BY 1, 2") == [
        (1, "bert", "reader"),
        (2, "bert", "editor"),
    ]
    assert rows(url, "SELECT instance_id, owner, instance_handle, endpoint, model, dimensions, context_limit, api_key "
                     "FROM llm_service_instances ORDER BY 1") == [
        (1, "anna", "small", "http://s", "s", 3, None, legacy.PLAINTEXT if version == 3 else None),
        (2, "anna", "large", "http://l", "l", 8, None if version == 3 else 512, None),
        (3, "Zoë van Ää", "odd one", "", "", 3, None, "" if version == 3 else None),
    ]  # fmt: skip
    if version == 4:
        own = "SELECT owner, dimensions, context_limit FROM llm_service_definitions WHERE definition_handle = 'own'"
        assert rows(url, own) == [("anna", None, None)]
        assert rows(url, "SELECT user_handle, definition_id FROM llm_service_definitions_shared_with") == [("bert", 5)]


async def test_users_go_on_with_their_keys(taken: tuple[str, int]) -> None:
    url, version = taken
    async with serving(settings_for(url, encryption_key=legacy.ENCRYPTION_KEY)) as base:
        async with httpx2.AsyncClient(base_url=base, headers={"Authorization": "Bearer key of anna"}) as anna:
            found = (await anna.get("/v1/embeddings/anna/two")).json()["embeddings"]
            assert [one["text_id"] for one in found] == [
                "by bert only",
                "https%3A%2F%2Fid.example.org%2FW1%3A1.2",
                "plain",
                "shared",
            ]
            one = await anna.get("/v1/embeddings/anna/two/https%3A%2F%2Fid.example.org%2FW1%3A1.2")
            assert one.json()["metadata"] == {"k": 1, "deep": {"x": [1.5]}}
            again = {"embeddings": [{"text_id": "plain", "vector": [0.1, 0.2, 0.3]}]}
            answer = (await anna.post("/v1/embeddings/anna/two", json=again)).json()
            assert (answer["inserted"], answer["unchanged"]) == (0, 1)
            assert (await anna.get("/v1/llm-instances/anna/small")).json()["has_api_key"] is True
            assert (await anna.get("/v1/projects/bert/none")).status_code == 403
            similar = (await anna.get("/v1/similars/anna/two/plain?threshold=-1")).json()["results"]
            assert len(similar) == 3
        async with httpx2.AsyncClient(base_url=base, headers={"Authorization": "Bearer key of zoe"}) as zoe:
            project = (await zoe.get("/v1/projects/Zo%C3%AB%20van%20%C3%84%C3%A4/a%20b")).json()
            assert (project["role"], project["number_of_embeddings"]) == ("owner", 1)
        admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with httpx2.AsyncClient(base_url=base, headers=admin) as client:
            report = (await client.get("/v1/admin/sanity-check")).json()
    assert ("2 provider keys are stored in plaintext: run `keys encrypt`" in report["warnings"]) == (version == 3)
    assert (
        "project bert/none: 1 embeddings of the original system left over: its project has no instance"
        in report["warnings"]
    )


def test_and_back_to_version_3(old: tuple[str, int]) -> None:
    url, version = old
    before = everything(url)
    migrate.upgrade(url, take_over=True)
    if version == 4:
        with pytest.raises(migrate.Refused, match="1 encrypted provider keys, 1 definitions, 1 shares of definitions"):
            migrate.downgrade(url, "0003")
        migrate.downgrade(url, "0003", discard=True)
    else:
        migrate.downgrade(url, "0003")
    after = everything(url)
    # All but whose an embedding is: in the new schema it is the project's.
    before["embeddings"] = [
        (row.replace('(6,"by bert only",bert', '(6,"by bert only",anna'),) for (row,) in before["embeddings"]
    ]
    assert after["embeddings"] == before["embeddings"]
    assert after["db_version"] == [("(3)",)]
    assert takeover_version(url) == 3
    if version == 3:
        # The original gives an owner a row in users_llm_services too; bert's "owner" of anna's became an editor.
        assert after["users_llm_services"] == [(row[0].replace("(bert,2,owner", "(bert,2,editor"),)
                                               for row in before["users_llm_services"]]  # fmt: skip
        assert {name: value for name, value in after.items() if name in ("users", "llm_services", "embeddings")} == {
            name: before[name] for name in ("users", "llm_services", "embeddings")
        }
        assert len(after["projects_llm_services"]) == 4  # each project's first service
        assert rows(url, "SELECT project_id, user_handle, role FROM users_projects ORDER BY 1, 2") == [
            (1, "Zoë van Ää", "editor"), (1, "anna", "owner"), (1, "bert", "reader"), (2, "anna", "owner"),
            (2, "bert", "editor"), (3, "bert", "owner"), (4, "Zoë van Ää", "owner"), (5, "anna", "owner"),
        ]  # fmt: skip
    # And once more: it is recognised as what it is now.
    assert migrate.upgrade(url, take_over=True) == migrate.names()[3:]
    assert left(url) == legacy.LEFT_OVER


def takeover_version(url: str) -> int | None:
    with psycopg.connect(url) as connection:
        return takeover.version(connection)


def test_what_was_uploaded_since_is_newer_than_what_was_left_over(taken: tuple[str, int]) -> None:
    url, _ = taken
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO embeddings_4 (project_id, text_id, vector, text) VALUES (4, 'zero', '[1,1,1]', 'new')"
        )
    migrate.upgrade(url, again=True)
    assert left(url)[11] == ("Zoë van Ää/a b", "a zero vector")
    migrate.downgrade(url, "0003", discard=True)
    found = rows(url, "SELECT text, vector::text FROM embeddings WHERE text_id = 'zero'")
    assert found == [("new", "[1,1,1]")]


def test_left_over_rows_are_carried_once_they_can_be(taken: tuple[str, int]) -> None:
    url, _ = taken
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE projects SET llm_service_instance_id = 1 WHERE project_id = 3")
    migrate.upgrade(url)
    assert 10 in left(url)
    done = command("migrate", "--json", **SETTINGS, SERVICE_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert 10 not in left(url)
    assert {row[0] for row in carried(url)} >= {10}
    assert len(json.loads(done.stdout)["left_over"]) == len(legacy.LEFT_OVER) - 1


def test_left_over_rows_go_with_their_project(taken: tuple[str, int]) -> None:
    url, _ = taken
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM projects WHERE project_id = 3")
        connection.execute("DELETE FROM users WHERE user_handle = 'Zoë van Ää'")
    assert left(url).keys() == legacy.LEFT_OVER.keys() - {10, 11, 13}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("UPDATE {services} SET dimensions = 0 WHERE owner = 'anna'", "1 to 16000 dimensions; these do not: anna/"),
        (
            "UPDATE users SET email = 'system@dhamps-vdb.internal' WHERE name = 'Anna'",
            "are reserved|is reserved",
        ),
        ("ALTER TABLE embeddings DROP CONSTRAINT embeddings_pkey", "the table embeddings has no constraint of kind p"),
        (
            "UPDATE db_version SET version = 2",
            "at version 2; versions 3 and 4 can be taken over. Bring it to",
        ),
        ("UPDATE db_version SET version = 5", "It is too new"),
    ],
)
def test_what_stands_against_it_is_said_before_anything_changes(old: tuple[str, int], spoil: str, says: str) -> None:
    url, version = old
    with psycopg.connect(url) as connection:
        if "email" in spoil:
            connection.execute("UPDATE users SET email = 'other' WHERE user_handle = '_system'")
        connection.execute(spoil.format(services={3: "llm_services", 4: "instances"}[version]).encode())
    before = everything(url), schema(url)
    for option in ("--dry-run", "--json"):
        done = command("migrate", option, **SETTINGS, SERVICE_DATABASE_URL=url)
        assert done.returncode == 1
        assert re.search(says, done.stderr)
        assert "Traceback" not in done.stderr
    assert (everything(url), schema(url)) == before


def test_two_at_once_end_well(old: tuple[str, int]) -> None:
    url, version = old
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: migrate.upgrade(url, take_over=True), range(2)))
    assert sorted(done) == [[], migrate.names()[version:]]
    assert left(url) == legacy.LEFT_OVER


ROWS = 5000


def migrating(url: str, log: Path, *arguments: str) -> Prepared:
    return started("migrate", *arguments, log=log, **SETTINGS, SERVICE_DATABASE_URL=url)


def stage(url: str) -> str:
    """How far a takeover is."""
    if takeover_version(url) is not None:
        return "catalogue"
    return "carrying" if rows(url, "SELECT count(*) FROM embeddings_unmigrated")[0][0] >= 100 else "done"


def applied(url: str) -> int:
    return int(rows(url, "SELECT count(*) FROM _yoyo_migration")[0][0])


def test_killed_at_random_it_loses_nothing(new_database: NewDatabase, tmp_path: Path) -> None:
    log = tmp_path / "log"
    whole, killed = new_database(template=None), new_database(template=None)
    for url in (whole, killed):
        legacy.build(url, 3, rows=ROWS)
    before = time.monotonic()
    assert migrating(whole, log).wait(100) == 0
    seconds = time.monotonic() - before
    chance = random.Random(4)
    stages = set()
    for number in range(5):
        process = migrating(killed, log)
        if number == 0:  # it is killed as soon as rows are moved: a connection for each look would be too late
            with psycopg.connect(killed, autocommit=True) as connection:
                while takeover.version(connection) is not None and process.poll() is None:
                    pass
                process.kill()
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.2, 0.9) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with psycopg.connect(killed) as connection:  # what the server still does for the dead ends
            connection.execute("SELECT pg_advisory_lock(%s)", [migrate.LOCK])
        stages.add(stage(killed))
    assert "carrying" in stages, "no kill came while rows were moved"
    assert migrating(killed, log).wait(100) == 0
    assert left(killed) == left(whole) == legacy.LEFT_OVER
    assert carried(killed) == carried(whole)
    assert len(carried(whole)) == ROWS + len(legacy.EMBEDDINGS) - len(legacy.LEFT_OVER)

    codes = set()
    for number in range(3):  # and on the way back
        back = migrating(killed, log, "--to", "0003")
        if number == 0:
            while applied(killed) == len(migrate.names()) and back.poll() is None:
                time.sleep(0.005)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                back.wait(chance.uniform(0.35, 0.9) * seconds)
        back.send_signal(signal.SIGKILL)
        codes.add(back.wait())
    assert -signal.SIGKILL in codes, "no kill came before the end"
    assert command("migrate", "--to", "0003", **SETTINGS, SERVICE_DATABASE_URL=killed).returncode == 0
    assert rows(killed, "SELECT count(*), count(DISTINCT text_id) FROM embeddings WHERE text_id ~ '^row-'") == [
        (ROWS, ROWS)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="LEFT OUT: the memory of a process; it needs /proc")
def test_50_000_embeddings_of_1536_dimensions_in_bounded_memory(new_database: NewDatabase) -> None:
    url = new_database(template=None)
    legacy.build(url, 3, rows=50_000, dimensions=1536)
    with subprocess.Popen(
        [sys.executable, "-m", "service", "migrate"],
        cwd=ROOT,
        env=environment(**SETTINGS, SERVICE_DATABASE_URL=url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        said, peak = "", 0
        for line in process.stderr or []:  # a line every two seconds
            said += line
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, *map(int, re.findall(r"VmHWM:\s*(\d+) kB", status)), 0)
    assert process.returncode == 0, said
    assert re.search(r"Moved \d\d,000 of 50,013 embeddings …", said)
    assert 0 < peak < 150 * 1024  # the rows are 260 MB
    assert rows(url, "SELECT count(*), count(DISTINCT vector) FROM embeddings_2 WHERE text_id ~ '^row-'") == [
        (50_000, 97)
    ]


def test_no_plaintext_is_left_in_tables_files_or_a_dump(copied: NewDatabase) -> None:
    url = copied(build_and_take_over, 3)
    settings = {**SETTINGS, "SERVICE_DATABASE_URL": url}
    assert legacy.PLAINTEXT in str(everything(url))
    pending = command("keys", "status", "--json", **settings)
    assert (pending.returncode, json.loads(pending.stdout)["plaintext"]) == (3, 2)
    for changed in (2, 0):  # repeating it is harmless
        done = command("keys", "encrypt", "--json", **settings)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"changed": changed, "not_opening": 0}
    assert command("keys", "status", **settings).returncode == 0
    assert legacy.PLAINTEXT not in str(everything(url))
    dump = subprocess.run(
        [postgres_program("pg_dump"), "--inserts", url], capture_output=True, check=True, text=True
    ).stdout
    assert "INSERT INTO public.llm_service_instances" in dump
    assert legacy.PLAINTEXT not in dump
    with psycopg.connect(url) as connection:
        connection.execute("CHECKPOINT")
        (raw,) = connection.execute(
            "SELECT pg_read_binary_file(pg_relation_filepath('llm_service_instances'))"
        ).fetchone() or (b"",)
    assert b"http://s" in raw
    assert legacy.PLAINTEXT.encode() not in raw
