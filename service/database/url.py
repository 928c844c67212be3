"""The URL of a database, parsed by libpq for both drivers.

psycopg is libpq. asyncpg takes parameters that it does not know for settings of the server, and fails: it gets only
those that it knows.
"""

from typing import Any
from urllib.parse import urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

APPLICATION_NAME = "embedding-service"
CONNECT_SECONDS = 60.0  # without connect_timeout in the URL
# Parameters that asyncpg reads from a URL by libpq's names, beside its arguments.
_KNOWN = frozenset(
    (
        *("passfile", "service", "target_session_attrs", "krbsrvname", "gsslib"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    )
)
# Guarantees that asyncpg cannot give.
_REQUIRED = frozenset(("require_auth", "requirepeer", "sslcrldir", "sslcertmode", "requiressl"))
_WITHOUT_TLS = (None, "disable", "allow", "prefer")


class BadDatabaseUrl(ValueError):
    """The URL of a database cannot be used; the message says which part of it and repeats none of its values."""


def parse(url: str) -> dict[str, Any]:
    """The parameters of a URL by libpq's names. Raises BadDatabaseUrl for those that are unknown, or not supported."""
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # libpq names the parameter, or repeats the part that it cannot read, which may be a password.
        message = str(error).strip()
        known = message if message.startswith("invalid URI query parameter") else "it cannot be read"
        raise BadDatabaseUrl(f"The URL of the database: {known}.") from None
    for name in sorted(_REQUIRED & parameters.keys()):
        raise BadDatabaseUrl(f"The URL of the database: the parameter {name} is not supported by this service.")
    seconds = parameters.get("connect_timeout")
    if seconds is not None and not str(seconds).strip().lstrip("+-").isdecimal():
        raise BadDatabaseUrl("The URL of the database: connect_timeout must be a whole number of seconds.")
    return parameters


def for_asyncpg(url: str) -> dict[str, Any]:
    """The arguments of `asyncpg.connect` for a URL, `timeout` in seconds.

    asyncpg has no channel binding: with channel_binding=require it uses TLS at least. (psycopg, which connects first to
    migrate, has it.) Raises BadDatabaseUrl.
    """
    parameters = parse(url)
    known = {name: value for name, value in parameters.items() if name in _KNOWN}
    if parameters.get("channel_binding") == "require" and known.get("sslmode") in _WITHOUT_TLS:
        known["sslmode"] = "require"
    settings = {"application_name": str(parameters.get("application_name", APPLICATION_NAME))}
    if options := parameters.get("options"):
        settings["options"] = str(options)
    # As libpq has it: zero and less are for ever, one is two.
    seconds = int(parameters.get("connect_timeout", 0))
    timeout = float(max(seconds, 2)) if seconds > 0 else CONNECT_SECONDS
    return {
        "dsn": "postgresql://" + ("?" + urlencode(known) if known else ""),
        "host": str(parameters["host"]).split(",") if parameters.get("host") else None,
        "port": [int(port or 5432) for port in str(parameters["port"]).split(",")] if parameters.get("port") else None,
        "user": parameters.get("user"),
        "password": parameters.get("password"),
        "database": parameters.get("dbname"),
        "timeout": timeout,
        "server_settings": settings,
    }


def for_psycopg(url: str) -> str:
    """The connection string of psycopg for a URL. Raises BadDatabaseUrl."""
    return make_conninfo(**{"application_name": APPLICATION_NAME, **parse(url), "client_encoding": "UTF8"})
