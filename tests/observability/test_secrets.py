"""No secret is in any answer, error or log line, nor in a table in the clear.

Every route is called with good and bad bodies that carry marked secrets, in the right place and in wrong ones.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from service.api.routes import endpoints
from service.http.endpoint import Endpoint
from tests.support.processes import served

pytestmark = pytest.mark.slow

ADMIN_KEY = "marked-admin-key-7f3a"
ENCRYPTION_KEY = "marked-encryption-key-91bc"
PREVIOUS_KEY = "marked-previous-key-c0de"
PROVIDER_KEY = "sk-marked-provider-key-2d4e"

NAMES = {
    "user": "alice",
    "other": "bob",
    "definition": "template",
    "instance": "inst",
    "project": "proj",
    "text_id": "rose",
    "standard": "mine",
    "asset": "start.js",
    "file": "hooks.js",
    "folder": "vendor",
}
GOOD: dict[str, Any] = {
    "users": {"user_handle": "alice", "email": "alice@example.org"},
    "api-standards": {
        "api_standard_handle": "mine",
        "description": "d",
        "key_method": "query_param",
        "key_field": "k",
    },
    "llm-definitions": {"definition_handle": "template", "api_standard": "openai"},
    "llm-instances": {"instance_handle": "inst", "dimensions": 3, "api_key": PROVIDER_KEY},
    "llm-services": {"llm_service_handle": "inst", "dimensions": 3, "api_key": PROVIDER_KEY},
    "projects": {"project_handle": "proj", "instance_handle": "inst"},
    "embeddings": {"embeddings": [{"text_id": "rose", "vector": [1, 2, 3]}]},
    "texts": {"texts": [{"text_id": "a", "text": "a text"}]},
    "similars": {"vector": [1, 2, 3]},
    "admin": {"confirm": "no"},
}


def good_body(one: Endpoint) -> dict[str, Any]:
    kind = one.path.split("/")[2] if one.path.startswith("/v1/") else "users"
    if one.path.endswith("/share"):
        return {"share_with_handle": "bob"} | ({} if kind == "llm-definitions" else {"role": "reader"})
    if one.path.endswith(("/{project}/get", "/{project}/delete")):
        return {"text_ids": ["rose"]}
    if one.path.endswith("/share/{other}"):
        return {"role": "reader"}
    if one.path.endswith(("/embed", "/{instance}/embeddings")):
        return {"input": ["a text"]} | ({"model": "inst"} if kind == "openai" else {})
    if one.path.endswith("/schema-check"):
        return {"metadataScheme": {"required": ["author"]}}
    if one.path.endswith("/transfer"):
        return {"new_owner": "bob"}
    if one.path.endswith("/from-definition"):
        handle = "llm_service_handle" if kind == "llm-services" else "instance_handle"
        return {
            handle: "made",
            "definition_owner": "_system",
            "definition_handle": "openai-small",
            "api_key": PROVIDER_KEY,
        }
    body: dict[str, Any] = GOOD[kind]
    return {name: value for name, value in body.items() if name != "user_handle"} if one.method == "PATCH" else body


def bodies(one: Endpoint) -> Iterator[tuple[bytes, str]]:
    """Bodies and their content types, good and bad, with the provider's key in them."""
    good, json_type = good_body(one), "application/json"
    documents: list[Any] = [
        good,
        {**good, "api_key": PROVIDER_KEY},
        {**good, "api_key": [PROVIDER_KEY]},
        {**good, "api_key": {"key": PROVIDER_KEY}},
        {**good, "api_key": PROVIDER_KEY + "\0"},
        {**good, "api_key": PROVIDER_KEY * 1000},
        {**good, "api_key": PROVIDER_KEY, "dimensions": "many"},
        {**good, "apikey": PROVIDER_KEY},
        {**good, "api-key": {"nested": [PROVIDER_KEY]}},
        [good, {"api_key": PROVIDER_KEY}],
        *({**good, name: {"api_key": PROVIDER_KEY}} for name in good),
        *({**good, "api_key": PROVIDER_KEY, name: 5} for name in good),
    ]
    for document in documents:
        yield httpx2.Request("POST", "http://x", json=document).content, json_type
    yield b'"%s"' % PROVIDER_KEY.encode(), json_type
    yield b'{"embeddings": ["%s"]}' % PROVIDER_KEY.encode(), json_type
    yield b'{"api_key": "%s", "dimensions": ' % PROVIDER_KEY.encode(), json_type
    yield b'{"api_key": "%s\xff"}' % PROVIDER_KEY.encode(), json_type
    yield b'{"api_key": "%s"}' % PROVIDER_KEY.encode(), "text/plain"
    yield b'{"api_key": "%s", "x": "%s"}' % (PROVIDER_KEY.encode(), b"x" * 2_000_000), json_type


