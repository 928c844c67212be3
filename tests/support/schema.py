"""The schema of a migrated database on one page: `python -m tests.support.schema` writes docs/schema.sql (make schema).

A test compares the page with what the migrations make, so that it is never out of date.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from service.database import embedded
from service.schema import migrate
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "schema.sql"
HEAD = """\
-- The schema of a migrated database, as pg_dump writes it: tables, views, functions, constraints, indexes.
-- Written by `make schema`, compared by tests/schema/test_schema.py. The steps that lead here are in migrations/.
-- Each project also has a partition of its own, embeddings_{project_id}: see fit_embeddings_partition.
"""
# What differs from run to run or says nothing of the schema: settings of the session, comments, random tokens.
NOISE = re.compile(r"^(SET |SELECT pg_catalog\.set_config|--|\\(un)?restrict ).*\n", re.MULTILINE)


def page(database_url: str) -> str:
    """The schema of a migrated database without yoyo's tables. Needs a server of the embedded PostgreSQL's version."""
    program = embedded._binaries() / "pg_dump"
    arguments = ["--schema-only", "--no-owner", "--no-privileges", "--exclude-table=*yoyo*", f"--dbname={database_url}"]
    dumped = subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout
    return HEAD + re.sub(r"\n{2,}", "\n\n", "\n" + NOISE.sub("", dumped)).rstrip() + "\n"


def main() -> None:
    """Migrates a database that is thrown away, and writes the page."""
    with tempfile.TemporaryDirectory() as folder, embedded.running(Path(folder) / "data", durable=False) as url:
        migrate.upgrade(url)
        PAGE.write_text(page(url))


if __name__ == "__main__":
    main()
