"""Bodies of searches: vectors or texts, and a filter. Sizes are checked before decoding."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

from service import decoding, number_arrays, vectors
from service.decoding import Wire
from service.errors import BadRequest, ContentTooLarge, Invalid, Problem, show
from service.search import filters
from service.search.limits import MAX_FILTER_BYTES, MAX_QUERY_TEXTS, MAX_QUERY_TEXTS_BYTES, MAX_VECTORS
from service.turns import Turns
from service.uploads.batch import Vector
from service.uploads.texts import SentText
from service.vectors import Encoding

Part = Literal["text", "metadata"]
StoredId = Annotated[str, Meta(min_length=1, max_length=2600)]  # the length of the longest migrated id
TEXTS = Meta(min_length=1, max_length=MAX_QUERY_TEXTS)


class SearchIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A search with a vector, or up to 1,000: with the project's number of dimensions, finite, not all zero.

    Or with a `text` or up to 100 `texts`, which the project's instance embeds, or with the `text_id` of a stored
    embedding, which is excluded from the results.

    A vector may also be little-endian bytes in the `encoding` float32 (`f4`) or float16 (`f2`), base64 in JSON.
    `filter` selects texts by metadata, such as `{"year": {"$gte": 1900}}`, with `$eq $ne $gt $gte $lt $lte $in $nin
    $exists $and $or $not` and dots between the steps of a path. `include` adds fields to the results.
    """

    vector: Vector | UnsetType = UNSET
    vectors: Annotated[list[Vector], Meta(min_length=1, max_length=MAX_VECTORS)] | UnsetType = UNSET
    text: SentText | UnsetType = UNSET
    texts: Annotated[list[SentText], TEXTS] | UnsetType = UNSET
    text_id: StoredId | UnsetType = UNSET
    encoding: Encoding = "f4"
    filter: dict[str, Any] | None = None
    include: list[Part] | None = None


class _Undecoded(SearchIn, frozen=True, forbid_unknown_fields=True):
    """SearchIn with undecoded large fields."""

    vector: msgspec.Raw | UnsetType = UNSET
    vectors: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]
    texts: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]
    filter: msgspec.Raw | UnsetType = UNSET  # type: ignore[assignment]


class Query(msgspec.Struct):
    """A decoded search: `halves` are `(n, dimensions) float16`, or None for `texts` and a `text_id`.

    `is_single` unless a list was sent.
    """

    is_single: bool
    only: filters.Filter | None
    include: list[Part] | None
    text_id: str | None
    halves: NDArray[np.float16] | None = None
    texts: list[str] = []


async def decode(body: bytes, wire: Wire, dimensions: int) -> Query:
    """Decodes and checks a search in a project with this number of dimensions.

    Raises BadRequest for vectors of another length, Invalid for invalid values, ContentTooLarge for a large filter.
    """
    sent = decoding.decode(body, _Undecoded, wire=wire)
    if [sent.vector, sent.vectors, sent.text, sent.texts, sent.text_id].count(UNSET) != 4:
        message = "exactly one of `vector`, `vectors`, `text`, `texts` and `text_id` is required"
        raise Invalid(problems=[Problem(message, "body.vector")])
    only = None if sent.filter is UNSET else sent_filter(bytes(sent.filter), wire)
    is_single = sent.vectors is UNSET and sent.texts is UNSET
    query = Query(is_single, only, sent.include, None if sent.text_id is UNSET else sent.text_id)
    if sent.text is not UNSET:
        query.texts = [sent.text]
    elif sent.texts is not UNSET:
        query.texts = _texts(bytes(sent.texts), wire)
    elif sent.vector is not UNSET:
        query.halves = await _halves([bytes(sent.vector)], ["body.vector"], dimensions, sent.encoding, wire)
    elif sent.vectors is not UNSET:
        many = _split(bytes(sent.vectors), wire)
        names = [f"body.vectors[{place}]" for place in range(len(many))]
        query.halves = await _halves(many, names, dimensions, sent.encoding, wire)
    return query


