"""Users, keys, definitions, instances, projects, embeddings and searches, over HTTP."""

from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from vecferry import AsyncClient, Forbidden, Invalid, NotFound, NotReady, Unauthorized
from vecferry.names import path_to
from vecferry.structs import UserKey, WhoAmI

from tests.client.conftest import DIMENSIONS
from tests.client.samples import assert_stored, rows
from tests.support.faulty_proxy import NONE, Fault, canned, faulty_proxy

pytestmark = pytest.mark.slow

User = tuple[str, str]


async def collected(listed: object) -> list[object]:
    return [one async for one in listed]  # type: ignore[attr-defined]


async def test_users(admin_client: AsyncClient, new_user: Callable[[], Awaitable[User]]) -> None:
    handle, key = await new_user()
    assert len(key) == 64
    assert handle in await collected(admin_client.users.list())
    assert (await admin_client.users.put(handle, email=f"{handle}@example.org")).key == "not changed"
    assert (await admin_client.users.patch(handle, {"name": "Alice"})).name == "Alice"
    assert (await admin_client.users.get(handle)).instances[0]["instance_handle"] == "inst"
    await admin_client.users.delete(handle)
    with pytest.raises(NotFound) as refused:
        await admin_client.users.get(handle)
    assert refused.value.status == 404
    assert handle in str(refused.value)
    assert refused.value.request_id


async def test_a_key_is_exchanged_and_never_shown(service_url: str, client: AsyncClient, user: User) -> None:
    made = await client.keys.exchange(user[0])
    assert made.key not in f"{made!r} {made} {client.__dict__} {client._transport!r}"
    assert "hidden" in repr(made)
    assert isinstance(made, UserKey)
    with pytest.raises(Unauthorized):
        await client.users.get(user[0])
    async with AsyncClient(service_url, made.key) as renewed:
        assert (await renewed.users.get(user[0])).user_handle == user[0]


async def test_a_key_tells_whose_it_is(
    service_url: str, client: AsyncClient, admin_client: AsyncClient, user: User
) -> None:
    assert await client.whoami() == WhoAmI(user[0], "user")
    assert await admin_client.whoami() == WhoAmI(None, "admin")
    for key in (None, "unknown"):
        async with AsyncClient(service_url, key) as nobody:
            with pytest.raises(Unauthorized):
                await nobody.whoami()


async def test_definitions(client: AsyncClient, user: User, new_user: Callable[[], Awaitable[User]]) -> None:
    other, _ = await new_user()
    name = f"{user[0]}/house-model"
    await client.definitions.put(name, api_standard="openai", model="house-3", dimensions=DIMENSIONS)
    assert (await client.definitions.get(name)).model == "house-3"
    assert (await client.definitions.patch(name, {"description": "Ours"})).description == "Ours"
    await client.definitions.share(name, other)
    assert await collected(client.definitions.shared_with(name)) == [other]
    await client.definitions.unshare(name, other)
    assert await collected(client.definitions.shared_with(name)) == []
    assert "house-model" in [one.definition_handle async for one in client.definitions.list(user[0])]
    assert "_system" in [one.owner async for one in client.definitions.list()]
    await client.instances.from_definition(f"{user[0]}/made", name, api_key="a provider key")
    instance = await client.instances.get(f"{user[0]}/made")
    assert (instance.has_api_key, instance.definition_handle) == (True, "house-model")
    await client.definitions.delete(name)
    with pytest.raises(NotFound):
        await client.definitions.get(name)


async def test_instances(client: AsyncClient, user: User, new_user: Callable[[], Awaitable[User]]) -> None:
    other, _ = await new_user()
    name = f"{user[0]}/inst"
    assert (await client.instances.get(name)).dimensions == DIMENSIONS
    assert (await client.instances.patch(name, {"description": "Ours"})).description == "Ours"
    await client.instances.share(name, other, "reader", tokens_per_day=100)
    (share,) = [one async for one in client.instances.shared_with(name)]
    assert (share.user_handle, share.role, share.tokens_per_day) == (other, "reader", 100)
    await client.instances.unshare(name, other)
    assert [one.instance_handle async for one in client.instances.list(user[0])] == ["inst"]
    assert await collected(client.instances.list(user[0], access="shared")) == []
    assert await collected(client.instances.usage(name)) == []
    await client.instances.delete(name)
    assert await collected(client.instances.list(user[0])) == []


