"""What the indexer and the process that computes a map tell each other: MessagePack after its length in four bytes.

The process is sent Start, and then two samples, each as the pieces of a COPY and an empty piece at the end. It answers
with layouts, each followed by its parts, and tells its progress between.
"""

from typing import BinaryIO

import msgspec

LENGTH_BYTES = 4
PART_POINTS = 5000


class Start(msgspec.Struct, array_like=True, tag=True):
    """The task: a map of about `rows` embeddings of `dimensions` numbers each.

    `basis` is the projection that is kept, None for a new one. `sequences` and `positions` are the layout by neighbours
    as it is; with `renews` another one follows.
    """

    rows: int
    dimensions: int
    basis: bytes | None
    sequences: bytes
    positions: bytes
    renews: bool


class Progress(msgspec.Struct, array_like=True, tag=True):
    """What the process is at, and how much of it is done, from 0 to 1."""

    stage: str
    done: float


class Layout(msgspec.Struct, array_like=True, tag=True):
    """A map by its projection, and perhaps by neighbours, with their quality. Its points follow in `parts` messages.

    `explained` is the part of the variance that each axis of the projection shows. The trustworthiness is None where
    there are too few points for it.
    """

    parts: int
    basis: bytes
    has_neighbours: bool
    explained: list[float]
    trust_sample: int
    trust_of_pca: float | None
    trust_of_neighbours: float | None


class Part(msgspec.Struct, array_like=True, tag=True):
    """Some of the points: ids, the sequences (int64) of the embeddings, and pairs of float32; all little-endian."""

    text_ids: list[str]
    sequences: bytes
    pca: bytes
    neighbours: bytes | None


class Failed(msgspec.Struct, array_like=True, tag=True):
    """Why the rest cannot be computed."""

    why: str


Answer = Progress | Layout | Part | Failed


def framed(content: bytes) -> bytes:
    """A message, or a piece of a sample, with its length."""
    return len(content).to_bytes(LENGTH_BYTES) + content


def received(channel: BinaryIO) -> bytes:
    """The next message or piece. Raises EOFError when the other end is closed."""
    head = channel.read(LENGTH_BYTES)
    content = channel.read(int.from_bytes(head))
    if len(head) < LENGTH_BYTES or len(content) < int.from_bytes(head):
        raise EOFError
    return content
