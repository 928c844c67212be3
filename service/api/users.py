"""Users and their keys (contract section 2)."""

import secrets
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.api.fields import Email, Handle, ShortText
from service.api.merge_patch import merged, put
from service.database.statements import Db
from service.errors import Conflict, Problem, found, show
from service.http.auth import Caller, admin, any_user, owner
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req, hash_key
from service.queries import usage, users
from service.queries.users import User
from service.storage import tables
from service.storage.locks import SYSTEM, locked

KEY_BYTES = 32
NOT_CHANGED = "not changed"


class UsersPage(Page, frozen=True):
    """The part of the users' handles."""

    search: Annotated[str, Meta(max_length=64, pattern=r"^[^\u0000]*$")] = ""


class UserIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to create or change."""

    user_handle: Handle
    email: Email
    name: ShortText | None = None


class UserKey(msgspec.Struct, frozen=True):
    """A user and their key: 64 hexadecimal characters, shown only once, or `not changed`."""

    user_handle: str
    vdb_key: str


class WhoAmI(msgspec.Struct, frozen=True):
    """The owner of the sent key: a user, or the admin, who has no handle."""

    user_handle: str | None
    role: str


@endpoint("GET", "/v1/whoami", guard=any_user)
async def get_whoami(req: Req, access: Caller) -> WhoAmI:
    """The owner of the sent key."""
    return WhoAmI(access.handle, access.role)


@endpoint("GET", "/v1/users", guard=admin)
async def get_users(req: Req, query: UsersPage) -> list[str]:
    """All users' handles; with `search` only those that contain it, ignoring case."""
    return (await query.read(req, users.get_all_users, search=query.search))[0]


@endpoint("POST", "/v1/users", guard=admin, status=201, errors=(409,))
async def post_user(req: Req, body: UserIn) -> UserKey:
    """Create a user, or change one.

    The key is shown at creation only; afterwards the field reads `not changed`.
    """
    async with locked(req.pool, body.user_handle, *_alike(body.user_handle, body.email)) as tx:
        return await _store(tx, body)


@endpoint("GET", "/v1/users/{user}", guard=owner)
async def get_user(req: Req, user: str) -> User:
    """A user with their own and shared resources."""
    return found(await users.retrieve_user(req.pool, user_handle=user), f"The user {user!r}")


put_user = put(post_user, "user")


@endpoint("PATCH", "/v1/users/{user}", guard=admin, patches=UserIn, errors=(409,))
async def patch_user(req: Req, user: str, body: dict[str, Any]) -> User:
    """Change some properties of a user (JSON merge patch, RFC 7396)."""
    what = f"The user {user!r}"
    lock = partial(users.lock_user, user_handle=user)
    owners = (user, *_alike(body.get("email")))
    async with merged(req.pool, body, UserIn, what, lock, owners=owners) as (tx, changed):
        await _store(tx, changed)
        return found(await users.retrieve_user(tx, user_handle=user), what)


@endpoint("DELETE", "/v1/users/{user}", guard=owner, status=204, errors=(409,))
async def delete_user(req: Req, user: str) -> None:
    """Delete a user with all their resources."""
    async with locked(req.pool, user, SYSTEM) as tx:
        await usage.forget_user_in_usage(tx, user_handle=user)
        await users.lock_instances_of_user(tx, user_handle=user)
        found(await users.delete_user(tx, user_handle=user), f"The user {user!r}")
    await tables.drop_orphans(req.pool)


@endpoint("POST", "/v1/users/{user}/key", guard=owner, status=201)
async def post_user_key(req: Req, user: str) -> UserKey:
    """Create a new key for a user; the old one is revoked immediately."""
    key = secrets.token_hex(KEY_BYTES)
    row = await users.replace_user_key(req.pool, user_handle=user, key_hash=hash_key(key))
    return UserKey(found(row, f"The user {user!r}"), key)


def _alike(*names: Any) -> list[str]:
    """Names in lower case, locked so that only one of several users that differ in case only is created."""
    return [name.lower() for name in names if isinstance(name, str)]


async def _store(db: Db, user: UserIn) -> UserKey:
    taken = await users.retrieve_taken_names(db, user_handle=user.user_handle, email=user.email)
    if taken.handle:
        message = "This handle is reserved, or differs from another user's in upper and lower case only."
        raise Conflict(message, [Problem(message, "body.user_handle", user.user_handle)])
    if taken.email:
        message = "Another user has this e-mail address."
        raise Conflict(message, [Problem(message, "body.email", show(user.email))])
    key = secrets.token_hex(KEY_BYTES)
    created = await users.upsert_user(
        db, user_handle=user.user_handle, email=user.email, name=user.name, key_hash=hash_key(key)
    )
    return UserKey(user.user_handle, key if created else NOT_CHANGED)
