"""Users and their keys (contract section 2)."""

import secrets

import msgspec

from service import partitions
from service.auth import admin, owner
from service.errors import BadRequest, Problem, Unavailable, found
from service.fields import Email, Handle, ShortText
from service.http import Page, Req, endpoint, hash_key
from service.queries import users
from service.queries.users import User

KEY_BYTES = 32
NOT_CHANGED = "not changed"


class UserPath(msgspec.Struct, frozen=True):
    """A path that names a user."""

    user: str


class UserIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to be created or changed."""

    user_handle: Handle
    email: Email
    name: ShortText | None = None


class UserKey(msgspec.Struct, frozen=True):
    """A user and their key, which is shown this once: 64 hexadecimal characters, or `not changed`."""

    user_handle: str
    vdb_key: str


@endpoint("POST", "/v1/users", guard=admin, status=201, errors=(409,))
async def post_user(req: Req, body: UserIn) -> UserKey:
    """Create a user, or change one. The key is shown at creation only."""
    key = secrets.token_hex(KEY_BYTES)
    row = await users.upsert_user(
        req.db, user_handle=body.user_handle, email=body.email, name=body.name, key_hash=hash_key(key)
    )
    if row is None:
        raise Unavailable
    return UserKey(row.user_handle, key if row.created else NOT_CHANGED)


@endpoint("PUT", "/v1/users/{user}", guard=admin, status=201, errors=(409,))
async def put_user(req: Req, path: UserPath, body: UserIn) -> UserKey:
    """Create a user, or change one. The key is shown at creation only."""
    same_handle(path.user, body.user_handle, "user_handle")
    key: UserKey = await post_user.handler(req, body)
    return key


@endpoint("GET", "/v1/users", guard=admin)
async def get_users(req: Req, query: Page) -> list[str]:
    """All users' handles."""
    return await users.get_all_users(req.db, max_rows=query.limit, skip=query.offset)


@endpoint("GET", "/v1/users/{user}", guard=owner, errors=(404,))
async def get_user(req: Req, path: UserPath) -> User:
    """A user with all that they own and have been given."""
    return found(await users.retrieve_user(req.db, user_handle=path.user), f"The user {path.user!r}")


@endpoint("POST", "/v1/users/{user}/key", guard=owner, status=201, errors=(404,))
async def post_user_key(req: Req, path: UserPath) -> UserKey:
    """A new key for a user; the old one stops working at once."""
    key = secrets.token_hex(KEY_BYTES)
    row = await users.replace_user_key(req.db, user_handle=path.user, key_hash=hash_key(key))
    return UserKey(found(row, f"The user {path.user!r}"), key)


@endpoint("DELETE", "/v1/users/{user}", guard=owner, status=204, errors=(404, 409))
async def delete_user(req: Req, path: UserPath) -> None:
    """Delete a user with all that they own."""
    found(await users.delete_user(req.db, user_handle=path.user), f"The user {path.user!r}")
    await partitions.drop_orphans(req.db)


def same_handle(in_path: str, in_body: str, field: str) -> None:
    """Raises BadRequest when a body names another thing than its path."""
    if in_path != in_body:
        problem = Problem(f"must be {in_path!r}, as in the path", f"body.{field}", in_body)
        raise BadRequest("The body contradicts the path.", [problem])


endpoints = [get_users, post_user, get_user, put_user, delete_user, post_user_key]
