"""Errors that clients see, and their body (RFC 9457, contract section 1).

The docstring of a class is its default detail. Handlers raise; only `service.http.endpoint` renders.
"""

from http import HTTPStatus
from typing import TypeVar

import msgspec

T = TypeVar("T")

MAX_PROBLEMS = 100
MAX_VALUE_LENGTH = 200
MAX_MESSAGE_LENGTH = 1000
# The rest of the request is not read, so the connection cannot be used again.
CLOSED = {"Connection": "close"}


class Problem(msgspec.Struct, omit_defaults=True, frozen=True):
    """One problem of a request.

    `location` is like `body.embeddings[3].vector`, `query.limit` or `path.user_handle`. `value` is the offending value,
    cut at 200 characters; it is left out if it may be a secret.
    """

    message: str
    location: str | None = None
    value: str | int | float | bool | None = None


class ProblemDetails(msgspec.Struct, omit_defaults=True, frozen=True):
    """The body of every error answer, `application/problem+json`."""

    title: str
    status: int
    detail: str
    errors: list[Problem] = []


class ApiError(Exception):
    """Internal error; it has been logged."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    headers: dict[str, str] = {}

    def __init_subclass__(cls, status: int | None = None, headers: dict[str, str] | None = None) -> None:
        cls.status = HTTPStatus(status or cls.status)
        cls.headers = headers or cls.headers

    def __init__(self, detail: str | None = None, problems: list[Problem] | None = None) -> None:
        self.detail = detail or self.__doc__ or ""
        self.problems = (problems or [])[:MAX_PROBLEMS]
        super().__init__(self.detail)

    def body(self) -> ProblemDetails:
        """The body of the answer."""
        return ProblemDetails(self.status.phrase, self.status.value, self.detail, self.problems)


class BadRequest(ApiError, status=400):
    """The request is malformed, or contradicts itself or the stored data."""


class Unauthorized(ApiError, status=401, headers={"WWW-Authenticate": "Bearer"}):
    """This needs a valid key: send it as `Authorization: Bearer KEY`."""


class Forbidden(ApiError, status=403):
    """This key is not allowed to do that."""


class NotFound(ApiError, status=404):
    """There is nothing of that name."""


class MethodNotAllowed(ApiError, status=405):
    """This route does not have that method."""


class Gone(ApiError, status=410):
    """The requested history has been deleted."""


class Conflict(ApiError, status=409):
    """This conflicts with the stored data."""


class ContentTooLarge(ApiError, status=413, headers=CLOSED):
    """The body is larger than this service accepts."""


class TooSlow(ApiError, status=408, headers=CLOSED):
    """The body did not arrive, or arrived too slowly."""


class HeadTooLarge(ApiError, status=431, headers=CLOSED):
    """Path, query and headers may have at most 65,536 bytes, the headers at most 100 lines."""


class UnsupportedEncoding(ApiError, status=415, headers={"Accept-Encoding": "gzip, zstd"}):
    """The Content-Encoding of the body is not supported."""


class UnsupportedMediaType(ApiError, status=415):
    """The media type of the body is not supported."""


class Invalid(ApiError, status=422):
    """Some values of the request are not valid."""


class UnknownCoding(ApiError, status=501, headers=CLOSED):
    """Only the Transfer-Encoding chunked is supported; compressed bodies use Content-Encoding."""


class Unavailable(ApiError, status=503, headers={"Retry-After": "1"}):
    """The database does not answer at the moment; try again."""


class Busy(Unavailable):
    """The service is overloaded; try again."""


class TooManyRequests(ApiError, status=429):
    """Too many requests in a short time."""

    def __init__(self, seconds: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"Too many requests in a short time. Try again in {seconds} s.")
        self.headers = {"Retry-After": str(seconds), **(headers or {})}


def show(value: str | int | float | bool) -> str | int | float | bool:
    """A value for `Problem.value`, cut at 200 characters."""
    text = str(value)
    return value if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH]


def found(row: T | None, what: str) -> T:
    """The row, or NotFound with `what`, such as `the project 'alice/poems'`."""
    if row is None:
        raise NotFound(f"{what} was not found.")
    return row
