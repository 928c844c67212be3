"""The client's own wheel works from an empty folder, and needs nothing of the service."""

import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT, environment

pytestmark = pytest.mark.slow


def test_the_wheel(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT / "client")],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env=environment(),
    )
    (wheel,) = tmp_path.glob("vecferry-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith(("vecferry/", "vecferry-")) for name in names)
    assert "vecferry/py.typed" in names
    installed = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(installed)], check=True)
    (packages,) = installed.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    empty = tmp_path / "empty"
    empty.mkdir()
    modules = "vecferry, vecferry.cli, vecferry.push, vecferry.pull"
    script = f"import sys, {modules}; print(vecferry.__file__, 'service' in sys.modules)"
    done = subprocess.run(
        [str(installed / "bin" / "python"), "-c", script],
        cwd=empty,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(packages / "vecferry" / "__init__.py"), "False"]
    done = subprocess.run(
        [str(installed / "bin" / "python"), "-m", "vecferry", "--help"],
        cwd=empty,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "push" in done.stdout
