"""Statements of `sql/llm_definitions.sql`: templates for instances."""

import msgspec

from service.sql import Db, Queries

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
async def retrieve_llm_definition_role(db: Db, *, owner: str, definition_handle: str, caller: str) -> str | None:
    """`owner`, `reader` or `public`: what the caller may do with a definition; None when nothing."""


@query
async def retrieve_llm_definition(db: Db, *, owner: str, definition_handle: str) -> Definition | None:
    """A definition, whoever asks."""


query.complete()
