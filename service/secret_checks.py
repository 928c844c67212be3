"""Checks of secrets when the service starts: unusable, well-known and easily guessed ones."""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from urllib.parse import parse_qs, unquote, urlsplit

LEAST_CHARACTERS = 16
MOST_CHARACTERS = 4096  # in a header, beside others; a proxy in front may take 8 KiB a line

_PLACEHOLDER = re.compile(r"\W*change[-_ ]?(?:me|this)\W*|<.*>|\$\(.*\)|\$?\{.*\}", re.IGNORECASE | re.DOTALL)
# A previous encryption key may equal another secret: it is being replaced, perhaps because of that.
_MAY_BE_EQUAL = ({"ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"}, {"ENCRYPTION_KEY_PREVIOUS", "the database's password"})


def is_placeholder(secret: str) -> bool:
    """Whether it is a placeholder of an example, or a command or variable that was not substituted."""
    return _PLACEHOLDER.fullmatch(secret) is not None


def key_fault(key: str) -> str | None:
    """The fault of a key that clients send in a header; None for a usable one."""
    if not key.isascii() or not key.isprintable() or " " in key:
        return "must be of ASCII letters, digits and signs, without spaces: headers carry nothing else"
    if key[0] == key[-1] and key[0] in "\"'`":
        return "begins and ends with a quotation mark, which would be a part of it"
    if not LEAST_CHARACTERS <= len(key) <= MOST_CHARACTERS:
        return f"must have {LEAST_CHARACTERS} to {MOST_CHARACTERS:,} characters"
    return None


def equal(values: Mapping[str, str], previous: list[str]) -> tuple[str, str] | None:
    """The names of two secrets that are the same, if any are; `values` by the names of the settings' fields."""
    secrets = {
        "SERVICE_ADMINKEY": {values.get("service_adminkey", "")},
        "SERVICE_METRICS_KEY": {values.get("service_metrics_key", "")},
        "ENCRYPTION_KEY": {values.get("encryption_key", "").strip()},
        "ENCRYPTION_KEY_PREVIOUS": {key.strip() for key in previous},
        "the database's password": set(_passwords(values)),
    }
    for (one, of_one), (other, of_other) in combinations(secrets.items(), 2):
        if {one, other} not in _MAY_BE_EQUAL and (of_one & of_other) - {""}:
            return one, other
    return None


def _passwords(values: Mapping[str, str]) -> Iterator[str]:
    yield values.get("service_dbpassword", "").strip()
    for name in ("service_database_url", "service_database_read_url"):
        url = urlsplit(values.get(name, ""))
        yield unquote(url.password or "").strip()
        yield from parse_qs(url.query).get("password", ())
