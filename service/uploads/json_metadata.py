"""Metadata of embeddings: checked, and converted to JSON, token by token if they are large."""

from typing import Any

import msgspec

from service import decoding, json_tokens, number_arrays
from service.decoding import Wire
from service.json_tokens import NoJson
from service.uploads.limits import MAX_METADATA_DEPTH


def encoded_metadata(metadata: dict[str, Any], wire: Wire) -> msgspec.Raw:
    """Metadata as JSON. Raises NoJson for a type that JSON does not have, a NUL, or too deep a nesting."""
    if wire is decoding.MESSAGE_PACK:
        _check(metadata, MAX_METADATA_DEPTH)
    try:
        encoded = msgspec.json.encode(metadata)
    except RecursionError:
        raise json_tokens.too_deep(MAX_METADATA_DEPTH) from None
    may_be_deep = encoded.count(b"{") + encoded.count(b"[") >= MAX_METADATA_DEPTH  # fast checks first
    if may_be_deep or b"\\u0000" in encoded:
        _check(metadata, MAX_METADATA_DEPTH)
    return msgspec.Raw(encoded)


async def large_metadata(sent: bytes, wire: Wire) -> Any:
    """Decodes metadata to a dict or None; large metadata are checked and remain JSON.

    Raises ValidationError like a decoder.
    """
    is_json = wire is decoding.JSON
    is_object = sent.startswith(b"{") if is_json else sent[0] & 0xF0 == 0x80 or sent[0] in (0xDE, 0xDF)
    if len(sent) <= number_arrays.QUICK_BYTES or not is_object:
        return wire.module.decode(sent, type=dict[str, Any] | None)
    try:
        if not is_json:
            return msgspec.Raw(await json_tokens.from_msgpack(sent, MAX_METADATA_DEPTH))
        await json_tokens.check(sent, MAX_METADATA_DEPTH)
        return msgspec.Raw(sent)
    except NoJson as error:
        raise msgspec.ValidationError(f"{error} - at `$.metadata`") from None


def _check(value: Any, levels: int) -> None:
    """Raises NoJson for metadata that cannot be stored, or are nested deeper than `levels`; a scalar has one level."""
    if not levels:
        raise json_tokens.too_deep(MAX_METADATA_DEPTH)
    if isinstance(value, dict):
        if not all(type(key) is str for key in value):
            raise NoJson("must have texts as names only")
        json_tokens.check_scalar("".join(value))
    elif not isinstance(value, list):
        json_tokens.check_scalar(value)
        return
    for one in value.values() if isinstance(value, dict) else value:
        _check(one, levels - 1)
