"""Rows for statement tests, with defaults that can be overridden."""

from itertools import count
from typing import Any

import msgspec
import numpy as np

from service.database.statements import Db
from service.http.request import hash_key
from service.queries import embeddings, llm_instances, projects, users
from service.vectors import to_binary

_numbers = count(1)


async def user(db: Db, handle: str | None = None, **overrides: Any) -> str:
    """A user; their key is `key-of-{handle}`."""
    handle = handle or f"user{next(_numbers)}"
    values = {"email": f"{handle}@example.org", "name": None, "key_hash": hash_key(f"key-of-{handle}"), **overrides}
    row = await users.upsert_user(db, user_handle=handle, **values)
    assert row is not None
    return handle


async def instance(db: Db, owner: str, handle: str | None = None, **overrides: Any) -> int:
    """An instance of three dimensions."""
    values = {
        "endpoint": None,
        "description": None,
        "api_standard": "openai",
        "model": None,
        "dimensions": 3,
        "context_limit": None,
        "definition_id": None,
        "tokens_per_day": None,
        "tokens_per_month": None,
        "requests_per_minute": None,
        "expires_at": None,
        "change_key": False,
        "api_key_encrypted": None,
        "api_key_sealed_by": None,
        **overrides,
    }
    row = await llm_instances.upsert_llm_instance(
        db, owner=owner, instance_handle=handle or f"instance{next(_numbers)}", **values
    )
    await llm_instances.fit_tables_of_instance(db, instance_id=row.instance_id)
    return row.instance_id


async def project(db: Db, owner: str, instance_handle: str, handle: str | None = None, **overrides: Any) -> int:
    """A private project."""
    values = {
        "instance_owner": owner,
        "description": None,
        "metadata_scheme": None,
        "public_read": False,
        "text_search": None,
        "share_users": None,
        "share_roles": None,
        "role": "owner",
        **overrides,
    }
    row = await projects.upsert_project(
        db,
        owner=owner,
        project_handle=handle or f"project{next(_numbers)}",
        instance_handle=instance_handle,
        **values,
    )
    assert row is not None
    await projects.fit_table(db, project_id=row.project_id)
    return row.project_id


async def filled(db: Db, **overrides: Any) -> int:
    """A project of a new user with a new instance, of three dimensions."""
    owner = await user(db)
    await instance(db, owner, "inst")
    return await project(db, owner, "inst", **overrides)


async def count(db: Db, project_id: int) -> int:
    """How many embeddings a project has, as the service tells it."""
    return int(await db.fetchval("SELECT count_embeddings($1)", project_id))


async def upsert(db: Db, project_id: int, rows: dict[str, list[float]], **columns: Any) -> embeddings.Written:
    """Stores vectors by text_id; `texts` and `metadata` are lists in the order of the ids, left out they stay."""
    ids = sorted(rows)
    vectors = to_binary(np.array([rows[text_id] for text_id in ids], dtype=np.float16))
    texts, metadata = columns.get("texts"), columns.get("metadata")
    return await embeddings.upsert_embeddings(
        db,
        project_id=project_id,
        text_ids=ids,
        vectors=vectors,
        texts=texts or [None] * len(ids),
        metadata=[
            None if one is None else msgspec.Raw(msgspec.json.encode(one)) for one in metadata or [None] * len(ids)
        ],
        keep_text=[] if texts else ids,
        keep_metadata=[] if metadata else ids,
    )


async def counted(db: Db, number: int) -> tuple[int | None, int, bool]:
    """The embeddings and changes of a project, and whether its index must be checked."""
    row = await db.fetchrow("SELECT embeddings, changes, to_index FROM embedding_counts WHERE project_id = $1", number)
    return tuple(row)  # type: ignore[return-value]
