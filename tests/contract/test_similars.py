"""Similar texts: right, complete and in order, compared with numpy on the stored halves (contract, section 8)."""

import math
from typing import Any

import httpx2
import pytest

from service.api import similars
from service.queries import embeddings
from tests.support.world import (
    JSON_TYPE,
    Headers,
    Json,
    Project,
    User,
    fetch,
    problem,
    project,
    random_vectors,
    refused,
    refused_below,
    refused_property,
    row,
    similarity,
    snapshot,
    unique,
    upload,
    user,
)

TOLERANCE = 1e-3
Vectors = dict[str, list[float]]


async def own_project(api: httpx2.AsyncClient, admin: Headers, *rows: Json, **fields: Any) -> Project:
    own = await project(api, await user(api, admin), **fields)
    if rows:
        await upload(api, own, *rows)
    return own


async def by_id(api: httpx2.AsyncClient, of: Project, text_id: str, **params: str | int | float) -> list[Json]:
    body = await fetch(api, of.similar(text_id), of.owner.headers, **params)
    assert (body["user_handle"], body["project_handle"]) == (of.owner.handle, of.handle)
    return body["results"]


async def by_vector(
    api: httpx2.AsyncClient, of: Project, vector: list[float], **params: str | int | float
) -> list[Json]:
    response = await api.post(of.similars, json={"vector": vector}, headers=of.owner.headers, params=params)
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["user_handle"], body["project_handle"]) == (of.owner.handle, of.handle)
    return body["results"]


def ids(results: list[Json]) -> list[str]:
    return [result["id"] for result in results]


def check(results: list[Json], query: list[float], stored: Vectors, threshold: float) -> None:
    """Every row that reaches the threshold is there, with numpy's similarity, best first, ties by id."""
    for result in results:
        assert set(result) == {"id", "similarity"}
        assert result["similarity"] == pytest.approx(similarity(query, stored[result["id"]]), abs=TOLERANCE)
        assert result["similarity"] >= threshold
    assert results == sorted(results, key=lambda result: (-result["similarity"], result["id"]))
    sure = {text_id for text_id, vector in stored.items() if similarity(query, vector) > threshold + TOLERANCE}
    assert sure <= set(ids(results))


def angle(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


# Right answers


@pytest.mark.parametrize("dimensions", [2, 16, 384])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.2])
async def test_by_vector_agrees_with_numpy(
    api: httpx2.AsyncClient, admin: Headers, dimensions: int, threshold: float
) -> None:
    vectors = random_vectors(61, dimensions, seed=dimensions)
    query, stored = vectors[0], {f"id-{n:02}": vector for n, vector in enumerate(vectors[1:])}
    own = await own_project(api, admin, *(row(*pair) for pair in stored.items()), dimensions=dimensions)
    check(await by_vector(api, own, query, limit=200, threshold=threshold), query, stored, threshold)


@pytest.mark.parametrize("dimensions", [2, 16, 384])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.2])
async def test_by_id_agrees_with_numpy_and_leaves_itself_out(
    api: httpx2.AsyncClient, admin: Headers, dimensions: int, threshold: float
) -> None:
    stored = {f"id-{n:02}": vector for n, vector in enumerate(random_vectors(60, dimensions, seed=-dimensions % 97))}
    own = await own_project(api, admin, *(row(*pair) for pair in stored.items()), dimensions=dimensions)
    query = stored.pop("id-30")
    check(await by_id(api, own, "id-30", limit=200, threshold=threshold), query, stored, threshold)


async def test_nothing_is_missing_and_pages_are_the_whole(api: httpx2.AsyncClient, admin: Headers) -> None:
    vectors = random_vectors(151, 8, seed=7)
    own = await own_project(api, admin, *(row(f"id-{n:03}", v) for n, v in enumerate(vectors[1:])), dimensions=8)
    whole = await by_vector(api, own, vectors[0], limit=200, threshold=-1)
    assert len(whole) == 150
    parts: list[Json] = []
    while page := await by_vector(api, own, vectors[0], limit=40, offset=len(parts), threshold=-1):
        assert len(page) <= 40
        parts += page
    assert parts == whole


