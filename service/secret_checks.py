"""Checks of secrets at the start of the service: unusable, well-known and weak ones."""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from urllib.parse import parse_qs, unquote, urlsplit

LEAST_CHARACTERS = 16
MOST_CHARACTERS = 4096  # proxies may limit a header line to 8 KiB

# A placeholder, or a command or variable that was not substituted.
PLACEHOLDER = re.compile(r"\W*change[-_ ]?(?:me|this)\W*|<.*>|\$\(.*\)|\$?\{.*\}", re.IGNORECASE | re.DOTALL)
# A previous encryption key may equal another secret: that may be why it is being replaced.
_MAY_BE_EQUAL = ({"ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"}, {"ENCRYPTION_KEY_PREVIOUS", "the database's password"})


def key_fault(key: str) -> str | None:
    """The problem of a key that clients send in a header; None for a usable key."""
    if not key.isascii() or not key.isprintable() or " " in key:
        return "must consist of printable ASCII characters without spaces, because it is sent in a header"
    if key[0] == key[-1] and key[0] in "\"'`":
        return "begins and ends with a quotation mark, which would be part of the key"
    if not LEAST_CHARACTERS <= len(key) <= MOST_CHARACTERS:
        return f"must have {LEAST_CHARACTERS} to {MOST_CHARACTERS:,} characters"
    return None


def equal(values: Mapping[str, str], previous: list[str]) -> tuple[str, str] | None:
    """The names of two equal secrets, if any; `values` are by the names of the settings' fields."""
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
