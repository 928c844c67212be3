"""Structured logs on standard error, as JSON or for a terminal. They never contain bodies, keys or queries."""

import contextlib
import logging
import sys
from typing import Any, Literal

import msgspec
import structlog
from structlog.typing import Processor

# structlog's processors are called with the logger, the name of the level, and the event.
_BOTH: list[Processor] = [
    structlog.contextvars.merge_contextvars,  # the request id
    structlog.processors.add_log_level,
    structlog.processors.MaybeTimeStamper(fmt="iso", utc=True),
]

logger = structlog.get_logger()


def configure(form: Literal["auto", "console", "json"] = "auto", *, debug: bool = False) -> None:
    """Configures the logs of this process, including those of libraries that use `logging`.

    `auto` is `console` if standard error is a terminal, else `json`.
    """
    level = logging.DEBUG if debug else logging.INFO
    render, tracebacks = _configure(form, level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_BOTH, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, tracebacks, render],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("yoyo", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _configure(form: Literal["auto", "console", "json"], level: int) -> tuple[Processor, Processor]:
    """Configures structlog; returns the renderers of events and tracebacks."""
    if form == "json" or (form == "auto" and not sys.stderr.isatty()):
        render: Processor = structlog.processors.JSONRenderer(serializer=_json)
        # Without local variables, which contain keys, bodies and the password of the database.
        without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        tracebacks: Processor = structlog.processors.ExceptionRenderer(without_locals)
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False)
        tracebacks = structlog.processors.format_exc_info
    structlog.configure(
        processors=[*_BOTH, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(sys.stderr),  # the current one: it may be replaced
    )
    return render, tracebacks


class _Lines(structlog.WriteLogger):
    """Writes lines, and loses those that cannot be written: a full disk or a closed pipe must not end any work."""

    def msg(self, message: str) -> None:
        """Writes a line."""
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def _json(event: dict[str, Any], **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


# For programs that import a part of the service; their own `logging` is unchanged.
_configure("auto", logging.INFO)
