"""Users' JSON Schemas for the metadata of their projects: checked, compiled once, applied. No SQL, no HTTP.

A schema comes from a user, so it is limited in size and depth, its patterns run in linear time, and a
`$ref` out of the document is refused: nothing is ever fetched.
"""

from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32


class BadSchema(Exception):
    """The text is no JSON Schema that this service accepts; the message says why."""


class Fault(msgspec.Struct, frozen=True):
    """Where metadata breaks its schema: `path` like `.author.name` or `[2]`, empty for the whole."""

    path: str
    message: str


class Validator:
    """A compiled schema."""

    def __init__(self, schema: Any) -> None:
        try:
            # Masked: the message names the rule and not the value, which may be of any size.
            self._validator = jsonschema_rs.validator_for(
                schema, retriever=_refuse, mask="the value", pattern_options=jsonschema_rs.RegexOptions()
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise BadSchema(str(error).splitlines()[0]) from None

    def fault(self, value: Any) -> Fault | None:
        """The first rule that a value breaks, or None."""
        for error in self._validator.iter_errors(value):
            path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
            return Fault(path, error.message)
        return None


@lru_cache(maxsize=256)
def compiled(text: str) -> Validator:
    """The validator of a schema, made once for each content. Raises BadSchema, also for what is too large or deep."""
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise BadSchema(f"A schema may have at most {MAX_SCHEMA_BYTES} bytes.")
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadSchema("The schema is not JSON.") from None
    if not isinstance(schema, dict | bool):
        raise BadSchema("A JSON Schema is an object, true or false.")
    if _depth(schema) > MAX_SCHEMA_DEPTH:
        raise BadSchema(f"A schema may be nested {MAX_SCHEMA_DEPTH} levels deep.")
    return Validator(schema)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _refuse(uri: str) -> Any:
    raise ValueError(f"a $ref must stay in the document; {uri[:200]} is not followed")
