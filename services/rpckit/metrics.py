"""Prometheus metrics of a process over HTTP where they are asked for, and those of all servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import (
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    start_http_server,
)

from rpckit.settings import MetricsSettings, SettingsError
from rpckit.telemetry import logger
from rpckit.version import VERSION

log = logger(__name__)

# From a look-up in a database to a render that is watched for half an hour.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)

_BUILD = Info("gator_build", "The version that runs.")
_BUILD.info({"version": VERSION})
_RPCS = Counter(
    "gator_rpcs", "Calls that ended, by gRPC method and status code.", ["method", "code"]
)
_RPCS_RUNNING = Gauge("gator_rpcs_running", "Calls that run, by gRPC method.", ["method"])
_RPC_SECONDS = Histogram(
    "gator_rpc_duration_seconds",
    "How long calls took, streams to their end, by gRPC method.",
    ["method"],
    buckets=_SECONDS,
)
_FIRST_MESSAGE_SECONDS = Histogram(
    "gator_rpc_first_message_seconds",
    "How long the first message of a stream took to be sent, by gRPC method.",
    ["method"],
    buckets=_SECONDS,
)


class RpcCall:
    """One call that has come, as it is counted."""

    def __init__(self, method: str) -> None:
        """`method` is "gator.gateway.v1.RenderService/GetRender"."""
        self._method = method
        self._began = time.monotonic()
        self._wrote = False
        _running(method).inc()

    def wrote(self) -> None:
        """The stream has sent a message."""
        if not self._wrote:
            self._wrote = True
            _FIRST_MESSAGE_SECONDS.labels(self._method).observe(time.monotonic() - self._began)

    def ended(self, code: str) -> float:
        """The call has ended with a status code, such as "NOT_FOUND"; how long it took, seconds."""
        seconds = time.monotonic() - self._began
        _running(self._method).dec()
        _seconds(self._method).observe(seconds)
        _ended(self._method, code).inc()
        return seconds


# Looking a label up takes longer than counting.
_running = cache(_RPCS_RUNNING.labels)
_seconds = cache(_RPC_SECONDS.labels)
_ended = cache(_RPCS.labels)


@contextmanager
def metrics_endpoint(settings: MetricsSettings | None = None) -> Iterator[int | None]:
    """Serves /metrics until the end of the block, and gives its port; None if it is off.

    SettingsError if the address cannot be listened on.
    """
    settings = settings or MetricsSettings()
    if not settings.listen:
        yield None
        return
    # They are a series beside each other one, that nobody asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types
    host, _, port = settings.listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host)
    except OSError as error:
        raise SettingsError(
            f"GATOR_METRICS_LISTEN: cannot listen on {settings.listen}: {error.strerror}"
        ) from error
    log.info("metrics", address=f"{host}:{server.server_port}")
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
