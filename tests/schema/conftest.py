"""Databases that several tests begin with are made once, and copied."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest


@pytest.fixture(scope="session")
def copied(new_database: Callable[..., str]) -> Callable[..., str]:
    """Has an empty database filled by a function with these arguments, once, and returns the URL of a copy of it."""
    made: dict[tuple[Any, ...], str] = {}

    def copy(fill: Callable[..., object], *arguments: Any) -> str:
        if (fill, *arguments) not in made:
            url = new_database(template=None)
            fill(url, *arguments)
            with psycopg.connect(url) as connection:
                (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
            made[fill, *arguments] = name
        return new_database(template=made[fill, *arguments])

    return copy
