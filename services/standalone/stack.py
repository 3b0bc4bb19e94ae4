"""Starts and stops the three services together."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from compositor import servicer as compositor
from compositor.settings import Settings as CompositorSettings
from frame_gen import servicer as frame_gen
from frame_gen.backends.external import ExternalImages
from frame_gen.settings import Settings as FrameGenSettings
from gateway import servicer as gateway
from gateway.settings import Settings as GatewaySettings
from rpckit.auth_settings import on_loopback
from rpckit.server import RunningServer, ServerStartError, Service
from rpckit.settings import ChannelSettings, ServerSettings, SettingsError, load

LOOPBACK = "127.0.0.1:0"
GRACE = 5.0
"""Seconds that running calls have when the stack ends."""
ON_LOOPBACK: dict[str, Any] = {
    "listen": LOOPBACK,
    "grace": GRACE,
    "drain_delay": 0.0,
    "tls_cert_file": None,
    "tls_key_file": None,
    "tls_client_ca_file": None,
    "tls_client_names": (),
    "health_listen": "",
}
"""Settings of a server that only this process calls, whatever a deployment's are."""
NOBODY_IS_ASKED: dict[str, Any] = {
    "auth_tokens_file": None,
    "auth_jwks_file": None,
    "auth_jwks_url": None,
    "auth_certificate_owner": False,
}
"""Settings of such a gateway: its one client is at home here."""
PLAINTEXT_CALLS: dict[str, Any] = {
    "tls": False,
    "tls_ca_file": None,
    "tls_cert_file": None,
    "tls_key_file": None,
}
"""Settings of calls to such servers."""


class Standalone:
    """The three services from `async with` to the end of the block.

    Settings come from the environment as in a deployment, but for addresses:
    the frame generation service and the compositor listen on free ports of
    loopback, and so does the gateway unless `listen` says otherwise.
    """

    def __init__(
        self,
        *,
        listen: str | None = None,
        reflection: bool = True,
        external_images: ExternalImages | None = None,
        durable: bool = False,
    ) -> None:
        """Prepares the services.

        Args:
            listen: address of the gateway, which then asks its callers who they are as the
                environment says. None is a free port of loopback, and nobody is asked.
            reflection: whether clients may read the API from a gateway on loopback.
            external_images: supplies images where the caller has a generator of its own.
            durable: whether renders outlive the stack, in the folder of the gateway's settings.
                Otherwise they end with it, unless the environment says where they are stored.
        """
        self.address = ""
        """host:port of the gateway, once started."""
        self.frame_gen_address = ""
        """host:port of the frame generation service, once started."""
        self.compositor_address = ""
        """host:port of the compositor, once started."""
        self.stored_in: tuple[str, str] = ("", "")
        """URLs of the database and of the objects, once started."""
        self._listen = listen
        self._reflection = reflection
        self._external_images = external_images
        self._durable = durable
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Starts all three. ServerStartError if one cannot start."""
        try:
            async with AsyncExitStack() as starting:
                await self._start(starting)
                self._running = starting.pop_all()
        except SettingsError as error:
            raise ServerStartError(str(error)) from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops all three, the gateway first."""
        await self._running.aclose()

    async def _start(self, starting: AsyncExitStack) -> None:
        frames = load(FrameGenSettings, **ON_LOOPBACK)
        videos = load(CompositorSettings, **ON_LOOPBACK)

        async def start(service: Service, settings: ServerSettings) -> str:
            server = await starting.enter_async_context(RunningServer(service, settings))
            return server.address

        self.frame_gen_address = await start(
            frame_gen.build(frames, external_images=self._external_images), frames
        )
        self.compositor_address = await start(compositor.build(videos), videos)
        if self._listen is None:
            listening = ON_LOOPBACK | NOBODY_IS_ASKED
        else:
            listening = {"listen": self._listen}
        if on_loopback(listening["listen"]):  # elsewhere it is the environment that says so
            listening = {**listening, "reflection": self._reflection}
        front = load(
            GatewaySettings,
            **listening,
            **({} if self._durable else _passing_state(starting, listening)),
            frame_gen_target=self.frame_gen_address,
            compositor_target=self.compositor_address,
        )
        self.stored_in = (front.database, front.objects)
        calls = load(ChannelSettings, **PLAINTEXT_CALLS)
        self.address = await start(gateway.build(front, calls), front)


def _passing_state(until: AsyncExitStack, given: dict[str, Any]) -> dict[str, Any]:
    """A state folder that is gone at the end of `until`, unless the environment has one."""
    told = load(GatewaySettings, **given).model_fields_set
    if told & {"state_dir", "database_url", "objects_url"}:
        return {}
    folder = until.enter_context(TemporaryDirectory(prefix="gator-", ignore_cleanup_errors=True))
    return {"state_dir": Path(folder)}
