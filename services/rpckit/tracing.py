"""Traces by OpenTelemetry: spans, and the ids that travel from hop to hop.

Spans go to whatever tracer provider the process has: that of `rpckit.trace_export`, that of
the program around an embedded stack, or none. Without one the ids that come with a call are
still passed on, to the log and to the next hop.

Calls carry the ids by the propagators of the API (OTEL_PROPAGATORS; the W3C's by default). The
gRPC instrumentation of OpenTelemetry is not used: its server interceptor cannot call handlers
that write by themselves, which ours are (opentelemetry-python-contrib issue 3066), and its
client interceptors keep a cancellation from the call (issue 3271).

No span holds a prompt, or the message of an error, which might quote one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import grpc
from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rpckit.errors import GatorError, Reason
from rpckit.version import VERSION

Attribute = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Attribute]
CallMetadata = tuple[tuple[str, str], ...]
"""Keys and values of gRPC metadata."""

RENDER_ID = "gator.render.id"
"""Attribute: the id of the render that a span belongs to."""

_tracer = trace.get_tracer("gator", VERSION)
_w3c = TraceContextTextMapPropagator()

_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Codes that are a server's fault, by OpenTelemetry's conventions for gRPC."""


def recorded() -> bool:
    """Whether this process has a tracer provider."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


# --- spans of work -----------------------------------------------------------------------------


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, parent: Context | None = None
) -> Iterator[Span]:
    """A span around a block, in which it is the current one. Not to be used in a generator.

    `parent` is where the work was asked for, if that is not around the block. An exception
    marks the span as failed and goes on.
    """
    kind = SpanKind.INTERNAL if parent is None else SpanKind.CONSUMER
    with (
        begun(name, attributes, parent=parent, kind=kind) as started,
        trace.use_span(started, record_exception=False, set_status_on_exception=False),
    ):
        yield started


@contextmanager
def begun(
    name: str,
    attributes: Attributes | None = None,
    *,
    parent: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """A span around a block, in which the current one stays what it is: for generators.

    What is current between two steps of a generator is the business of its reader.
    """
    started = _tracer.start_span(name, context=parent, kind=kind, attributes=attributes)
    try:
        yield started
    except BaseException as error:
        _raised(started, error)
        raise
    finally:
        started.end()


def past_span(name: str, began: int, ended: int, attributes: Attributes) -> None:
    """A span of something that is over, under the current one. Times in ns since 1970."""
    _tracer.start_span(name, start_time=began, attributes=attributes).end(ended)


def current() -> Span:
    """The span around what runs; one that records nothing if there is none."""
    return trace.get_current_span()


def failed(what: Span, why: str) -> None:
    """Marks a span as failed. `why` is the name of a reason or of an exception's class."""
    what.set_attribute("error.type", why)
    what.set_status(StatusCode.ERROR)


def _raised(what: Span, error: BaseException) -> None:
    if isinstance(error, GeneratorExit):
        return  # its reader has what it wanted
    if isinstance(error, asyncio.CancelledError):
        what.set_attribute("gator.cancelled", True)
    else:
        reason = getattr(error, "reason", None)
        failed(what, reason.name if isinstance(reason, Reason) else type(error).__name__)


# --- spans of calls ----------------------------------------------------------------------------


@contextmanager
def server_span(method: str, metadata: Mapping[str, str | bytes]) -> Iterator[Span]:
    """A span around a call that has come, under the caller's; `answered` is told how it ended.

    `method` is "gator.gateway.v1.RenderService/GetRender".
    """
    recording = recorded()
    if not recording and metadata.keys().isdisjoint(propagate.get_global_textmap().fields):
        yield trace.INVALID_SPAN
        return
    texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
    around = propagate.extract(texts)
    if recording:
        started = _tracer.start_span(
            method, context=around, kind=SpanKind.SERVER, attributes=_of_call(method)
        )
        around = trace.set_span_in_context(started, around)
    else:
        started = trace.INVALID_SPAN
    token = attach(around)
    try:
        yield started
    finally:
        started.end()
        detach(token)


def answered(what: Span, code: str) -> None:
    """Notes the code, such as "NOT_FOUND", with which the call of a server's span ended."""
    what.set_attribute("rpc.response.status_code", code)
    if code in _FAULTS:
        failed(what, code)


@contextmanager
def client_span(method: str) -> Iterator[CallMetadata]:
    """A span around a call of another service, also in a generator; what the call must carry.

    `method` is as for `server_span`. What the call raises, or the error of which that is the
    cause, tells how it ended. A reader that leaves before the end leaves no code.
    """
    with begun(method, _of_call(method), kind=SpanKind.CLIENT) as started:
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(started))
        try:
            yield tuple(carrier.items())
            started.set_attribute("rpc.response.status_code", "OK")
        except Exception as error:
            cause = error.__cause__ if isinstance(error, GatorError) else error
            if isinstance(cause, grpc.aio.AioRpcError):
                started.set_attribute("rpc.response.status_code", cause.code().name)
            raise


def _of_call(method: str) -> dict[str, str]:
    return {"rpc.system.name": "grpc", "rpc.method": method}


# --- traces that outlast a call ----------------------------------------------------------------


def current_origin() -> str:
    """The current span as a text that can be stored, of at most 600 characters; "" if none.

    A W3C traceparent, and behind a space the tracestate if there is one.
    """
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return " ".join(carrier[key] for key in ("traceparent", "tracestate") if key in carrier)


def of_origin(origin: str) -> Context:
    """The parent for spans of work that was asked for in a span of long ago."""
    traceparent, _, tracestate = origin.partition(" ")
    carrier = {"traceparent": traceparent, "tracestate": tracestate}
    return _w3c.extract({key: value for key, value in carrier.items() if value}, Context())
