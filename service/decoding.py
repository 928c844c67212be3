"""Decoding of untrusted JSON, MessagePack, paths and queries into msgspec structs, with all problems located.

msgspec decodes and validates in one pass and stops at the first problem. Only then is the value validated again, field
by field, to list all problems.
"""

import re
import types
import typing
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache, lru_cache
from itertools import islice
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from service import number_arrays
from service.errors import MAX_MESSAGE_LENGTH, MAX_PROBLEMS, BadRequest, Invalid, Problem, show

EXPLAINED_BYTES = 1024 * 1024
EXPLAINED_VALUES = 100_000  # 25 ms to decode lists or objects
MAX_NAME_SHOWN = 64
ITEMS_AT_ONCE = 100  # of a list are validated together; one by one only if that fails

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

# The value of a field with this annotation is never shown in an error.
SECRET = msgspec.Meta(extra={"secret": True})


class Wire(msgspec.Struct, frozen=True):
    """A body format: its name and its msgspec module."""

    name: str
    module: Any


JSON = Wire("JSON", msgspec.json)
MESSAGE_PACK = Wire("MessagePack", msgspec.msgpack)


def unreadable(error: Exception, wire: Wire = JSON) -> BadRequest:
    """The client's error for a malformed body, from the error that msgspec raised."""
    if isinstance(error, RecursionError):
        return BadRequest("The body is nested too deeply.", [Problem("is nested too deeply", "body")])
    if isinstance(error, UnicodeDecodeError):
        return BadRequest("The body is not UTF-8.", [Problem(f"is not UTF-8 at byte {error.start}", "body")])
    return BadRequest(f"The body is not {wire.name}.", [Problem(str(error), "body")])


def decode(data: bytes, kind: type[T], location: str = "body", wire: Wire = JSON, *, explained_as: Any = None) -> T:
    """Decodes strictly. Raises BadRequest for malformed data, Invalid with all problems for invalid values.

    `explained_as` is the type that the problems are listed for, where `kind` leaves parts undecoded.
    """
    try:
        value: T = wire.module.decode(data, type=kind)
        return value
    except msgspec.ValidationError as error:
        raise Invalid(problems=problems(data, explained_as or kind, location, error, wire)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, wire) from None


def count_values(data: bytes) -> int:
    """The number of commas, lists and objects in JSON: about that of its values, without decoding them."""
    return sum(map(data.count, (b"[", b"{", b",")))


def problems(data: bytes, kind: Any, location: str, error: msgspec.ValidationError, wire: Wire = JSON) -> list[Problem]:
    """All problems of a body for this type, at most 100; `error` is the first one, found by msgspec.

    Only the first is reported for a body above EXPLAINED_BYTES, with more than EXPLAINED_VALUES values (of which lists
    and objects take forty times their size as Python objects), or with numbers that are slow to decode; in the last two
    cases after a check of the syntax. Raises BadRequest for a malformed body.
    """
    first = _UNKNOWN_FIELD.fullmatch(str(error))
    only = [unknown(first[1], _parameters(kind), location) if first else _problem(error, location)]
    if len(data) > EXPLAINED_BYTES:
        return only
    # In MessagePack any byte may be a value.
    values = count_values(data) if wire is JSON else len(data)
    syntax_only = values > EXPLAINED_VALUES or number_arrays.are_slow(data)
    try:
        value = wire.module.decode(data, type=msgspec.Raw if syntax_only else Any)
    except msgspec.ValidationError as out_of_range:  # a number beyond the range of a double
        return [_problem(out_of_range, location)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        raise unreadable(malformed, wire) from None
    if syntax_only:
        return only
    return list(islice(_walk(value, kind, location), MAX_PROBLEMS)) or only


# Of the outermost object: otherwise the place follows.
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `((?!.*` - at `\$).*)`", re.DOTALL)


def unknown(name: str, known: Iterable[str], location: str, what: str = "property") -> Problem:
    """The problem of an unknown property or parameter, with the nearest known name."""
    shown, names = name[:MAX_NAME_SHOWN], tuple(known)
    nearest = _nearest(shown, names)
    if nearest is not None:
        message = f"is not a known {what}: did you mean {nearest!r}? Known are {', '.join(names)}"
    else:
        message = f"is not a known {what}; " + (f"known are {', '.join(names)}" if names else "none is known here")
    # The value is not shown: a misspelt name may hide a secret.
    return Problem(message, f"{location}.{shown}")


@lru_cache(1000)
def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    plain = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), plain, n=1)
    return plain[found[0]] if found else None


def query(sent: str, kind: type[msgspec.Struct] | None) -> Any:
    """Decodes a query string into a struct; None for a route without parameters. Raises Invalid with all problems."""
    lists = _parameters(kind) if kind is not None else {}
    values: dict[str, str] = {}
    found: list[Problem] = []
    for name, value in parse_qsl(sent, keep_blank_values=True, errors="surrogateescape") if sent else ():
        where = f"query.{name[:MAX_NAME_SHOWN]}".encode(errors="replace").decode()
        if wrong := _unusable(name) or _unusable(value):
            found.append(Problem(wrong, where))
        elif name not in lists:
            found.append(unknown(name, lists, "query", "parameter"))
        elif name in values and not lists[name]:
            found.append(Problem("is given more than once", where))
        else:
            values[name] = f"{values[name]},{value}" if name in values else value  # a repeated parameter is a list
        if len(found) >= MAX_PROBLEMS:
            break
    arguments = None
    try:
        arguments = convert(values, kind, "query") if kind is not None else None
    except Invalid as error:
        found += error.problems
    if found:
        raise Invalid(problems=found)
    return arguments


