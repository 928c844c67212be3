"""Reads the hand-written statements of `sql/*.sql` and binds each to its typed function in `service/queries/`.

A statement is headed `-- name: UpsertUser :one`. Its function is the `upsert_user` of the module that is
named like the file, and has the same parameters. In the text

- `@name` is a bound parameter, sent apart from the statement. (`:name` would collide with `::cast`.)
- `{name}` is an integer that stands in the text itself, for the few places where PostgreSQL takes no
  parameter: the number of a partition, the dimensions of a cast. Nothing but an `int` is ever put there.
- `{schema}` is the schema of the installation, quoted, which the connection knows: for what may be missing there, and
  would then be found in another installation's.

The suffix says what comes back: `:one` a row or None, `:many` a list, `:exec` None, `:execrows` a count.
A row becomes the msgspec struct that the function's annotation names, column by column in order; a row of
one column becomes that value when the annotation is no struct. A jsonb column stays text where msgspec.Raw is wanted.
"""

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar, cast

import asyncpg
import msgspec

from service.database.session import quoted
from service.observability import tracing
from service.paths import folder

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:  # the classes are generic in the stubs only
    # What a query function runs on: the pool, or a connection, inside a transaction or not.
    Db: TypeAlias = (
        asyncpg.Pool[asyncpg.Record]
        | asyncpg.Connection[asyncpg.Record]
        | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    )
else:
    Db = asyncpg.Pool | asyncpg.Connection
Kind = Literal["one", "many", "exec", "execrows"]
SCHEMA = "schema"
MAX_RENDERED = 200  # texts that are kept of a statement, each of some KB

_HEADER = re.compile(r"^-- name: (\w+) :(one|many|exec|execrows)$", re.MULTILINE)
_TOKEN = re.compile(
    r"""(?P<skip>'(?:[^']|'')*' | "[^"]*" | --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?<![-@<>?\#&|~!=+*/%^`])@(?P<parameter>[a-z_][a-z0-9_]*)
      | \{(?P<literal>[a-z_][a-z0-9_]*)\}""",
    re.VERBOSE | re.DOTALL,
)


class BindError(Exception):
    """A statement and its function do not fit together."""


class Statement:
    """One statement of a file in `sql/`, ready to be rendered."""

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
        self._rendered: dict[tuple[int | str, ...], str] = {}

    def render(self, values: dict[str, Any]) -> str:
        """The text for PostgreSQL, with the integers of `values`, and the `schema`, in their places.

        Raises TypeError for anything else that is not an integer of zero or more.
        """
        if not self.literals:
            return self._parts[0]
        literals = tuple([values[name] for name in self.literals])
        text = self._rendered.get(literals)
        if text is None:
            if len(self._rendered) >= MAX_RENDERED:
                self._rendered.clear()
            text = self._rendered[literals] = self._render(literals)
        return text

    def _render(self, literals: tuple[int | str, ...]) -> str:
        parts = list(self._parts)
        for place, literal in zip(range(1, len(parts), 2), literals, strict=True):
            if parts[place] == SCHEMA:
                parts[place] = quoted(str(literal))
            elif type(literal) is int and literal >= 0:
                parts[place] = str(literal)
            else:
                raise TypeError(f"{self.name}: {parts[place]} must be an integer of zero or more")
        return "".join(parts)


def read(resource: str) -> dict[str, Statement]:
    """The statements of `sql/{resource}.sql` by name."""
    source = (folder("sql") / f"{resource}.sql").read_text()
    pieces = _HEADER.split(source)[1:]
    statements: dict[str, Statement] = {}
    for name, kind, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        if name in statements:
            raise BindError(f"sql/{resource}.sql has two statements of the name {name}")
        statements[name] = Statement(name, cast("Kind", kind), text)
    return statements


