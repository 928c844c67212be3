"""The state of the service, for its operator. It counts no rows, so it is fast at any size."""

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
from service.queries.admin import Build, DatabaseDescription
from service.schema import migrate
from service.search.slow import SlowSearches

MAX_LARGEST = 20
MAX_BUILDS = 50


class SchemaState(msgspec.Struct, frozen=True):
    """The last migration of the database, pending ones, and those unknown to this version."""

    version: str | None
    pending: list[str]
    unknown: list[str]


class LargeProject(ListedProject, frozen=True, kw_only=True):
    """A project, and the size of its table with indexes."""

    bytes: int


class IndexesState(msgspec.Struct, frozen=True):
    """Projects with a vector index, their indexed embeddings, and indexes below SERVICE_RECALL."""

    projects: int
    rows: int
    below_recall: int


class BuildState(Build, frozen=True, omit_defaults=True):
    """An index that is being built: of kind graph, coarse, tail or metadata."""

    seconds_left: float | None = None


class ServiceState(DatabaseDescription, frozen=True, kw_only=True):
    """The state of the service, as seen by the process `process`, started at `started_at`.

    `embeddings` is null until all projects are counted. `largest_projects` are up to 20 with the most embeddings.
    `encryption_keys` counts provider keys by the id of their encryption key; `is_done` is false while some need
    rotation. At most 50 builds are shown.
    """

    version: str
    python: str
    process: int
    started_at: datetime
    schema: SchemaState
    largest_projects: list[LargeProject]
    indexes: IndexesState
    builds: list[BuildState]
    encryption_keys: rotation.Progress


@endpoint("GET", "/v1/admin/status", guard=admin)
async def get_status(req: Req) -> ServiceState:
    """The state of the service: versions, sizes, the largest projects, indexes, builds, encryption keys."""
    pool = req.pool
    summary = await indexes.summarise_indexes(pool, recall=req.settings.service_recall)
    return ServiceState(
        **msgspec.structs.asdict(await statements.describe_database(pool)),
        version=__version__,
        python=platform.python_version(),
        process=os.getpid(),
        started_at=req.services.slow_searches.since,
        schema=await _schema(pool),
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
    """The slow searches of the server process that answers."""
    return req.services.slow_searches


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
