"""Embedding of texts without storing them: in this service's format, and in OpenAI's."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from service import decoding, number_arrays
from service.admission import SHORT_BYTES
from service.api.llm_instances import retrieved
from service.api.texts import EMBED_ERRORS
from service.decoding import Wire
from service.errors import BadRequest, ContentTooLarge, Invalid, NotFound, Problem, ProblemDetails
from service.http.auth import Caller, instance_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.http.responses import JSON
from service.providers.dialects import Purpose
from service.providers.embedder import Embedded
from service.providers.ledger import Spender
from service.queries.llm_instances import Instance
from service.uploads.limits import MAX_TEXT_CHARACTERS
from service.uploads.texts import SentText, Usage

# Of OpenAI's errors (platform.openai.com/docs/guides/error-codes, 2026-11), by status
OPENAI_ERRORS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

COMPONENT_BYTES = {"float": 26, "f4": 10, "f2": 7}  # of a vector as float32, and in the answer
OTHER_QUOTES = 1000  # of a body in JSON, besides those of the texts


class EmbedIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts to embed. `input_type` matters for models that distinguish queries and documents.

    `encoding`: vectors as numbers, or as little-endian bytes of float32 (`f4`) or float16 (`f2`), base64 in JSON.
    """

    input: Annotated[list[SentText], Meta(min_length=1)]
    input_type: Purpose = "document"
    encoding: Literal["float", "f4", "f2"] = "float"


class _Counted(msgspec.Struct):
    """EmbedIn with an undecoded list of texts, for counting."""

    input: msgspec.Raw = msgspec.Raw(b"")


class Vectors(msgspec.Struct, frozen=True):
    """The vectors of the texts, in order, of unit length."""

    model: str
    dimensions: int
    vectors: list[list[float] | bytes]
    usage: Usage


class OpenAIEmbedIn(msgspec.Struct, frozen=True):
    """OpenAI's request for embeddings; other fields are ignored.

    `model` is the instance's handle or its model. `input` is a text or a list of texts; tokens are not supported.
    """

    input: str | list[str]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class OpenAIVector(msgspec.Struct, frozen=True):
    """A vector: numbers, or the base64 of their float32, little-endian."""

    index: int
    embedding: list[float] | bytes
    object: Literal["embedding"] = "embedding"


class OpenAIUsage(msgspec.Struct, frozen=True):
    """The tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class OpenAIVectors(msgspec.Struct, frozen=True):
    """OpenAI's answer."""

    data: list[OpenAIVector]
    model: str
    usage: OpenAIUsage
    object: Literal["list"] = "list"


class OpenAIError(msgspec.Struct, frozen=True):
    """An error; `param` is its location in the request."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIProblem(msgspec.Struct, frozen=True):
    """The body of an error."""

    error: OpenAIError


def _as_openai(problem: ProblemDetails) -> OpenAIProblem:
    """A problem in OpenAI's format, with all details in one message."""
    details = [": ".join(filter(None, (one.location, one.message))) for one in problem.errors]
    usual = "server_error" if problem.status >= 500 else "invalid_request_error"
    param = problem.errors[0].location if problem.errors else None
    message = " ".join([problem.detail, *(f"{one}." for one in details)])
    return OpenAIProblem(OpenAIError(message, OPENAI_ERRORS.get(problem.status, usual), param, str(problem.status)))


@endpoint(
    "POST",
    "/v1/llm-instances/{user}/{instance}/embed",
    guard=instance_reader,
    body=EmbedIn,
    errors=EMBED_ERRORS,
    only_reads=True,
)
async def post_embed(req: Req, user: str, instance: str, access: Caller) -> Vectors:
    """Embed texts without storing them. For the owner and users with whom the instance is shared."""
    body = await _body(req)
    sent = decoding.decode(body, EmbedIn, wire=req.body.wire)
    stored = await retrieved(req.pool, user, instance, access.role)
    form = sent.encoding
    made = await _embedded(req, user, access, stored, sent.input, sent.input_type, form)
    vectors: list[Any] = [one if form == "float" else one.astype(f"<{form}").tobytes() for one in made.vectors]
    usage = Usage(0, 0, 0, 0)
    usage.add(made.spent)
    return Vectors(made.model, stored.dimensions, vectors, usage)


