"""Texts that the service embeds: stored, searched for, and only for those who may spend what that costs."""

import asyncio
import base64
from typing import Any

import httpx2
import msgspec
import numpy as np
import pytest

from service.providers import local
from service.uploads.limits import MAX_TEXT_CHARACTERS
from tests.support.world import Headers, User, problem, unique, user

MAX_TEXTS = 1000  # of the setting

pytestmark = pytest.mark.slow

POEMS = {
    "tyger": "Tyger Tyger, burning bright, In the forests of the night",
    "rose": "The modest rose puts forth a thorn",
    "lamb": "Little Lamb who made thee, Gave thee life and bid thee feed",
}


async def place(api: httpx2.AsyncClient, owner: User, **changes: Any) -> str:
    """The path of a project on the local model, `{user}/{project}`."""
    made = {"instance_handle": "here", "definition_owner": "_system", "definition_handle": "local-small"}
    instances = f"/v1/llm-instances/{owner.handle}"
    assert (await api.post(f"{instances}/from-definition", json=made, headers=owner.headers)).status_code == 200
    handle = unique("p")
    body = {"project_handle": handle, "instance_handle": "here", **changes}
    answer = await api.post(f"/v1/projects/{owner.handle}", json=body, headers=owner.headers)
    assert answer.status_code == 201, answer.text
    return f"{owner.handle}/{handle}"


