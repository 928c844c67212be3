"""The built wheel works from an empty folder, with its statements and migrations inside."""

import json
import site
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from service.schema import migrate
from tests.conftest import variables_for
from tests.support.processes import ROOT, command, environment

pytestmark = pytest.mark.slow


def test_the_wheel(new_database: Callable[..., str], tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env=environment(),
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith(("service/", "embedding_service-")) for name in names)
    assert {f"service/_data/migrations/{name}.sql" for name in migrate.names()} <= set(names)
    assert {f"service/console/{name}" for name in ("index.html", "app.js", "vendor/preact.js")} <= set(names)

    installed = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(installed)], check=True)
    (packages,) = installed.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    # The dependencies of this environment, behind the wheel's own files.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    empty = tmp_path / "empty"
    empty.mkdir()
    python = str(installed / "bin" / "python")
    values = variables_for(new_database(template=None))

    found = subprocess.run(
        [python, "-c", "import service; print(service.__file__)"],
        cwd=empty,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(installed))
    done = command("migrate", "--json", cwd=empty, python=python, **values)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] == migrate.names()

    # The program that checks metadata is in it, and starts from anywhere.
    script = (
        "import asyncio; from service.metadata.schemas import Schemas; "
        "print(asyncio.run(Schemas(wait=20).faults('alice', '{\"required\": [\"a\"]}', [b'{}', b'{\"a\": 1}'])))"
    )
    done = subprocess.run(
        [python, "-c", script], cwd=empty, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[Fault(path='', message='\"a\" is a required property'), None]\n"
