"""The README's tour runs, word for word, and its commands are there."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import pytest

from benchmarks.draw import markdown, replaced, svg
from benchmarks.measure import Figure
from service.__main__ import main
from tests.support.processes import NEEDS_CURL, ROOT, environment, served

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text()


@NEEDS_CURL
def test_the_tour_runs(new_database: Callable[..., str], tmp_path: Path) -> None:
    secrets = {"SERVICE_ADMINKEY": "a" * 64, "ENCRYPTION_KEY": "b" * 64}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))
    tour = "\necho\n".join(re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    assert tour.count("curl") >= 7
    with served(tmp_path / "log", cwd=tmp_path, SERVICE_DATABASE_URL=new_database()) as (_, url):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", tour.replace("http://127.0.0.1:8880", url)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in re.findall(r"\{.*?\}(?=\{\"|\n|$)", done.stdout)]
    assert answers[0]["user_handle"] == "alice"
    assert {"ids": ["rose", "lily", "tyger"], "inserted": 3, "updated": 0, "unchanged": 0} in answers
    like_rose, like_vector, like_text = (answer["results"] for answer in answers if "results" in answer)
    assert [one["id"] for one in like_rose] == ["lily", "tyger"]
    assert [one["id"] for one in like_vector] == ["tyger"]
    assert [one["text"] for one in like_text] == ["The modest rose puts forth a thorn"]
    assert answers[-1]["text"] == "Tyger Tyger, burning bright"


def test_the_figures_are_those_that_were_measured() -> None:
    measured = json.loads((ROOT / "docs/benchmark.json").read_text())
    figures = [msgspec.convert({n: one[n] for n in Figure.__struct_fields__}, Figure) for one in measured["figures"]]
    assert len(figures) == 14
    assert replaced(README, markdown(figures, measured["setup"])) == README
    assert (ROOT / "docs/benchmark.svg").read_text() == svg(figures, measured["setup"])


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", README))
    assert named <= targets
    assert {"run", "test", "lint", "bench"} <= named


def test_every_command_and_option_that_is_named_exists() -> None:
    documents = README + "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("MIGRATION", "OPERATIONS"))
    named = set(re.findall(r"embedding-service (\w+)(?: (\w+))?", documents))
    assert {("keys", "rotate"), ("keys", "discard"), ("keys", "status")} <= named
    assert {name for name, _ in named} == {"serve", "index", "migrate", "keys", "routes"}
    keys = main.commands["keys"]
    assert isinstance(keys, click.Group)
    assert {action for name, action in named if name == "keys"} - {"", "looks"} <= keys.commands.keys()
    options = {option for one in _commands(main) for parameter in one.params for option in parameter.opts}
    for option in set(re.findall(r"`(?:migrate |keys \w+ )?(--[a-z-]+)", documents)):
        assert option in options | {"--help", "--workers"}, option


def _commands(command: click.Command) -> list[click.Command]:
    inner = command.commands.values() if isinstance(command, click.Group) else []
    return [command, *(one for each in inner for one in _commands(each))]


def test_every_obstacle_to_carrying_is_explained() -> None:
    migration = (ROOT / "migrations/0007_carry_embeddings.sql").read_text()
    obstacles = set(re.findall(r"THEN '([^']+)'", migration))
    assert len(obstacles) == 7
    table = (ROOT / "docs/MIGRATION.md").read_text().partition("| `obstacle` |")[2]
    for obstacle in obstacles:
        assert f"`{obstacle}`" in table
