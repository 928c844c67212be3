"""Statements of `sql/api_standards.sql`: how the interfaces of providers work."""

from typing import Any

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class APIStandard(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a provider expects its key: the place (`key_method`) and the name (`key_field`).

    `dialect` is the format of its API; None if the service does not call it.
    """

    api_standard_handle: str
    key_method: str
    description: str | None = None
    key_field: str | None = None
    dialect: str | None = None


@query
async def upsert_api_standard(
    db: Db, *, api_standard_handle: str, description: str, key_method: str, key_field: str, dialect: str | None
) -> APIStandard:
    """Creates or replaces a standard. Violates `api_standards_key_method_fkey`."""


@query
async def lock_api_standard(db: Db, *, api_standard_handle: str) -> dict[str, Any] | None:
    """All columns of a standard, locked until the end of the transaction."""


@query
async def get_api_standards(db: Db, *, max_rows: int, skip: int) -> list[APIStandard]:
    """A page of all standards."""


@query
async def retrieve_api_standard(db: Db, *, api_standard_handle: str) -> APIStandard | None:
    """A standard."""


@query
async def delete_api_standard(db: Db, *, api_standard_handle: str) -> str | None:
    """Deletes a standard. Violates a foreign key while a definition or an instance uses it."""
