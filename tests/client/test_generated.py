"""The synchronous client is what the script makes of the asynchronous one."""

import re
from pathlib import Path

import pytest

from client.generate_synchronous import write

CLIENT = Path(__file__).parents[2] / "client"


def test_it_is_up_to_date(tmp_path: Path) -> None:
    write(tmp_path / "synchronous")
    made = {path.name: path.read_text() for path in (tmp_path / "synchronous").glob("*.py")}
    kept = {path.name: path.read_text() for path in (CLIENT / "vecferry" / "synchronous").glob("*.py")}
    assert made == kept, "run: make synchronous"


@pytest.mark.parametrize("word", [r"\basync\b", r"\bawait\b", r"(?<!httpx2\.)\bAsync[A-Z]", "__a(iter|enter|exit)__"])
def test_nothing_asynchronous_is_left(word: str) -> None:
    for path in (CLIENT / "vecferry" / "synchronous").glob("*.py"):
        assert re.findall(word, path.read_text()) == []
    assert any(re.search(word, path.read_text()) for path in (CLIENT / "vecferry" / "asynchronous").glob("*.py"))