async def test_length_does_not_matter_and_direction_does(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(
        api,
        admin,
        row("far", [60000, 0]),
        row("near", [0.0001, 0]),
        row("against", [-3, 0]),
        row("across", [0, 5]),
        dimensions=2,
    )
    found = {r["id"]: r["similarity"] for r in await by_vector(api, own, [2, 0], threshold=-1)}
    assert found == {
        "far": pytest.approx(1, abs=TOLERANCE),
        "near": pytest.approx(1, abs=TOLERANCE),
        "across": pytest.approx(0, abs=TOLERANCE),
        "against": pytest.approx(-1, abs=TOLERANCE),
    }


async def test_ties_are_ordered_by_id(api: httpx2.AsyncClient, admin: Headers) -> None:
    names = ["m", "c", "x", "a", "k"]
    own = await own_project(api, admin, *(row(name, [0.3, 0.4]) for name in names), dimensions=2)
    assert ids(await by_vector(api, own, [0.3, 0.4])) == sorted(names)
    assert ids(await by_id(api, own, "k")) == ["a", "c", "m", "x"]
    assert ids(await by_vector(api, own, [0.3, 0.4], limit=2, offset=1)) == ["c", "k"]


async def test_only_the_projects_own_rows_are_found(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(api, admin, row("mine", [1, 0, 0]), row("mine too", [1, 0, 0]))
    other = await project(api, own.owner, on=own.instance)
    await upload(api, other, row("other", [1, 0, 0]))
    assert ids(await by_id(api, own, "mine")) == ["mine too"]
    assert ids(await by_vector(api, own, [1, 0, 0])) == ["mine", "mine too"]
    problem(await api.get(own.similar("other"), headers=own.owner.headers), 404)


async def test_a_search_sees_what_was_just_written(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]))
    await upload(api, own, row("b", [1, 0, 0]))
    assert ids(await by_vector(api, own, [1, 0, 0])) == ["a", "b"]
    await upload(api, own, row("a", [0, 1, 0]))
    assert ids(await by_vector(api, own, [1, 0, 0])) == ["b"]
    assert ids(await by_vector(api, own, [0, 1, 0])) == ["a"]
    await api.delete(own.embedding("b"), headers=own.owner.headers)
    assert await by_vector(api, own, [1, 0, 0]) == []


@pytest.mark.parametrize("rows", [[], [row("a", [-1, 0, 0])]], ids=["empty-project", "all-far"])
async def test_nothing_similar_is_an_empty_list(api: httpx2.AsyncClient, admin: Headers, rows: list[Json]) -> None:
    own = await own_project(api, admin, *rows)
    assert await by_vector(api, own, [1, 0, 0]) == []


async def test_a_row_alone_has_nothing_similar(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]))
    assert await by_id(api, own, "a", threshold=-1) == []


# Limit, count, offset, threshold


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, 10),
        ({"limit": 3}, 3),
        ({"count": 4}, 4),
        ({"limit": 3, "count": 5}, 3),
        ({"limit": 5, "count": 3}, 3),
        ({"limit": 200}, 15),
        ({"count": 200}, 15),
        ({"offset": 12}, 3),
        ({"offset": 15}, 0),
        ({"limit": 1}, 1),
        ({"limit": 4, "offset": 13}, 2),
        ({"count": 2, "offset": 3}, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["GET", "POST"])
async def test_limit_count_and_offset(
    api: httpx2.AsyncClient, admin: Headers, how: str, params: dict[str, int], expected: int
) -> None:
    own = await own_project(api, admin, *(row(f"id-{n:02}", angle(n)) for n in range(15)), dimensions=2)
    if how == "GET":
        await upload(api, own, row("query", angle(-5)))
        found = await by_id(api, own, "query", **params)
    else:
        found = await by_vector(api, own, angle(-5), **params)
    first = params.get("offset", 0)
    assert ids(found) == [f"id-{n:02}" for n in range(first, first + expected)]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["at-00", "at-30", "at-58"]),
        ({"threshold": 0.5}, ["at-00", "at-30", "at-58"]),
        ({"threshold": 0.9}, ["at-00"]),
        ({"threshold": 0.99}, ["at-00"]),
        ({"threshold": 0}, ["at-00", "at-30", "at-58", "at-62"]),
        ({"threshold": -0.5}, ["at-00", "at-30", "at-58", "at-62", "at-95"]),
        ({"threshold": -1}, ["at-00", "at-30", "at-58", "at-62", "at-95", "at-180"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["GET", "POST"])
async def test_only_results_that_reach_the_threshold(
    api: httpx2.AsyncClient, admin: Headers, how: str, params: dict[str, float], expected: list[str]
) -> None:
    rows = [row(f"at-{degrees:02}", angle(degrees)) for degrees in (0, 30, 58, 62, 95, 180)]
    own = await own_project(api, admin, row("query", angle(0)), *rows, dimensions=2)
    results = await by_id(api, own, "query", **params) if how == "GET" else await by_vector(api, own, [1, 0], **params)
    assert [name for name in ids(results) if name != "query"] == expected


BAD_QUERIES = [
    "limit=0",
    "limit=201",
    "limit=-1",
    "limit=ten",
    "limit=2.5",
    "limit=",
    "count=0",
    "count=201",
    "count=x",
    "offset=-1",
    "offset=x",
    "threshold=1.01",
    "threshold=-1.01",
    "threshold=x",
    "threshold=nan",
    "threshold=inf",
    "threshold=",
]


@pytest.mark.parametrize("query", BAD_QUERIES)
@pytest.mark.parametrize("how", ["GET", "POST"])
async def test_bad_queries_are_refused(api: httpx2.AsyncClient, admin: Headers, how: str, query: str) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]))
    if how == "GET":
        response = await api.get(f"{own.similar('a')}?{query}", headers=own.owner.headers)
    else:
        response = await api.post(f"{own.similars}?{query}", json={"vector": [1, 0, 0]}, headers=own.owner.headers)
    refused(response, 422, f"query.{query.partition('=')[0]}")


