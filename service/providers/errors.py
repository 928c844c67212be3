"""Errors of providers.

They are raised with a predicate as the detail ("cannot be reached"), from which `of_instance` makes a sentence.
"""

from service.errors import ApiError

USUAL_PAUSE = 5.0  # seconds for Retry-After, if the provider gives none


class ProviderError(ApiError, status=502):
    """The provider could not be used."""

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        if retry_after is not None:
            self.headers = {"Retry-After": str(max(1, round(retry_after)))}

    def of_instance(self, instance: str) -> "ProviderError":
        """The error for the client, as a sentence."""
        pause = USUAL_PAUSE if isinstance(self, (Down, Late, RateLimited)) else None
        return type(self)(f"The provider of {instance} {self.detail}.", self.retry_after or pause)


class BadAnswer(ProviderError):
    """The provider's answer does not fit the request."""


class Refused(ProviderError, status=424):
    """The provider refuses the key, the model or the request: the instance must be changed."""


class RateLimited(ProviderError, status=429):
    """A rate limit of the provider, or a budget, is exceeded."""


class Down(ProviderError, status=503):
    """The provider is unavailable."""


class Unreachable(Down):
    """The connection failed before anything was sent, so the call can be repeated."""


class Lost(Down):
    """The connection was lost after something was sent."""


class Faulty(Down):
    """The provider reports an internal error."""


class Late(ProviderError, status=504):
    """The provider did not answer in time."""


# The provider may have embedded the texts, and may charge for them.
MAY_CHARGE = (BadAnswer, Late, Lost)