async def test_projects(
    service_url: str, client: AsyncClient, user: User, project: str, new_user: Callable[[], Awaitable[User]]
) -> None:
    other, other_key = await new_user()
    poems = client.project(user[0], "poems")
    assert repr(poems) == f"AsyncProject('{project}')"
    assert [one.project_handle async for one in client.projects.list(user[0])] == ["poems"]
    assert (await poems.patch({"description": "Poems"})).description == "Poems"
    assert (await poems.instance()).dimensions == DIMENSIONS
    async with AsyncClient(service_url, other_key) as stranger, AsyncClient(service_url) as nobody:
        with pytest.raises(Forbidden):
            await stranger.project(project).get()
        with pytest.raises(Unauthorized):
            await nobody.project(project).get()
        await poems.share(other, "reader")
        assert (await stranger.project(project).get()).role == "reader"
        assert [(one.user_handle, one.role) async for one in poems.shared_with()] == [(other, "reader")]
        await poems.unshare(other)
        with pytest.raises(Forbidden):
            await stranger.project(project).get()
        await poems.patch({"public_read": True})
        assert (await nobody.project(project).get()).number_of_embeddings == 0
    await poems.delete()
    with pytest.raises(NotFound):
        await poems.get()


async def test_a_project_is_handed_over(
    client: AsyncClient, admin_client: AsyncClient, user: User, project: str, new_user: Callable[[], Awaitable[User]]
) -> None:
    other, _ = await new_user()
    await client.instances.share(f"{user[0]}/inst", other, "reader")
    moved = await client.project(project).transfer(other)
    assert moved.name == f"{other}/poems"
    assert (await admin_client.project(moved.name).get()).owner == other


async def test_embeddings_are_read_in_pages_and_deleted(client: AsyncClient, project: str) -> None:
    embeddings = client.project(project).embeddings
    part = rows(450)
    await client.project(project).upload_rows(iter([part]))
    await assert_stored(client, project, [part])
    behind = [one async for one in embeddings.list(include=["text"], after=part.ids[399], page_size=7)]
    assert [one.text_id for one in behind] == part.ids[400:]
    assert all(one.vector is None and one.metadata is None for one in behind)
    assert behind[1].text == "The text 401"

    odd = [
        one.text_id
        async for one in embeddings.list(include=["metadata"], filter={"odd": True, "place": {"$lt": 30}}, page_size=4)
    ]
    assert odd == [part.ids[place] for place in range(30) if place % 2 and place % 5]

    only = {
        "odd": True,
        "place": {"$lt": 30, "$nin": ["ж" * 1000]},
    }  # as escapes too many characters
    assert [one.text_id async for one in embeddings.list(filter=only)] == odd

    one = await embeddings.get(part.ids[7])
    assert one.vector is not None
    assert one.vector.dtype == np.float16
    assert (one.vector_dim, one.text, one.metadata) == (DIMENSIONS, "The text 7", {"place": 7, "odd": True})
    with pytest.raises(NotFound):
        await embeddings.get("none")
    many = await embeddings.get_many([*part.ids, "none"], include=["metadata"])
    assert (len(many.embeddings), many.missing) == (450, ["none"])

    twice = [*part.ids, *(f"none-{number}" for number in range(1000)), *part.ids]  # in several requests
    assert (await embeddings.delete(ids=twice, dry_run=True)).deleted == 450
    many = await embeddings.get_many(twice, include=["metadata"])
    assert (len(many.embeddings), len(many.missing)) == (450, 1000)
    dry = await embeddings.delete(filter={"odd": True}, dry_run=True)
    assert (dry.deleted, dry.dry_run) == (180, True)
    assert (await embeddings.delete(ids=part.ids[:100], filter={"odd": True})).deleted == 40
    assert (await embeddings.delete(ids=iter(part.ids[:100]))).deleted == 60
    assert (await client.project(project).get()).number_of_embeddings == 350
    with pytest.raises(ValueError, match="ids or a filter is needed"):
        await embeddings.delete()


