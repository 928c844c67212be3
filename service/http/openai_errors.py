"""Errors in the form that OpenAI's clients read (platform.openai.com/docs/guides/error-codes, 2026-11)."""

import msgspec

from service.errors import ProblemDetails

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class OpenAIError(msgspec.Struct, frozen=True):
    """What went wrong. `param` is where in the request."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIProblem(msgspec.Struct, frozen=True):
    """The body of an error."""

    error: OpenAIError


def as_openai(problem: ProblemDetails) -> OpenAIProblem:
    """A problem with all its details in one message."""
    told = [": ".join(filter(None, (one.location, one.message))) for one in problem.errors]
    usual = "server_error" if problem.status >= 500 else "invalid_request_error"
    param = problem.errors[0].location if problem.errors else None
    message = " ".join([problem.detail, *(f"{one}." for one in told)])
    return OpenAIProblem(OpenAIError(message, _TYPES.get(problem.status, usual), param, str(problem.status)))
