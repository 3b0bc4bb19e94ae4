"""Spans of code that runs in the test's process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rpckit import tracing


@contextmanager
def recorded_spans() -> Iterator[InMemorySpanExporter]:
    """Spans that end in the block. The process's own provider stays as it is."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "_tracer", provider.get_tracer("test"))
        patch.setattr(tracing, "recorded", lambda: True)
        yield exporter
    provider.shutdown()


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The one span of a name."""
    (span,) = (span for span in exporter.get_finished_spans() if span.name == name)
    return span
