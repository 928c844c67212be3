"""A small budget of fuzzing; `make fuzz` has a large one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fuzz import fuzz

pytestmark = pytest.mark.slow


@pytest.mark.timeout(400)
def test_no_answer_breaks_the_document(new_database: Callable[..., str], tmp_path: Path) -> None:
    # The older routes have the guards, structs and functions of the newer ones.
    newer = "--exclude-deprecated"
    code, printed = fuzz(tmp_path, new_database(), newer, max_examples=1, phases="examples,coverage", seed=1)
    assert code == 0, printed