@pytest.mark.parametrize(
    "text_id",
    ["a/b", "..", ".", "?x=1#y", "ä ö%2F", "/", "a,b", "%2E%2E", "changes", "digests", "digests/buckets", "get"],
)
async def test_any_id_is_found(client: AsyncClient, project: str, text_id: str) -> None:
    part = rows(2)
    part.ids[0] = text_id
    await client.project(project).upload_rows(iter([part]))
    assert (await client.embeddings(project).get(text_id)).text_id == text_id
    assert [one.id for one in await client.similar(project, id=text_id, threshold=-1)] == part.ids[1:]
    assert (await client.embeddings(project).delete(ids=[text_id])).text_ids == [text_id]
    with pytest.raises(NotFound, match="was not found"):
        await client.embeddings(project).get(text_id)


async def test_one_id_is_not_taken_for_its_letters(client: AsyncClient, project: str) -> None:
    part = rows(2)
    part.ids[:] = ["1", "12"]
    await client.project(project).upload_rows(iter([part]))
    for use in (client.embeddings(project).delete(ids="12"), client.embeddings(project).get_many("12")):
        with pytest.raises(ValueError, match=r"in a list: \['12'\]"):
            await use
    assert (await client.project(project).get()).number_of_embeddings == 2


async def test_similar_by_vector_and_id_with_filters(client: AsyncClient, project: str) -> None:
    part = rows(60)
    await client.project(project).upload_rows(iter([part]))
    vectors = part.vectors.astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = unit @ unit[3]

    found = await client.similar(project, vector=part.vectors[3].astype(np.float32), limit=5, threshold=-1)
    ids, similarities = found.arrays()
    assert ids == [part.ids[place] for place in np.argsort(-expected)[:5]]
    assert similarities.dtype == np.float32
    assert np.allclose(similarities, np.sort(expected)[::-1][:5], atol=1e-3)
    assert (found.search.method, found.search.recall, len(found)) == ("exact", 1.0, 5)

    others = await client.similar(project, id=part.ids[3], limit=4, threshold=-1, include=["text", "metadata"])
    assert [one.id for one in others] == ids[1:]
    assert all(one.text == f"The text {int(one.id[-3:])}" for one in others if int(one.id[-3:]) % 3)
    filtered = await client.similar(project, id=part.ids[3], limit=10, threshold=-1, filter={"odd": True}, exact=True)
    odd = [place for place in np.argsort(-expected) if place % 2 and place % 5 and place != 3][:10]
    assert [one.id for one in filtered] == [part.ids[place] for place in odd]
    with pytest.raises(NotFound):
        await client.similar(project, id="none", filter={"odd": True})
    with pytest.raises(Invalid) as refused:
        await client.similar(project, vector=part.vectors[0], filter={"$nor": 1})
    assert (refused.value.problem.problems[0].where or "").startswith("body.filter")


async def test_a_filter_with_an_integer_beyond_64_bits(client: AsyncClient, project: str) -> None:
    part = rows(2)
    stored = [
        {"text_id": text_id, "vector": vector, "metadata": {"n": 2**70 + place}}
        for place, (text_id, vector) in enumerate(zip(part.ids, part.vectors.tolist(), strict=True))
    ]
    await client._transport.answer("POST", path_to("embeddings", project), body={"embeddings": stored})
    only = {"n": 2**70 + 1}
    found = await client.similar(project, vector=part.vectors[0], threshold=-1, filter=only)
    many = await client.project(project).search_many(part.vectors, threshold=-1, filter=only)
    assert [[one.id for one in some] for some in (found.results, *many.results)] == [[part.ids[1]]] * 3
    assert (await client.embeddings(project).delete(filter=only, dry_run=True)).deleted == 1


