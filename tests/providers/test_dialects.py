"""What each kind of provider is sent, and what comes back, as its own reference has it."""

import base64
from typing import Any

import httpx2
import msgspec
import numpy as np
import pytest

from service.providers.dialects import DIALECTS, Asked
from tests.providers.conftest import STANDARDS, Lent, lent
from tests.support import provider as fake
from tests.support.provider import KEY, Provider
from tests.support.world import Headers, unique

TEXTS = ["one two three", "four", "five six"]

# standard -> path, body but for the texts as a document, and as a query, header of the key
SENT: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[str, str]]] = {
    "openai": ("/v1/embeddings", {"model": "m", "encoding_format": "float"}, {}, ("authorization", f"Bearer {KEY}")),
    "azure-openai": ("/openai/deployments/d/embeddings", {"model": "m", "encoding_format": "float"}, {},
                     ("api-key", KEY)),
    "cohere": ("/v2/embed",
               {"model": "m", "input_type": "search_document", "embedding_types": ["float"], "truncate": "NONE"},
               {"input_type": "search_query"}, ("authorization", f"Bearer {KEY}")),
    "gemini": ("/v1beta/models/m:batchEmbedContents", {}, {}, ("x-goog-api-key", KEY)),
    "voyage": ("/v1/embeddings", {"model": "m", "input_type": "document", "truncation": False},
               {"input_type": "query"}, ("authorization", f"Bearer {KEY}")),
    "jina": ("/v1/embeddings", {"model": "m", "truncate": False}, {}, ("authorization", f"Bearer {KEY}")),
    "mistral": ("/v1/embeddings", {"model": "m"}, {}, ("authorization", f"Bearer {KEY}")),
    "ollama": ("/api/embed", {"model": "m", "truncate": False}, {}, ("authorization", f"Bearer {KEY}")),
    "tei": ("/embed", {"truncate": False, "normalize": True}, {}, ("authorization", f"Bearer {KEY}")),
}  # fmt: skip


