"""Sends the spans of this process to an OpenTelemetry collector, if the environment says so.

The variables are OpenTelemetry's own (https://opentelemetry.io/docs/specs/otel/configuration/):
those below say whether and in what way; where to, with which headers and certificates, how many
of the traces and in what batches is read by OpenTelemetry's SDK itself. Nothing of this keeps a
service from its work: what cannot be used is told in the log, and the service goes without.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace

from rpckit.telemetry import logger
from rpckit.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

log = logger(__name__)

FLUSH_SECONDS = 3.0
"""Seconds that the last spans have to reach the collector when the process ends."""

_SWITCHES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class _Unusable(Exception):  # noqa: N818 - a fact about the environment, said to people
    """Spans cannot be sent as the environment says."""


@contextmanager
def exported_traces(
    service_name: str, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Sends spans until the end of the block, and the last of them then.

    `service_name` is the resource's, unless the environment gives it another.
    """
    provider = None
    if wanted := _wanted(environment):
        try:
            provider = _provider(service_name, _exporter(wanted, environment), environment)
        except _Unusable as why:
            log.warning("no traces are sent", why=str(why))
        except Exception:  # a variable that the SDK cannot read, a certificate that is not there
            log.exception("no traces are sent")
    if provider is None:
        yield
        return
    trace.set_tracer_provider(provider)
    log.info("traces", exporter=wanted)
    try:
        yield
    finally:
        _end(provider)


def _wanted(environment: Mapping[str, str]) -> str:
    """Name of the exporter; empty for none, which is so unless something asks for one."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if named:
        return "" if named == "none" else named
    return "otlp" if any(environment.get(switch) for switch in _SWITCHES) else ""


def _exporter(wanted: str, environment: Mapping[str, str]) -> SpanExporter:
    try:
        if wanted == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

            return ConsoleSpanExporter()
        if wanted != "otlp":
            raise _Unusable(f"OTEL_TRACES_EXPORTER is {wanted}; it may be otlp, console or none")
        _check_protocol(environment)
        # Late: only where it is wanted, and installed.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    except ImportError as error:
        raise _Unusable(
            f"{error.name} is not installed; install the extra: pip install 'gator-video[otel]'"
        ) from error


def _check_protocol(environment: Mapping[str, str]) -> None:
    for variable in _PROTOCOLS:
        protocol = environment.get(variable, "").strip().lower()
        if protocol == "grpc":
            return
        if protocol:
            raise _Unusable(
                f"{variable} is {protocol}; only grpc is spoken here. Set "
                f"{_PROTOCOLS[0]}=grpc and {_SWITCHES[0]} to the collector's port for it, "
                "mostly 4317"
            )


def _provider(
    service_name: str, exporter: SpanExporter, environment: Mapping[str, str]
) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - it comes with the exporter
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create({"service.version": VERSION})
    if not _names_service(environment):
        resource = resource.merge(Resource({"service.name": service_name}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _names_service(environment: Mapping[str, str]) -> bool:
    attributes = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    return bool(environment.get("OTEL_SERVICE_NAME")) or any(
        attribute.partition("=")[0].strip() == "service.name" for attribute in attributes
    )


def _end(provider: TracerProvider) -> None:
    """Sends what is left, for as long as is given: a collector may be away."""
    ending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
    ending.start()
    ending.join(FLUSH_SECONDS)
    if ending.is_alive():
        log.warning("the last spans were not sent", seconds=FLUSH_SECONDS)
