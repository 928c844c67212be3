"""The house is tidy: nothing large or secret is tracked, modules stay small, statements and handlers too."""

import subprocess

from service.api import endpoints
from tests.processes import ROOT


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


def test_no_large_file_is_tracked() -> None:
    assert [name for name in tracked() if (ROOT / name).stat().st_size > 1_000_000] == []
    assert not {".env", ".data"} & {name.split("/")[0] for name in tracked()}


def test_modules_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "service").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert long == {}


def test_every_migration_has_its_way_back() -> None:
    files = {path.name for path in (ROOT / "migrations").glob("*.sql")}
    forth = {name for name in files if not name.endswith(".rollback.sql")}
    assert {name.replace(".sql", ".rollback.sql") for name in forth} == files - forth


def test_every_endpoint_says_what_it_does() -> None:
    assert [one.path for one in endpoints if not one.summary] == []
    assert len({(one.method, one.path) for one in endpoints}) == len(endpoints)
