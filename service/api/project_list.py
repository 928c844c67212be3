"""Lists of projects with their instances and indexes."""

import msgspec

from service.api.project_index import ProjectIndex, index_of
from service.http.auth import admin, owner
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.queries import indexes, projects
from service.queries.indexes import IndexState
from service.queries.projects import ProjectInList


class ListedProject(ProjectInList, frozen=True, kw_only=True):
    """A project in a list. The `tail` of its `index` is estimated from the numbers of rows."""

    index: ProjectIndex


class Projects(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of projects; `next` is the URL of the next page."""

    projects: list[ListedProject]
    next: str | None = None


@endpoint("GET", "/v1/projects", guard=admin)
async def get_all_projects(req: Req, query: Page) -> Projects:
    """All projects of all users."""
    shown, following = await query.read(req, projects.get_all_projects)
    return Projects(await listed(req, shown), following)


@endpoint("GET", "/v1/projects/{user}", guard=owner)
async def get_projects(req: Req, user: str, query: Page) -> Projects:
    """A user's own and shared projects."""
    shown, following = await query.read(req, projects.get_projects_by_user, user_handle=user)
    return Projects(await listed(req, shown, user), following)


async def listed(req: Req, project_ids: list[int], caller: str | None = None) -> list[ListedProject]:
    """The list entries of projects, by default for the admin."""
    rows = await projects.describe_projects(req.pool, project_ids=project_ids, caller=caller)
    states = await indexes.get_index_states(req.pool, project_ids=[row.project_id for row in rows])
    return [_listed(row, state, req.settings.service_recall) for row, state in zip(rows, states, strict=True)]


def _listed(row: ProjectInList, state: IndexState, recall: float) -> ListedProject:
    rows = row.number_of_embeddings
    tail = max(0, rows - state.built.indexed_rows) if state.built else 0
    return ListedProject(**msgspec.structs.asdict(row), index=index_of(state, recall, rows, tail))
