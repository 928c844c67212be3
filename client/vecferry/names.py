"""Names of things into paths of the service, and values into bodies."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote


def path_of(*parts: str) -> str:
    """A path of the service; each part is percent-encoded, slashes and dots alone too."""
    encoded = [quote(part, safe="") if part.strip(".") else part.replace(".", "%2E") for part in parts]
    return "/v1/" + "/".join(encoded)


def owner_and_handle(name: str) -> tuple[str, str]:
    """The two parts of a name such as `alice/poems`. Raises ValueError for any other."""
    owner, slash, handle = name.partition("/")
    if not (slash and owner and handle) or "/" in handle:
        raise ValueError(f"{name!r} is not a name of the form owner/name, such as alice/poems.")
    return owner, handle


def path_to(kind: str, name: str, *more: str) -> str:
    """The path of a resource with a name such as `alice/poems`."""
    return path_of(kind, *owner_and_handle(name), *more)


def given(**fields: Any) -> dict[str, Any]:
    """A body of the values that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
