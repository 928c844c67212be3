"""Reads the hand-written statements of `sql/*.sql` and binds each to its typed function in `service/queries/`.

A statement has a header like `-- name: UpsertUser :one`. Its function is `upsert_user` in the module with the name of
the file, with the same parameters. In the text

- `@name` is a bound parameter. (`:name` would collide with `::cast`.)
- `{name}` is an integer in the text itself, where PostgreSQL does not accept a parameter: the number of a table, the
  dimensions of a cast. Or it is a word of lower-case letters in the name of an index. Nothing else is accepted.
- `{schema}` is the quoted schema of the installation, from the connection. It qualifies names that may be missing, so
  that they are not found in the schema of another installation.

The suffix is the kind of result: `:one` a row, `:many` a list, `:exec` None, `:execrows` a count; `:copy` passes its
rows in the binary format of COPY to the function's parameter `output`. If the function of a `:one` returns `T | None`,
there may be no row; if it returns `T`, a missing row raises NoRow.

A row becomes the msgspec struct of the annotation, with the columns in order. A field that is a struct takes several
columns; if it is optional, it is None if the first of them is null. Without a struct, a single column becomes the
value. A jsonb column is decoded for a dict, or a list of dicts or structs; for msgspec.Raw it remains text.
"""

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from functools import lru_cache, wraps
from operator import itemgetter
from types import NoneType
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, cast

import msgspec

from service.database.pool import Connection, Pool
from service.database.session import quoted
from service.observability import tracing
from service.paths import folder

P = ParamSpec("P")
R = TypeVar("R")

Db: TypeAlias = Pool | Connection
POSTGRESQL = {"db.system.name": "postgresql"}
Kind = Literal["one", "many", "exec", "execrows", "copy"]
SCHEMA = "schema"
MAX_RENDERED = 200  # cached texts of a statement, of some KB each

_HEADER = re.compile(r"^-- name: (\w+) :(one|many|exec|execrows|copy)$", re.MULTILINE)
_WORD = re.compile("[a-z]+")
_TOKEN = re.compile(
    r"""(?P<skip>'(?:[^']|'')*' | "[^"]*" | --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?<![-@<>?\#&|~!=+*/%^`])@(?P<parameter>[a-z_][a-z0-9_]*)
      | \{(?P<literal>[a-z_][a-z0-9_]*)\}""",
    re.VERBOSE | re.DOTALL,
)


class BindError(Exception):
    """A statement and its function do not match."""


class NoRow(Exception):
    """A statement returned no row, or null, contrary to its function's type."""


class Statement:
    """A parsed statement."""

    def __init__(self, name: str, kind: Kind, text: str) -> None:
        self.name = name
        self.kind = kind
        self.parameters: list[str] = []
        self.literals: list[str] = []
        self._parts: list[str] = []  # text, literal's name, text, literal's name, …, text
        rendered = ""
        end = 0
        for token in _TOKEN.finditer(text):
            rendered += text[end : token.start()]
            end = token.end()
            if parameter := token["parameter"]:
                if parameter not in self.parameters:
                    self.parameters.append(parameter)
                rendered += f"${self.parameters.index(parameter) + 1}"
            elif literal := token["literal"]:
                self.literals.append(literal)
                self._parts += [rendered, literal]
                rendered = ""
            elif not token["skip"].startswith(("--", "/*")):
                rendered += token["skip"]
        self._parts.append((rendered + text[end:]).rstrip())
        self._rendered = lru_cache(MAX_RENDERED)(self._render)

    def render(self, values: dict[str, Any]) -> str:
        """The text for PostgreSQL, with the integers, the words and the `schema` from `values`.

        Raises TypeError unless these are zero or more, or lower-case letters.
        """
        return self._rendered(*[values[name] for name in self.literals]) if self.literals else self._parts[0]

    def _render(self, *literals: int | str) -> str:
        parts = list(self._parts)
        for place, literal in zip(range(1, len(parts), 2), literals, strict=True):
            if parts[place] == SCHEMA:
                parts[place] = quoted(str(literal))
            elif (type(literal) is int and literal >= 0) or (type(literal) is str and _WORD.fullmatch(literal)):
                parts[place] = str(literal)
            else:
                raise TypeError(f"{self.name}: {parts[place]} must be an integer of zero or more, or a word")
        return "".join(parts)


def read(resource: str) -> dict[str, Statement]:
    """The statements in `sql/{resource}.sql` by name."""
    source = (folder("sql") / f"{resource}.sql").read_text()
    pieces = _HEADER.split(source)[1:]
    statements: dict[str, Statement] = {}
    for name, kind, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        if name in statements:
            raise BindError(f"sql/{resource}.sql has two statements with the name {name}")
        statements[name] = Statement(name, cast("Kind", kind), text)
    return statements


