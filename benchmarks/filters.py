"""Searches with filters of which different shares of the rows pass, and with different numbers of results."""

from typing import Any

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.data import QUERIES, Data
from benchmarks.service import Client
from benchmarks.timing import in_turn

LIMITS = (1, 10, 50, 200)
SHARES = (0.9, 0.5, 0.1, 0.01, 0.001, 0.0001)
SOME = QUERIES // 4  # queries of each filter
TOLERANCE = 1e-4  # equally near rows are equally good


def described(data: Data) -> dict[str, NDArray[np.bool_]]:
    """Adds fields to the metadata of rows, random ones, and returns which rows have each: `passes_0` and so on."""
    random = np.random.default_rng(2).random(len(data.ids))
    masks = {f"passes_{place}": random < share for place, share in enumerate(SHARES)}
    for row, metadata in enumerate(data.metadata):
        metadata.update({name: bool(mask[row]) for name, mask in masks.items()}, random=float(random[row]))
    return masks


class Filtered(msgspec.Struct):
    """The least recall, and what is missing to the recall that was told at most; times in milliseconds."""

    recall: float = 1.0
    overstated: float = 0.0
    one_percent: float = 0.0
    of_exact: float = 0.0


async def limits(client: Client, data: Data) -> Filtered:
    """Searches without a filter for 1 to 200 results."""
    found = Filtered()
    everything = np.ones(len(data.ids), bool)
    for limit in LIMITS:
        await _recall(client, data, {}, everything, limit, range(QUERIES), found)
    return found


async def filters(client: Client, data: Data, masks: dict[str, NDArray[np.bool_]]) -> Filtered:
    """Searches for ten results, by equality and by a range."""
    found = Filtered()
    for (name, mask), share in zip(masks.items(), SHARES, strict=True):
        for document in ({name: True}, {"random": {"$lt": share}}):
            await _recall(client, data, document, mask, 10, range(SOME), found)
            bodies = [_body(data, number, document) for number in range(SOME)]
            taken, exact = await in_turn(
                lambda number: client.ask(bodies[number], 10),  # noqa: B023
                lambda number: client.ask(bodies[number], 10, "&exact=true"),  # noqa: B023
                SOME,
            )
            if document == {name: True} and share == 0.01:
                found.one_percent = taken
            # An exact search finds the rows that pass by the index of the metadata as well.
            found.of_exact = max(found.of_exact, taken / exact)
            click.echo(f"  {document}, {mask.mean():.4f} pass: {taken:.2f} ms, exact {exact:.2f} ms", err=True)
    return found


async def _recall(
    client: Client,
    data: Data,
    document: dict[str, Any],
    mask: NDArray[np.bool_],
    limit: int,
    queries: range,
    found: Filtered,
) -> None:
    stored = data.vectors[mask].astype(np.float32)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    ids = [name for name, passes in zip(data.ids, mask, strict=True) if passes]
    place = {name: row for row, name in enumerate(ids)}
    most = min(limit, len(ids))
    recalls: list[float] = []
    told = 1.0
    for number in queries if most else ():
        query = data.queries[number].astype(np.float32)
        similarities = stored @ (query / np.linalg.norm(query))
        least = np.partition(similarities, -most)[-most] - TOLERANCE
        answer = await client.ask(_body(data, number, document), limit)
        told = answer["search"]["recall"]
        recalls.append(sum(similarities[place[one["id"]]] >= least for one in answer["results"]) / most)
    recall = float(np.mean(recalls)) if recalls else 1.0
    click.echo(f"  {document or 'no filter'}, {limit} results: recall {recall:.4f}, told {told:.4f}", err=True)
    found.recall, found.overstated = min(found.recall, recall), max(found.overstated, told - recall)


def _body(data: Data, number: int, document: dict[str, Any]) -> bytes:
    sent = {"vector": data.queries[number].astype("<f2").tobytes(), "encoding": "f2"}
    return msgspec.msgpack.encode({**sent, "filter": document} if document else sent)