def test_no_secret_comes_out(new_database: Callable[..., str], tmp_path: Path) -> None:
    database, log = new_database(), tmp_path / "log"
    settings = {
        "SERVICE_ADMINKEY": ADMIN_KEY,
        "ENCRYPTION_KEY": ENCRYPTION_KEY,
        "ENCRYPTION_KEY_PREVIOUS": PREVIOUS_KEY,
        "SERVICE_DEBUG": "true",
    }
    seen: list[str] = []
    user_keys: list[str] = []

    def keep(answer: httpx2.Response) -> httpx2.Response:
        seen.append(f"{answer.request.method} {answer.request.url.path} {answer.headers} {answer.text}")
        return answer

    with (
        served(log, cwd=tmp_path, SERVICE_DATABASE_URL=database, **settings) as (_, url),
        httpx2.Client(base_url=url, timeout=60) as client,
    ):
        admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
        for handle in ("alice", "bob"):
            made = client.put(
                f"/v1/users/{handle}",
                json={"user_handle": handle, "email": f"{handle}@example.org"},
                headers=admin,
            )
            user_keys.append(made.json()["vdb_key"])  # shown this once
        alice = {"Authorization": f"Bearer {user_keys[0]}"}

        def make_things() -> None:
            for path in ("llm-definitions", "llm-instances", "projects"):
                client.post(f"/v1/{path}/alice", json=GOOD[path], headers=alice)
            client.post("/v1/embeddings/alice/proj", json=GOOD["embeddings"], headers=alice)

        make_things()
        for one in endpoints:
            if one.path in ("/v1/users/{user}/key", "/v1/admin/footgun") or (one.method, one.path) == (
                "DELETE",
                "/v1/users/{user}",
            ):
                continue  # they show a new key, or take away what the others need
            path = one.path.format(**NAMES)
            sent: list[dict[str, Any]] = [
                {"headers": headers}
                for headers in (
                    alice,
                    admin,
                    {"Authorization": f"Basic {user_keys[0]}"},
                    {"Authorization": f"Bearer {user_keys[0]}x"},
                    {"Authorization": f"Bearer  {ADMIN_KEY} {ADMIN_KEY}"},
                    {"X-Api-Key": user_keys[0], "Cookie": f"key={ADMIN_KEY}"},
                )
            ]
            # A key in the query is no key. What a client asked for is not searched, only what it got.
            sent.append({"params": {"key": user_keys[0], "api_key": PROVIDER_KEY, "limit": "many"}})
            if one.method in ("POST", "PUT", "PATCH"):
                sent += [
                    {"content": content, "headers": {**who, "Content-Type": kind}}
                    for content, kind in bodies(one)
                    for who in (alice, admin)
                ]
            for request in sent:
                keep(client.request(one.method, path, **request))
            make_things()

    assert len(seen) > 1000
    assert {int(status) for status in re.findall(r'"status":(\d{3})', log.read_text())} >= {
        200,
        201,
        204,
        400,
        401,
        403,
        413,
    }
    for secret in (ADMIN_KEY, ENCRYPTION_KEY, PREVIOUS_KEY, PROVIDER_KEY, *user_keys):
        assert [answer[:300] for answer in seen if secret in answer] == []
        assert secret not in log.read_text()
    assert "Traceback" not in log.read_text()
    assert '"status":500' not in log.read_text()

    with psycopg.connect(database) as connection:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f"SELECT t::text FROM {table} AS t").fetchall()  # type: ignore[call-overload]
            for secret in (
                ADMIN_KEY,
                ENCRYPTION_KEY,
                PREVIOUS_KEY,
                PROVIDER_KEY,
                PROVIDER_KEY.encode().hex(),
                *user_keys,
            ):
                assert secret not in str(rows), table
        sealed = connection.execute("SELECT count(*) FROM llm_service_instances WHERE api_key_encrypted IS NOT NULL")
        assert sealed.fetchone() != (0,)
