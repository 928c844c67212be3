"""The client of the embedding service: `Client`, and `AsyncClient` for programs that use asyncio."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vecferry.errors import (
    BadAnswer,
    BadGateway,
    BadRequest,
    BadRows,
    Conflict,
    ConnectionFailed,
    Fault,
    Forbidden,
    GatewayTimeout,
    Gone,
    Invalid,
    NotFound,
    NotReady,
    Problem,
    ProviderRefused,
    RequestTimeout,
    ServiceError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    VecferryError,
)

if TYPE_CHECKING:
    from vecferry.asynchronous import AsyncClient
    from vecferry.results import Progress, PullResult, PushResult, UploadResult
    from vecferry.rows import BadRow, Rows, SourceError
    from vecferry.sources import Columns, open_source
    from vecferry.structs import ManySimilars, Similar, Similars, WhoAmI
    from vecferry.synchronous import Client

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "BadGateway",
    "BadRequest",
    "BadRow",
    "BadRows",
    "Client",
    "Columns",
    "Conflict",
    "ConnectionFailed",
    "Fault",
    "Forbidden",
    "GatewayTimeout",
    "Gone",
    "Invalid",
    "ManySimilars",
    "NotFound",
    "NotReady",
    "Problem",
    "Progress",
    "ProviderRefused",
    "PullResult",
    "PushResult",
    "RequestTimeout",
    "Rows",
    "ServiceError",
    "Similar",
    "Similars",
    "SourceError",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "UploadResult",
    "VecferryError",
    "WhoAmI",
    "__version__",
    "open_source",
]

# Imported when they are used: NumPy and HTTP take half a second, which the command line's help need not wait for.
_MODULES = {
    "asynchronous": ("AsyncClient",),
    "rows": ("BadRow", "Rows", "SourceError"),
    "sources": ("Columns", "open_source"),
    "results": ("Progress", "PullResult", "PushResult", "UploadResult"),
    "structs": ("ManySimilars", "Similar", "Similars", "WhoAmI"),
    "synchronous": ("Client",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"vecferry.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
