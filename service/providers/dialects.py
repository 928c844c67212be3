"""The request and response formats of each kind of provider: URL, body, answer, and the limits of a call.

No HTTP and no database here. The formats are those of the providers' own references, as of 2026-11: OpenAI
(platform.openai.com/docs/api-reference/embeddings), Cohere (docs.cohere.com/reference/embed), Gemini
(ai.google.dev/api/embeddings), Voyage AI (docs.voyageai.com/reference/embeddings-api), Jina AI (api.jina.ai/redoc),
Mistral AI (docs.mistral.ai/api/endpoint/embeddings), Ollama (docs.ollama.com/api/embed), Text Embeddings Inference
(huggingface.github.io/text-embeddings-inference). Truncation of long texts is disabled in all requests.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from service.providers.limits import BYTES_A_CALL, MOST_TOKENS, TEXTS_A_CALL

Purpose: TypeAlias = Literal["document", "query"]
Name: TypeAlias = Literal["local", "openai", "cohere", "gemini", "voyage", "jina", "mistral", "ollama", "tei"]


class Asked(msgspec.Struct, frozen=True):
    """Texts to embed, with the model, the number of dimensions, and their purpose."""

    model: str
    dimensions: int
    purpose: Purpose
    texts: list[str]


class Reply(msgspec.Struct, frozen=True):
    """Vectors as undecoded JSON in the order of `places`, or of the texts without them.

    `tokens` is the provider's count, if it gives one.
    """

    vectors: list[msgspec.Raw]
    places: list[int] | None = None
    tokens: int | None = None


class Dialect(msgspec.Struct, frozen=True):
    """The API of a kind of provider. `read` raises msgspec's errors for an invalid answer.

    `address` makes the URL from an instance's endpoint and model. `most_bytes` also limits the tokens of a call.
    """

    address: Callable[[str, str], str]
    body: Callable[[Asked], dict[str, Any]]
    read: Callable[[bytes, Mapping[str, str]], Reply]
    most_texts: int = TEXTS_A_CALL
    most_bytes: int = BYTES_A_CALL


def _ending_with(*ends: str) -> Callable[[str, str], str]:
    """A function that appends the first of these ends to an endpoint, unless its path has one of them."""

    def address(endpoint: str, model: str) -> str:
        parts = urlsplit(endpoint)
        path = parts.path.rstrip("/")
        path = path if path.endswith(ends) else path + ends[0]
        return urlunsplit(parts._replace(path=path, fragment=""))

    return address


def _gemini_address(endpoint: str, model: str) -> str:
    """The URL for Gemini, with the model and the method in the path."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/").removesuffix(":embedContent").removesuffix(":batchEmbedContents")
    if "/models/" not in path:
        path = f"{path.removesuffix('/models')}/models/{quote(model, safe='')}"
    return urlunsplit(parts._replace(path=f"{path}:batchEmbedContents", fragment=""))


NOT_COUNTED = msgspec.Raw(b"null")


def _tokens(sent: msgspec.Raw, *path: str) -> int | None:
    """The count at a path in what an answer says of tokens; a float in the reference of Cohere.

    None for another form: the vectors are good, and perhaps paid for.
    """
    try:
        for name in path:
            sent = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])[name]
        count = msgspec.json.decode(sent, type=float)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return None
    return min(max(math.ceil(count), 0), MOST_TOKENS)


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class _List(msgspec.Struct):
    """The answer of OpenAI and compatible providers."""

    data: list[_Item]
    usage: msgspec.Raw = NOT_COUNTED


def _read_list(body: bytes, _: Mapping[str, str]) -> Reply:
    answer = msgspec.json.decode(body, type=_List)
    places = [item.index for item in answer.data if item.index is not None]
    if places and len(places) != len(answer.data):
        raise msgspec.ValidationError("some have no index")
    counts = (_tokens(answer.usage, name) for name in ("prompt_tokens", "total_tokens"))
    tokens = next((count for count in counts if count is not None), None)
    return Reply([item.embedding for item in answer.data], places or None, tokens)


def _dimensions(asked: Asked, name: str, *models: str) -> dict[str, Any]:
    """The number of dimensions as the field `name`, if the model is one of these, as others do not accept it."""
    return {name: asked.dimensions} if asked.model.startswith(models) else {}


def _openai_body(asked: Asked) -> dict[str, Any]:
    body = {"model": asked.model, "input": asked.texts, "encoding_format": "float"}
    return body | _dimensions(asked, "dimensions", "text-embedding-3")


