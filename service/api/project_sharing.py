"""Sharing and transfer of projects (contract section 6)."""

import msgspec

from service.api.fields import AnyHandle
from service.api.projects import project_name
from service.api.sharing import ShareIn, SharesPage, not_the_owner, not_the_system
from service.database.statements import Db
from service.errors import BadRequest, Conflict, Problem, found
from service.http.auth import owner
from service.http.endpoint import endpoint
from service.http.request import Req
from service.queries import projects
from service.queries.users import SharedWith
from service.storage.locks import locked


class ProjectShares(msgspec.Struct, frozen=True, omit_defaults=True):
    """The users with whom a project is shared; `next` is the URL of the next page."""

    owner: str
    project_handle: str
    shared_with: list[SharedWith]
    next: str | None = None


class TransferIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new owner of a project."""

    new_owner: AnyHandle


class Transferred(msgspec.Struct, frozen=True):
    """A transferred project with its new `owner`."""

    owner: str
    project_handle: str
    project_id: int


@endpoint("POST", "/v1/projects/{user}/{project}/share", guard=owner, status=201)
async def share_project(req: Req, user: str, project: str, body: ShareIn) -> ProjectShares:
    """Share a project: an editor may upload and delete embeddings, a reader may read and search."""
    not_the_owner(user, body.share_with_handle)
    async with locked(req.pool, user) as tx:
        row = await projects.share_project(
            tx, owner=user, project_handle=project, user_handle=body.share_with_handle, role=body.role
        )
        found(row, project_name(user, project))
        return ProjectShares(user, project, await _shared(tx, user, project))


@endpoint("DELETE", "/v1/projects/{user}/{project}/share/{other}", guard=owner, status=204)
async def unshare_project(req: Req, user: str, project: str, other: str) -> None:
    """End the sharing of a project with a user."""
    row = await projects.unshare_project(req.pool, owner=user, project_handle=project, user_handle=other)
    found(row, f"A share of {user}/{project} with {other!r}")


@endpoint("GET", "/v1/projects/{user}/{project}/shared-with", guard=owner)
async def get_project_shares(req: Req, user: str, project: str, query: SharesPage) -> ProjectShares:
    """The users with whom a project is shared, besides the public."""
    return ProjectShares(user, project, *query.of(req, (await _shared(req.pool, user, project))[query.offset :]))


@endpoint("POST", "/v1/projects/{user}/{project}/transfer", guard=owner, errors=(409,))
async def transfer_project(req: Req, user: str, project: str, body: TransferIn) -> Transferred:
    """Transfer a project to another user.

    The new owner must have access to its instance, and no project with its handle. The former owner loses access.
    Editors become readers, and `text_search` becomes `editors`, because the new owner pays for the embedding of texts.
    """
    not_the_system(body.new_owner, "body.new_owner")
    if body.new_owner == user:
        raise BadRequest("That user already owns the project.", [Problem("is the owner", "body.new_owner", user)])
    async with locked(req.pool, user, body.new_owner) as tx:
        moved = await projects.transfer_project(tx, owner=user, project_handle=project, new_owner=body.new_owner)
    transfer = found(moved, project_name(user, project))
    if not transfer.fits:
        raise Conflict(f"There is no user {body.new_owner!r} with access to the instance of the project.")
    return Transferred(body.new_owner, project, transfer.project_id)


async def _shared(db: Db, user: str, project: str) -> list[SharedWith]:
    rows = await projects.get_shared_users_for_project(db, owner=user, project_handle=project)
    return found(rows, project_name(user, project))
