"""Checks of a metadata schema against the stored rows of a project, before it is saved."""

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from service.api.embeddings import After
from service.api.projects import project_name, schema_text
from service.database.statements import Db
from service.errors import Invalid, Problem, found
from service.http.auth import owner
from service.http.endpoint import endpoint
from service.http.request import Req
from service.metadata.schemas import BadSchema, Fault, Schemas, TooCostly
from service.queries import admin, projects

PAGE = 1000
PAGE_BYTES = 4 * 1024 * 1024
MAX_FAILURES = 100  # in the list; all are counted
MAX_SECONDS = 10.0  # after which no further page is checked


class SchemaToCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON Schema as text or object, as in a project; `after` continues after an id."""

    metadata_scheme: str | dict[str, Any] | bool = msgspec.field(name="metadataScheme")
    after: After = ""


class Failure(msgspec.Struct, frozen=True):
    """A stored embedding whose metadata violate the schema, with a path like `.author.name`."""

    text_id: str
    path: str
    message: str


class SchemaChecked(msgspec.Struct, frozen=True, omit_defaults=True):
    """The number of checked and of failing rows, and the first 100 failures in the order of text_id.

    After a timeout there is a `next_after`, with which to continue (as `after`); perhaps no rows are left.
    `number_of_embeddings` is that of the whole project.
    """

    checked: int
    failing: int
    failures: list[Failure]
    number_of_embeddings: int
    next_after: str | None = None


@endpoint("POST", "/v1/projects/{user}/{project}/schema-check", guard=owner, only_reads=True)
async def post_schema_check(req: Req, user: str, project: str, body: SchemaToCheck) -> SchemaChecked:
    """Find the stored metadata that a schema would refuse. Nothing is changed."""
    row = await projects.retrieve_project_size(req.pool, owner=user, project_handle=project)
    stored = found(row, project_name(user, project))
    schema, schemas = schema_text(body.metadata_scheme), req.services.schemas
    if schema is None:
        raise Invalid(problems=[Problem("is required", "body.metadataScheme")])
    failures: list[Failure] = []
    checked, failing, last, goes_on = 0, 0, body.after, None
    end = time.monotonic() + MAX_SECONDS
    try:
        await schemas.check(user, schema)
        if not stored.number_of_embeddings:  # perhaps without a table
            return SchemaChecked(0, 0, [], 0)
        async for page in checked_pages(req.pool, schemas, user, schema, stored.project_id, after=last):
            wrong = [Failure(text_id, fault.path, fault.message) for text_id, fault in page if fault is not None]
            failures += wrong[: MAX_FAILURES - len(failures)]
            checked, failing, last = checked + len(page), failing + len(wrong), page[-1][0]
            if time.monotonic() > end:
                goes_on = last
                break
    except BadSchema as error:
        raise Invalid(problems=[Problem(f"is not a usable JSON Schema: {error}", "body.metadataScheme")]) from None
    except TooCostly as error:
        raise Invalid(problems=[Problem(f"{error}, after text_id {last!r}", "body.metadataScheme")]) from None
    return SchemaChecked(checked, failing, failures, stored.number_of_embeddings, goes_on)


async def checked_pages(
    db: Db, schemas: Schemas, owner: str, schema: str, project_id: int, *, after: str = "", patient: bool = False
) -> AsyncIterator[list[tuple[str, Fault | None]]]:
    """Yields the ids of a project's embeddings with the faults of their metadata, in non-empty pages.

    Raises BadSchema, TooCostly, Unavailable, and, unless `patient`, Busy.
    """
    rows = PAGE
    while page := await admin.get_metadata_to_check(
        db, project_id=project_id, after=after, max_rows=rows, max_bytes=PAGE_BYTES
    ):
        faults = await schemas.faults(owner, schema, [row.metadata for row in page], patient=patient)
        yield [(row.text_id, fault) for row, fault in zip(page, faults, strict=True)]
        after, rows = page[-1].text_id, min(PAGE, 2 * len(page))  # fewer if the rows are large
