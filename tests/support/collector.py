"""An OpenTelemetry collector: a real OTLP server over gRPC that keeps the spans it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as stubs
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Span:
    """A span as it came."""

    service: str
    instance: str
    """The process, where the environment names it."""
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any] = field(hash=False)


class Collector(stubs.TraceServiceServicer):
    """Keeps spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.raw = b""
        """All that came, as bytes: to look for what must not be in it."""
        self._came = asyncio.Condition()

    async def Export(
        self, request: pb.ExportTraceServiceRequest, context: object
    ) -> pb.ExportTraceServiceResponse:
        self.raw += request.SerializeToString()
        for group in request.resource_spans:
            resource = values(group.resource.attributes)
            self.resources.append(resource)
            for scope in group.scope_spans:
                self.spans += [_span(span, resource) for span in scope.spans]
        async with self._came:
            self._came.notify_all()
        return pb.ExportTraceServiceResponse()

    async def until(self, enough: Callable[[list[Span]], Any]) -> None:
        """Returns once the spans that came are enough."""
        async with asyncio.timeout(100), self._came:
            await self._came.wait_for(lambda: enough(self.spans))

    def trace(self, trace_id: str) -> Trace:
        """The spans of a trace."""
        return Trace([span for span in self.spans if span.trace_id == trace_id])


class Trace:
    """The spans of one trace."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = sorted(spans, key=lambda span: span.began)
        self.ids = {span.span_id for span in spans}

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name.rpartition("/")[2] == name]

    def one(self, name: str, kind: str = "") -> Span:
        (span,) = (span for span in self.named(name) if kind in span.kind)
        return span

    def under(self, parent: Span) -> list[Span]:
        return [span for span in self.spans if span.parent_id == parent.span_id]

    def path(self, span: Span) -> list[str]:
        """Services and names from the first span of the trace to this one."""
        by_id = {known.span_id: known for known in self.spans}
        path = [f"{span.service} {span.name.rpartition('/')[2]}"]
        while (span := by_id.get(span.parent_id)) is not None:
            path.append(f"{span.service} {span.name.rpartition('/')[2]}")
        return path[::-1]


def values(attributes: Iterable[common_pb2.KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(part) for part in value.array_value.values]
    return getattr(value, kind) if kind else None


def _span(span: trace_pb2.Span, resource: dict[str, Any]) -> Span:
    return Span(
        resource["service.name"],
        resource.get("service.instance.id", ""),
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        values(span.attributes),
    )


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[Collector, dict[str, str]]]:
    """A collector, and the environment that has spans sent to it."""
    kept = Collector()
    server = grpc.aio.server()
    stubs.add_TraceServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield (
            kept,
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_BSP_SCHEDULE_DELAY": "50",
            },
        )
    finally:
        await server.stop(None)
