"""The short form of `make chaos`: things break while clients are at work, and nothing that was acknowledged is lost."""

import json
import os
import subprocess
import sys

import pytest

from chaos import scenarios
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

SECONDS = 1.0
PAUSE = 0.02  # of each client after an answer, or they would take all processors from other tests
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "disk-full" and os.geteuid() != 0, reason="LEFT OUT: the full disk; only root may mount one"
        ),
    )
    for name in scenarios.SCENARIOS
]


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_acknowledged_is_lost(name: str) -> None:
    result = await scenarios.run(name, SECONDS, PAUSE)
    assert result.times >= 1
    assert result.outcome.acknowledged >= 200 * SECONDS
    assert (result.outcome.lost, result.outcome.altered, result.outcome.unsent) == (0, 0, 0)
    assert result.recovery < 20


def test_the_command_plays_a_load() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "--scenario", "load", "--seconds", "3", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    load = json.loads(done.stdout)["load"]
    assert load["outcome"]["acknowledged"] > 100
    assert load["requests_per_second"] > 20
