"""Fuzzes a service of its own from its OpenAPI document: no 5xx, no undocumented status, no answer against its schema.

`python -m tests.support.fuzz --max-examples 200` (make fuzz) goes on for long; tests/project/test_fuzz.py has a small
budget.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import httpx2

from service.database import embedded
from tests.support.processes import ROOT, environment, served

ADMIN_KEY = "fuzzing-admin-key"
CONFIG = ROOT / "tests" / "support" / "schemathesis.toml"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method"
)
THINGS = [
    ("/v1/users/alice", {"user_handle": "alice", "email": "alice@example.org"}),
    ("/v1/users/bob", {"user_handle": "bob", "email": "bob@example.org"}),
    ("/v1/llm-definitions/alice/template", {"definition_handle": "template", "api_standard": "openai"}),
    ("/v1/llm-instances/alice/tiny", {"instance_handle": "tiny", "dimensions": 3}),
    ("/v1/projects/alice/poems", {"project_handle": "poems", "instance_handle": "tiny"}),
]
ROSE = {"embeddings": [{"text_id": "rose", "vector": [1, 2, 3], "metadata": {"author": "Stein"}}]}


def fuzz(folder: Path, database_url: str, *options: str, max_examples: int, phases: str, seed: int) -> tuple[int, str]:
    """Runs the service and schemathesis on it; returns its exit code (0: nothing found) and what both printed.

    `options` are more options of schemathesis.
    """
    log = folder / "service.log"
    settings = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": "fuzzing", "SERVICE_DATABASE_URL": database_url}
    with served(log, cwd=folder, **settings) as (_, url):
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        for path, body in THINGS:
            httpx2.put(url + path, json=body, headers=headers).raise_for_status()
        httpx2.post(f"{url}/v1/embeddings/alice/poems", json=ROSE, headers=headers).raise_for_status()
        # Deleting comes last, because nothing is left to be fuzzed then.
        done = [
            _schemathesis(folder, url, "--exclude-method", options, max_examples, phases, seed),
            _schemathesis(folder, url, "--include-method", options, max_examples, phases, seed),
        ]
    faults = [line for line in log.read_text().splitlines() if not line.startswith("INFO")]
    printed = [text for one in done for text in (one.stdout[-8000:], one.stderr[-2000:])]
    return max(one.returncode for one in done), "\n".join([*printed, *faults[-100:]])


def _schemathesis(
    folder: Path, url: str, which: str, options: Sequence[str], max_examples: int, phases: str, seed: int
) -> subprocess.CompletedProcess[str]:
    command = [
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(ROOT / "tests" / "support" / "schemathesis.toml"),
        ),
        *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {ADMIN_KEY}"),
        *("--checks", CHECKS, "--phases", phases, "--max-examples", str(max_examples), "--seed", str(seed)),
        *("--exclude-path", "/v1/admin/reset", which, "DELETE"),
        *("--continue-on-failure", "--generation-database", "none", "--suppress-health-check", "all"),
        # One worker: CPython 3.11 cannot parse in two threads at once (SystemError: AST constructor recursion depth).
        *("--no-color", "--warnings", "off", "--workers", "1"),
        *options,
    ]
    hooks = environment(PYTHONPATH=str(ROOT), SCHEMATHESIS_HOOKS="tests.support.fuzz_hooks")
    return subprocess.run(command, cwd=folder, env=hooks, capture_output=True, text=True, check=False, timeout=3000)


@click.command()
@click.option("--max-examples", default=200, show_default=True, help="Of each operation.")
@click.option("--phases", default="examples,coverage,fuzzing,stateful", show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(max_examples: int, phases: str, seed: int) -> None:
    """Fuzz a service of its own."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        embedded.running(Path(temporary) / "data", durable=False) as url,
    ):
        code, printed = fuzz(Path(temporary), url, max_examples=max_examples, phases=phases, seed=seed)
    click.echo(printed)
    sys.exit(code)


if __name__ == "__main__":
    main()
