"""Errors that clients see, and their body (RFC 9457, contract section 1).

The docstring of a class is its default detail. Handlers raise; only `service.http.endpoint` renders.
"""

from http import HTTPStatus
from typing import ClassVar, TypeVar

import msgspec

T = TypeVar("T")

MAX_PROBLEMS = 100
INTERNAL_ERROR = "Internal error; it has been logged."
MAX_VALUE_LENGTH = 200
MAX_MESSAGE_LENGTH = 1000


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
    """The request could not be served."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str | None = None, problems: list[Problem] | None = None) -> None:
        self.detail = detail or self.__doc__ or ""
        self.problems = (problems or [])[:MAX_PROBLEMS]
        super().__init__(self.detail)

    def body(self) -> ProblemDetails:
        """The body of the answer."""
        return ProblemDetails(self.status.phrase, self.status.value, self.detail, self.problems)


class BadRequest(ApiError):
    """The request is malformed, or contradicts itself or the stored data."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorized(ApiError):
    """This needs a valid key: send it as `Authorization: Bearer KEY`."""

    status = HTTPStatus.UNAUTHORIZED
    headers = {"WWW-Authenticate": "Bearer"}


class Forbidden(ApiError):
    """This key is not allowed to do that."""

    status = HTTPStatus.FORBIDDEN


class NotFound(ApiError):
    """There is nothing of that name."""

    status = HTTPStatus.NOT_FOUND


class MethodNotAllowed(ApiError):
    """This route does not have that method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED


class Gone(ApiError):
    """The requested history has been deleted."""

    status = HTTPStatus.GONE


class Conflict(ApiError):
    """This conflicts with the stored data."""

    status = HTTPStatus.CONFLICT


class ContentTooLarge(ApiError):
    """The body is larger than this service accepts."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    # The rest of the body is not read, so the connection cannot be used again.
    headers = {"Connection": "close"}


class TooSlow(ApiError):
    """The body did not arrive, or arrived too slowly."""

    status = HTTPStatus.REQUEST_TIMEOUT
    headers = {"Connection": "close"}  # as above


class HeadTooLarge(ApiError):
    """Path, query and headers may have at most 65,536 bytes, the headers at most 100 lines."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    headers = {"Connection": "close"}


class UnsupportedEncoding(ApiError):
    """The Content-Encoding of the body is not supported."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    headers: ClassVar[dict[str, str]] = {"Accept-Encoding": "gzip, zstd"}


class UnsupportedMediaType(ApiError):
    """The media type of the body is not supported."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class Invalid(ApiError):
    """Some values of the request are not valid."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class UnknownCoding(ApiError):
    """Only the Transfer-Encoding chunked is supported; compressed bodies use Content-Encoding."""

    status = HTTPStatus.NOT_IMPLEMENTED
    headers = {"Connection": "close"}


class Unavailable(ApiError):
    """The database does not answer at the moment; try again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers = {"Retry-After": "1"}


class Busy(Unavailable):
    """The service is overloaded; try again."""


class TooManyRequests(ApiError):
    """Too many requests in a short time."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, seconds: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"Too many requests in a short time. Try again in {seconds} s.")
        self.headers = {"Retry-After": str(seconds), **(headers or {})}  # type: ignore[misc]  # of this instance


def show(value: str | int | float | bool) -> str | int | float | bool:
    """A value for `Problem.value`, cut at 200 characters."""
    text = str(value)
    return value if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH]


def found(row: T | None, what: str) -> T:
    """The row, or NotFound with `what`, such as `the project 'alice/poems'`."""
    if row is None:
        raise NotFound(f"{what} was not found.")
    return row
