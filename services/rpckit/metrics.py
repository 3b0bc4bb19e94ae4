"""Prometheus metrics of a process over HTTP, where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from rpckit.settings import MetricsSettings
from rpckit.telemetry import logger

log = logger(__name__)


@contextmanager
def metrics_endpoint(settings: MetricsSettings | None = None) -> Iterator[int | None]:
    """Serves /metrics until the end of the block, and gives its port; None if it is off.

    OSError if the address cannot be listened on.
    """
    settings = settings or MetricsSettings()
    if not settings.listen:
        yield None
        return
    host, _, port = settings.listen.rpartition(":")
    server, thread = start_http_server(int(port), addr=host)
    log.info("metrics", address=f"{host}:{server.server_port}")
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
