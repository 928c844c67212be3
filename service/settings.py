"""The settings of the service. Only this module reads the environment."""

import difflib
import os
import re
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlencode

import msgspec
from dotenv.parser import parse_stream
from msgspec import Meta

from service import secret_checks, setting_forms
from service.memory import this_machine

# The folder that worker processes share. prometheus-client reads it before it creates the first metric.
_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"

_SWITCH = {"on": "true", "off": "false", "yes": "true", "no": "false"}  # besides true, false, 1 and 0
# The hosts of the built-in API standards.
PROVIDER_HOSTS = (
    "https://api.openai.com",
    "https://*.openai.azure.com",
    "https://api.cohere.com",
    "https://generativelanguage.googleapis.com",
    "https://api.voyageai.com",
    "https://api.jina.ai",
    "https://api.mistral.ai",
)
MEMORY_OF_ANOTHER_MACHINE = 512 * 1024 * 1024  # for builds of indexes, if PostgreSQL runs on an unknown machine
_PREFIXES = ("SERVICE_", "ENCRYPTION_")
# Not trimmed: white space is part of a key that data was sealed with.
_LITERAL = ("encryption_key", "encryption_key_previous")


class SettingsError(Exception):
    """A setting is not usable. The message names it and the correction."""


class IndexAims(msgspec.Struct, frozen=True):
    """The number of rows from which a project is indexed, and the recall that searches aim at.

    `memory` is the memory of a build in bytes.
    """

    threshold: int
    memory: int
    recall: float = 0.99


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. A field `service_port` is the variable `SERVICE_PORT`."""

    service_adminkey: str
    encryption_key: str
    encryption_key_previous: str = ""
    service_debug: bool = False
    service_log_format: Literal["auto", "console", "json"] = "auto"
    service_metrics_key: str = ""
    service_host: str = "127.0.0.1"
    service_port: Annotated[int, Meta(ge=0, le=65535)] = 8880
    service_database_url: str | None = None
    service_dbhost: str | None = None
    service_dbport: Annotated[int, Meta(ge=1, le=65535)] = 5432
    service_dbuser: str = "postgres"
    service_dbpassword: str | None = None
    service_dbname: str = "postgres"
    service_database_read_url: str | None = None
    service_read_lag_seconds: Annotated[float, Meta(ge=2)] = 5.0  # the lag is measured every second
    service_data_dir: Path = Path(".data")
    service_pool_size: Annotated[int, Meta(ge=1, le=1000)] = 10
    service_statement_timeout: Annotated[float, Meta(ge=0.001, le=2_000_000)] = 30.0  # PostgreSQL has milliseconds
    service_search_timeout: Annotated[float, Meta(gt=0)] = 10.0
    service_caller_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    service_wait_seconds: Annotated[float, Meta(gt=0)] = 2.0
    service_request_timeout: Annotated[float, Meta(gt=0)] = 120.0
    service_bodies_bytes: Annotated[int, Meta(ge=1024 * 1024)] = 128 * 1024 * 1024
    service_drain_seconds: Annotated[float, Meta(ge=0)] = 0.0
    service_shutdown_seconds: Annotated[int, Meta(ge=1)] = 30
    service_rate_limit: str = ""
    service_rate_limit_anonymous: str = ""
    service_rate_limit_storage: str = "memory://"
    service_trusted_proxies: str = "127.0.0.1"
    service_provider_hosts: str = ""
    service_provider_seconds: Annotated[float, Meta(gt=0)] = 30.0
    service_provider_ca_file: Path | None = None
    service_provider_proxy: str | None = None
    service_max_texts: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    service_max_texts_bytes: Annotated[int, Meta(ge=1024)] = 8 * 1024 * 1024
    service_tracing: bool = False
    service_cors_origins: str = "*"
    service_indexer: bool = True
    service_index_threshold: Annotated[int, Meta(ge=100)] = 10_000
    service_index_memory_bytes: Annotated[int, Meta(ge=64 * 1024 * 1024)] | None = None
    service_recall: Annotated[float, Meta(gt=0, le=1)] = 0.99
    service_exact_seconds: Annotated[float, Meta(ge=0)] = 0.05
    service_max_body_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024 * 1024
    service_keepalive_seconds: Annotated[int, Meta(ge=1)] = 75
    service_max_connections: Annotated[int, Meta(ge=1)] = 1000
    service_head_seconds: Annotated[float, Meta(gt=0)] = 10.0
    service_body_seconds: Annotated[float, Meta(gt=0)] = 30.0

    def __repr__(self) -> str:
        return "Settings(…)"  # holds secrets

    @property
    def previous_keys(self) -> list[str]:
        """The previous keys, from a list with commas or a JSON list of strings.

        A key with surrounding white space counts twice, with and without it: either may have been used.
        """
        previous = self.encryption_key_previous
        if previous.strip().startswith("["):
            return msgspec.json.decode(previous, type=list[str])
        keys = [key for key in previous.split(",") if key.strip()]
        return list(dict.fromkeys([*(key.strip() for key in keys), *keys]))

    @property
    def cors_origins(self) -> list[str]:
        """The origins that may call the service from a browser."""
        return setting_forms.items(self.service_cors_origins)

    @property
    def provider_hosts(self) -> list[str]:
        """The permitted hosts of providers, whose addresses need not be public; empty for PROVIDER_HOSTS."""
        return setting_forms.items(self.service_provider_hosts)

    @property
    def index_aims(self) -> IndexAims:
        """When and how projects are indexed."""
        memory = self.service_index_memory_bytes
        if memory is None:
            memory = this_machine() // 4 if self.named_database_url is None else MEMORY_OF_ANOTHER_MACHINE
        return IndexAims(self.service_index_threshold, memory, self.service_recall)

    @property
    def named_database_url(self) -> str | None:
        """The URL of the database; None for the embedded PostgreSQL."""
        if self.service_database_url:
            return self.service_database_url
        if not self.service_dbhost:
            return None
        login = quote(self.service_dbuser, safe="")
        if self.service_dbpassword:
            login += ":" + quote(self.service_dbpassword, safe="")
        name = quote(self.service_dbname, safe="")
        if self.service_dbhost.startswith("/"):  # the folder of the server's Unix socket
            where = urlencode({"host": self.service_dbhost, "port": self.service_dbport})
            return f"postgresql://{login}@/{name}?{where}"
        host = f"[{self.service_dbhost}]" if ":" in self.service_dbhost else self.service_dbhost
        return f"postgresql://{login}@{host}:{self.service_dbport}/{name}"


def share_metrics(folder: Path) -> None:
    """Sets the folder in which processes started from now on keep their metrics."""
    os.environ[_SHARED_METRICS] = str(folder)


def shared_metrics() -> Path | None:
    """The folder with the metrics of all worker processes; None with one process."""
    folder = os.environ.get(_SHARED_METRICS)
    return Path(folder) if folder else None


def load(env_file: Path = Path(".env")) -> Settings:
    """Reads the settings from the environment, then from `env_file`. Empty values count as missing.

    Raises SettingsError for a missing, unusable or well-known secret, and for an invalid value.
    """
    read = {**dict(_read(env_file)), **{name: value for name, value in os.environ.items() if value.strip()}}
    values: dict[str, str] = {}
    for field in msgspec.structs.fields(Settings):
        if value := _trimmed(field.name, read.get(field.name.upper()) or ""):
            values[field.name] = _SWITCH.get(value.lower(), value) if field.type is bool else value
    for secret in ("service_adminkey", "encryption_key"):
        if secret not in values:
            raise SettingsError(f"{secret.upper()} is not set. {_how_to_set(env_file)}")
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=lambda kind, value: kind(value))  # a Path
    except msgspec.ValidationError as error:
        what = re.sub(r"`\$\.(\w+)`", lambda path: path[1].upper(), str(error))
        raise SettingsError(f"A setting is not valid: {what}.") from None
    for name, (is_usable, must_be) in setting_forms.FORMS.items():
        if name in values and not is_usable(values[name]):
            raise SettingsError(f"{name.upper()} must be {must_be}.")
    _check_secrets(settings, values, env_file)
    return settings


def remarks(config: Settings, env_file: Path = Path(".env")) -> list[str]:
    """Warnings about the settings: repeated or unknown names, `${…}`, and weak keys."""
    file = _read(env_file)
    known = {field.upper() for field in Settings.__struct_fields__}
    found = [
        f"{name} is set more than once in {env_file}: the last value counts."
        for name, count in Counter(name for name, _ in file).items()
        if count > 1 and name in known
    ]
    found += [
        f"{name} in {env_file} has a ${{…}}, which is read literally."
        for name, value in dict(file).items()
        if name in known and re.search(r"\$\{\w+", value)
    ]
    for name in sorted({*dict(file), *os.environ} - known):
        if name.upper().startswith(_PREFIXES):
            near = difflib.get_close_matches(name.upper(), known, 1, 0.8)
            found.append(f"{name} is not a setting of this service{f'; did you mean {near[0]}?' if near else '.'}")
    key = config.encryption_key
    if key != key.strip():
        found.append("ENCRYPTION_KEY begins or ends with white space, perhaps a newline, which is a part of the key.")
    if len(key) < secret_checks.LEAST_CHARACTERS:
        found.append(f"ENCRYPTION_KEY has fewer than {secret_checks.LEAST_CHARACTERS} characters: it can be guessed.")
    return found


def _read(path: Path) -> list[tuple[str, str]]:
    """The names and values in a `.env` file, none if it is missing. `$` has no special meaning.

    Raises SettingsError with the place of a problem, and no content of the file.
    """
    if path.is_dir():  # some virtual environments have this name
        return []
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not in UTF-8.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    found: list[tuple[str, str]] = []
    for one in parse_stream(StringIO(text)):
        if one.error:
            before = one.original.string[: -len(one.original.string.lstrip())]  # empty lines
            line = one.original.line + before.count("\n")
            raise SettingsError(f"{path}, line {line}, is not NAME=value; perhaps a quotation mark is not closed.")
        if one.key is not None and one.value is not None:
            found.append((one.key, one.value))
    return found


def _trimmed(field: str, value: str) -> str:
    """A value without surrounding white space, such as the newline that a file or a Secret adds."""
    if not value.strip():
        return ""
    if field in _LITERAL:
        return value
    return value.strip("\r\n") if field == "service_dbpassword" else value.strip()


def _check_secrets(settings: Settings, values: dict[str, str], env_file: Path) -> None:
    """Raises SettingsError for an unusable, well-known or weak secret, without showing it."""
    for name in ("service_adminkey", "service_metrics_key", "encryption_key"):
        if secret_checks.PLACEHOLDER.fullmatch(values.get(name, "")):
            raise SettingsError(f"{name.upper()} is a placeholder. {_how_to_set(env_file)}")
    for name in ("service_adminkey", "service_metrics_key"):
        if name in values and (fault := secret_checks.key_fault(values[name])):
            raise SettingsError(f"{name.upper()} {fault}. {_how_to_set(env_file)}")
    try:
        values["encryption_key"].encode()
        previous = settings.previous_keys
        "".join(previous).encode()
    except msgspec.DecodeError:
        raise SettingsError("ENCRYPTION_KEY_PREVIOUS begins like a JSON list of texts, but is not one.") from None
    except UnicodeEncodeError:
        raise SettingsError("ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS must be in UTF-8.") from None
    if same := secret_checks.equal(values, previous):
        raise SettingsError(f"{same[0]} and {same[1]} must not be the same.")


def _how_to_set(env_file: Path) -> str:
    return f"Set it in the environment or in {env_file}, for example to the output of `openssl rand -hex 32`."
