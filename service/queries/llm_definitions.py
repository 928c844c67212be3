"""Statements of `sql/llm_definitions.sql`: templates for instances."""

from typing import Any

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class DefinitionBrief(msgspec.Struct, frozen=True):
    """A definition as it stands in a list."""

    definition_id: int
    definition_handle: str
    owner: str
    is_public: bool


class Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A definition: what an instance made from it inherits. `dimensions` counts the numbers of a vector."""

    definition_id: int
    definition_handle: str
    owner: str
    api_standard: str
    is_public: bool
    endpoint: str | None = None
    description: str | None = None
    model: str | None = None
    dimensions: int | None = None
    context_limit: int | None = None


@query
async def get_llm_definitions_by_user(db: Db, *, user_handle: str, max_rows: int, skip: int) -> list[DefinitionBrief]:
    """A page of a user's own definitions, those of `_system`, and those shared with the user."""


@query
async def get_all_llm_definitions(db: Db, *, caller: str | None, max_rows: int, skip: int) -> list[DefinitionBrief]:
    """A page of all definitions that a user may use, or with no caller of all there are."""


@query
async def get_system_llm_definitions(db: Db, *, max_rows: int, skip: int) -> list[DefinitionBrief]:
    """A page of the built-in definitions."""


@query
async def retrieve_llm_definition_role(db: Db, *, owner: str, definition_handle: str, caller: str) -> str | None:
    """`owner`, `reader` or `public`: the caller's role for a definition; None without one."""


@query
async def retrieve_llm_definition(db: Db, *, owner: str, definition_handle: str) -> Definition | None:
    """A definition, without a check of permissions."""


@query
async def lock_usable_llm_definition(
    db: Db, *, owner: str, definition_handle: str, user_handle: str
) -> Definition | None:
    """A definition that a user may use, which stays until the end of the transaction; None when there is none."""


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
    is_public: bool,
) -> DefinitionBrief:
    """Creates or replaces a definition."""


@query
async def lock_llm_definition(db: Db, *, owner: str, definition_handle: str) -> dict[str, Any] | None:
    """A definition as the body of a PUT, locked until the end of the transaction."""


@query
async def delete_llm_definition(db: Db, *, owner: str, definition_handle: str) -> int | None:
    """Deletes a definition; instances made from it stay, unlinked."""


@query
async def share_llm_definition(db: Db, *, owner: str, definition_handle: str, user_handle: str) -> int | None:
    """Shares a definition. Violates `llm_service_definitions_shared_with_user_handle_fkey` for an unknown user."""


@query
async def unshare_llm_definition(db: Db, *, owner: str, definition_handle: str, user_handle: str) -> int | None:
    """Ends a share; None when there was none."""


@query
async def get_shared_users_for_definition(db: Db, *, owner: str, definition_handle: str) -> list[Any] | None:
    """The handles of the users that a definition is shared with; None when there is no such definition."""


query.complete()
