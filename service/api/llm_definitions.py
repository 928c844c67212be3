"""Definitions: templates for instances (contract section 4)."""

import msgspec

from service.api.users import UserPath
from service.auth import definition_reader, owner
from service.errors import found
from service.http import Page, Req, endpoint
from service.queries import llm_definitions
from service.queries.llm_definitions import Definition, DefinitionBrief


class DefinitionPath(UserPath, frozen=True):
    """A path that names a definition."""

    definition: str


class Definitions(msgspec.Struct, frozen=True):
    """A page of definitions."""

    definitions: list[DefinitionBrief]


@endpoint("GET", "/v1/llm-definitions/{user}", guard=owner, errors=(404,))
async def get_definitions(req: Req, path: UserPath, query: Page) -> Definitions:
    """A user's own definitions, those of `_system`, and those shared with the user."""
    return Definitions(
        await llm_definitions.get_llm_definitions_by_user(
            req.db, user_handle=path.user, max_rows=query.limit, skip=query.offset
        )
    )


@endpoint("GET", "/v1/llm-definitions/{user}/{definition}", guard=definition_reader, errors=(404,))
async def get_definition(req: Req, path: DefinitionPath) -> Definition:
    """A definition."""
    row = await llm_definitions.retrieve_llm_definition(req.db, owner=path.user, definition_handle=path.definition)
    return found(row, f"The definition {path.user}/{path.definition}")


endpoints = [get_definitions, get_definition]
