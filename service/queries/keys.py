"""Statements of `sql/keys.sql`: all providers' keys, in pages by instance_id, `after` the previous page."""

import msgspec

from service.database.statements import Db, Queries
from service.queries.llm_instances import InstanceRef

query = Queries(__name__)


class SealedKey(InstanceRef, frozen=True):
    """The encrypted key of an instance, and the id of its key, None for the original system."""

    blob: bytes
    key_id: str | None


class SealedCount(msgspec.Struct, frozen=True):
    """The number of keys encrypted with a key; `key_id` is None for the original system."""

    key_id: str | None
    sealed: int


class PlaintextKey(InstanceRef, frozen=True):
    """A plaintext key of the original system."""

    api_key: str


class Sentinel(msgspec.Struct, frozen=True):
    """An encrypted known text, and the id of its key."""

    key_id: str
    sealed: bytes


@query
async def get_sealed_keys(db: Db, *, after: int, max_rows: int) -> list[SealedKey]:
    """A page of the encrypted keys."""


@query
async def count_sealed_keys(db: Db) -> list[SealedCount]:
    """Counts encrypted keys by encryption key."""


@query
async def reseal_keys(
    db: Db, *, instance_ids: list[int], old_blobs: list[bytes], blobs: list[bytes | None], key_id: str | None
) -> int:
    """Replaces (with None: removes) blobs that have not changed, and returns their number."""


@query
async def count_plaintext_keys(db: Db) -> int:
    """The number of plaintext keys."""


@query
async def get_plaintext_keys(db: Db, *, after: int, max_rows: int) -> list[PlaintextKey]:
    """A page of the plaintext keys."""


@query
async def seal_plaintext_keys(
    db: Db, *, instance_ids: list[int], api_keys: list[str], blobs: list[bytes | None], key_id: str
) -> int:
    """Replaces plaintext keys that have not changed by encrypted ones, and returns their number."""


@query
async def rewrite_instances(db: Db) -> None:
    """Rewrites the table of instances without old row versions. Not in a transaction."""


@query
async def get_sentinel(db: Db) -> Sentinel | None:
    """The sentinel; None before the first start."""


@query
async def store_sentinel(db: Db, *, key_id: str, sealed: bytes, replaces: bool) -> Sentinel:
    """Stores the sentinel, unless there is one that it must not replace, and returns the stored one."""
