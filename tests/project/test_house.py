"""The house is tidy: nothing large or secret is tracked, modules stay small, statements and handlers too."""

import subprocess
import types
import typing
from typing import Annotated, Any

import msgspec

from service.api.routes import endpoints
from tests.support.processes import ROOT


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


def test_no_large_file_is_tracked() -> None:
    assert [name for name in tracked() if (ROOT / name).stat().st_size > 1_000_000] == []
    assert not {".env", ".data"} & {name.split("/")[0] for name in tracked()}


def test_modules_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("service", "client/vecferry")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert long == {}


def test_every_migration_has_its_way_back() -> None:
    files = {path.name for path in (ROOT / "migrations").glob("*.sql")}
    forth = {name for name in files if not name.endswith(".rollback.sql")}
    assert {name.replace(".sql", ".rollback.sql") for name in forth} == files - forth


def test_every_endpoint_says_what_it_does() -> None:
    assert [one.path for one in endpoints if not one.description] == []
    assert len({(one.method, one.path) for one in endpoints}) == len(endpoints)


def structs_of(kind: Any, found: set[Any]) -> set[Any]:
    """All structs that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
        found.add(kind)
        for field in msgspec.structs.fields(kind):
            structs_of(field.type, found)
    for member in typing.get_args(kind):
        structs_of(member, found)
    return found


def unions_of(kind: Any) -> list[list[Any]]:
    """Each set of alternatives in a type, its own and those inside it."""
    if typing.get_origin(kind) is Annotated:
        return [[kind]] if not typing.get_args(typing.get_args(kind)[0]) else unions_of(typing.get_args(kind)[0])
    inner = [one for member in typing.get_args(kind) for one in unions_of(member)]
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return [list(typing.get_args(kind)), *inner] if is_union else inner


def test_no_type_crashes_msgspec() -> None:
    """msgspec 0.22 releases a reference too many of a union of a text with a pattern and a list or dict.

    That ends in a segmentation fault: when such a type is converted to often enough, or at exit.
    """
    kinds = {kind for one in endpoints for kind in (one.body_type, one.path_type, one.query_type, one.returns)}
    structs = {struct for kind in kinds for struct in structs_of(kind, set())}
    assert len(structs) > 30
    for struct in structs:
        for field in msgspec.structs.fields(struct):
            for members in unions_of(field.type):
                patterned = any("pattern=" in repr(typing.get_args(member)[1:]) for member in members)
                containers = [member for member in members if typing.get_origin(member) in (list, dict)]
                assert not (patterned and containers), f"{struct.__name__}.{field.name}"
