"""Statements of `sql/users.sql`: users and their keys."""

from typing import Any

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class Authentication(msgspec.Struct, frozen=True):
    """The user of a key, if any, and whether the user in the path exists."""

    caller: str | None
    named_exists: bool


class SharedWith(msgspec.Struct, frozen=True):
    """A user with whom something is shared."""

    user_handle: str
    role: str


class Credentials(msgspec.Struct, frozen=True):
    """The caller of a request: the SHA-256 of the sent key, if any, and whether it is the admin key."""

    key_hash: str | None
    is_admin: bool


class User(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user with their own and shared resources."""

    user_handle: str
    email: str
    projects: list[dict[str, Any]]
    definitions: list[dict[str, Any]]
    instances: list[dict[str, Any]]
    name: str | None = None


@query
async def authenticate_user(db: Db, *, key_hash: str | None, named: str | None) -> Authentication:
    """The user whose key has this hexadecimal SHA-256, and whether there is a user `named`."""


@query
async def lock_owners(db: Db, *, user_handles: list[str]) -> None:
    """Locks users and their resources until the end of the transaction (`service.storage.locks`)."""


@query
async def upsert_user(db: Db, *, user_handle: str, email: str, name: str | None, key_hash: str) -> bool:
    """Creates a user with the key of this hash, or changes a user without the key; returns whether it was created."""


class TakenNames(msgspec.Struct, frozen=True):
    """Whether another user has the handle or the e-mail address, ignoring case."""

    handle: bool
    email: bool


@query
async def retrieve_taken_names(db: Db, *, user_handle: str, email: str) -> TakenNames:
    """Whether names of a user are taken, except for the user's current names."""


@query
async def replace_user_key(db: Db, *, user_handle: str, key_hash: str) -> str | None:
    """Replaces the key of a user."""


@query
async def get_all_users(db: Db, *, search: str, max_rows: int, skip: int) -> list[str]:
    """A page of the handles that contain a text, ignoring case, in order."""


@query
async def retrieve_user(db: Db, *, user_handle: str) -> User | None:
    """A user with their own and shared resources."""


@query
async def lock_instances_of_user(db: Db, *, user_handle: str) -> None:
    """Locks a user's instances and the projects on them until the end of the transaction."""


@query
async def delete_user(db: Db, *, user_handle: str) -> str | None:
    """Deletes a user and their resources, without the tables (see `service.storage.tables`)."""


@query
async def lock_user(db: Db, *, user_handle: str) -> dict[str, Any] | None:
    """A user as the body of a PUT, locked until the end of the transaction."""
