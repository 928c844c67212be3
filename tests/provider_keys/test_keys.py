"""Exchanging the encryption key while the service serves, and proving it at the start."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from service.provider_keys import rotation
from service.provider_keys.keyring import DoesNotOpen, Key, Keyring, instance_place
from service.queries import keys as statements
from tests.conftest import ADMIN, client_of, serving, settings_for, variables_for
from tests.support import factories, legacy
from tests.support.processes import ROOT, command, served
from tests.support.world import instance, user

pytestmark = pytest.mark.slow

INSTANCES = 1200  # more than two pages


async def filled(url: str, keyring: Keyring, count: int = INSTANCES, *, original: bool = False) -> None:
    """So many instances with the keys secret-0, secret-1, …, sealed by the current key, or as the original did."""
    connection = await asyncpg.connect(url)
    await factories.user(connection, "anna")
    rows = []
    for number in range(count):
        handle, secret = f"inst-{number}", f"secret-{number}"
        blob = keyring.current.encrypt(secret) if original else keyring.seal(secret, instance_place("anna", handle))
        rows.append((handle, blob, None if original else keyring.current.id))
    await connection.executemany(
        "INSERT INTO llm_service_instances (owner, instance_handle, api_standard, dimensions, api_key_encrypted, "
        "api_key_sealed_by) VALUES ('anna', $1, 'openai', 3, $2, $3)",
        rows,
    )
    await connection.close()


async def secrets(url: str, keyring: Keyring) -> dict[str, str]:
    """What opens, by instance."""
    connection = await asyncpg.connect(url)
    found = {}
    for row in await statements.get_sealed_keys(connection, after=0, max_rows=10_000):
        try:
            place = instance_place(row.owner, row.instance_handle)
            found[row.instance_handle] = keyring.open(row.blob, row.key_id, place)
        except DoesNotOpen:
            continue
    await connection.close()
    return found


def settings(url: str, current: str, previous: str = "") -> dict[str, str]:
    return variables_for(url, ENCRYPTION_KEY=current, ENCRYPTION_KEY_PREVIOUS=previous)


def status(values: dict[str, str]) -> tuple[int, Any]:
    done = command("keys", "status", "--json", **values)
    return done.returncode, json.loads(done.stdout)


EXPECTED = {f"inst-{number}": f"secret-{number}" for number in range(INSTANCES)}


@pytest.mark.parametrize("original", [False, True])
async def test_rotation(url: str, original: bool) -> None:
    await filled(url, Keyring("old"), original=original)
    code, found = status(settings(url, "old"))
    assert code == (3 if original else 0)
    assert found["keys"] == [
        {
            "key_id": None if original else Key("old").id,
            "known_as": "original" if original else "current",
            "sealed": INSTANCES,
            "open": INSTANCES,
        }
    ]
    values = settings(url, "new", "older, old")
    code, found = status(values)
    assert (code, found["not_opening"], found["sentinel"]) == (3, 0, None)
    done = command("keys", "rotate", "--json", **values)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"changed": INSTANCES, "not_opening": 0}
    assert "Re-encrypted 1,000 keys …" in done.stderr
    assert "secret" not in done.stderr
    assert command("keys", "rotate", **values).stdout == "Re-encrypted 0 keys.\n"
    # The old key is not needed any more.
    code, found = status(settings(url, "new"))
    assert code == 0
    assert found["keys"] == [{"key_id": Key("new").id, "known_as": "current", "sealed": INSTANCES, "open": INSTANCES}]
    assert found["sentinel"] == Key("new").id
    assert await secrets(url, Keyring("new")) == EXPECTED


async def test_a_rotation_without_provider_keys(url: str) -> None:
    """What proves the key at a start is sealed too: until it is sealed anew, the old key is needed."""
    values = settings(url, "new", "old")
    assert command("keys", "rotate", **settings(url, "old")).returncode == 0
    code, found = status(values)
    assert (code, found["keys"], found["sentinel"], found["is_done"]) == (3, [], Key("old").id, False)
    assert command("keys", "rotate", **values).returncode == 0
    code, found = status(values)
    assert (code, found["sentinel"], found["is_done"]) == (0, Key("new").id, True)


async def test_a_blob_that_was_moved_to_another_instance_does_not_open(url: str) -> None:
    await filled(url, Keyring("key"), 2)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "UPDATE llm_service_instances SET api_key_encrypted = (SELECT api_key_encrypted FROM llm_service_instances "
        "WHERE instance_handle = 'inst-0')"
    )
    await connection.close()
    assert await secrets(url, Keyring("key")) == {"inst-0": "secret-0"}
    code, found = status(settings(url, "key"))
    assert (code, found["does_not_open"]) == (4, ["anna/inst-1"])


async def test_rotation_while_the_service_serves(url: str) -> None:
    """Keys are set through the service, with the old key and with the new one, while they are exchanged."""
    await filled(url, Keyring("old"))
    expected = dict(EXPECTED)
    stop = asyncio.Event()

    async def set_keys(api: httpx2.AsyncClient, name: str) -> None:
        number = 0
        while not stop.is_set():
            handle, secret = f"inst-{(number * 7) % INSTANCES}", f"{name}-{number}"
            body = {"instance_handle": handle, "dimensions": 3, "api_key": secret}
            answer = await api.put(f"/v1/llm-instances/anna/{handle}", json=body, headers=ADMIN)
            assert answer.status_code == 201
            expected[handle] = secret
            assert len((await api.get("/v1/llm-instances/anna", headers=ADMIN)).json()["instances"]) == 200
            number += 1

    async with (
        serving(settings_for(url, encryption_key="old")) as old,
        serving(settings_for(url, encryption_key="new", encryption_key_previous="old")) as new,
        httpx2.AsyncClient(base_url=old, timeout=60) as first,
        httpx2.AsyncClient(base_url=new, timeout=60) as second,
    ):
        # One after the other, so that it is known whose key is the last.
        for client, name in ((first, "a"), (second, "b")):
            setting = asyncio.create_task(set_keys(client, name))
            await asyncio.sleep(0.3)
            done = await asyncio.to_thread(command, "keys", "rotate", **settings(url, "new", "old"))
            assert done.returncode == 0, done.stderr
            stop.set()
            await setting
            stop.clear()
    assert command("keys", "rotate", **settings(url, "new", "old")).returncode == 0
    assert status(settings(url, "new"))[0] == 0
    assert await secrets(url, Keyring("new")) == expected


async def test_an_interrupted_rotation_goes_on(url: str) -> None:
    await filled(url, Keyring("old"))
    connection = await asyncpg.connect(url)

    class Interrupted(Exception):
        pass

    def interrupt(_: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        await rotation.rotate(connection, Keyring("new", ["old"]), interrupt)
    found = await rotation.status(connection, Keyring("new", ["old"]))
    assert {use.known_as: use.sealed for use in found.keys} == {"current": 500, "previous": INSTANCES - 500}
    assert (await rotation.rotate(connection, Keyring("new", ["old"]), lambda _: None)).changed == INSTANCES - 500
    await connection.close()
    assert await secrets(url, Keyring("new")) == EXPECTED


async def test_keys_that_do_not_open_stay_and_break_nothing(url: str) -> None:
    await filled(url, Keyring("old"), 4)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "UPDATE llm_service_instances SET api_key_encrypted = 'x' WHERE instance_handle = 'inst-1'"
    )
    values = settings(url, "new", '["old", "with, comma"]')
    done = command("keys", "rotate", "--json", **values)
    assert done.returncode == 4
    assert json.loads(done.stdout) == {"changed": 3, "not_opening": 1}
    assert "anna/inst-1 was not changed" in done.stderr
    async with client_of(settings_for(url, encryption_key="new"), headers=ADMIN) as api:
        assert len((await api.get("/v1/llm-instances/anna")).json()["instances"]) == 4
        assert (await api.get("/v1/llm-instances/anna/inst-1")).json()["has_api_key"] is True
        report = (await api.get("/v1/admin/sanity-check")).json()
        assert report["issues"] == ["instance anna/inst-1: its provider key cannot be decrypted with ENCRYPTION_KEY"]
    said = command("keys", "status", **settings(url, "new"))
    assert said.returncode == 4
    assert said.stdout.splitlines()[-1] == "cannot be decrypted: anna/inst-1"
    refused = command("keys", "discard", **settings(url, "new"))
    assert refused.returncode == 2
    gone = command("keys", "discard", "--yes", "--json", **settings(url, "new"))
    assert json.loads(gone.stdout) == {"changed": 1, "not_opening": 0}
    assert status(settings(url, "new"))[0] == 0
    assert await connection.fetchval("SELECT count(api_key_encrypted) FROM llm_service_instances") == 3
    await connection.close()


async def test_with_a_wrong_key_nothing_starts_and_nothing_changes(url: str, tmp_path: Path) -> None:
    await filled(url, Keyring("right"), 2)

    def refused(values: dict[str, str], problem: str) -> None:
        for action in (["serve"], ["keys", "rotate"], ["keys", "encrypt"]):
            done = command(*action, cwd=tmp_path, PYTHONPATH=str(ROOT), **values)
            assert done.returncode == 1
            assert problem in done.stderr
            assert "new key there and the old one in ENCRYPTION_KEY_PREVIOUS" in done.stderr.replace("\n", " ")
            assert "Traceback" not in done.stderr

    # Before there is a sentinel the sealed keys prove it, afterwards the sentinel alone.
    refused(settings(url, "wrong"), "No provider key of this database can be decrypted with ENCRYPTION_KEY.")
    with served(tmp_path / "log", cwd=tmp_path, **settings(url, "right")):
        pass
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE llm_service_instances SET api_key_encrypted = NULL, api_key_sealed_by = NULL")
    await connection.close()
    refused(settings(url, "wrong"), f"the key of this database, which has the id {Key('right').id}.")
    refused(settings(url, "wrong", "also-wrong"), f"the ids {Key('wrong').id}, {Key('also-wrong').id}.")
    with served(tmp_path / "log", cwd=tmp_path, **settings(url, "new", "right")):
        pass
    refused(settings(url, "new"), "ENCRYPTION_KEY is not the key of this database")
    assert command("keys", "rotate", **settings(url, "new", "right")).returncode == 0
    with served(tmp_path / "log", cwd=tmp_path, **settings(url, "new")):
        pass


async def test_a_lost_key(url: str, tmp_path: Path) -> None:
    await filled(url, Keyring("lost"), 3)
    with served(tmp_path / "log", cwd=tmp_path, **settings(url, "lost")):
        pass
    assert command("keys", "discard", "--yes", **settings(url, "fresh")).stdout == "Removed 3 keys.\n"
    with served(tmp_path / "log", cwd=tmp_path, **settings(url, "fresh")):
        pass


async def test_serving_warns_of_plaintext_keys(new_database: Callable[..., str], tmp_path: Path) -> None:
    url = new_database(template=None)
    legacy.build(url, 3)
    values = settings(url, legacy.ENCRYPTION_KEY)
    assert command("migrate", **values).returncode == 0
    log = tmp_path / "log"
    with served(log, cwd=tmp_path, **values):
        pass
    assert "WARNING: 2 provider keys are stored in plaintext. Run `keys encrypt`." in log.read_text()
    assert command("keys", "encrypt", **values).stdout == "Encrypted 2 keys.\n"
    assert (await secrets(url, Keyring(legacy.ENCRYPTION_KEY))) == {"small": legacy.PLAINTEXT}
    with served(log, cwd=tmp_path, **values):
        pass
    assert "in plaintext" not in log.read_text()


async def test_blobs_of_the_original_system_open_after_the_takeover(new_database: Callable[..., str]) -> None:
    url = new_database(template=None)
    legacy.build(url, 4)
    values = settings(url, legacy.ENCRYPTION_KEY)
    assert command("migrate", **values).returncode == 0
    assert status(values)[1]["keys"] == [{"key_id": None, "known_as": "original", "sealed": 1, "open": 1}]
    assert command("keys", "rotate", **values).returncode == 0
    assert status(values)[0] == 0
    assert (await secrets(url, Keyring(legacy.ENCRYPTION_KEY))) == {"small": legacy.SEALED}


async def test_going_back_and_forth_loses_no_sealed_key(url: str) -> None:
    await filled(url, Keyring("key"), 3)
    for step in (["--to", "0007"], []):
        assert command("migrate", *step, **settings(url, "key")).returncode == 0
    assert len(await secrets(url, Keyring("key"))) == 3
    assert command("keys", "rotate", **settings(url, "key")).returncode == 0
    assert status(settings(url, "key"))[0] == 0


async def test_an_instance_made_through_the_service_is_bound_to_its_place(url: str) -> None:
    async with client_of(settings_for(url)) as api:
        ada = await user(api, ADMIN)
        made = await instance(api, ada, api_key="through the service")
        body = {"instance_handle": "two", "definition_owner": "_system", "definition_handle": "openai-small"}
        path = f"/v1/llm-instances/{ada.handle}/from-definition"
        assert (await api.post(path, json={**body, "api_key": "second"}, headers=ada.headers)).status_code == 200
        patch = {"api_key": "third"}
        await api.patch(f"/v1/llm-instances/{ada.handle}/two", json=patch, headers=ada.headers)
    found = await secrets(url, Keyring(settings_for(url).encryption_key))
    assert found == {made.handle: "through the service", "two": "third"}


def test_commands_have_help_and_generate_a_key() -> None:
    for name in ("status", "rotate", "encrypt", "discard", "generate"):
        assert command("keys", name, "--help").returncode == 0
    made: subprocess.CompletedProcess[str] = command("keys", "generate")
    assert len(bytes.fromhex(made.stdout.strip())) == 32
