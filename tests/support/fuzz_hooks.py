"""How schemathesis writes the media types that it does not know itself."""

import json
from typing import Any

import msgspec
import schemathesis


@schemathesis.serializer("application/x-ndjson")  # type: ignore[untyped-decorator]
def lines(context: Any, value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


@schemathesis.serializer("application/msgpack")  # type: ignore[untyped-decorator]
def packed(context: Any, value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, TypeError):  # what MessagePack cannot hold
        return json.dumps(value).encode()