class Queries:
    """The decorator for the functions of one module in `service/queries/`, and the check that none is missing.

    Use: `query = Queries(__name__)` on top, `@query` on each function, `query.complete()` at the end.
    """

    def __init__(self, module: str) -> None:
        self.resource = module.rpartition(".")[2]
        self.statements = read(self.resource)
        self.functions: dict[str, Callable[..., Awaitable[Any]]] = {}

    def __call__(self, function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """Makes a function run its statement. Raises BindError when their names or parameters differ."""
        wanted = function.__name__.replace("_", "")
        statement = next((one for one in self.statements.values() if one.name.lower() == wanted), None)
        if statement is None:
            raise BindError(f"sql/{self.resource}.sql has no statement for {function.__name__}")
        parameters = list(inspect.signature(function).parameters.values())[1:]
        if any(parameter.kind is not inspect.Parameter.KEYWORD_ONLY for parameter in parameters):
            raise BindError(f"{function.__name__}: every parameter after the connection must be keyword-only")
        taken = {parameter.name for parameter in parameters}
        if differing := sorted(taken ^ ({*statement.parameters, *statement.literals} - {SCHEMA})):
            raise BindError(f"{function.__name__} and {statement.name} differ in {', '.join(differing)}")
        returned = typing.get_type_hints(function)["return"]
        run = _runner(statement, returned)

        @wraps(function)
        async def bound(db: Any, /, **values: Any) -> Any:
            with tracing.span(statement.name):
                text = statement.render(values if SCHEMA not in statement.literals else {SCHEMA: db.schema, **values})
                return await run(db, text, [values[name] for name in statement.parameters])

        self.functions[statement.name] = bound
        return cast("Callable[P, Awaitable[R]]", bound)

    def complete(self) -> None:
        """Raises BindError when a statement of the file has no function."""
        if missing := self.statements.keys() - self.functions.keys():
            raise BindError(f"sql/{self.resource}.sql: no function for {', '.join(sorted(missing))}")


def row_type(kind: Kind, returned: Any) -> Any:
    """What one row becomes: the `T` of `T | None` for :one and of `list[T]` for :many; else None."""
    if kind == "one":
        inner = [member for member in typing.get_args(returned) if member is not type(None)]
        if type(None) not in typing.get_args(returned):
            raise BindError(f"a :one statement returns `T | None`, not {returned}")
        return inner[0] if len(inner) == 1 else typing.Union[tuple(inner)]  # noqa: UP007
    if kind == "many":
        if typing.get_origin(returned) is not list:
            raise BindError(f"a :many statement returns `list[T]`, not {returned}")
        return typing.get_args(returned)[0]
    if returned is not (int if kind == "execrows" else type(None)):
        raise BindError(f"an :{kind} statement returns {'int' if kind == 'execrows' else 'None'}, not {returned}")
    return None


def _converter(row: Any) -> Callable[[Any], Any]:
    """Makes of a record what `row` says. JSON stays as it came where msgspec.Raw is wanted, else it is decoded."""
    if not (isinstance(row, type) and issubclass(row, msgspec.Struct)):
        return lambda record: record[0] if row is msgspec.Raw else _decoded(record[0])
    fields = msgspec.structs.fields(row)
    kept = [msgspec.Raw in (field.type, *typing.get_args(field.type)) for field in fields]
    if any("dict" in str(field.type) for field in fields):
        return lambda record: row(
            *[value if keep else _decoded(value) for keep, value in zip(kept, record, strict=True)]
        )
    return lambda record: row(*record)


def _decoded(value: Any) -> Any:
    return msgspec.json.decode(value) if type(value) is msgspec.Raw else value


def _runner(statement: Statement, returned: Any) -> Callable[[Any, str, list[Any]], Awaitable[Any]]:
    row = row_type(statement.kind, returned)
    convert = _converter(row)

    async def one(db: Any, text: str, arguments: list[Any]) -> Any:
        record = await db.fetchrow(text, *arguments)
        return None if record is None else convert(record)

    async def many(db: Any, text: str, arguments: list[Any]) -> Any:
        return [convert(record) for record in await db.fetch(text, *arguments)]

    async def execute(db: Any, text: str, arguments: list[Any]) -> Any:
        tag: str = await db.execute(text, *arguments)
        return int(tag.rpartition(" ")[2]) if statement.kind == "execrows" else None

    return {"one": one, "many": many, "exec": execute, "execrows": execute}[statement.kind]
