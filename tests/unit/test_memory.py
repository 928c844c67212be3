"""How much memory builds get by default."""

from pathlib import Path

import pytest

from service import memory
from service.settings import Settings


def limited(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    path.write_text(text)
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (path, path.with_name("missing")))


@pytest.mark.parametrize(
    ("text", "is_limit"), [("1073741824\n", True), ("max\n", False), ("9223372036854771712", False)]
)
def test_a_quarter_of_the_machine_or_of_the_control_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, is_limit: bool
) -> None:
    limited(monkeypatch, tmp_path / "memory.max", "max")
    whole = memory.this_machine()
    assert whole > 2**30
    limited(monkeypatch, tmp_path / "memory.max", text)
    expected = 2**30 if is_limit else whole
    assert memory.this_machine() == expected
    assert Settings(service_adminkey="", encryption_key="").index_aims.memory == expected // 4


def test_of_another_machine_nothing_is_known() -> None:
    config = Settings(service_adminkey="", encryption_key="", service_dbhost="db")
    assert config.index_aims.memory == 512 * 1024 * 1024
