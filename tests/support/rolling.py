"""Two replicas of each service behind both proxies, which are replaced one after the other."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support import counting_frame_gen
from tests.support.envoy import Envoy, envoy
from tests.support.fleet import Member
from tests.support.processes import STARTING

SERVICES = {
    "frame_gen": "gator.frame_gen.v1.FrameGenService",
    "compositor": "gator.compositor.v1.CompositorService",
    "gateway": "gator.gateway.v1.RenderService",
}
"""Name of the gRPC service of each; the key is the package's and the Envoy cluster's."""
SCENES_AT_A_TIME = 2
"""Of a render."""
CLOSING = 15.0
"""Seconds that it may take to close what is open: what is left of the grace period of a pod."""


@dataclass(frozen=True)
class Pace:
    """How long what happens in a roll-out may take, in seconds."""

    health_interval: float | None
    """Between two looks of a proxy; None is what deploy/envoy has."""
    drain_delay: float
    grace: dict[str, float]
    """Of each service."""
    closing: float = CLOSING
    """That it may take to close what is open, after the grace."""
    replaces_the_last: bool = True
    """Whether the second replica is started again. If not, the new first one is left alone."""


SHORT = Pace(
    0.25,
    1.5,
    {"frame_gen": 60.0, "compositor": 60.0, "gateway": 0.5},
    closing=100.0,
    replaces_the_last=False,
)
"""Shorter than a deployment's; a gateway's grace does not suffice for what it runs."""
DEPLOYED = Pace(None, 10.0, {"frame_gen": 300.0, "compositor": 300.0, "gateway": 120.0})
"""As in deploy/k8s/base."""


@dataclass
class Deployment:
    """What runs."""

    replicas: dict[str, list[Member]]
    edge: Envoy
    internal: Envoy
    notes: Path
    """What the frame generation services have made."""
    pace: Pace
    drains: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from SIGTERM to the end of a process."""

    @property
    def address(self) -> str:
        """host:port for clients."""
        return self.edge.addresses["clients"]

    @classmethod
    @asynccontextmanager
    async def started(cls, folder: Path, database_url: str, pace: Pace) -> AsyncIterator[Self]:
        """All of it; objects are files in `folder`."""
        notes = folder / "made"
        notes.touch()
        async with AsyncExitStack() as stack:
            frame_gen = [_frame_gen(pace, notes) for _ in range(2)]
            compositor = [_compositor(pace) for _ in range(2)]
            await _start(stack, [*frame_gen, *compositor])
            internal = await stack.enter_async_context(
                envoy(
                    "internal",
                    {"frame_gen": _addresses(frame_gen), "compositor": _addresses(compositor)},
                    health_interval=pace.health_interval,
                )
            )
            below = internal.addresses["services"]
            gateway = [_gateway(pace, below, folder, database_url) for _ in range(2)]
            await _start(stack, gateway)
            edge = await stack.enter_async_context(
                envoy(
                    "edge",
                    {"gateway": _addresses(gateway)},
                    health_interval=pace.health_interval,
                )
            )
            replicas = {"frame_gen": frame_gen, "compositor": compositor, "gateway": gateway}
            deployment = cls(replicas, edge, internal, notes, pace)
            for service in replicas:
                await deployment.until_healthy(service)
            yield deployment

    async def until_healthy(self, service: str) -> None:
        """Waits until the proxy may call both replicas of a service."""
        proxy = self.edge if service == "gateway" else self.internal
        await proxy.until_healthy(service, 2)

    async def roll(self, service: str) -> None:
        """Replaces each replica of a service, as a Deployment does, and waits for the new one."""
        for replica in self.replicas[service]:
            await self.stop(service, replica)
            if replica is self.replicas[service][-1] and not self.pace.replaces_the_last:
                return
            await replica.start()
            await until_ready(replica.address, SERVICES[service])
            await self.until_healthy(service)

    async def end(self) -> None:
        """Stops what runs, the gateways first."""
        for service, replicas in reversed(self.replicas.items()):
            for replica in replicas:
                if replica.process.returncode is None:
                    await self.stop(service, replica)

    async def stop(self, service: str, replica: Member) -> None:
        """Ends a replica as a kubelet does. It must end by itself, within its grace period."""
        begun = time.monotonic()
        within = self.pace.drain_delay + self.pace.grace[service] + self.pace.closing
        assert await replica.end(within) == 0, service
        self.drains[service].append(time.monotonic() - begun)


async def until_ready(address: str, service: str) -> None:
    """Waits until a server says that it is ready."""
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(STARTING):
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=service), wait_for_ready=True
        )
        async for state in watch:
            if state.status == health_pb2.HealthCheckResponse.SERVING:
                break
        watch.cancel()


async def _start(stack: AsyncExitStack, members: list[Member]) -> None:
    for member in members:
        stack.push_async_callback(member.close)
    await asyncio.gather(*(member.start() for member in members))


def _addresses(members: list[Member]) -> list[str]:
    return [member.address for member in members]


def _member(module: str, service: str, pace: Pace, **environment: str) -> Member:
    name = f"GATOR_{service.upper()}"
    return Member(
        module,
        f"{name}_LISTEN",
        **{
            f"{name}_DRAIN_DELAY": str(pace.drain_delay),
            f"{name}_GRACE": str(pace.grace[service]),
            **environment,
        },
    )


def _frame_gen(pace: Pace, notes: Path) -> Member:
    return _member(
        counting_frame_gen.__name__,
        "frame_gen",
        pace,
        GATOR_FRAME_GEN_BACKENDS="placeholder",
        **{counting_frame_gen.NOTES: str(notes)},
    )


def _compositor(pace: Pace) -> Member:
    return _member(
        "compositor",
        "compositor",
        pace,
        GATOR_COMPOSITOR_THREADS="1",
        GATOR_COMPOSITOR_MAX_CONCURRENT="16",
    )


def _gateway(pace: Pace, below: str, folder: Path, database_url: str) -> Member:
    return _member(
        "gateway",
        "gateway",
        pace,
        GATOR_GATEWAY_FRAME_GEN_TARGET=below,
        GATOR_GATEWAY_COMPOSITOR_TARGET=below,
        GATOR_GATEWAY_STATE_DIR=str(folder / "state"),
        GATOR_GATEWAY_DATABASE_URL=database_url,
        GATOR_GATEWAY_MIGRATE="check",
        GATOR_GATEWAY_MAX_CONCURRENT_SCENES=str(SCENES_AT_A_TIME),
    )