@endpoint(
    "POST",
    "/v1/openai/{user}/{instance}/embeddings",
    guard=instance_reader,
    body=OpenAIEmbedIn,
    consumes=(JSON,),
    errors=EMBED_ERRORS,
    only_reads=True,
    error_body=_as_openai,
)
async def post_openai_embeddings(req: Req, user: str, instance: str, access: Caller) -> OpenAIVectors:
    """Embed texts with OpenAI's protocol. The `base_url` of clients is this path without its last segment."""
    sent = decoding.decode(await _body(req), OpenAIEmbedIn)
    texts = [sent.input] if isinstance(sent.input, str) else sent.input
    if not texts or any(not 0 < len(text) <= MAX_TEXT_CHARACTERS or "\0" in text for text in texts):
        message = f"must be a text of 1 to {MAX_TEXT_CHARACTERS:,} characters without NUL, or a list of them"
        raise Invalid(problems=[Problem(message, "body.input")])
    stored = await retrieved(req.pool, user, instance, access.role)
    if sent.model not in (stored.model, instance):
        raise NotFound(f"This instance has the model {stored.model!r}, not {sent.model!r}.")
    if sent.dimensions not in (None, stored.dimensions):
        problem = Problem(f"must be {stored.dimensions}, as in the instance", "body.dimensions", sent.dimensions)
        raise BadRequest("The number of dimensions is fixed for an instance.", [problem])
    is_base64 = sent.encoding_format == "base64"
    made = await _embedded(req, user, access, stored, texts, "document", "f4" if is_base64 else "float")
    vectors: list[Any] = [one.astype("<f4").tobytes() if is_base64 else one for one in made.vectors]
    data = [OpenAIVector(row, one) for row, one in enumerate(vectors)]
    return OpenAIVectors(data, made.model, OpenAIUsage(made.spent.tokens, made.spent.tokens))


async def _body(req: Req) -> bytes:
    """The body. Raises ContentTooLarge for many more texts than permitted: decoding millions takes seconds."""
    body = await req.body.read(req.settings.service_max_texts_bytes)
    if _count(body, req.body.wire) > req.settings.service_max_texts:
        raise _too_many(req.settings.service_max_texts)
    return body


def _count(body: bytes, wire: Wire) -> int:
    """The number of texts; for JSON perhaps only about half of it."""
    if wire is decoding.MESSAGE_PACK:
        sent = decoding.decode(body, _Counted, wire=wire, explained_as=EmbedIn)
        return number_arrays.count_msgpack(memoryview(sent.input)) or 0
    # A quote that does not begin or end a text is escaped.
    return (body.count(b'"') - body.count(b'\\"') - OTHER_QUOTES) // 2


def _too_many(most: int) -> ContentTooLarge:
    return ContentTooLarge(f"A request may have at most {most:,} texts: split it.")


async def _embedded(
    req: Req, user: str, access: Caller, instance: Instance, texts: list[str], purpose: Purpose, form: str
) -> Embedded:
    """Embeds texts for the caller; the admin acts with the access of the owner."""
    most = req.settings.service_max_texts
    if len(texts) > most:
        raise _too_many(most)
    # Before texts are paid for. A slow client may take minutes to read the answer.
    if (size := len(texts) * instance.dimensions * COMPONENT_BYTES[form]) > SHORT_BYTES:
        await req.body.make_room(size)
    spender = Spender(instance.instance_id, access.handle or user, access.handle or "admin")
    made = await req.services.embedder.embed(spender, texts, purpose)
    made.check(lambda place: f"body.input[{place}]")
    return made
