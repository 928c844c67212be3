"""The sanity check of all stored data, in bounded memory at any size."""

from collections.abc import AsyncIterator
from typing import Literal

import msgspec

from service.database.statements import Db
from service.metadata.schemas import BadSchema, Schemas, TooCostly
from service.provider_keys import rotation
from service.provider_keys.keyring import Keyring
from service.queries import admin

PAGE = 1000
PAGE_BYTES = 4 * 1024 * 1024
MAX_LISTED = 1000  # issues, and warnings, that are listed; all are counted


class Report(msgspec.Struct, omit_defaults=True):
    """FAILED with any issue, else WARNING with any warning. The first 1,000 of each are spelt out."""

    status: Literal["PASSED", "WARNING", "FAILED"]
    total_projects: int
    issues_count: int
    warnings_count: int
    issues: list[str] | None = None
    warnings: list[str] | None = None


class _Findings:
    def __init__(self) -> None:
        self.count = 0
        self.listed: list[str] = []

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(text)


async def check(db: Db, keyring: Keyring, schemas: Schemas, recall: float) -> Report:
    """Looks at every project, sealed key and index."""
    issues, warnings = _Findings(), _Findings()
    async for project in _projects(db):
        await _check_project(db, schemas, project, issues, warnings)
    await _check_keys(db, keyring, issues, warnings)
    for name in await admin.get_invalid_indexes(db):
        issues.add(f"index {name} is invalid: its build was interrupted")
    for name in await admin.get_projects_below_recall(db, recall=recall):
        warnings.add(f"project {name}: its vector index does not reach a recall of {recall:g}")
    for left in await admin.count_unmigrated_embeddings(db):
        reason = left.obstacle or "not carried yet"
        warnings.add(f"project {left.project}: {left.embeddings} embeddings of the original system left over: {reason}")
    return Report(
        status="FAILED" if issues.count else "WARNING" if warnings.count else "PASSED",
        total_projects=await admin.count_projects(db),
        issues_count=issues.count,
        warnings_count=warnings.count,
        issues=issues.listed or None,
        warnings=warnings.listed or None,
    )


async def _projects(db: Db) -> AsyncIterator[admin.ProjectToCheck]:
    after = 0
    while page := await admin.get_projects_to_check(db, after=after, max_rows=PAGE):
        for project in page:
            yield project
        after = page[-1].project_id


async def _check_project(
    db: Db, schemas: Schemas, project: admin.ProjectToCheck, issues: _Findings, warnings: _Findings
) -> None:
    if project.dimensions is None:
        warnings.add(f"project {project.name} has no instance")
        return
    wrong = await admin.count_wrong_dimensions(db, project_id=project.project_id, dimensions=project.dimensions)
    if wrong:
        issues.add(f"project {project.name}: {wrong} vectors do not have {project.dimensions} dimensions")
    if not project.metadata_scheme:
        warnings.add(f"project {project.name} has no metadata schema")
        return
    owner, scheme, after, rows = project.name.partition("/")[0], project.metadata_scheme, "", PAGE
    try:
        await schemas.faults(owner, scheme, [], patient=True)
        while page := await admin.get_metadata_to_check(
            db, project_id=project.project_id, after=after, max_rows=rows, max_bytes=PAGE_BYTES
        ):
            found = await schemas.faults(owner, scheme, [row.metadata for row in page], patient=True)
            for row, fault in zip(page, found, strict=True):
                if fault is not None:
                    issues.add(f"project {project.name}, text_id {row.text_id!r}: metadata{fault.path} {fault.message}")
            after, rows = page[-1].text_id, min(PAGE, 2 * len(page))  # when they are large, no more are looked at
    except BadSchema as error:
        issues.add(f"project {project.name}: its metadata schema is not usable: {error}")
    except TooCostly as error:
        issues.add(f"project {project.name}: its metadata cannot be checked after text_id {after!r}: {error}")


async def _check_keys(db: Db, keyring: Keyring, issues: _Findings, warnings: _Findings) -> None:
    found = await rotation.status(db, keyring)
    for name in found.does_not_open:
        issues.add(f"instance {name}: its provider key does not open with ENCRYPTION_KEY")
    issues.count += found.not_opening - len(found.does_not_open)
    if found.plaintext:
        warnings.add(f"{found.plaintext} provider keys are stored in the clear: run `keys encrypt`")
