"""Sharing of instances, with limits of use."""

from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from service.api.fields import Moment, RequestCount, ShareRole, Tokens, check_end
from service.api.llm_instances import instance_name, retrieved
from service.api.merge_patch import merged
from service.api.sharing import ShareIn, SharesPage, not_the_owner
from service.database.statements import Db
from service.errors import found
from service.http.auth import owner
from service.http.endpoint import endpoint
from service.http.request import Req
from service.queries import llm_instances
from service.queries.llm_instances import InstanceShare
from service.storage.locks import locked


class InstanceShareIn(ShareIn, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A user to share an instance with, the role, and limits of use; days and months are in UTC.

    An omitted limit keeps its value; null removes it.
    """

    tokens_per_day: Tokens | UnsetType | None = UNSET
    tokens_per_month: Tokens | UnsetType | None = UNSET
    requests_per_minute: RequestCount | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET


class ShareChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The role and limits of a share."""

    role: ShareRole
    tokens_per_day: Tokens | None = None
    tokens_per_month: Tokens | None = None
    requests_per_minute: RequestCount | None = None
    expires_at: Moment | None = None


class InstanceShares(msgspec.Struct, frozen=True, omit_defaults=True):
    """The users with whom an instance is shared; `next` is the URL of the next page."""

    owner: str
    instance_handle: str
    shared_with: list[InstanceShare]
    next: str | None = None


@endpoint("POST", "/v1/llm-instances/{user}/{instance}/share", guard=owner, status=201)
async def share_instance(req: Req, user: str, instance: str, body: InstanceShareIn) -> InstanceShares:
    """Share an instance with a user, who may use it for projects and embed texts, but not change it or see its key."""
    not_the_owner(user, body.share_with_handle)
    sent = msgspec.to_builtins(body)  # without UNSET
    other = sent.pop("share_with_handle")
    async with locked(req.pool, user) as tx:
        stored = await llm_instances.lock_instance_share(tx, owner=user, instance_handle=instance, user_handle=other)
        share = msgspec.convert({**(stored or {}), **sent}, ShareChange)
        await _store(tx, user, instance, other, share)
        return InstanceShares(user, instance, await _shares(tx, user, instance))


@endpoint("PATCH", "/v1/llm-instances/{user}/{instance}/share/{other}", guard=owner, patches=ShareChange)
async def patch_instance_share(req: Req, user: str, instance: str, other: str, body: dict[str, Any]) -> InstanceShares:
    """Change the role or the limits of a share (JSON merge patch, RFC 7396); null removes a limit."""
    lock = partial(llm_instances.lock_instance_share, owner=user, instance_handle=instance, user_handle=other)
    what = _share_name(user, instance, other)
    async with merged(req.pool, body, ShareChange, what, lock, owners=(user,)) as (tx, share):
        await _store(tx, user, instance, other, share)
        return InstanceShares(user, instance, await _shares(tx, user, instance))


@endpoint("DELETE", "/v1/llm-instances/{user}/{instance}/share/{other}", guard=owner, status=204)
async def unshare_instance(req: Req, user: str, instance: str, other: str) -> None:
    """End the sharing of an instance with a user. The user's projects on it stay, but embed no more texts."""
    row = await llm_instances.unshare_llm_instance(req.pool, owner=user, instance_handle=instance, user_handle=other)
    found(row, _share_name(user, instance, other))


@endpoint("GET", "/v1/llm-instances/{user}/{instance}/shared-with", guard=owner)
async def get_instance_shares(req: Req, user: str, instance: str, query: SharesPage) -> InstanceShares:
    """The users with whom an instance is shared."""
    return InstanceShares(user, instance, *query.of(req, (await _shares(req.pool, user, instance))[query.offset :]))


async def _store(db: Db, user: str, instance: str, other: str, share: ShareChange) -> None:
    check_end(share.expires_at)
    row = await llm_instances.link_user_to_llm_instance(
        db, owner=user, instance_handle=instance, user_handle=other, **msgspec.structs.asdict(share)
    )
    found(row, instance_name(user, instance))


async def _shares(db: Db, user: str, instance: str) -> list[InstanceShare]:
    return (await retrieved(db, user, instance, "owner")).shared_with or []


def _share_name(user: str, instance: str, other: str) -> str:
    return f"A share of {user}/{instance} with {other!r}"
