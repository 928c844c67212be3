"""Common parts of sharing definitions, instances and projects."""

from typing import Annotated

import msgspec
from msgspec import Meta

from service.api.fields import AnyHandle, ShareRole
from service.errors import BadRequest, Problem
from service.http.paging import Page
from service.storage.locks import SYSTEM

MAX_SHARES = 10_000


class SharesPage(Page, frozen=True):
    """The part of a list of shares, by default up to 10,000."""

    limit: Annotated[int, Meta(ge=1, le=MAX_SHARES)] = MAX_SHARES


class DefinitionShareIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to share a definition with."""

    share_with_handle: AnyHandle


class ShareIn(DefinitionShareIn, frozen=True, forbid_unknown_fields=True):
    """A user to share with, and the role; sharing again changes the role."""

    role: ShareRole


def not_the_owner(owner: str, share_with: str) -> None:
    """Raises BadRequest for a share with the owner or with `_system`."""
    not_the_system(share_with, "body.share_with_handle")
    if owner == share_with:
        problem = Problem("is the owner", "body.share_with_handle", share_with)
        raise BadRequest("A resource cannot be shared with its owner.", [problem])


def not_the_system(handle: str, where: str) -> None:
    """Raises BadRequest for `_system`, which is not a real user."""
    if handle == SYSTEM:
        raise BadRequest("Sharing with _system is not possible.", [Problem("must be a user", where, handle)])