async def test_all_problems_of_query_and_body_are_listed(api: httpx2.AsyncClient, own: Project) -> None:
    response = await api.post(f"{own.similars}?limit=0&threshold=7", json={"vector": 5}, headers=own.owner.headers)
    refused(response, 422, "query.limit", "query.threshold", "body.vector")


# Leaving out by metadata

PEOPLE: dict[str, Json] = {
    "kant": {"author": "Kant", "year": 1781, "good": True, "none": None},
    "fichte": {"author": "Fichte", "year": 1794, "good": False},
    "spaced": {"author": "  Kant ", "year": "1781"},
    "lower": {"author": "kant", "nested": {"author": "Kant"}},
    "list": {"author": ["Kant"], "price": 1.5},
    "bare": {},
}


@pytest.mark.parametrize(
    ("path", "value", "left_out"),
    [
        ("author", "Kant", {"kant", "spaced"}),
        ("author", "  Kant ", {"kant", "spaced"}),
        ("author", "kant", {"lower"}),
        ("author", "Hegel", set()),
        ("year", "1781", {"kant", "spaced"}),
        ("good", "true", {"kant"}),
        ("good", "false", {"fichte"}),
        ("price", "1.5", {"list"}),
        ("nothing", "Kant", set()),
        ("nested.author", "Kant", set()),
        ("author", "K%", set()),
        ("author'; --", "Kant", set()),
    ],
)
@pytest.mark.parametrize("how", ["GET", "POST"])
async def test_records_whose_field_equals_the_value_are_left_out(
    api: httpx2.AsyncClient, admin: Headers, how: str, path: str, value: str, left_out: set[str]
) -> None:
    rows = [row(name, [1, 0, 0], metadata=metadata) for name, metadata in PEOPLE.items()]
    own = await own_project(api, admin, row("query", [1, 0, 0]), *rows)
    params = {"metadata_path": path, "metadata_value": value}
    search = by_id(api, own, "query", **params) if how == "GET" else by_vector(api, own, [1, 0, 0], **params)
    assert set(ids(await search)) - {"query"} == set(PEOPLE) - left_out


async def test_leaving_out_does_not_shorten_a_page(api: httpx2.AsyncClient, admin: Headers) -> None:
    rows = [row(f"id-{n:02}", angle(n), metadata={"even": "yes" if n % 2 == 0 else "no"}) for n in range(20)]
    own = await own_project(api, admin, *rows, dimensions=2)
    found = await by_vector(api, own, angle(0), limit=5, metadata_path="even", metadata_value="yes")
    assert ids(found) == ["id-01", "id-03", "id-05", "id-07", "id-09"]


@pytest.mark.parametrize("params", [{"metadata_path": "author"}, {"metadata_value": "Kant"}], ids=str)
@pytest.mark.parametrize("how", ["GET", "POST"])
async def test_path_and_value_come_together(
    api: httpx2.AsyncClient, admin: Headers, how: str, params: dict[str, str]
) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]))
    if how == "GET":
        response = await api.get(own.similar("a"), params=params, headers=own.owner.headers)
    else:
        response = await api.post(own.similars, params=params, json={"vector": [1, 0, 0]}, headers=own.owner.headers)
    problem(response, 400)


# Refused vectors


@pytest.mark.parametrize("vector", [[1], [1, 0], [1, 0, 0, 0], [1.0] * 1000], ids=len)
async def test_wrong_dimensions_are_named(api: httpx2.AsyncClient, admin: Headers, vector: list[float]) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]))
    response = await api.post(own.similars, json={"vector": vector}, headers=own.owner.headers)
    body = problem(response, 400)
    said = " ".join([body["detail"], *(error["message"] for error in body.get("errors", []))])
    assert f"vector dimension mismatch: expected 3 dimensions, got {len(vector)}" in said