async def test_many_vectors_are_searched_in_their_order(client: AsyncClient, project: str) -> None:
    part = rows(300)
    await client.project(project).upload_rows(iter([part]))
    questions = np.tile(part.vectors, (9, 1))  # 2,700: three requests
    found = await client.project(project).search_many(questions.astype(np.float32), limit=2, threshold=-1)
    ids, similarities = found.arrays()
    assert ids.shape == similarities.shape == (2700, 2)
    assert ids[:, 0].tolist() == part.ids * 9
    assert similarities.dtype == np.float32
    assert (similarities[:, 0] > 0.99).all()
    few = await client.project(project).search_many(part.vectors[:3], limit=2, threshold=0.999)
    ids, similarities = few.arrays()
    assert ids.tolist() == [[text_id, None] for text_id in part.ids[:3]]
    assert np.isnan(similarities[:, 1]).all()
    assert (await client.project(project).search_many(np.empty((0, DIMENSIONS)))).results == []


async def test_a_search_that_takes_too_long_is_asked_in_parts(
    service_url: str, user: User, client: AsyncClient, project: str
) -> None:
    part = rows(700)
    await client.project(project).upload_rows(iter([part]))
    sizes: list[int] = []

    def fault_of(head: bytes) -> Fault:
        sizes.append(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        return Fault(answer=canned(503, "Retry-After: 0")) if sizes[-1] > 7000 else NONE

    async with faulty_proxy(service_url, fault_of) as url, AsyncClient(url, user[1]) as impeded:
        found = await impeded.project(project).search_many(part.vectors, limit=1, threshold=-1)
    assert found.arrays()[0][:, 0].tolist() == part.ids
    assert len(sizes) == 3  # the whole, and its halves


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (np.ones(DIMENSIONS), "shape"),
        (np.zeros((2, DIMENSIONS)), "Vector 0 "),
        (np.array([[1.0] * DIMENSIONS, [1e6] * DIMENSIONS]), "Vector 1 "),
        (np.array([[np.nan] * DIMENSIONS]), "NaN"),
        (np.array([["a"] * DIMENSIONS]), "Numbers"),
    ],
)
async def test_bad_vectors_are_refused_before_they_are_sent(
    client: AsyncClient, project: str, vectors: np.ndarray, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        await client.project(project).search_many(vectors)


async def test_names_and_questions_are_checked(client: AsyncClient) -> None:
    for name in ("poems", "alice/", "/poems", "alice/poems/more", ""):
        with pytest.raises(ValueError, match="owner/name"):
            client.project(name)
    with pytest.raises(ValueError, match="One of"):
        await client.similar("alice/poems")
    with pytest.raises(ValueError, match="One of"):
        await client.similar("alice/poems", id="x", text="y")


async def test_a_schema_is_checked_before_it_is_set(client: AsyncClient, project: str) -> None:
    part = rows(250)
    await client.project(project).upload_rows(iter([part]))
    schema = {"properties": {"place": {"maximum": 99}}}
    found = await client.project(project).check_schema(schema)
    wrong = [part.ids[place] for place in range(100, 250) if place % 5]
    assert (found.checked, found.failing, found.number_of_embeddings) == (250, len(wrong), 250)
    assert [one.text_id for one in found.failures] == wrong[:100]
    assert (found.failures[0].path, "99" in found.failures[0].message) == (".place", True)
    assert (await client.project(project).get()).metadata_scheme is None
    with pytest.raises(Invalid):
        await client.project(project).check_schema({"type": "nothing"})


async def test_a_map(client: AsyncClient, project: str) -> None:
    part = rows(120)
    await client.project(project).upload_rows(iter([part]))
    with pytest.raises(NotReady, match="is not ready after 0 s"):
        await client.project(project).map(field="place", wait=0)
    shown = await client.project(project).map(field="place")
    assert sorted(shown.ids) == part.ids
    assert (shown.positions.shape, shown.positions.dtype) == ((120, 2), np.float32)
    assert shown.field == [int(one[-3:]) if int(one[-3:]) % 5 else None for one in shown.ids]
    assert (shown.method, shown.rows, shown.sampled) == ("pca", 120, False)
    assert shown.trustworthiness is not None
    some = await client.project(project).map(limit=10)
    assert (len(some.ids), len(some.positions), some.sampled, some.field) == (10, 10, True, None)
    with pytest.raises(NotFound):
        await client.project(f"{project}-none").map()
    empty = (await client.projects.put(f"{project}-empty", instance=f"{project.partition('/')[0]}/inst")).name
    nothing = await client.project(empty).map()
    assert (nothing.ids, nothing.positions.shape) == ([], (0, 2))