def _voyage_body(asked: Asked) -> dict[str, Any]:
    body = {"model": asked.model, "input": asked.texts, "input_type": asked.purpose, "truncation": False}
    chosen = _dimensions(asked, "output_dimension", "voyage-3-large", "voyage-3.5", "voyage-4", "voyage-code-3")
    return body | chosen


def _jina_body(asked: Asked) -> dict[str, Any]:
    body: dict[str, Any] = {"model": asked.model, "input": asked.texts, "truncate": False}
    if not asked.model.startswith("jina-embeddings-") or asked.model.startswith("jina-embeddings-v2"):
        return body
    task = "retrieval.query" if asked.purpose == "query" else "retrieval.passage"
    return body | {"task": task, "dimensions": asked.dimensions}


def _mistral_body(asked: Asked) -> dict[str, Any]:
    body = {"model": asked.model, "input": asked.texts}
    return body | _dimensions(asked, "output_dimension", "codestral-embed")


class _ByType(msgspec.Struct):
    float: list[msgspec.Raw]


class _Cohere(msgspec.Struct):
    embeddings: _ByType
    meta: msgspec.Raw = NOT_COUNTED


def _cohere_body(asked: Asked) -> dict[str, Any]:
    body = {
        "model": asked.model,
        "texts": asked.texts,
        "input_type": "search_query" if asked.purpose == "query" else "search_document",
        "embedding_types": ["float"],
        "truncate": "NONE",
    }
    return body | _dimensions(asked, "output_dimension", "embed-v4")


def _read_cohere(body: bytes, _: Mapping[str, str]) -> Reply:
    answer = msgspec.json.decode(body, type=_Cohere)
    return Reply(answer.embeddings.float, tokens=_tokens(answer.meta, "billed_units", "input_tokens"))


class _Values(msgspec.Struct):
    values: msgspec.Raw


class _Gemini(msgspec.Struct):
    embeddings: list[_Values]
    usage: msgspec.Raw = msgspec.field(default=NOT_COUNTED, name="usageMetadata")


def _gemini_body(asked: Asked) -> dict[str, Any]:
    one = {
        "model": f"models/{asked.model}",
        "taskType": "RETRIEVAL_QUERY" if asked.purpose == "query" else "RETRIEVAL_DOCUMENT",
        "outputDimensionality": asked.dimensions,
    }
    return {"requests": [{**one, "content": {"parts": [{"text": text}]}} for text in asked.texts]}


def _read_gemini(body: bytes, _: Mapping[str, str]) -> Reply:
    answer = msgspec.json.decode(body, type=_Gemini)
    return Reply([one.values for one in answer.embeddings], tokens=_tokens(answer.usage, "promptTokenCount"))


class _Ollama(msgspec.Struct):
    embeddings: list[msgspec.Raw]
    prompt_eval_count: msgspec.Raw = NOT_COUNTED


def _read_ollama(body: bytes, _: Mapping[str, str]) -> Reply:
    answer = msgspec.json.decode(body, type=_Ollama)
    return Reply(answer.embeddings, tokens=_tokens(answer.prompt_eval_count))


def _read_tei(body: bytes, headers: Mapping[str, str]) -> Reply:
    counted = headers.get("x-compute-tokens", "")
    tokens = _tokens(msgspec.Raw(counted.encode())) if counted.isdigit() else None
    return Reply(msgspec.json.decode(body, type=list[msgspec.Raw]), tokens=tokens)


# Limits of a call: OpenAI 2,048 texts and 300,000 tokens, Cohere 96 texts, Gemini 100 texts, Voyage 1,000 texts and
# 120,000 tokens of its larger models, Mistral 16,384 tokens, Text Embeddings Inference 32 texts by default.
DIALECTS: dict[str, Dialect] = {
    "openai": Dialect(_ending_with("/embeddings"), _openai_body, _read_list),
    "cohere": Dialect(_ending_with("/embed"), _cohere_body, _read_cohere, most_texts=96),
    "gemini": Dialect(_gemini_address, _gemini_body, _read_gemini, most_texts=100),
    "voyage": Dialect(_ending_with("/embeddings"), _voyage_body, _read_list, most_bytes=120_000),
    "jina": Dialect(_ending_with("/embeddings"), _jina_body, _read_list),
    "mistral": Dialect(_ending_with("/embeddings"), _mistral_body, _read_list, most_bytes=48_000),
    "ollama": Dialect(
        _ending_with("/api/embed"),
        lambda asked: {"model": asked.model, "input": asked.texts, "truncate": False},
        _read_ollama,
    ),
    "tei": Dialect(
        _ending_with("/embed"),
        lambda asked: {"inputs": asked.texts, "truncate": False, "normalize": True},
        _read_tei,
        most_texts=32,
    ),
}
