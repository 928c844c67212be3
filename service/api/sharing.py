"""Sharing, as definitions, instances and projects have it in common."""

from typing import Annotated

import msgspec
from msgspec import Meta

from service.api.fields import AnyHandle, ShareRole
from service.errors import BadRequest, Problem
from service.http.paging import Page
from service.storage.locks import SYSTEM

MAX_SHARES = 10_000


class SharesPage(Page, frozen=True):
    """Which part of those with whom something is shared: all, unless they are very many."""

    limit: Annotated[int, Meta(ge=1, le=MAX_SHARES)] = MAX_SHARES


class ShareIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With whom to share, and in what role: sharing again changes it."""

    share_with_handle: AnyHandle
    role: ShareRole


class DefinitionShareIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With whom to share a definition, to be read and used."""

    share_with_handle: AnyHandle


def not_the_owner(owner: str, share_with: str) -> None:
    """Raises BadRequest for a share with the owner or with `_system`."""
    not_the_system(share_with, "body.share_with_handle")
    if owner == share_with:
        problem = Problem("is the owner", "body.share_with_handle", share_with)
        raise BadRequest("Nothing can be shared with its owner.", [problem])


def not_the_system(handle: str, where: str) -> None:
    """Raises BadRequest for `_system`, from which nothing could be taken back."""
    if handle == SYSTEM:
        raise BadRequest("_system is not a user to share with.", [Problem("must be a user", where, handle)])
