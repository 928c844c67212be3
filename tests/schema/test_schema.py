"""docs/schema.sql shows what the migrations make."""

import os
from collections.abc import Callable

import pytest

from tests.support import schema


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="pg_dump must be of the server's version")
def test_the_page_is_what_the_migrations_make(new_database: Callable[..., str]) -> None:
    assert schema.PAGE.read_text() == schema.page(new_database()), "run `make schema`"