class Queries:
    """The decorator for the functions of a module in `service/queries/`.

    Use: `query = Queries(__name__)` at the top, `@query` on each function.
    """

    def __init__(self, module: str) -> None:
        self.resource = module.rpartition(".")[2]
        self.statements = read(self.resource)

    def __call__(self, function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """Binds a function to its statement. Raises BindError if names or parameters differ."""
        wanted = function.__name__.replace("_", "")
        statement = next((one for one in self.statements.values() if one.name.lower() == wanted), None)
        if statement is None:
            raise BindError(f"sql/{self.resource}.sql has no statement for {function.__name__}")
        parameters = list(inspect.signature(function).parameters.values())[1:]
        if any(parameter.kind is not inspect.Parameter.KEYWORD_ONLY for parameter in parameters):
            raise BindError(f"{function.__name__}: every parameter after the connection must be keyword-only")
        taken = {parameter.name for parameter in parameters} - ({"output"} if statement.kind == "copy" else set())
        if differing := sorted(taken ^ ({*statement.parameters, *statement.literals} - {SCHEMA})):
            raise BindError(f"{function.__name__} and {statement.name} differ in {', '.join(differing)}")
        returned = typing.get_type_hints(function)["return"]
        run = _runner(statement, returned)

        @wraps(function)
        async def bound(db: Any, /, **values: Any) -> Any:
            with tracing.span(statement.name, POSTGRESQL):
                text = statement.render(values if SCHEMA not in statement.literals else {SCHEMA: db.schema, **values})
                arguments = [values[name] for name in statement.parameters]
                return await run(db, text, arguments if statement.kind != "copy" else [values["output"]])

        return cast("Callable[P, Awaitable[R]]", bound)


def row_type(kind: Kind, returned: Any) -> Any:
    """The type of one row: `T` of `T` or `T | None` for :one, and of `list[T]` for :many; None for the others.

    Raises BindError if `returned` does not match the kind.
    """
    if kind == "one" and returned is not NoneType:
        return typing.get_args(returned)[0] if _is_optional(returned) else returned
    if kind == "many" and typing.get_origin(returned) is list:
        return typing.get_args(returned)[0]
    if kind in ("one", "many") or returned is not (int if kind == "execrows" else NoneType):
        raise BindError(f"a statement of the kind :{kind} does not return {returned}")
    return None


def _is_optional(annotation: Any) -> bool:
    return NoneType in typing.get_args(annotation)


def _struct(annotation: Any) -> Any:
    """The struct in an annotation, optional or not; None for other types."""
    kinds = typing.get_args(annotation) if _is_optional(annotation) else (annotation,)
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)


def _getter(kind: Any, start: int) -> tuple[Callable[[Any], Any], int]:
    """A function that makes a value of this type from a record's columns, from `start` on, and the next column."""
    struct, is_optional = _struct(kind), _is_optional(kind)
    if struct is None:
        return _of_json(start, kind) if _is_json(kind) else itemgetter(start), start + 1
    getters: list[Callable[[Any], Any]] = []
    place = start
    for field in msgspec.structs.fields(struct):
        getter, place = _getter(field.type, place)
        getters.append(getter)
    are_plain = all(isinstance(getter, itemgetter) for getter in getters)

    def build(record: Any) -> Any:
        if is_optional and record[start] is None:
            return None
        return struct(*(record[start:place] if are_plain else [get(record) for get in getters]))

    return build, place


def _is_json(annotation: Any) -> bool:
    """Whether a type is decoded from jsonb: a dict, or a list of dicts, structs or anything."""
    if typing.get_origin(annotation) is dict:
        return True
    if typing.get_origin(annotation) is list:
        (item,) = typing.get_args(annotation)
        return item is Any or _is_json(item) or _struct(item) is not None
    return _is_optional(annotation) and any(map(_is_json, typing.get_args(annotation)))


def _of_json(place: int, kind: Any) -> Callable[[Any], Any]:
    decoder = msgspec.json.Decoder(kind)
    return lambda record: None if record[place] is None else decoder.decode(record[place])


def _runner(statement: Statement, returned: Any) -> Callable[[Any, str, list[Any]], Awaitable[Any]]:
    convert, _ = _getter(row_type(statement.kind, returned), 0)
    may_be_none = _is_optional(returned)

    async def one(db: Any, text: str, arguments: list[Any]) -> Any:
        record = await db.fetchrow(text, *arguments)
        value = None if record is None else convert(record)
        if value is None and not may_be_none:
            raise NoRow(statement.name)
        return value

    async def many(db: Any, text: str, arguments: list[Any]) -> Any:
        return [convert(record) for record in await db.fetch(text, *arguments)]

    async def execute(db: Any, text: str, arguments: list[Any]) -> Any:
        tag: str = await db.execute(text, *arguments)
        return int(tag.rpartition(" ")[2]) if statement.kind == "execrows" else None

    async def copy(db: Any, text: str, arguments: list[Any]) -> Any:
        fault: BaseException | None = None

        async def take(piece: bytes) -> None:
            nonlocal fault
            if fault is None:
                try:
                    await arguments[0](piece)
                except BaseException as error:  # raised below
                    fault = error

        # asyncpg 0.32 cancels a COPY whose output fails; if it has already ended, the next statement waits for ever.
        await db.copy_from_query(text.removesuffix(";"), output=take, format="binary")
        if fault is not None:
            raise fault

    return {"one": one, "many": many, "exec": execute, "execrows": execute, "copy": copy}[statement.kind]
