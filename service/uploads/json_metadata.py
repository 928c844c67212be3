"""Metadata of embeddings: checked, and converted to JSON, token by token if they are large."""

import math
from typing import Any

import msgspec

from service import decoding, json_tokens, number_arrays
from service.decoding import Wire
from service.uploads.limits import MAX_METADATA_DEPTH

_TOO_DEEP = f"must not be nested more than {MAX_METADATA_DEPTH} levels deep"


def encoded_metadata(metadata: dict[str, Any], wire: Wire) -> tuple[msgspec.Raw | None, str | None]:
    """Metadata as JSON, and their problem: a type that JSON does not have, a NUL, or too deep a nesting."""
    if wire is decoding.MESSAGE_PACK and (wrong := _not_json(metadata, MAX_METADATA_DEPTH)):
        return None, wrong
    try:
        encoded = msgspec.json.encode(metadata)
    except RecursionError:
        return None, _TOO_DEEP
    may_be_deep = encoded.count(b"{") + encoded.count(b"[") >= MAX_METADATA_DEPTH  # a fast check first
    if may_be_deep and _is_deeper(metadata, MAX_METADATA_DEPTH):
        return None, _TOO_DEEP
    has_nul = b"\\u0000" in encoded and _has_nul(metadata)
    return msgspec.Raw(encoded), "must not contain a NUL" if has_nul else None


async def large_metadata(sent: bytes, wire: Wire) -> Any:
    """Decodes metadata to a dict or None; large metadata are checked and remain JSON.

    Raises ValidationError like a decoder.
    """
    is_json = wire is decoding.JSON
    is_object = sent.startswith(b"{") if is_json else sent[0] & 0xF0 == 0x80 or sent[0] in (0xDE, 0xDF)
    if len(sent) <= number_arrays.QUICK_BYTES or not is_object:
        return wire.module.decode(sent, type=dict[str, Any] | None)
    try:
        text = sent if is_json else await json_tokens.from_msgpack(sent, MAX_METADATA_DEPTH)
        fault = await json_tokens.fault(sent, MAX_METADATA_DEPTH) if is_json else None
    except json_tokens.NoJson as error:
        fault = str(error)
    if fault is not None:
        raise msgspec.ValidationError(f"{fault} - at `$.metadata`")
    return msgspec.Raw(text)


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether a document has more than `levels` levels; a scalar has one."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not levels or any(_is_deeper(one, levels - 1) for one in inner)


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def _not_json(value: Any, levels: int) -> str | None:
    """The reason why MessagePack metadata are not valid JSON, or nested deeper than `levels`; None if valid."""
    if not levels:
        return _TOO_DEEP
    match value:
        case float():
            return None if math.isfinite(value) else "must not hold a number that is not finite"
        case str() | int() | None:
            return None
        case list():
            return next(filter(None, (_not_json(one, levels - 1) for one in value)), None)
        case dict():
            if not all(type(key) is str for key in value):
                return "must have texts as names only"
            return next(filter(None, (_not_json(one, levels - 1) for one in value.values())), None)
        case _:
            return "must hold only values that JSON has: texts, numbers, lists, objects, true, false, null"
