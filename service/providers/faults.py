"""Error answers of providers. Their messages are passed on unless they contain a part of the key."""

import base64
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

import msgspec

from service.providers.connection import Answer
from service.providers.errors import Faulty, ProviderError, RateLimited, Refused
from service.providers.limits import MAX_MESSAGE

PIECE = 6  # characters of a key that a message may not contain
LONGEST_RETRY_AFTER = 86_400.0
_WRONG_KEY = b"API_KEY_INVALID"  # the reason with which Gemini refuses a key: its status is 400
_USED_UP = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_balance", "payment_required")


class BadInput(Exception):
    """The provider refuses the texts or the request; with its message."""


class TooLarge(Exception):
    """The provider accepts only fewer or shorter texts in a call."""


def fault(answer: Answer, key: str | None) -> ProviderError | BadInput | TooLarge:
    """The error for an answer without success."""
    status, words = answer.status, message(answer.body, key)
    said = f" ({status}: {words})" if words else f" ({status})"
    match status:
        case _ if status in (401, 403) or (status == 400 and _WRONG_KEY in answer.body):
            wants = "refuses the key" if key else "requires a key, and the instance has none"
            return Refused(
                f"{wants} ({status}): its owner can set another `api_key`"
            )  # its message may contain the key
        case 400 | 422:
            return BadInput(words or f"was refused with {status}")
        case 413:
            return TooLarge(words or "is too large")
        case 429 if any(one in answer.body.decode(errors="replace") for one in _USED_UP):
            return Refused(f"reports that the quota of the account is used up{said}")
        case 429:
            return RateLimited(f"limits the rate of calls{said}", retry_after(answer.headers))
        case 501 | 505:  # at every attempt
            return Refused(f"refuses the call{said}")
        # 424: Text Embeddings Inference, of its backend. 520 to 530: a proxy before a provider.
        case _ if status in (408, 424, 425) or status >= 500:
            return Faulty(f"reports an error{said}", retry_after(answer.headers))
        case _ if 300 <= status < 400:
            return Refused(
                f"redirects the call ({status}): redirects are not followed, so its endpoint must be changed"
            )
        case _:
            return Refused(f"refuses the call{said}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After (RFC 9110, 10.2.3), a number or a date; None without a valid one."""
    sent = headers.get("retry-after", "").strip()
    is_number = re.fullmatch(r"\d+(\.\d+)?", sent) is not None
    try:
        seconds = float(sent) if is_number else parsedate_to_datetime(sent).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None


def message(body: bytes, key: str | None) -> str:
    """The message of an error in one line of at most 300 characters; empty if it contains a part of the key."""
    text = " ".join("".join(one if one.isprintable() else " " for one in _text(body)).split())
    if key and any(piece in form for form in (text, unquote(text)) for piece in _pieces(key)):
        return ""
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _text(body: bytes) -> str:
    """The message in JSON of any common form; empty for other content."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for _ in range(3):
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            names = ("error", "message", "detail", "msg", "error_message")
            found = next((found[name] for name in names if found.get(name)), "")
    return found if isinstance(found, str) else ""


def _pieces(key: str) -> set[str]:
    """All parts of a key and of its base64 that a message must not contain."""
    forms = [key, base64.b64encode(key.encode()).decode().rstrip("=")]
    return {form[at : at + PIECE] for form in forms for at in range(max(1, len(form) - PIECE + 1))}