def _texts(raw: bytes, wire: Wire) -> list[str]:
    if len(raw) > MAX_QUERY_TEXTS_BYTES:
        raise ContentTooLarge(f"The texts of a search may have at most {MAX_QUERY_TEXTS_BYTES:,} bytes.")
    texts: list[str] = decoding.decode(raw, SearchIn.__annotations__["texts"], "body.texts", wire)
    return texts


def _split(raw: bytes, wire: Wire) -> list[bytes]:
    """The undecoded vectors of a list, with a limit on their number."""
    if wire is decoding.MESSAGE_PACK:
        is_list = 0 < (number_arrays.count_msgpack(raw) or 0) <= MAX_VECTORS
        found = [bytes(one) for one in wire.module.decode(raw, type=list[msgspec.Raw])] if is_list else None
    else:
        found = number_arrays.split_json(raw, MAX_VECTORS)
    if not found:
        if len(raw) <= number_arrays.QUICK_BYTES:
            decoding.decode(raw, list[Vector], "body.vectors", wire)  # raises a more precise error
        message = f"must be a list of 1 to {MAX_VECTORS:,} vectors, each numbers or bytes"
        raise Invalid(problems=[Problem(message, "body.vectors")])
    return found


def sent_filter(raw: bytes, wire: Wire) -> filters.Filter | None:
    """Decodes and compiles a filter. Raises ContentTooLarge and Invalid."""
    if len(raw) > MAX_FILTER_BYTES:
        raise ContentTooLarge(f"A filter may have at most {MAX_FILTER_BYTES:,} bytes.")
    document = decoding.decode(raw, SearchIn.__annotations__["filter"], "body.filter", wire)
    return None if document is None else filters.compiled(document)


def filter_of_query(text: str) -> filters.Filter:
    """Compiles a filter in a query string. Raises Invalid."""
    try:
        document = decoding.decode(text.encode(), dict[str, Any], "query.filter")
    except BadRequest as error:
        raise Invalid(
            problems=[Problem(f"is not JSON: {one.message}", "query.filter") for one in error.problems]
        ) from None
    return filters.compiled(document, "query.filter")


async def _halves(
    texts: Sequence[bytes], names: Sequence[str], dimensions: int, encoding: Encoding, wire: Wire
) -> NDArray[np.float16]:
    """The vectors as `(n, dimensions) float16`; the lengths of all are checked before decoding."""
    is_json = wire is decoding.JSON
    counts = list(map(number_arrays.count_json if is_json else number_arrays.count_msgpack, texts))
    _compare(names, counts, dimensions)
    decoded: list[list[float] | bytes] = []
    problems: list[Problem] = []
    turns = Turns()
    for name, text, count in zip(names, texts, counts, strict=True):
        if count is None and is_json and not text.startswith(b'"') and len(text) > number_arrays.QUICK_BYTES:
            problems.append(Problem("must be a list of numbers, or base64", name))
            continue
        try:
            decoded.append(
                await number_arrays.decode_json(text) if is_json else wire.module.decode(text, type=list[float] | bytes)
            )
        except msgspec.ValidationError as error:
            problems += decoding.problems(text, Vector, name, error, wire)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise decoding.unreadable(error, wire) from None
        await turns.give()
    if problems:
        raise Invalid(problems=problems)
    _compare(names, [vectors.length(one, encoding) or 0 for one in decoded], dimensions)
    halves: list[NDArray[np.float16]] = []
    for name, one in zip(names, decoded, strict=True):
        half, faults = vectors.to_halves(vectors.from_sent([one], encoding))
        problems += [Problem(one.message, name, None if one.value is None else show(one.value)) for one in faults]
        halves.append(half)
        await turns.give()
    if problems:
        raise Invalid(problems=problems)
    return np.concatenate(halves)


def _compare(names: Sequence[str], lengths: Sequence[int | None], dimensions: int) -> None:
    """Raises BadRequest with all vectors of a wrong length; None is an unknown length."""
    wrong = [
        Problem(f"vector dimension mismatch: expected {dimensions} dimensions, got {got or 'a part of one'}", name)
        for name, got in zip(names, lengths, strict=True)
        if got not in (None, dimensions)
    ]
    if wrong:
        raise BadRequest(wrong[0].message, wrong)
