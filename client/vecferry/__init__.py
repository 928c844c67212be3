"""The client of the embedding service: `Client`, and `AsyncClient` for programs that use asyncio."""

from vecferry.asynchronous import AsyncClient
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
from vecferry.rows import BadRow, Rows, SourceError
from vecferry.sources import Columns, open_source
from vecferry.structs import ManySimilars, Progress, PullResult, PushResult, Similar, Similars, UploadResult
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
    "__version__",
    "open_source",
]