@pytest.mark.parametrize("standard", STANDARDS)
async def test_texts_in_vectors_out(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, standard: str
) -> None:
    path, document, query, key = SENT[standard]
    one = await lent(service, admin, provider, standard)
    answer = await one.embed(TEXTS)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    expected = np.array([fake.vector(text) for text in TEXTS])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(body["vectors"], expected, atol=1e-6)
    counts = standard not in ("gemini", "tei")
    # Where the provider counts no tokens, a token of four bytes, of each text rounded up.
    usage = {"texts": 3, "tokens": 6, "requests": 1, "unchanged": 0}
    estimate = sum(-(-len(text) // 4) for text in TEXTS)
    assert body["usage"] == (usage if counts else {**usage, "tokens": estimate, "estimated_tokens": estimate})
    (asked,) = provider.asked
    assert asked["path"] == f"/none{path}"
    assert asked["headers"][key[0]] == key[1]
    assert asked["headers"]["accept-encoding"] == "identity"
    assert document.items() <= asked["body"].items()
    assert (await one.embed(TEXTS[:1], input_type="query")).status_code == 200
    assert {**document, **query}.items() <= provider.asked[1]["body"].items()
    for encoding, kind in (("f4", "<f4"), ("f2", "<f2")):
        sent = (await one.embed(TEXTS, encoding=encoding)).json()["vectors"]
        read = np.array([np.frombuffer(base64.b64decode(row), kind) for row in sent])
        assert np.allclose(read, expected, atol=1e-3)


async def test_gemini_is_told_task_and_dimensions(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, "gemini")
    for purpose, task in (("document", "RETRIEVAL_DOCUMENT"), ("query", "RETRIEVAL_QUERY")):
        await one.embed(["text"], input_type=purpose)
        assert provider.asked[-1]["body"]["requests"] == [
            {"model": "models/m", "taskType": task, "outputDimensionality": 8, "content": {"parts": [{"text": "text"}]}}
        ]


@pytest.mark.parametrize(
    ("dialect", "model", "field"),
    [
        ("openai", "text-embedding-3-small", {"dimensions": 8}),
        ("openai", "text-embedding-ada-002", None),
        ("cohere", "embed-v4.0", {"output_dimension": 8}),
        ("cohere", "embed-multilingual-v3.0", None),
        ("voyage", "voyage-3.5", {"output_dimension": 8}),
        ("voyage", "voyage-3", None),
        ("jina", "jina-embeddings-v3", {"dimensions": 8, "task": "retrieval.passage"}),
        ("jina", "jina-embeddings-v2-base-en", None),
        ("mistral", "codestral-embed", {"output_dimension": 8}),
        ("mistral", "mistral-embed", None),
    ],
)
def test_only_models_that_can_are_told_the_dimensions(dialect: str, model: str, field: dict[str, Any] | None) -> None:
    body = DIALECTS[dialect].body(Asked(model, 8, "document", ["text"]))
    names = {"dimensions", "output_dimension", "task"}
    assert {name: value for name, value in body.items() if name in names} == (field or {})


@pytest.mark.parametrize(
    ("dialect", "endpoint", "called"),
    [
        ("openai", "https://h/v1", "https://h/v1/embeddings"),
        ("openai", "https://h/v1/", "https://h/v1/embeddings"),
        ("openai", "https://h/v1/embeddings", "https://h/v1/embeddings"),
        ("openai", "https://h/d/embeddings?api-version=1#x", "https://h/d/embeddings?api-version=1"),
        ("openai", "https://h", "https://h/embeddings"),
        ("cohere", "https://h/v2/embed", "https://h/v2/embed"),
        ("gemini", "https://h/v1beta/models/g:embedContent", "https://h/v1beta/models/g:batchEmbedContents"),
        ("gemini", "https://h/v1beta/models/g:batchEmbedContents", "https://h/v1beta/models/g:batchEmbedContents"),
        ("gemini", "https://h/v1beta", "https://h/v1beta/models/a%2Fb:batchEmbedContents"),
        ("gemini", "https://h/v1beta/models", "https://h/v1beta/models/a%2Fb:batchEmbedContents"),
        ("ollama", "http://h:11434", "http://h:11434/api/embed"),
        ("tei", "http://h:8080/", "http://h:8080/embed"),
    ],
)
def test_addresses(dialect: str, endpoint: str, called: str) -> None:
    assert DIALECTS[dialect].address(endpoint, "a/b") == called


@pytest.mark.parametrize("method", ["body_form", "query_param", "custom_header", "auth_bearer"])
async def test_the_key_is_where_the_standard_wants_it(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, method: str
) -> None:
    handle = unique("std")
    body = {"api_standard_handle": handle, "description": "d", "key_method": method, "key_field": "X-Key",
            "dialect": "openai"}  # fmt: skip
    assert (await service.post("/v1/api-standards", json=body, headers=admin)).status_code == 201
    one = await lent(service, admin, provider)
    change = {"api_standard": handle}
    answer = await service.patch(one.instance, json=change, headers=one.owner.headers)
    assert answer.status_code == 200, answer.text
    assert (await one.embed(["text"])).status_code == 200
    (asked,) = provider.asked
    places = {
        "body_form": asked["body"].get("X-Key"),
        "query_param": asked["query"].removeprefix("X-Key=") or None,
        "custom_header": asked["headers"].get("x-key"),
    }
    expected = {**dict.fromkeys(places), method: KEY}
    if method == "auth_bearer":
        expected = {**dict.fromkeys(places), "custom_header": f"Bearer {KEY}"}
    assert places == {name: expected[name] for name in places}


async def test_without_a_key_none_is_sent(service: httpx2.AsyncClient, admin: Headers, provider: Provider) -> None:
    one = await lent(service, admin, provider, "ollama", api_key=None)
    assert (await one.embed(["text"])).status_code == 200
    assert "authorization" not in provider.asked[0]["headers"]


@pytest.mark.parametrize(("header", "tokens"), [("12", 12), ("", None), ("-1", None), ("²", None), ("9" * 5000, None)])
def test_tokens_in_a_header(header: str, tokens: int | None) -> None:
    assert DIALECTS["tei"].read(b"[[1]]", {"x-compute-tokens": header}).tokens == tokens


@pytest.mark.parametrize("key", ["ключ\u00a0key", "key ", " key", "key\n"])
async def test_a_key_that_no_header_may_hold(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, key: str
) -> None:
    one = await lent(service, admin, provider, api_key=key)
    answer = await one.embed(["text"])
    assert answer.status_code == 424
    assert "are invalid in headers" in answer.json()["detail"]
    assert provider.asked == []


async def test_many_texts_are_sent_in_several_calls_at_once(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, "cohere")
    provider.seconds = 1.5
    texts = [f"text {row}" for row in range(960)]
    answer = await one.embed(texts, encoding="f4")
    assert answer.json()["usage"]["requests"] == 10
    assert [len(asked["texts"]) for asked in provider.asked] == [96] * 10
    assert provider.most_at_once == 10
    read = np.array([np.frombuffer(base64.b64decode(row), "<f4") for row in answer.json()["vectors"]])
    expected = np.array([fake.vector(text) for text in texts])
    assert np.allclose(read, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


async def test_searches_are_queries_and_uploads_documents(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, "cohere")
    assert (await one.put({"a": "one"})).status_code == 201
    assert (await service.post(one.similars, json={"text": "two"}, headers=one.owner.headers)).status_code == 200
    assert (await service.post(one.similars, json={"texts": ["two"]}, headers=one.owner.headers)).status_code == 200
    types = [asked["body"]["input_type"] for asked in provider.asked]
    assert types == ["search_document", "search_query", "search_query"]


async def test_texts_and_vectors_as_messagepack(service: httpx2.AsyncClient, one: Lent) -> None:
    kind = "application/msgpack"
    headers = {**one.owner.headers, "Content-Type": kind, "Accept": kind}
    expected = np.array([fake.vector(text) for text in TEXTS])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for encoding in ("float", "f4"):
        body = msgspec.msgpack.encode({"input": TEXTS, "encoding": encoding})
        answer = await service.post(f"{one.instance}/embed", content=body, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        sent = msgspec.msgpack.decode(answer.content)["vectors"]
        read = [np.frombuffer(row, "<f4") if isinstance(row, bytes) else row for row in sent]
        assert np.allclose(np.array(read), expected, atol=1e-6)
    rows = msgspec.msgpack.encode({"texts": [{"text_id": "a", "text": "one", "metadata": {"n": 1}}]})
    assert (await service.post(one.texts, content=rows, headers=headers)).status_code == 201
    assert await one.stored() == ["a"]
