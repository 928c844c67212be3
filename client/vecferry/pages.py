"""Pages of lists, as the service sends them."""

from __future__ import annotations

import msgspec

from vecferry.structs import Definition, Embedding, Instance, ProjectInfo, Share, Used


class Definitions(msgspec.Struct):
    """Definitions."""

    definitions: list[Definition]


class Instances(msgspec.Struct):
    """Instances."""

    instances: list[Instance]


class Projects(msgspec.Struct):
    """Projects."""

    projects: list[ProjectInfo]


class Embeddings(msgspec.Struct):
    """Embeddings."""

    embeddings: list[Embedding]


class Usage(msgspec.Struct):
    """Lines of a ledger."""

    usage: list[Used]


class Shares(msgspec.Struct):
    """The users with whom something is shared."""

    shared_with: list[Share]
