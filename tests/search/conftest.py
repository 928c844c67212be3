"""Indexes whose recall is measured with fewer queries."""

import pytest

from service.storage import calibration


@pytest.fixture
def fewer_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what an index is used for: a measurement takes longer than the build of a small one."""
    monkeypatch.setattr(calibration, "QUERIES", calibration.LEAST_QUERIES)
