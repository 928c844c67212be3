"""The state of the whole service, for its operator. No rows are counted, so it is as quick at any number of them."""

import os
import platform
from datetime import datetime

import msgspec

from service import __version__
from service.api.project_index import seconds_left
from service.api.project_list import ListedProject, listed
from service.database.pool import Pool
from service.http.auth import admin
from service.http.endpoint import endpoint
from service.http.request import Req
from service.provider_keys import rotation
from service.queries import admin as statements
from service.queries import health, indexes, projects
from service.queries.admin import Build
from service.schema import migrate
from service.search.slow import SLOW_SECONDS, SlowSearch

MAX_LARGEST = 20
MAX_BUILDS = 50


class SchemaState(msgspec.Struct, frozen=True):
    """The last migration of the database; those that it lacks, and those that this version does not know."""

    version: str | None
    pending: list[str]
    unknown: list[str]


class LargeProject(ListedProject, frozen=True, kw_only=True):
    """A project, and the size of its table with all indexes."""

    bytes: int


class IndexesState(msgspec.Struct, frozen=True):
    """Projects with a vector index, the embeddings in them, and those whose index does not reach SERVICE_RECALL."""

    projects: int
    rows: int
    below_recall: int


class BuildState(Build, frozen=True, omit_defaults=True):
    """An index that is being built: a graph, a coarse index, or that of the tail or the metadata."""

    seconds_left: float | None = None


class ServiceState(msgspec.Struct, frozen=True):
    """The state of the service, as the process with this number sees it, which was started at `started_at`.

    `embeddings` is null while there is a project that is not counted yet. `largest_projects` are those with the most
    embeddings, at most 20. `encryption_keys` shows by their ids which keys sealed the providers' keys; `is_done` is
    false while there are some that the current one did not seal. At most 50 builds are shown.
    """

    version: str
    python: str
    postgresql: str
    pgvector: str
    process: int
    started_at: datetime
    schema: SchemaState
    database_bytes: int
    users: int
    projects: int
    instances: int
    embeddings: int | None
    largest_projects: list[LargeProject]
    indexes: IndexesState
    builds: list[BuildState]
    encryption_keys: rotation.Progress


class SlowSearches(msgspec.Struct, frozen=True):
    """Searches that took `threshold_seconds` or longer in the database, 50 of the `slowest` and 50 of the `latest`.

    Of this process only, since its start: where several serve, each has its own. `slow` counts all.
    """

    process: int
    since: datetime
    threshold_seconds: float
    slow: int
    slowest: list[SlowSearch]
    latest: list[SlowSearch]


@endpoint("GET", "/v1/admin/status", guard=admin)
async def get_status(req: Req) -> ServiceState:
    """The state of the service: versions, sizes, the largest projects, indexes, builds, encryption keys."""
    pool = req.pool
    database, counts = await statements.describe_database(pool), await statements.count_all(pool)
    summary = await indexes.summarise_indexes(pool, recall=req.services.settings.service_recall)
    return ServiceState(
        version=__version__,
        python=platform.python_version(),
        postgresql=database.postgresql,
        pgvector=database.pgvector,
        process=os.getpid(),
        started_at=req.services.slow_searches.since,
        schema=await _schema(pool),
        database_bytes=database.bytes,
        users=counts.users,
        projects=counts.projects,
        instances=counts.instances,
        embeddings=counts.embeddings,
        largest_projects=await _largest(req),
        indexes=IndexesState(summary.projects, summary.rows, summary.below),
        builds=[
            BuildState(**msgspec.structs.asdict(build), seconds_left=seconds_left(build.progress, build.seconds))
            for build in await statements.get_builds(pool, max_rows=MAX_BUILDS)
        ],
        encryption_keys=await rotation.progress(pool, req.services.keyring),
    )


@endpoint("GET", "/v1/admin/slow-searches", guard=admin)
async def get_slow_searches(req: Req) -> SlowSearches:
    """The slow searches of the process that answers."""
    kept = req.services.slow_searches
    return SlowSearches(os.getpid(), kept.since, SLOW_SECONDS, kept.count, kept.slowest, kept.latest)


async def _schema(pool: Pool) -> SchemaState:
    applied, known = await health.get_applied_migrations(pool), migrate.names()
    return SchemaState(
        version=max(applied, default=None),
        pending=sorted(set(known) - set(applied)),
        unknown=sorted(set(applied) - set(known)),
    )


async def _largest(req: Req) -> list[LargeProject]:
    found = await listed(req, await projects.get_largest_projects(req.pool, max_rows=MAX_LARGEST))
    sizes = await statements.get_table_sizes(req.pool, project_ids=[one.project_id for one in found])
    return [LargeProject(**msgspec.structs.asdict(one), bytes=size) for one, size in zip(found, sizes, strict=True)]


endpoints = [get_status, get_slow_searches]
