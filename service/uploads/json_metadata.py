"""Metadata of embeddings: checked, and converted to JSON, token by token if they are large."""

import math
from typing import Any

import msgspec

from service import decoding, json_tokens, number_arrays
from service.decoding import Wire
from service.uploads.limits import MAX_METADATA_DEPTH

_TOO_DEEP = f"must not be nested more than {MAX_METADATA_DEPTH} levels deep"
_NUL = "must not contain a NUL"


def encoded_metadata(metadata: dict[str, Any], wire: Wire) -> msgspec.Raw | str:
    """Metadata as JSON, or their problem: a type that JSON does not have, a NUL, or too deep a nesting."""
    if wire is decoding.MESSAGE_PACK and (wrong := _wrong(metadata, MAX_METADATA_DEPTH)):
        return wrong
    try:
        encoded = msgspec.json.encode(metadata)
    except RecursionError:
        return _TOO_DEEP
    may_be_deep = encoded.count(b"{") + encoded.count(b"[") >= MAX_METADATA_DEPTH  # fast checks first
    may_be_wrong = may_be_deep or b"\\u0000" in encoded
    return (may_be_wrong and _wrong(metadata, MAX_METADATA_DEPTH)) or msgspec.Raw(encoded)


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


def _wrong(value: Any, levels: int) -> str | None:
    """The reason why metadata cannot be stored as JSON, or are nested deeper than `levels`; a scalar has one level."""
    if not levels:
        return _TOO_DEEP
    match value:
        case float():
            return None if math.isfinite(value) else "must not hold a number that is not finite"
        case str():
            return _NUL if "\0" in value else None
        case int() | None:
            return None
        case list():
            inner = value
        case dict():
            if not all(type(key) is str for key in value):
                return "must have texts as names only"
            if "\0" in "".join(value):
                return _NUL
            inner = list(value.values())
        case _:
            return "must hold only values that JSON has: texts, numbers, lists, objects, true, false, null"
    return next(filter(None, (_wrong(one, levels - 1) for one in inner)), None)
