"""The sanity check of all stored data, in bounded memory, with a remedy for each finding."""

from collections.abc import AsyncIterator
from typing import Literal

import msgspec

from service.api.schema_check import checked_pages
from service.database import errors as database_errors
from service.database.statements import Db
from service.errors import NotFound
from service.metadata.schemas import BadSchema, Schemas, TooCostly
from service.provider_keys import rotation
from service.provider_keys.keyring import Keyring
from service.queries import admin

PAGE = 1000
MAX_LISTED = 1000  # issues and warnings each; all are counted

Level = Literal["issue", "warning"]
Kind = Literal[
    "wrong_dimensions",
    "invalid_metadata",
    "unusable_schema",
    "costly_schema",
    "unopened_key",
    "invalid_index",
    "low_recall",
    "left_over_embeddings",
    "no_instance",
    "no_schema",
    "plaintext_keys",
]
# docs/OPERATIONS.md has the same table.
REMEDIES: dict[Kind, str] = {
    "wrong_dimensions": "Delete these embeddings, and upload them again as vectors of the project's instance.",
    "invalid_metadata": "Upload the embedding again with valid metadata, or change the schema of the project.",
    "unusable_schema": "Replace the schema of the project (metadataScheme). Until then its uploads are refused.",
    "costly_schema": "Make the schema of the project simpler (metadataScheme), or the metadata smaller.",
    "unopened_key": (
        "Put its encryption key into ENCRYPTION_KEY_PREVIOUS and run `keys rotate`, or have the owner set the provider "
        "key again (a PATCH of the instance with api_key)."
    ),
    "invalid_index": "Wait: the indexer drops it within ten minutes. Without one (SERVICE_INDEXER), run `index`.",
    "low_recall": (
        "Nothing, if the recall in the answers of searches is sufficient. Otherwise search with exact=true, or raise "
        "SERVICE_EXACT_SECONDS for more exact searches."
    ),
    "left_over_embeddings": "See docs/MIGRATION.md for this reason. They stay in the table embeddings_unmigrated.",
    "no_instance": "Give the project an instance (a PUT of the project with instance_handle), or delete it.",
    "no_schema": "Nothing, if any metadata are allowed. Otherwise give the project a schema (metadataScheme).",
    "plaintext_keys": "Run `keys encrypt`.",
}


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem, with the `message` as in `issues` or `warnings`, and its remedy.

    Project and instance are owner/handle.
    """

    level: Level
    kind: Kind
    message: str
    remedy: str
    project: str | None = None
    text_id: str | None = None
    instance: str | None = None


class Report(msgspec.Struct, omit_defaults=True):
    """FAILED with any issue, else WARNING with any warning. The first 1,000 of each are listed, in two formats."""

    status: Literal["PASSED", "WARNING", "FAILED"]
    total_projects: int
    issues_count: int
    warnings_count: int
    issues: list[str] | None = None
    warnings: list[str] | None = None
    findings: list[Finding] | None = None


class _Findings:
    """The findings of one level."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.count = 0
        self.listed: list[Finding] = []

    def add(self, kind: Kind, message: str, **place: str) -> None:
        self.count += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(Finding(self.level, kind, message, REMEDIES[kind], **place))

    @property
    def messages(self) -> list[str] | None:
        return [one.message for one in self.listed] or None


async def check(db: Db, keyring: Keyring, schemas: Schemas, recall: float) -> Report:
    """Checks all projects, provider keys and indexes."""
    issues, warnings = _Findings("issue"), _Findings("warning")
    total_projects = 0
    async for project in _projects(db):
        total_projects += 1
        try:
            await _check_project(db, schemas, project, issues, warnings)
        except Exception as error:
            if not isinstance(database_errors.explain(error), NotFound):
                raise
            same = await admin.get_projects_to_check(db, after=project.project_id - 1, max_rows=1)
            if project.project_id in [one.project_id for one in same]:
                raise  # else it has just been deleted, with its table
    await _check_keys(db, keyring, issues, warnings)
    for name in await admin.get_invalid_indexes(db):
        issues.add("invalid_index", f"index {name} is invalid: its build was interrupted")
    for name in await admin.get_projects_below_recall(db, recall=recall):
        message = f"project {name}: its vector index does not reach a recall of {recall:g}"
        warnings.add("low_recall", message, project=name)
    for left in await admin.count_unmigrated_embeddings(db):
        reason = left.obstacle or "not migrated yet"
        message = f"project {left.project}: {left.embeddings} embeddings of the original system left over: {reason}"
        warnings.add("left_over_embeddings", message, project=left.project)
    return Report(
        status="FAILED" if issues.count else "WARNING" if warnings.count else "PASSED",
        total_projects=total_projects,
        issues_count=issues.count,
        warnings_count=warnings.count,
        issues=issues.messages,
        warnings=warnings.messages,
        findings=[*issues.listed, *warnings.listed] or None,
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
    name, dimensions = project.name, project.dimensions
    if dimensions is None:
        warnings.add("no_instance", f"project {name} has no instance", project=name)
        return
    wrong = await admin.count_wrong_dimensions(db, project_id=project.project_id, dimensions=dimensions)
    if wrong:
        message = f"project {name}: {wrong} vectors do not have {dimensions} dimensions"
        issues.add("wrong_dimensions", message, project=name)
    if not project.metadata_scheme:
        warnings.add("no_schema", f"project {name} has no metadata schema", project=name)
        return
    owner, scheme, after = name.partition("/")[0], project.metadata_scheme, ""
    try:
        await schemas.faults(owner, scheme, [], patient=True)
        async for page in checked_pages(db, schemas, owner, scheme, project.project_id, patient=True):
            for text_id, fault in page:
                if fault is not None:
                    message = f"project {name}, text_id {text_id!r}: metadata{fault.path} {fault.message}"
                    issues.add("invalid_metadata", message, project=name, text_id=text_id)
            after = page[-1][0]
    except BadSchema as error:
        issues.add("unusable_schema", f"project {name}: its metadata schema is not usable: {error}", project=name)
    except TooCostly as error:
        message = f"project {name}: its metadata cannot be checked after text_id {after!r}: {error}"
        issues.add("costly_schema", message, project=name)


async def _check_keys(db: Db, keyring: Keyring, issues: _Findings, warnings: _Findings) -> None:
    found = await rotation.status(db, keyring)
    for name in found.does_not_open:
        message = f"instance {name}: its provider key cannot be decrypted with ENCRYPTION_KEY"
        issues.add("unopened_key", message, instance=name)
    issues.count += found.not_opening - len(found.does_not_open)
    if found.plaintext:
        message = f"{found.plaintext} provider keys are stored in plaintext: run `keys encrypt`"
        warnings.add("plaintext_keys", message)
