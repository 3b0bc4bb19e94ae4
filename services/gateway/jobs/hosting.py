"""Keeps a gateway's stores open, from the moment they can be reached."""

from __future__ import annotations

import asyncio

from gateway.jobs.runtime import Runtime, Services, running
from gateway.jobs.store import SchemaError
from gateway.settings import Settings
from rpckit.errors import GatorError, Reason
from rpckit.server import ServerStartError
from rpckit.telemetry import logger

log = logger(__name__)

REOPEN = 1.0
"""Seconds between two tries to open stores that are away."""


class RuntimeHost:
    """Opens the stores at `start`, or later where they are away, until `close`."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._settings = settings
        self._services = services
        self._runtime: Runtime | None = None
        self._stopping = asyncio.Event()
        self._tried = asyncio.Event()
        self._hosting: asyncio.Task[None] | None = None

    @property
    def runtime(self) -> Runtime:
        """What is open; GatorError STORAGE_UNAVAILABLE while nothing is."""
        if self._runtime is None:
            raise GatorError(
                Reason.STORAGE_UNAVAILABLE,
                "the gateway could not reach its database yet; try again",
                retry_after=REOPEN,
                metadata={"storage": "database"},
            )
        return self._runtime

    async def start(self) -> None:
        """Opens the stores, or goes on trying. ServerStartError if that can never succeed."""
        try:
            if not (self._settings.database_url and self._settings.objects_url):
                self._settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ServerStartError(
                f"the gateway cannot use its state folder: {error}. Set GATOR_GATEWAY_STATE_DIR "
                "to a folder that it may write"
            ) from error
        self._hosting = asyncio.create_task(self._host(), name="stores")
        tried = asyncio.create_task(self._tried.wait())
        await asyncio.wait({self._hosting, tried}, return_when=asyncio.FIRST_COMPLETED)
        tried.cancel()
        if self._hosting.done():
            try:
                self._hosting.result()
            except (SchemaError, ValueError) as error:
                raise ServerStartError(f"the gateway cannot use its stores: {error}") from error

    async def _host(self) -> None:
        while not self._stopping.is_set():
            try:
                async with running(self._settings, self._services) as self._runtime:
                    self._tried.set()
                    await self._stopping.wait()
            except GatorError as error:
                if self._runtime is not None:
                    raise
                log.warning("the stores cannot be opened", error=error.message)
                self._tried.set()
                await self._stops_within(REOPEN)

    async def _stops_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def ready(self) -> bool:
        """Whether the stores are open, the database answers, and the work goes on."""
        runtime = self._runtime
        return runtime is not None and runtime.healthy and await runtime.store.ready()

    def drain(self) -> None:
        """The process ends soon."""
        if self._runtime is not None:
            self._runtime.drain()

    def dismiss(self) -> None:
        """Callers have had time to find another gateway."""
        if self._runtime is not None:
            self._runtime.dismiss()

    async def close(self) -> None:
        """Waits for the drain and closes the stores."""
        self._stopping.set()
        if self._hosting is not None:
            await asyncio.wait([self._hosting])
            if not self._hosting.cancelled() and (error := self._hosting.exception()):
                log.error("the stores did not close", exc_info=error)
