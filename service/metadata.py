"""Users' JSON Schemas for the metadata of their projects: checked, compiled once, applied. No SQL, no HTTP.

A schema comes from a user, so it is limited in size, depth and cost, its patterns run in linear time, and a
`$ref` out of the document is refused: nothing is ever fetched.
"""

from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from service import schema_cost

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_MESSAGE = 300  # characters of what is said of a fault
# Cost times bytes: about a tenth of a second for the worst schema and document.
MAX_EFFORT = 2_000_000


class BadSchema(Exception):
    """The text is no JSON Schema that this service accepts; the message says why."""


class Fault(msgspec.Struct, frozen=True):
    """Where metadata breaks its schema: `path` like `.author.name` or `[2]`, empty for the whole."""

    path: str
    message: str


class Validator:
    """A compiled schema. `cost` is how often it may look at one place of a document, from 1 to 1,000."""

    def __init__(self, schema: Any) -> None:
        try:
            self.cost = schema_cost.cost(schema)
        except schema_cost.Uncountable as error:
            raise BadSchema(str(error)) from None
        if self.cost > schema_cost.MAX_COST:
            raise BadSchema(f"it looks at one place more than {schema_cost.MAX_COST} times: simplify its alternatives")
        try:
            # Masked: the message names the rule and not the value, which may be of any size.
            self._validator = jsonschema_rs.validator_for(
                schema,
                retriever=_refuse,
                mask="the value",
                pattern_options=jsonschema_rs.RegexOptions(),
                validate_formats=True,
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise BadSchema(str(error).splitlines()[0]) from None

    def fault(self, value: Any, size: int) -> Fault | None:
        """The first rule that a value of `size` bytes breaks, or None. Too much for the schema is a fault too."""
        if self.cost * size > MAX_EFFORT:
            return Fault("", f"more than the {MAX_EFFORT // self.cost} bytes that this schema can be applied to")
        if schema_cost.is_deeper(value, schema_cost.MAX_DEPTH):
            return Fault("", f"is nested more than {schema_cost.MAX_DEPTH} levels deep")
        if self._validator.is_valid(value):
            return None
        error = next(self._validator.iter_errors(value))
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        # Either may be as long as the schema or the document, in each row of a batch.
        return Fault(_cut(path), _cut(error.message))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"


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
    if schema_cost.is_deeper(schema, MAX_SCHEMA_DEPTH):
        raise BadSchema(f"A schema may be nested {MAX_SCHEMA_DEPTH} levels deep.")
    return Validator(schema)


def _refuse(uri: str) -> Any:
    raise ValueError(f"a $ref must stay in the document; {uri[:200]} is not followed")
