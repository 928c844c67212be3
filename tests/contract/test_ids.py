"""An id in a path means itself: no spelling of a path, and no repetition of a request, reaches another record."""

import httpx2
import pytest

from tests.support.world import Headers, Project, fetch, problem, row, status, upload

# What is stored, by two ids that a careless reader of paths would take for one.
PAIRS = [
    ("doc/1", "doc%2F1"),
    ("doc/1", "doc%2f1"),
    ("doc%2F1", "doc%2f1"),
    ("doc%2F1", "doc%252F1"),
    ("50%", "50%25"),
    ("50%25", "50%2525"),
    ("a b", "a+b"),
    ("a b", "a%20b"),
    ("a+b", "a%2Bb"),
    ("é", "e\u0301"),
    ("é", "%C3%A9"),
    ("é", "Ã©"),
    ("a", "A"),
    ("a", "a "),
    ("a", " a"),
    ("a", "a/"),
    ("a", "/a"),
    ("a/b", "a//b"),
    ("b", "a/../b"),
    (".", "%2E"),
    ("..", "%2E%2E"),
    ("a", "a;b"),
    ("a", "a?b"),
    ("a", "a#b"),
    ("a?b", "a%3Fb"),
    ("a", "a\u200b"),
    ("ß", "ss"),
    ("null", "None"),
]


@pytest.mark.parametrize(("one", "other"), [*PAIRS, *((other, one) for one, other in PAIRS)])
async def test_a_repeated_delete_deletes_nothing_else(
    api: httpx2.AsyncClient, own: Project, one: str, other: str
) -> None:
    await upload(api, own, row(one, [1, 0, 0], text="one"), row(other, [1, 0, 0], text="other"))
    assert (await fetch(api, own.embedding(one), own.owner.headers))["text"] == "one"
    assert [found["id"] for found in (await fetch(api, own.similar(one), own.owner.headers))["results"]] == [other]
    assert (await api.delete(own.embedding(one), headers=own.owner.headers)).status_code == 204
    for _ in range(2):
        problem(await api.delete(own.embedding(one), headers=own.owner.headers), 404)
        problem(await api.get(own.embedding(one), headers=own.owner.headers), 404)
        problem(await api.get(own.similar(one), headers=own.owner.headers), 404)
    assert (await fetch(api, own.embedding(other), own.owner.headers))["text"] == "other"


@pytest.mark.parametrize("spelling", ["doc%2F1", "doc%2f1", "d%6Fc%2F1", "%64%6f%63%2F%31"])
async def test_every_spelling_of_a_path_means_the_same_id(api: httpx2.AsyncClient, own: Project, spelling: str) -> None:
    await upload(api, own, row("doc/1", [1, 0, 0]), row(spelling, [1, 0, 0]))
    path = f"{own.embeddings}/{spelling}"
    assert (await fetch(api, path, own.owner.headers))["text_id"] == "doc/1"
    assert (await api.delete(path, headers=own.owner.headers)).status_code == 204
    problem(await api.delete(path, headers=own.owner.headers), 404)
    assert await status(api, own.embedding(spelling), own.owner.headers) == 200


async def test_an_id_that_was_stored_encoded_means_itself(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("part%2Fone%20two", [1, 0, 0]))
    for path in (own.embedding("part/one two"), own.similar("part/one two")):
        problem(await api.get(path, headers=own.owner.headers), 404)
    problem(await api.delete(own.embedding("part/one two"), headers=own.owner.headers), 404)
    assert await status(api, own.embedding("part%2Fone%20two"), own.owner.headers) == 200


@pytest.mark.parametrize("ending", ["/", "//", "/a/", "/a/../b"])
async def test_an_empty_id_and_a_path_of_more_steps_are_no_route(
    api: httpx2.AsyncClient, own: Project, ending: str
) -> None:
    await upload(api, own, row("a", [1, 0, 0]), row("b", [1, 0, 0]))
    request = api.build_request("DELETE", own.embeddings + ending.replace("..", "%2e%2e"), headers=own.owner.headers)
    problem(await api.send(request), 404)
    assert len((await fetch(api, own.embeddings, own.owner.headers))["embeddings"]) == 2


@pytest.mark.parametrize("spelling", ["{}%20", "%20{}", "{}%2F", "{}%00", "{};a", "{}%3F", "{}%23", "%2E%2E%2F{}"])
async def test_no_spelling_of_a_handle_reaches_another_ones(
    api: httpx2.AsyncClient, admin: Headers, own: Project, spelling: str
) -> None:
    for path, name in (
        (own.owner.path, own.owner.handle),
        (own.path, own.handle),
        (own.instance.path, own.instance.handle),
    ):
        wrong = path.removesuffix(name) + spelling.format(name)
        assert (await api.delete(wrong, headers=admin)).status_code in (404, 422)
        assert (await api.delete(path.removesuffix(name) + name.swapcase(), headers=admin)).status_code == 404
    assert await status(api, own.path, own.owner.headers) == 200
    encoded = own.path.removesuffix(own.handle) + "".join(f"%{ord(letter):02x}" for letter in own.handle)
    assert (await fetch(api, encoded, own.owner.headers))["project_handle"] == own.handle