def batch(texts: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {"texts": [{"text_id": one, "text": text, **metadata} for one, text in texts.items()]}


async def put(api: httpx2.AsyncClient, path: str, owner: User, texts: dict[str, str], **metadata: Any) -> Any:
    answer = await api.post(f"/v1/texts/{path}", json=batch(texts, **metadata), headers=owner.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def search(api: httpx2.AsyncClient, path: str, headers: Headers, **body: Any) -> httpx2.Response:
    return await api.post(f"/v1/similars/{path}?threshold=-1", json=body, headers=headers)


async def test_texts_in_and_texts_out(api: httpx2.AsyncClient, ada: User) -> None:
    path = await place(api, ada)
    stored = await put(api, path, ada, POEMS, metadata={"author": "Blake"})
    tokens = stored["usage"].pop("tokens")
    assert stored == {
        "ids": list(POEMS), "inserted": 3, "updated": 0, "unchanged": 0,
        "usage": {"texts": 3, "requests": 1, "unchanged": 0},
    }  # fmt: skip
    assert 20 < tokens < 80
    found = (await search(api, path, ada.headers, text="a flower with thorns", include=["text"])).json()
    assert (found["results"][0]["id"], found["results"][0]["text"]) == ("rose", POEMS["rose"])
    several = (await search(api, path, ada.headers, texts=["a fire that burns at night", "a sheep, a lamb"])).json()
    assert [one[0]["id"] for one in several["results"]] == ["tyger", "lamb"]
    filtered = await search(api, path, ada.headers, text="a flower", filter={"author": "Stein"})
    assert filtered.json()["results"] == []
    one = (await api.get(f"/v1/embeddings/{path}/rose", headers=ada.headers)).json()
    assert (one["text"], one["metadata"], one["vector_dim"]) == (POEMS["rose"], {"author": "Blake"}, 256)
    assert np.linalg.norm(one["vector"]) == pytest.approx(1, abs=0.002)


async def test_a_text_that_is_stored_is_not_embedded_again(api: httpx2.AsyncClient, ada: User) -> None:
    path = await place(api, ada)
    await put(api, path, ada, POEMS)
    before = (await api.get(f"/v1/embeddings/{path}/tyger", headers=ada.headers)).json()
    again = await put(api, path, ada, POEMS)
    assert (again["unchanged"], again["usage"]) == (3, {"texts": 0, "tokens": 0, "requests": 0, "unchanged": 3})
    described = await put(api, path, ada, {"tyger": POEMS["tyger"]}, metadata={"year": 1794})
    assert (described["updated"], described["usage"]["texts"]) == (1, 0)
    after = (await api.get(f"/v1/embeddings/{path}/tyger", headers=ada.headers)).json()
    assert (after["vector"], after["metadata"]) == (before["vector"], {"year": 1794})
    changed = await put(api, path, ada, {**POEMS, "rose": "Another flower", "new": "A new one"})
    assert (changed["inserted"], changed["updated"], changed["unchanged"]) == (1, 1, 2)
    assert (changed["usage"]["texts"], changed["usage"]["unchanged"]) == (2, 2)
    rose = (await api.get(f"/v1/embeddings/{path}/rose", headers=ada.headers)).json()
    assert rose["text"] == "Another flower"


async def test_every_bad_row_is_named_and_nothing_is_stored(api: httpx2.AsyncClient, ada: User) -> None:
    path = await place(api, ada, metadataScheme={"type": "object", "properties": {"year": {"type": "integer"}}})
    rows = [
        {"text_id": "good", "text": "A good one"},
        {"text_id": "empty", "text": ""},
        {"text_id": "nul", "text": "a\u0000b"},
        {"text_id": "long", "text": "x" * (MAX_TEXT_CHARACTERS + 1)},
        {"text_id": "good", "text": "The same id again"},
        {"text_id": "schema", "text": "Its metadata are wrong", "metadata": {"year": "1794"}},
        {"text_id": "vector", "text": "It has one", "vector": [1, 2, 3]},
        {"text": "It has no id"},
        "no object",
    ]
    answer = await api.post(f"/v1/texts/{path}", json={"texts": rows}, headers=ada.headers)
    body = problem(answer, 422)
    places = {one["location"].split("]")[0].removeprefix("body.texts[") for one in body["errors"]}
    assert places == set("12345678")
    assert (await api.get(f"/v1/embeddings/{path}", headers=ada.headers)).json() == {"embeddings": []}
    many = {"texts": [{"text_id": f"{row}", "text": "t"} for row in range(MAX_TEXTS + 1)]}
    problem(await api.post(f"/v1/texts/{path}", json=many, headers=ada.headers), 413)
    problem(await api.post(f"/v1/texts/{path}", content=b'{"texts": [{', headers=ada.headers), 400)
    problem(await api.post(f"/v1/texts/{path}", json={"texts": {}}, headers=ada.headers), 422)
    assert (await put(api, path, ada, {}))["ids"] == []


async def test_texts_may_have_many_braces(api: httpx2.AsyncClient, ada: User) -> None:
    path = await place(api, ada)
    answer = await put(api, path, ada, {"a": "a rose " + "{" * 60_000, "b": "b" + "{" * 60_000})
    assert answer["inserted"] == 2


async def test_bodies_that_grow_in_memory(api: httpx2.AsyncClient, ada: User) -> None:
    path = await place(api, ada)
    headers = {**ada.headers, "Content-Type": "application/json"}
    large = b'{"texts": [' + b"{}," * 2_000_000 + b"{}]}"
    problem(await api.post(f"/v1/texts/{path}", content=large, headers=headers), 422)
    named = b'{"texts": [' + b'{"text_id":0},' * 500_000 + b'{"text_id":0}]}'
    problem(await api.post(f"/v1/texts/{path}", content=named, headers=headers), 413)
    nested = b'{"texts": [{"text_id": "a", "text": "b", "metadata": ' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}]}"
    problem(await api.post(f"/v1/texts/{path}", content=nested, headers=headers), 422)
    problem(await api.post(f"/v1/texts/{path}", content=b" " * (9 * 1024 * 1024), headers=headers), 413)
    wide = b'{"texts": ["' + b'","'.join([b"a"] * 500_000) + b'"]}'
    problem(await api.post(f"/v1/similars/{path}", content=wide, headers=headers), 413)


@pytest.mark.parametrize(
    "body", [{"text": ""}, {"texts": []}, {"text": "a", "vector": [1.0]}, {"texts": ["a"] * 101}, {"text": 1}, {}]
)
async def test_searches_that_are_refused(api: httpx2.AsyncClient, ada: User, body: Any) -> None:
    problem(await search(api, await place(api, ada), ada.headers, **body), 422)


