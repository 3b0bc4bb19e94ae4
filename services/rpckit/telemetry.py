"""Structured logs: one line an event, with the ids of the render and the span it belongs to."""

from __future__ import annotations

import logging
import sys

import structlog
from opentelemetry import trace

from rpckit.settings import LogSettings

RENDER_ID_KEY = "gator-render-id"
"""Metadata key that carries the id of the render from hop to hop."""


# Local variables hold prompts and keys; they stay out of the log.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)

if not structlog.is_configured():
    # The services may run inside a program that never heard of structlog, whose
    # default is to print on standard output: hand their lines to `logging`, where
    # nothing below a warning is shown until that program wants it.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _with_span(
    _logger: object, _method: str, entry: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Adds trace_id and span_id, in hexadecimal as traces show them, where there is a span."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        entry["trace_id"] = trace.format_trace_id(span.trace_id)
        entry["span_id"] = trace.format_span_id(span.span_id)
    return entry


_OURS = ("compositor", "frame_gen", "gateway", "gator_client", "rpckit", "standalone")
"""Packages whose debug lines are shown; libraries may put what they send, a prompt, in theirs."""


def configure_logging(settings: LogSettings | None = None) -> None:
    """Sends the logs of this process, those of libraries from `info` on, to standard error."""
    settings = settings or LogSettings()
    json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_span,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.types.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    level = logging.getLevelName(settings.level.upper())
    root.setLevel(max(level, logging.INFO))
    for package in _OURS:
        logging.getLogger(package).setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound
