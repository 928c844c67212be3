"""The map of a project: its embeddings as points in two dimensions."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from service.errors import NotFound
from service.http.auth import embeddings_reader
from service.http.endpoint import endpoint
from service.http.limits import MAX_FIELD_CHARACTERS, MAX_POINTS
from service.http.request import Req
from service.maps.messages import PART_POINTS
from service.maps.quality import NEIGHBOURS
from service.queries import maps
from service.queries.maps import KnownMap, MapState
from service.queries.projects import ProjectAccess
from service.search.filters import field_path
from service.search.limits import MAX_PATH_LENGTH
from service.turns import Turns

Method = Literal["pca", "neighbours"]
State = Literal["ready", "waiting", "computing", "failed"]
POINT_BYTES = 8
VALUE_BYTES = 6 * MAX_FIELD_CHARACTERS + 4  # of JSON, with all characters escaped
SECONDS_BETWEEN_ASKS = 2
AGAIN_AFTER = timedelta(minutes=1)  # since a failure


class MapQuery(msgspec.Struct, frozen=True):
    """The method, the maximum number of points, and a metadata field, named as in filters, to return with them."""

    method: Method = "pca"
    limit: Annotated[int, Meta(ge=1, le=MAX_POINTS)] = MAX_POINTS
    field: Annotated[str, Meta(min_length=1, max_length=MAX_PATH_LENGTH)] | None = None


class Trustworthiness(msgspec.Struct, frozen=True):
    """The trustworthiness of the `k` nearest neighbours in the map, from a `sample` of points; 1 is the best.

    `value` is for this method, `pca` for that one; null for very few points.
    """

    k: int
    value: float | None
    pca: float | None
    sample: int


class Map(msgspec.Struct, frozen=True, omit_defaults=True):
    """A map of a project: `positions` are x and y of each of the `ids`, as little-endian float32, base64 in JSON.

    `field` has a value for each id. `state` is the state of this method, `methods` that of all. While the first map is
    computed, there are no points, but a `progress` from 0 to 1. A ready map shows the project at its `changes` or
    slightly later, without embeddings deleted since. `sampled`: some of the `rows` are left out. `explained_variance`:
    the share of each axis of the projection. `error`: the reason of a failure.
    """

    state: State
    method: Method
    methods: dict[str, State]
    rows: int
    points: int
    sampled: bool
    progress: float | None = None
    error: str | None = None
    changes: int | None = None
    computed_at: datetime | None = None
    trustworthiness: Trustworthiness | None = None
    explained_variance: list[float] | None = None
    positions: bytes | None = None
    ids: list[str] | None = None
    field: list[str | float | bool | None] | None = None


@endpoint("GET", "/v1/projects/{user}/{project}/map", guard=embeddings_reader, may_be_accepted=True)
async def get_map(req: Req, query: MapQuery, access: ProjectAccess) -> Map:
    """A project's embeddings as points in two dimensions. The first request starts the computation (202)."""
    compiled = None if query.field is None else field_path(query.field) + "[*]"  # the first item of a list
    parts = -(-query.limit // PART_POINTS)
    state = await maps.retrieve_map(req.pool, project_id=access.project_id, parts=parts)
    if state is None:
        raise NotFound("The project has just been deleted.")
    if _is_to_be_made(state, query.method):
        await maps.ask_for_map(req.pool, project_id=access.project_id)
        state = replace(state, map=replace(state.map, asked_at=datetime.now(UTC)))
    values: list[str | float | bool | None] | None = None if compiled is None else []
    if not state.rows:
        return _described(state, query, "ready", [], b"", values)
    if (now := _state(state.map, query.method)) != "ready":
        return _not_ready(req, state, query, now)
    most = min(query.limit, state.rows)
    await req.make_room_to_show(state.id_bytes + most * (POINT_BYTES + (0 if compiled is None else VALUE_BYTES)))
    found = await maps.get_map_points(
        req.pool,
        project_id=access.project_id,
        by_neighbours=query.method == "neighbours",
        field=compiled,
        longest=MAX_FIELD_CHARACTERS,
        parts=parts,
    )
    ids: list[str] = []
    positions: list[bytes] = []
    turns = Turns()
    for part in found:
        some = np.frombuffer(part.positions or b"", dtype="<f8")  # a pair of float32 at once
        if not len(some) and part.places:  # just replaced by a map without this method yet
            return _not_ready(req, state, query, "computing")
        positions.append(some[np.array(part.places, dtype=np.int64) - 1].tobytes())
        ids += part.text_ids
        if values is not None and part.field is not None:
            values += msgspec.json.decode(part.field)
        await turns.give()
    del ids[query.limit :]
    plane = b"".join(positions)[: query.limit * POINT_BYTES]
    if values is not None:  # most values are shorter than the limit
        del values[query.limit :]
        req.body.leave_room()
        await req.make_room_to_show(
            state.id_bytes + len(plane) + sum(len(memoryview(part.field or b"")) for part in found)
        )
    return _described(state, query, "ready", ids, plane, values)


def _not_ready(req: Req, state: MapState, query: MapQuery, now: State) -> Map:
    if now != "failed":
        req.is_accepted = True
        req.answer_headers["Retry-After"] = str(SECONDS_BETWEEN_ASKS)
    return _described(state, query, now)


def _is_to_be_made(state: MapState, method: Method) -> bool:
    """Whether to request a computation from the indexer."""
    known = state.map
    if not state.rows or known.asked_at is not None:
        return False
    if known.failed_at is not None and known.failed_at >= datetime.now(UTC) - AGAIN_AFTER:
        return False
    return known.changes != state.changes_now or _state(known, method) != "ready"


def _state(known: KnownMap, method: Method) -> State:
    if known.made_at is not None and (method == "pca" or known.has_neighbours):
        return "ready"
    if known.error is not None and known.asked_at is None:
        return "failed"
    return "waiting" if known.stage is None else "computing"


def _described(
    state: MapState,
    query: MapQuery,
    now: State,
    ids: list[str] | None = None,
    positions: bytes | None = None,
    field: list[str | float | bool | None] | None = None,
) -> Map:
    known, rows = state.map, state.rows
    methods: list[Method] = ["pca", "neighbours"]
    states: dict[str, State] = {one: _state(known, one) if rows else now for one in methods}
    is_sampled = rows > query.limit
    made = Map(now, query.method, states, rows, len(ids or []), is_sampled, positions=positions, ids=ids, field=field)
    error = known.error if known.asked_at is None else None  # of the attempt before
    made = replace(made, progress=known.progress, error=error, changes=known.changes, computed_at=known.made_at)
    if ids is None or known.made_at is None:
        return made
    value = known.trust_of_pca if query.method == "pca" else known.trust_of_neighbours
    trust = Trustworthiness(NEIGHBOURS, value, known.trust_of_pca, known.trust_sample or 0)
    return replace(made, trustworthiness=trust, explained_variance=known.explained)
