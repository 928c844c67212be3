"""Statements of `sql/llm_definitions.sql`: templates for instances."""

from typing import Any

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class DefinitionBrief(msgspec.Struct, frozen=True):
    """A definition in a list."""

    definition_id: int
    definition_handle: str
    owner: str
    is_public: bool


class Definition(DefinitionBrief, frozen=True, omit_defaults=True):
    """A definition, a template for instances. `dimensions` is the number of components of a vector."""

    api_standard: str
    endpoint: str | None = None
    description: str | None = None
    model: str | None = None
    dimensions: int | None = None
    context_limit: int | None = None


@query
async def get_llm_definitions_by_user(db: Db, *, user_handle: str, max_rows: int, skip: int) -> list[DefinitionBrief]:
    """A page of a user's own, built-in and shared definitions."""


@query
async def get_all_llm_definitions(db: Db, *, caller: str | None, max_rows: int, skip: int) -> list[DefinitionBrief]:
    """A page of all definitions that the caller may use, or without a caller of all."""


@query
async def get_system_llm_definitions(db: Db, *, max_rows: int, skip: int) -> list[DefinitionBrief]:
    """A page of the built-in definitions."""


@query
async def retrieve_llm_definition_role(db: Db, *, owner: str, definition_handle: str, caller: str) -> str | None:
    """The caller's role for a definition: `owner`, `reader` or `public`, if any."""


@query
async def retrieve_llm_definition(
    db: Db, *, owner: str, definition_handle: str, usable_by: str | None
) -> Definition | None:
    """A definition, if it is `usable_by` this user, or for None without a check."""


@query
async def upsert_llm_definition(
    db: Db,
    *,
    owner: str,
    definition_handle: str,
    endpoint: str | None,
    description: str | None,
    api_standard: str,
    model: str | None,
    dimensions: int | None,
    context_limit: int | None,
    is_public: bool | None,
) -> DefinitionBrief:
    """Creates or replaces a definition."""


@query
async def lock_llm_definition(db: Db, *, owner: str, definition_handle: str) -> dict[str, Any] | None:
    """All columns of a definition, locked until the end of the transaction."""


@query
async def delete_llm_definition(db: Db, *, owner: str, definition_handle: str) -> int | None:
    """Deletes a definition; instances made from it stay, without the link."""


@query
async def share_llm_definition(db: Db, *, owner: str, definition_handle: str, user_handle: str) -> int | None:
    """Shares a definition. Violates `llm_service_definitions_shared_with_user_handle_fkey` for an unknown user."""


@query
async def unshare_llm_definition(db: Db, *, owner: str, definition_handle: str, user_handle: str) -> int | None:
    """Ends a share; None if there was none."""


@query
async def get_shared_users_for_definition(db: Db, *, owner: str, definition_handle: str) -> list[Any] | None:
    """The handles of the users with whom a definition is shared; None if it does not exist."""