@pytest.mark.parametrize(
    "vector",
    [
        [0, 0, 0],
        [-0.0, 0, 0],
        [1e-9, 0, 0],
        [70000, 0, 0],
        [1, 0, -1e39],
        [1, 0, 2**70],
        [1, "0", 0],
        [1, None, 0],
        [True, 0, 0],
        [1, [0], 0],
        {"x": 1},
        5,
    ],
    ids=str,
)
async def test_bad_vectors_are_refused(api: httpx2.AsyncClient, admin: Headers, vector: object) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]))
    response = await api.post(own.similars, json={"vector": vector}, headers=own.owner.headers)
    refused_below(response, 422, "body.vector")


@pytest.mark.parametrize("vector", ["[NaN, 0, 0]", "[Infinity, 0, 0]", "[1, 0, 0", "[1, 0, 0,]"])
async def test_what_is_not_json_is_refused(api: httpx2.AsyncClient, admin: Headers, vector: str) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]))
    headers = {**own.owner.headers, **JSON_TYPE}
    problem(await api.post(own.similars, content=f'{{"vector": {vector}}}'.encode(), headers=headers), 400)


async def test_the_vector_is_required(api: httpx2.AsyncClient, own: Project) -> None:
    refused_property(await api.post(own.similars, json={}, headers=own.owner.headers), "body", "vector")


@pytest.mark.parametrize("name", ["nonsense", "Vector", "threshold"])
async def test_unknown_properties_are_refused(api: httpx2.AsyncClient, own: Project, name: str) -> None:
    body = {"vector": [1, 0, 0], name: 1}
    refused_property(await api.post(own.similars, json=body, headers=own.owner.headers), "body", name)


# What is not there


async def test_an_id_that_is_not_stored_is_404(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]))
    for headers in (own.owner.headers, admin):
        problem(await api.get(own.similar("b"), headers=headers), 404)


async def test_a_project_that_is_not_there_is_404(api: httpx2.AsyncClient, admin: Headers, ada: User) -> None:
    path = f"/v1/similars/{ada.handle}/{unique('p')}"
    for headers in (ada.headers, admin):
        problem(await api.get(f"{path}/a", headers=headers), 404)
        problem(await api.post(path, json={"vector": [1, 0, 0]}, headers=headers), 404)


async def test_searching_changes_nothing(api: httpx2.AsyncClient, admin: Headers) -> None:
    own = await own_project(api, admin, row("a", [1, 0, 0]), row("b", [1, 1, 0]))
    before = await snapshot(api, own)
    await by_id(api, own, "a")
    await by_vector(api, own, [0.5, 0.5, 0.5])
    assert await snapshot(api, own) == before


@pytest.mark.parametrize("character", ["😀", "\x01"])  # of four bytes, and of six in JSON
async def test_an_answer_is_no_larger_than_a_body(api: httpx2.AsyncClient, admin: Headers, character: str) -> None:
    own = await own_project(api, admin, *(row(character * 297 + f"{place:03}", [1, 2, place]) for place in range(100)))
    body = {"vectors": [[1, 2, 3]] * 100}
    answer = await api.post(f"{own.similars}?limit=100&threshold=-1", json=body, headers=own.owner.headers)
    (found,) = problem(answer, 422)["errors"]
    assert (found["location"], found["message"][:25]) == ("query.limit", "the response would exceed")
    answer = await api.post(f"{own.similars}?limit=10&threshold=-1", json=body, headers=own.owner.headers)
    assert [len(results) for results in answer.json()["results"]] == [10] * 100


async def test_texts_of_many_results_are_read_in_parts(
    api: httpx2.AsyncClient, admin: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similars, "SHOWN_AT_ONCE", 3)
    statement, read = embeddings.get_embeddings_by_project, []

    async def counted(db: Any, **given: Any) -> Any:
        read.append(len(given["text_ids"]))
        return await statement(db, **given)

    monkeypatch.setattr(embeddings, "get_embeddings_by_project", counted)
    rows = [row(f"t{place}", [1, 2, place], text=f"text {place}") for place in range(7)]
    own = await own_project(api, admin, *rows, row("none", [1, 2, 9]))
    body = {"vectors": [[1, 2, 3]] * 2, "include": ["text"]}
    answer = await api.post(f"{own.similars}?threshold=-1", json=body, headers=own.owner.headers)
    first, second = answer.json()["results"]
    assert first == second
    texts = {one["id"]: one["text"] for one in first}
    assert texts == {"none": None} | {f"t{place}": f"text {place}" for place in range(7)}
    assert sorted(read) == [2, 2, 3, 3, 3, 3]  # the sizes first
