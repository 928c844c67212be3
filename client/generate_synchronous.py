"""Writes `vecferry/synchronous` anew from `vecferry/asynchronous`: the same code without `async` and `await`."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NOTE = "# Made from vecferry/asynchronous by generate_synchronous.py: change that, and run this.\n"
CHANGES = [
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"from vecferry\.transport import Transport", "from vecferry.loop_thread import SyncTransport"),
    (r"\bTransport\b", "SyncTransport"),
    (r"(?<!httpx2\.)\bAsync(?=[A-Z])", ""),
    (r"vecferry\.asynchronous\b", "vecferry.synchronous"),
    (r"__a(enter|exit|iter)__", r"__\1__"),
    (r"for programs that use asyncio", "for programs that do not use asyncio"),
]


def synchronous(code: str) -> str:
    """The synchronous form of a module."""
    for pattern, replacement in CHANGES:
        code = re.sub(pattern, replacement, code)
    return NOTE + code


def write(target: Path) -> None:
    """Writes all modules into a folder."""
    target.mkdir(exist_ok=True)
    for source in sorted((HERE / "vecferry" / "asynchronous").glob("*.py")):
        (target / source.name).write_text(synchronous(source.read_text()))
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--quiet", "--config", str(HERE / "pyproject.toml"), str(target)]
    subprocess.run([*ruff, "check", "--select", "I", "--fix", *settings], check=True)
    subprocess.run([*ruff, "format", *settings], check=True)


if __name__ == "__main__":
    write(HERE / "vecferry" / "synchronous")
