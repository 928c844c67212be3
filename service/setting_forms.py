"""The forms of settings that are texts. Checked here, because libraries accept or ignore what they cannot use, or show
the password of a URL that they cannot parse."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path

_SIGN = r"[^\s%/?#@\[\]]|%[0-9A-Fa-f]{2}"
_HOSTS = rf"(?:\[[\w:.%]+\](?=[:,/?]|$)|{_SIGN})*"
_DATABASE_URL = re.compile(rf"postgres(?:ql)?://(?:(?:{_SIGN})*@)?{_HOSTS}(?:/(?:{_SIGN})*)?(?:\?[^\s#@]*)?")
_PROXY_URL = re.compile(rf"https?://(?:(?:{_SIGN})*@)?(?:\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d{{1,5}})?/?")
_RATE = re.compile(r"[1-9]\d{0,8}/(second|minute|hour|day)")
_STORAGE = re.compile(r"memory://|rediss?://\S+|redis\+unix://\S+")
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\sA-Z/?#@]+")
# A permitted host of providers, with its scheme: `*.` stands for any subdomain.
PROVIDER_HOST = re.compile(
    r"(?P<scheme>https?)://(?P<host>(?:\*\.)?[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?"
)


def items(value: str) -> list[str]:
    """The items of a list with commas."""
    return [one.strip() for one in value.split(",") if one.strip()]


def _each(form: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: all(map(form.fullmatch, items(value)))


def _are_proxies(value: str) -> bool:
    """Whether uvicorn trusts all of them. It ignores others without a word, such as 10.1.2.3/8."""
    try:
        return value == "*" or all(ipaddress.ip_network(one) for one in items(value))
    except ValueError:
        return False


_DATABASE = (
    _DATABASE_URL.fullmatch,
    "like postgresql://USER:PASSWORD@HOST:5432/NAME, in which % / ? # @ [ ] and spaces of a name or password are "
    "percent-encoded, like %2F",
)
_LIMIT = (_RATE.fullmatch, "like 600/minute: a number, and second, minute, hour or day")
# By setting: whether a value is usable, and what it must be, without the value, which may have a password.
FORMS: dict[str, tuple[Callable[[str], object], str]] = {
    "service_database_url": _DATABASE,
    "service_database_read_url": _DATABASE,
    "service_rate_limit": _LIMIT,
    "service_rate_limit_anonymous": _LIMIT,
    "service_rate_limit_storage": (_STORAGE.fullmatch, "memory:// or like redis://HOST:6379"),
    "service_trusted_proxies": (
        _are_proxies,
        "* or a list of addresses and networks, separated by commas, like 10.0.0.0/8, whose other bits are 0",
    ),
    "service_provider_proxy": (
        _PROXY_URL.fullmatch,
        "like http://HOST:3128 or http://USER:PASSWORD@HOST:3128, in which % / ? # @ [ ] of a name or password are "
        "percent-encoded, like %2F",
    ),
    "service_provider_ca_file": (lambda value: Path(value).is_file(), "the path of a file with certificates"),
    "service_cors_origins": (
        _each(_ORIGIN),
        "* or a list of origins, separated by commas, as browsers send them, like https://app.example.org or "
        "http://localhost:3000: in lower case, without a path or a slash at the end",
    ),
    "service_provider_hosts": (
        _each(PROVIDER_HOST),
        "a list of hosts, separated by commas, like https://api.example.org, https://*.example.org or "
        "http://localhost:11434: in lower case, without a path",
    ),
}
