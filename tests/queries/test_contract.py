"""Every statement is prepared on a migrated database, and what PostgreSQL says of it is compared with its function."""

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from pgvector import HalfVector
from psycopg.pq import ExecStatus

from service.database.statements import SCHEMA, Statement, read, row_type
from service.paths import folder

RESOURCES = sorted(path.stem for path in folder("sql").glob("*.sql"))
PROJECT = 1  # its partition is made for the test, so that statements that name one can be prepared

TYPES: dict[Any, set[str]] = {
    str: {"text", "character varying", "jsonpath", "json"},
    int: {"integer", "bigint"},
    bool: {"boolean"},
    float: {"double precision"},
    date: {"date"},
    datetime: {"timestamp with time zone"},
    bytes: {"bytea", "halfvec"},
    HalfVector: {"halfvec"},
    msgspec.Raw: {"jsonb"},
    Any: {"jsonb"},
    type(None): {"void"},
}


def all_statements() -> Iterator[Any]:
    for resource in RESOURCES:
        for statement in read(resource).values():
            yield pytest.param(resource, statement, id=statement.name)


def function_of(resource: str, statement: Statement) -> Callable[..., Any]:
    module = vars(import_module(f"service.queries.{resource}"))
    found = [one for name, one in module.items() if name.replace("_", "") == statement.name.lower()]
    assert len(found) == 1, statement.name
    assert inspect.unwrap(found[0]) is not found[0], f"the function of {statement.name} has no @query"
    return found[0]


def names(kind: Any) -> set[str]:
    """The PostgreSQL types that may stand for a Python type."""
    origin = typing.get_origin(kind)
    members = [member for member in typing.get_args(kind) if member is not type(None)]
    if origin is list or (isinstance(origin, type) and issubclass(origin, Sequence)):
        item = members[0]
        if item is Any or typing.get_origin(item) is dict or hasattr(item, "__struct_fields__"):
            return {"jsonb"}
        return {f"{name}[]" for name in names(item)}
    if origin is typing.Literal:
        return TYPES[str]
    if origin is dict:
        return {"jsonb"}
    if type(None) in typing.get_args(kind):
        return names(members[0])
    return TYPES[kind]


def is_optional(kind: Any) -> bool:
    return kind is Any or type(None) in typing.get_args(kind)


def columns(row: Any) -> list[tuple[str, Any]]:
    """Names and types of the columns of a row type in order, with those of nested structs."""
    found: list[tuple[str, Any]] = []
    for field in msgspec.structs.fields(row):
        kinds = typing.get_args(field.type) if is_optional(field.type) else (field.type,)
        inner = next((one for one in kinds if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)
        found += columns(inner) if inner is not None else [(field.name, field.type)]
    return found


@pytest.fixture(scope="module")
def prepared(new_database: Callable[..., str]) -> Iterator[psycopg.Connection]:
    # Not the template itself: a rollback does not take back the value of the sequence, and later copies would have it.
    with psycopg.connect(new_database()) as connection:
        connection.execute("SELECT fit_embeddings_partition(%s, 3)", [PROJECT])
        yield connection
        connection.rollback()


@pytest.fixture(autouse=True)
def savepoint(prepared: psycopg.Connection) -> Iterator[None]:
    with prepared.transaction(force_rollback=True):
        yield


def name_of_column(connection: psycopg.Connection, described: Any, place: int) -> str:
    row = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum = %s",
        [described.ftable(place), described.ftablecol(place)],
    ).fetchone()
    assert row
    return str(row[0])


def type_name(connection: psycopg.Connection, oid: int) -> str:
    row = connection.execute("SELECT format_type(%s, NULL)", [oid]).fetchone()
    assert row
    return str(row[0])


@pytest.mark.parametrize(("resource", "statement"), list(all_statements()))
def test_statement_fits_its_function(prepared: psycopg.Connection, resource: str, statement: Statement) -> None:
    function = function_of(resource, statement)
    hints = typing.get_type_hints(inspect.unwrap(function))
    text = statement.render({**dict.fromkeys(statement.literals, PROJECT), SCHEMA: "public"})

    result = prepared.pgconn.prepare(statement.name.encode(), text.encode())
    assert result.status == ExecStatus.COMMAND_OK, result.error_message.decode()
    described = prepared.pgconn.describe_prepared(statement.name.encode())

    assert described.nparams == len(statement.parameters)
    for place, name in enumerate(statement.parameters):
        assert type_name(prepared, described.param_type(place)) in names(hints[name]), name
    for name in set(statement.literals) - {SCHEMA}:
        assert hints[name] is int or names(hints[name]) == TYPES[str], name

    row = row_type(statement.kind, hints["return"])
    if row is None:
        return
    if isinstance(row, type) and issubclass(row, msgspec.Struct):
        fields = columns(row)
        assert [described.fname(place).decode() for place in range(described.nfields)] == [name for name, _ in fields]
    else:
        assert described.nfields == 1
        fields = [("value", row)]
    for place, (name, kind) in enumerate(fields):
        assert type_name(prepared, described.ftype(place)) in names(kind), name
        if described.ftable(place):
            nullable = prepared.execute(
                "SELECT NOT attnotnull FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
                "WHERE attrelid = %s AND attnum = %s AND relkind <> 'v'",
                [described.ftable(place), described.ftablecol(place)],
            ).fetchone()
            is_filtered = re.search(rf"\b{name_of_column(prepared, described, place)} IS NOT NULL", text) is not None
            assert is_optional(kind) or is_filtered or nullable in (None, (False,)), f"{name} may be null"


def test_every_file_has_its_module_and_the_other_way_round() -> None:
    modules = {path.stem for path in Path(import_module("service.queries").__path__[0]).glob("[!_]*.py")}
    assert modules == set(RESOURCES)


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_statement_has_tests_on_real_rows(resource: str) -> None:
    tests = vars(import_module(f"tests.queries.test_{resource}"))
    assert {f"Test{name}" for name in read(resource)} <= tests.keys()
