"""Searches that are begun with the access that their caller had before, and confirm it in their own statement.

To ask first takes a round trip: 0.25 ms of 2.4. So the project that a caller was allowed to search is remembered, as a
hint only: nothing is answered that the statement has not confirmed, and no error is told that came before it
(`Endpoint.answer` asks the guard then, and begins anew). Nothing is waited for, so that nobody learns from a delay that
a project is there.
"""

import asyncpg
from msgspec.structs import replace

from service.errors import ApiError, Busy
from service.http.request import Req
from service.queries.projects import ProjectAccess
from service.search.nearest import Unconfirmed

MAX_REMEMBERED = 10_000  # pairs of a caller and a project


async def recall(req: Req) -> ProjectAccess | None:
    """What a caller was allowed before, where the search can confirm it; the request is provisional then.

    The whole body must have come already, the rate limits must know the user of the key, and there must be no replica,
    which does not know permissions.
    """
    if req.is_refuted or req.services.replica is not None:
        return None
    access = req.services.remembered.get(_key(req))
    limits, given = req.services.rate_limits, req.credentials
    if access is None or (limits is not None and not limits.knows(given.key_hash, given.is_admin)):
        return None
    if not await req.body.has_come():
        return None
    req.is_provisional = True
    return access


def remember(req: Req, access: ProjectAccess) -> None:
    """Keeps the access that the guard granted, if the project is indexed: only index searches confirm access."""
    remembered = req.services.remembered
    if access.watermark is None:
        remembered.pop(_key(req), None)
        return
    if len(remembered) >= MAX_REMEMBERED:
        remembered.clear()
    remembered[_key(req)] = replace(access, metadata_scheme=None)  # a search does not need it, and it may be large


def confirm(req: Req, access: ProjectAccess) -> None:
    """The statement has confirmed the remembered access."""
    req.is_provisional = False
    req.record.principal = req.record.principal or access.caller


def refuted(req: Req, error: Exception) -> bool:
    """Whether an error ends a provisional request, so that the guard decides; the client has seen nothing.

    A project that is gone has no table, and one that was made again may have other dimensions.
    """
    if not req.is_provisional or isinstance(error, Busy):
        return False
    req.is_provisional, req.is_refuted = False, True
    req.services.remembered.pop(_key(req), None)
    return isinstance(error, (Unconfirmed, ApiError, asyncpg.SyntaxOrAccessError, asyncpg.DataError))


def _key(req: Req) -> tuple[str | None, str, str]:
    return req.credentials.key_hash, req.path_params["user"], req.path_params["project"]
