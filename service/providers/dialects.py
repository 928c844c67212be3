"""The request and response formats of each kind of provider: URL, body, answer, and the limits of a call.

No HTTP and no database here. The formats are those of the providers' own references, as of 2026-11: OpenAI
(platform.openai.com/docs/api-reference/embeddings), Cohere (docs.cohere.com/reference/embed), Gemini
(ai.google.dev/api/embeddings), Voyage AI (docs.voyageai.com/reference/embeddings-api), Jina AI (api.jina.ai/redoc),
Mistral AI (docs.mistral.ai/api/endpoint/embeddings), Ollama (docs.ollama.com/api/embed), Text Embeddings Inference
(huggingface.github.io/text-embeddings-inference). Truncation of long texts is disabled in all requests.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar
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


Count: TypeAlias = float | int | None  # a double in the reference of Cohere
NOT_COUNTED = msgspec.Raw(b"null")
C = TypeVar("C")


def _counted(sent: msgspec.Raw, kind: type[C]) -> C | None:
    """What an answer says of tokens; None if that has another form: the vectors are good, and perhaps paid for."""
    try:
        return msgspec.json.decode(sent, type=kind | None)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _whole(tokens: Count) -> int | None:
    return None if tokens is None else min(max(math.ceil(tokens), 0), MOST_TOKENS)


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class _Count(msgspec.Struct):
    prompt_tokens: Count = None
    total_tokens: Count = None


class _List(msgspec.Struct):
    """The answer of OpenAI and compatible providers."""

    data: list[_Item]
    usage: msgspec.Raw = NOT_COUNTED


def _read_list(body: bytes, _: Mapping[str, str]) -> Reply:
    answer = msgspec.json.decode(body, type=_List)
    places = [item.index for item in answer.data if item.index is not None]
    if places and len(places) != len(answer.data):
        raise msgspec.ValidationError("some have no index")
    count = _counted(answer.usage, _Count) or _Count()
    tokens = count.prompt_tokens if count.prompt_tokens is not None else count.total_tokens
    return Reply([item.embedding for item in answer.data], places or None, _whole(tokens))


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


class _Billed(msgspec.Struct):
    input_tokens: Count = None


class _Meta(msgspec.Struct):
    billed_units: _Billed | None = None


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
    meta = _counted(answer.meta, _Meta)
    billed = meta.billed_units if meta is not None else None
    return Reply(answer.embeddings.float, tokens=_whole(billed.input_tokens if billed is not None else None))


class _Values(msgspec.Struct):
    values: msgspec.Raw


class _Prompt(msgspec.Struct):
    tokens: Count = msgspec.field(default=None, name="promptTokenCount")


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
    usage = _counted(answer.usage, _Prompt)
    return Reply([one.values for one in answer.embeddings], tokens=_whole(usage.tokens if usage is not None else None))


class _Ollama(msgspec.Struct):
    embeddings: list[msgspec.Raw]
    prompt_eval_count: msgspec.Raw = NOT_COUNTED


def _read_ollama(body: bytes, _: Mapping[str, str]) -> Reply:
    answer = msgspec.json.decode(body, type=_Ollama)
    return Reply(answer.embeddings, tokens=_whole(_counted(answer.prompt_eval_count, float)))


def _read_tei(body: bytes, headers: Mapping[str, str]) -> Reply:
    counted = headers.get("x-compute-tokens", "")
    return Reply(
        msgspec.json.decode(body, type=list[msgspec.Raw]),
        tokens=_whole(int(counted)) if counted.isascii() and counted.isdigit() and len(counted) < 20 else None,
    )


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
