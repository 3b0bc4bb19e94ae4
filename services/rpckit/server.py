"""The one way to run a gRPC server: health, reflection, limits, drain."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from rpckit.auth import door, warn_of_open_doors
from rpckit.health import LIVENESS, HealthServicer
from rpckit.interceptors import LAST_WORD, CallInterceptor
from rpckit.metrics import metrics_endpoint
from rpckit.secrets import read_secrets
from rpckit.settings import ServerSettings, SettingsError, load
from rpckit.telemetry import configure_logging, logger
from rpckit.termination import terminations
from rpckit.tls import TlsFileError, server_credentials
from rpckit.trace_export import exported_traces

log = logger(__name__)

S = TypeVar("S", bound=ServerSettings)

READY_POLL = 1.0
"""Seconds between two looks at whether a service is ready."""
READY_WITHIN = 10.0
"""Seconds for a look. What a service looks at should have a bound of its own."""

_ANY_HOST = ("", "0.0.0.0", "[::]")  # noqa: S104 - compared with, not listened on

_OPTIONS = [
    # Two servers on one port would share its calls without a word.
    ("grpc.so_reuseport", 0),
    # A dead peer is noticed within 40 s, a frozen one within 10 s of the ping.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
]


class ServerStartError(Exception):
    """A server could not start; the message says what to do."""


async def _nothing_to_start() -> None:
    return


def _nothing_to_drain() -> None:
    return


def _no_restart() -> str:
    return ""


@dataclass(frozen=True)
class Service:
    """What a server serves."""

    name: str
    """Short name, such as "compositor": for logs and errors."""
    full_name: str
    """Name of the gRPC service, such as "gator.compositor.v1.CompositorService"."""
    register: Callable[[grpc.aio.Server], None]
    """Adds the servicer to a server."""
    ready: Callable[[], Awaitable[bool]]
    """Whether the service can do its work now. Asked every second; must not block."""
    close: Callable[[], Awaitable[None]]
    """Frees what the service holds. Called once, after the last call has ended, also of a
    service that did not start."""
    start: Callable[[], Awaitable[None]] = _nothing_to_start
    """Takes up what the service does besides calls. Called once, before the first call comes.
    ServerStartError if it cannot."""
    drain: Callable[[], None] = _nothing_to_drain
    """Says that the server stops soon: no work should be begun that no call asks for. Called
    once, when health turns NOT_SERVING; must not block."""
    dismiss: Callable[[], None] = _nothing_to_drain
    """Says that callers have had time to find another server: calls that go on without end
    should end. Called once, just before new calls are refused; must not block."""
    needs_restart: Callable[[], str] = _no_restart
    """Why only a restart of the process helps, for people; empty while that is not so. As long
    as it is not, liveness is NOT_SERVING, and calls are taken all the same: there may be nobody
    who restarts it. Asked every second; must not block."""


class RunningServer:
    """A server from `async with` to the end of the block.

    Its health is NOT_SERVING until the service is ready.
    """

    def __init__(self, service: Service, settings: ServerSettings) -> None:
        self.service = service
        self.port = 0
        """The port it listens on, once started."""
        self._settings = settings
        self._health = HealthServicer()
        self._watch: asyncio.Task[None] | None = None
        self._calls = CallInterceptor(service.name, settings.write_timeout)
        options = list(_OPTIONS)
        if settings.max_connection_age:
            options.append(
                ("grpc.max_connection_age_ms", round(settings.max_connection_age * 1000))
            )
        self._server = grpc.aio.server(interceptors=[self._calls], options=options)
        self._probes = grpc.aio.server(options=_OPTIONS)
        self.health_port = 0
        """The port for probes in plaintext, once started; 0 without one."""

    @property
    def address(self) -> str:
        """host:port for a client on this machine."""
        host = self._settings.listen.rpartition(":")[0]
        return f"{'127.0.0.1' if host in _ANY_HOST else host}:{self.port}"

    async def __aenter__(self) -> Self:
        """Listens. ServerStartError if it cannot."""
        service, settings = self.service, self._settings
        service.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.reflection:
            names = (service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        await self._health.set(LIVENESS, _status(serving=True))
        await self._set_health(serving=False)
        try:
            await service.start()
        except BaseException:
            await service.close()
            raise
        try:
            await self._listen()
        except (RuntimeError, OSError) as error:
            await self._give_up()
            where = " or ".join(filter(None, [settings.listen, settings.health_listen]))
            raise ServerStartError(
                f"the {service.name} service cannot listen on {where}. Is another server on "
                "that port?"
            ) from error
        except (TlsFileError, SettingsError) as error:
            await self._give_up()
            raise ServerStartError(f"the {service.name} service cannot start: {error}") from error
        self._watch = asyncio.create_task(self._watch_readiness(), name=f"{service.name} health")
        log.info("listening", service=service.name, address=self.address)
        return self

    async def _listen(self) -> None:
        settings = self._settings
        self._calls.door = door(settings)
        warn_of_open_doors(self.service.name, settings)
        credentials = server_credentials(settings)
        if credentials is None:
            self.port = self._server.add_insecure_port(settings.listen)
        else:
            self.port = self._server.add_secure_port(settings.listen, credentials)
        if settings.health_listen:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probes)
            self.health_port = self._probes.add_insecure_port(settings.health_listen)
            await self._probes.start()
        await self._server.start()

    async def _give_up(self) -> None:
        await self._probes.stop(None)
        await self._calls.door.close()
        await self.service.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drains: NOT_SERVING, a wait, no new calls, `grace` seconds for running ones.

        Those that still run then end with SHUTTING_DOWN.
        """
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._set_health(serving=False)
        self.service.drain()
        await asyncio.sleep(self._settings.drain_delay)
        self.service.dismiss()
        self._health.release_watchers()
        grace = self._settings.grace
        stopping = asyncio.create_task(self._server.stop(grace + LAST_WORD))
        await self._calls.end(after=grace)
        await stopping
        await self._calls.idle()
        await self._probes.stop(None)
        await self._calls.door.close()
        await self.service.close()
        log.info("stopped", service=self.service.name)

    async def _watch_readiness(self) -> None:
        serving, ill = False, ""
        while True:
            try:
                async with asyncio.timeout(READY_WITHIN):
                    now = await self.service.ready()
            except TimeoutError:  # what it asks is slow, or this process was halted
                log.warning("the readiness check had no answer", service=self.service.name)
                now = False
            except Exception:
                log.exception("the readiness check failed", service=self.service.name)
                now = False
            if now != serving:
                serving = now
                await self._set_health(serving=serving)
                log.info("health", service=self.service.name, serving=serving)
            ill = await self._tell_liveness(ill)
            await asyncio.sleep(READY_POLL)

    async def _tell_liveness(self, before: str) -> str:
        """Why the process needs a restart, which liveness says when it changes."""
        why = self.service.needs_restart()
        if why != before:
            log.critical("liveness", service=self.service.name, serving=not why, why=why)
            await self._health.set(LIVENESS, _status(serving=not why))
        return why

    async def _set_health(self, *, serving: bool) -> None:
        for name in ("", self.service.full_name):
            await self._health.set(name, _status(serving=serving))


def _status(*, serving: bool) -> health_pb2.HealthCheckResponse.ServingStatus:
    status = health_pb2.HealthCheckResponse
    return status.SERVING if serving else status.NOT_SERVING


def run(settings_class: type[S], build: Callable[[S], Service]) -> None:
    """The process of a service: settings from the environment, logs, and the server until SIGTERM.

    What keeps it from starting is one line on standard error, and exit status 1.
    """

    async def main() -> None:
        # First, so that no signal comes to a server that listens and does not heed it.
        with terminations() as terminated:
            settings = load(settings_class)
            with metrics_endpoint():
                service = build(settings)
                with exported_traces(f"gator-{service.name.replace('_', '-')}"):
                    async with RunningServer(service, settings):
                        await terminated.wait()

    try:
        read_secrets()
        configure_logging()
        asyncio.run(main())
    except (SettingsError, ServerStartError) as error:
        sys.exit(f"Error: {error}")