def _unusable(text: str) -> str | None:
    """The problem of a piece of a path or query that was percent-decoded with `surrogateescape`, if any."""
    if "\0" in text:
        return "must not contain a NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None


def convert(values: dict[str, str], kind: type[S], location: str) -> S:
    """Converts path or query parameters into a struct; `a,b` becomes a list, unknown parameters are ignored.

    Raises Invalid with all problems.
    """
    lists = _parameters(kind)
    typed = {name: value.split(",") if lists[name] else value for name, value in values.items() if name in lists}
    try:
        return msgspec.convert(typed, kind, strict=False)
    except msgspec.ValidationError as error:
        found = list(islice(_walk(typed, kind, location, strict=False), MAX_PROBLEMS))
        raise Invalid(problems=found or [_problem(error, location)]) from None


@cache
def _parameters(kind: type[msgspec.Struct]) -> dict[str, bool]:
    """For the name of each field, whether it is a list."""
    return {field.encode_name: _list_item(field.type) is not None for field in msgspec.structs.fields(kind)}


def changes(patch: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of a struct that a JSON merge patch (RFC 7396) sets; null stands for the field's default.

    Only fields in the patch are validated: other stored values may date from before the current rules. Raises Invalid
    with all problems.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found: list[Problem] = []
    changed: dict[str, Any] = {}
    for name, value in patch.items():
        if len(found) >= MAX_PROBLEMS:
            break
        field = fields.get(name)
        where = f"body.{name[:MAX_NAME_SHOWN]}"
        if field is None:
            found.append(unknown(name, fields, "body"))
        elif value is not None:
            problems_of_value = list(islice(_walk(value, field.type, where), MAX_PROBLEMS))
            found += problems_of_value
            if not problems_of_value:
                changed[field.name] = msgspec.convert(value, field.type)
        elif field.required:
            found.append(Problem("is required and cannot be removed", where))
        else:
            changed[field.name] = field.default
    if found:
        raise Invalid(problems=found)
    return changed


def _walk(value: Any, kind: Any, location: str, *, strict: bool = True) -> Iterator[Problem]:
    """Yields the problems of a value: those of its members if there are any, else its own."""
    members = _members(kind)
    if msgspec.Raw in members:  # decoded later
        return
    struct = next((one for one in members if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)
    problem = None
    if struct is not None and isinstance(value, dict):
        for problem in _walk_struct(value, struct, location, strict=strict):
            yield problem
    elif (item := _list_item(kind)) is not None and isinstance(value, list):
        for problem in _walk_list(value, item, location):
            yield problem
    if problem is not None:
        return
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        # A value in place of an object or list is not shown: it may contain anything.
        holds_more = struct is not None or any(typing.get_origin(one) in (dict, list) for one in members)
        shown = isinstance(value, str | int | float | bool) and not holds_more and not _is_secret(kind)
        yield _problem(error, location, show(value) if shown else None)


def _walk_list(value: list[Any], item: Any, location: str) -> Iterator[Problem]:
    for start in range(0, len(value), ITEMS_AT_ONCE):
        some = value[start : start + ITEMS_AT_ONCE]
        try:
            msgspec.convert(some, list[item])
        except msgspec.ValidationError:
            for place, one in enumerate(some, start):
                yield from _walk(one, item, f"{location}[{place}]")


def _problem(error: msgspec.ValidationError, location: str, value: str | int | float | bool | None = None) -> Problem:
    message, _, path = str(error).partition(" - at `$")
    # Cut, because the message names an unknown property, which may be as long as the body.
    return Problem(message[:MAX_MESSAGE_LENGTH], location + path.rstrip("`")[:MAX_MESSAGE_LENGTH], value)


def _walk_struct(value: dict[str, Any], struct: Any, location: str, *, strict: bool) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        if name in value:
            yield from _walk(value[name], field.type, f"{location}.{name}", strict=strict)
        elif field.required:
            yield Problem("is required", f"{location}.{name}")
    if struct.__struct_config__.forbid_unknown_fields:
        for name in value.keys() - fields.keys():
            is_text = isinstance(name, str)  # other names are possible in MessagePack
            yield unknown(name, fields, location) if is_text else Problem("must have texts as names only", location)


def _members(kind: Any) -> list[Any]:
    """The alternatives of a type, without their annotations."""
    if typing.get_origin(kind) is Annotated:
        return _members(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [inner for member in typing.get_args(kind) for inner in _members(member)]
    return [kind]


def _list_item(kind: Any) -> Any:
    """The type of the items, for a type that may be a list; else None."""
    return next((typing.get_args(one)[0] for one in _members(kind) if typing.get_origin(one) is list), None)


def _is_secret(kind: Any) -> bool:
    if typing.get_origin(kind) is Annotated and SECRET in typing.get_args(kind):
        return True
    return any(_is_secret(argument) for argument in typing.get_args(kind))
