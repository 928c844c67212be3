"""Messages between the indexer and the process that computes a map, as MessagePack (`service.child`).

The indexer sends Start, then two samples, each as the pieces of a COPY with an empty piece at the end. The process
answers with Progress, and with Layouts, each followed by its Parts.
"""

import msgspec

PART_POINTS = 5000


class Start(msgspec.Struct, array_like=True, tag=True):
    """The task: a map of about `rows` embeddings with `dimensions` dimensions.

    `basis` is a projection to keep, None for a new one. `sequences` and `positions` are the old layout by neighbours;
    with `renews` a new one is computed.
    """

    rows: int
    dimensions: int
    basis: bytes | None
    sequences: bytes
    positions: bytes
    renews: bool


class Progress(msgspec.Struct, array_like=True, tag=True):
    """The current stage, and its progress from 0 to 1."""

    stage: str
    done: float


class Layout(msgspec.Struct, array_like=True, tag=True):
    """A map by projection, and perhaps by neighbours, with their quality. Its points follow in `parts` messages.

    `explained` is the explained variance of each axis of the projection. The trustworthiness is None for too few
    points.
    """

    parts: int
    basis: bytes
    has_neighbours: bool
    explained: list[float]
    trust_sample: int
    trust_of_pca: float | None
    trust_of_neighbours: float | None


class Part(msgspec.Struct, array_like=True, tag=True):
    """Some points: ids, sequences (int64) of the embeddings, and coordinates (pairs of float32), little-endian."""

    text_ids: list[str]
    sequences: bytes
    pca: bytes
    neighbours: bytes | None


class Failed(msgspec.Struct, array_like=True, tag=True):
    """The reason why the rest cannot be computed."""

    why: str


Answer = Progress | Layout | Part | Failed
