"""Lists of projects with their instances and indexes."""

import msgspec

from service.api.project_index import ProjectIndex, index_of
from service.api.projects import TextSearch
from service.http.auth import admin, owner
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.queries import projects
from service.queries.projects import ListedInstance, ProjectBrief, ProjectInList


class ListedProject(ProjectBrief, frozen=True, omit_defaults=True):
    """A project in a list. The `tail` of its `index` is estimated from the numbers of rows."""

    number_of_embeddings: int
    text_search: TextSearch
    index: ProjectIndex
    instance: ListedInstance | None = None
    description: str | None = None


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
    return Projects(await listed(req, [row.project_id for row in shown], [row.role for row in shown]), following)


async def listed(req: Req, project_ids: list[int], roles: list[str] | None = None) -> list[ListedProject]:
    """The list entries of projects, by default for the admin."""
    rows = await projects.describe_projects(
        req.pool, project_ids=project_ids, roles=["admin"] * len(project_ids) if roles is None else roles
    )
    return [_listed(row, req.settings.service_recall) for row in rows]


def _listed(row: ProjectInList, recall: float) -> ListedProject:
    rows = row.number_of_embeddings
    tail = max(0, rows - row.index.built.indexed_rows) if row.index.built else 0
    return ListedProject(**msgspec.structs.asdict(row) | {"index": index_of(row.index, recall, rows, tail)})
