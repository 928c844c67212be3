"""Database URLs, parsed by libpq for both drivers.

psycopg uses libpq. asyncpg would send unknown parameters as settings to the server, and fail, so it gets only known
ones.
"""

from typing import Any
from urllib.parse import urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

APPLICATION_NAME = "embedding-service"
CONNECT_SECONDS = 60.0  # without connect_timeout in the URL
# Parameters that asyncpg reads from a URL, besides its arguments.
_KNOWN = frozenset(
    (
        *("passfile", "service", "target_session_attrs", "krbsrvname", "gsslib"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    )
)
# Guarantees that asyncpg does not support.
_REQUIRED = frozenset(("require_auth", "requirepeer", "sslcrldir", "sslcertmode", "requiressl"))
_WITHOUT_TLS = (None, "disable", "allow", "prefer")


class BadDatabaseUrl(ValueError):
    """The URL of a database is not usable; the message names the part, without values."""


def parse(url: str) -> dict[str, Any]:
    """The parameters of a URL by libpq's names. Raises BadDatabaseUrl for unknown or unsupported ones."""
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # Other messages contain the unreadable part, which may be a password.
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

    asyncpg has no channel binding: with channel_binding=require it uses at least TLS. (psycopg, which connects first
    for migrations, supports it.) Raises BadDatabaseUrl.
    """
    parameters = parse(url)
    known = {name: value for name, value in parameters.items() if name in _KNOWN}
    if parameters.get("channel_binding") == "require" and known.get("sslmode") in _WITHOUT_TLS:
        known["sslmode"] = "require"
    settings = {"application_name": str(parameters.get("application_name", APPLICATION_NAME))}
    if options := parameters.get("options"):
        settings["options"] = str(options)
    # As in libpq: zero and less mean no limit, one means two.
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