async def test_texts_of_which_the_model_knows_nothing(
    api: httpx2.AsyncClient, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are hardly any such texts: bytes are tokens too. So here they are those with a certain word."""
    path = await place(api, ada)
    embed = local.LocalModel.embed

    async def knows_less(model: local.LocalModel, texts: Any) -> Any:
        vectors, tokens = await embed(model, texts)
        vectors[["xyzzy" in one for one in texts]] = 0
        return vectors, tokens

    monkeypatch.setattr(local.LocalModel, "embed", knows_less)

    def located(answer: httpx2.Response) -> list[tuple[str, str]]:
        return [(one["location"], one["message"]) for one in problem(answer, 422)["errors"]]

    assert located(await search(api, path, ada.headers, text="xyzzy")) == [("body.text", local.NO_KNOWN_WORD)]
    several = await search(api, path, ada.headers, texts=["a", "xyzzy", "b", "xyzzy"])
    assert [where for where, _ in located(several)] == ["body.texts[1]", "body.texts[3]"]
    sent = batch({"good": "a rose", "bad": "xyzzy"})
    ((where, message),) = located(await api.post(f"/v1/texts/{path}", json=sent, headers=ada.headers))
    assert where == "body.texts[1].text"
    assert local.NO_KNOWN_WORD in message
    assert (await api.get(f"/v1/embeddings/{path}", headers=ada.headers)).json() == {"embeddings": []}


async def test_who_may_search_with_texts(api: httpx2.AsyncClient, admin: Headers) -> None:
    ada, editor, reader, stranger = [await user(api, admin) for _ in range(4)]
    shares = [{"user_handle": editor.handle, "role": "editor"}, {"user_handle": reader.handle, "role": "reader"}]
    path = await place(api, ada, shared_with=shares, public_read=True)
    await put(api, path, ada, POEMS)
    callers: dict[str, Headers] = {
        "owner": ada.headers, "admin": admin, "editor": editor.headers, "reader": reader.headers,
        "stranger": stranger.headers, "nobody": {},
    }  # fmt: skip
    allowed = {
        "editors": {"owner", "admin", "editor"},
        "readers": {"owner", "admin", "editor", "reader"},
        "public": set(callers),
    }
    shown = (await api.get(f"/v1/projects/{path}", headers=ada.headers)).json()
    assert shown["text_search"] == "editors"
    for who, expected in allowed.items():
        change = {"text_search": who}
        changed = await api.patch(f"/v1/projects/{path}", json=change, headers=ada.headers)
        assert changed.json()["text_search"] == who
        for caller, headers in callers.items():
            by_vector = await search(api, path, headers, vector=[1.0] * 256)
            assert by_vector.status_code == 200
            answer = await search(api, path, headers, text="a flower")
            refused = 401 if caller == "nobody" else 403
            assert answer.status_code == (200 if caller in expected else refused), (who, caller)
    kept = await api.patch(f"/v1/projects/{path}", json={"description": "d"}, headers=ada.headers)
    assert kept.json()["text_search"] == "public"
    problem(await api.patch(f"/v1/projects/{path}", json={"text_search": "all"}, headers=ada.headers), 422)


async def test_instances_that_cannot_be_called(api: httpx2.AsyncClient, admin: Headers, ada: User) -> None:
    instances, standard = f"/v1/llm-instances/{ada.handle}", unique("s")
    body = {"api_standard_handle": standard, "description": "", "key_method": "auth_bearer", "key_field": "k"}
    assert (await api.post("/v1/api-standards", json=body, headers=admin)).status_code == 201
    wrong = {
        "stored": ({"dimensions": 3, "api_standard": standard}, "dialect"),
        "nowhere": ({"dimensions": 3, "model": "m"}, "no `endpoint`"),
        "no-model": ({"dimensions": 3, "endpoint": "https://api.openai.com/v1"}, "no `model`"),
        "not-allowed": ({"dimensions": 3, "model": "m", "endpoint": "https://example.org"}, "SERVICE_PROVIDER_HOSTS"),
        "unknown": (
            {"dimensions": 256, "api_standard": "local", "model": "large"},
            "has the model 'large'",
        ),
        "narrow": (
            {"dimensions": 3, "api_standard": "local", "model": local.NAME},
            "3 dimensions, but its model has 256",
        ),
    }
    for handle, (fields, says) in wrong.items():
        body = {"instance_handle": handle, **fields}  # type: ignore[dict-item]
        assert (await api.post(instances, json=body, headers=ada.headers)).status_code == 201
        project = {"project_handle": handle, "instance_handle": handle}
        await api.post(f"/v1/projects/{ada.handle}", json=project, headers=ada.headers)
        path = f"{ada.handle}/{handle}"
        for answer in (
            await api.post(f"/v1/texts/{path}", json=batch(POEMS), headers=ada.headers),
            await search(api, path, ada.headers, text="a flower"),
            await api.post(f"{instances}/{handle}/embed", json={"input": ["a"]}, headers=ada.headers),
        ):
            assert says in problem(answer, 409)["detail"]


async def test_vectors_without_storing(api: httpx2.AsyncClient, ada: User, bob: User) -> None:
    await place(api, ada)
    path = f"/v1/llm-instances/{ada.handle}/here"
    body = {"input": list(POEMS.values()), "input_type": "query"}
    problem(await api.post(f"{path}/embed", json=body, headers=bob.headers), 403)
    share = {"share_with_handle": bob.handle, "role": "reader"}
    assert (await api.post(f"{path}/share", json=share, headers=ada.headers)).status_code == 201
    made = (await api.post(f"{path}/embed", json=body, headers=bob.headers)).json()
    numbers = np.array(made["vectors"])
    assert (numbers.shape, made["model"], made["dimensions"]) == ((3, 256), local.NAME, 256)
    assert (made["usage"]["texts"], made["usage"]["requests"]) == (3, 1)
    assert np.linalg.norm(numbers, axis=1) == pytest.approx(1, abs=0.002)
    for encoding in ("f2", "f4"):
        asked = {**body, "encoding": encoding}
        sent = (await api.post(f"{path}/embed", json=asked, headers=bob.headers)).json()["vectors"]
        halves = np.array([np.frombuffer(base64.b64decode(one), f"<{encoding}") for one in sent])
        assert (halves.astype("f2") == numbers.astype("f2")).all()
        accept = {**bob.headers, "Accept": "application/msgpack"}
        packed = msgspec.msgpack.decode((await api.post(f"{path}/embed", json=asked, headers=accept)).content)
        assert [base64.b64encode(one).decode() for one in packed["vectors"]] == sent
    single = (await api.post(f"{path}/embed", json={"input": [POEMS["rose"]]}, headers=bob.headers)).json()
    assert single["vectors"] == made["vectors"][1:2]
    for wrong in (
        {"input": []},
        {"input": ""},
        {"input": ["a", ""]},
        {"input": ["a"], "encoding": "f8"},
        {"input": ["a"], "encoding": {}},
        {},
    ):
        problem(await api.post(f"{path}/embed", json=wrong, headers=bob.headers), 422)


async def test_long_texts_do_not_keep_others_waiting(api: httpx2.AsyncClient, ada: User) -> None:
    path = await place(api, ada)
    await put(api, path, ada, POEMS)
    long = {f"{row}": "a word " * (MAX_TEXT_CHARACTERS // 7) for row in range(40)}
    uploading = asyncio.create_task(put(api, path, ada, long))
    await asyncio.sleep(0.3)
    for _ in range(3):
        assert (await search(api, path, ada.headers, text="a flower")).status_code == 200
    assert not uploading.done()
    assert (await uploading)["inserted"] == 40


def test_the_mean_of_the_tokens() -> None:
    model = local.LocalModel()
    texts = ["rose", "rose rose", "rose tiger", "tiger", "Grüße 🌹", "", "x " * 1000]
    made, _ = asyncio.run(model.embed(texts))
    assert made[0] @ made[1] == pytest.approx(1, abs=0.01)
    assert made[0] @ made[3] < 0.5 < made[0] @ made[2]
    assert not made[5].any()
    assert np.linalg.norm(made[[0, 1, 2, 3, 4, 6]], axis=1) == pytest.approx(1, abs=0.002)
    long = "the modest rose puts forth a thorn and tyger burning bright " * 400
    cut, whole = [asyncio.run(model.embed([one]))[0][0] for one in (long, long[: local.PIECE_CHARACTERS - 10])]
    assert cut @ whole == pytest.approx(1, abs=0.002)
    assert [len(part) for part in local._parts("x" * 25_000)] == [10_000, 10_000, 5000]
    assert list(local._parts("a" * 9_999 + " " + "b" * 9_999)) == ["a" * 9_999, "b" * 9_999]
    alone = np.concatenate([asyncio.run(model.embed([one]))[0] for one in texts])
    assert (alone == made).all()
    assert asyncio.run(model.embed([]))[0].shape == (0, 256)
    model.close()


def test_a_service_without_the_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(local.Conflict, match="install the extra `local`"):
        asyncio.run(local.LocalModel().embed(["a"]))
