"""The real Envoy between the gateway and two replicas of each service, one of which is killed."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from gator.compositor.v1 import compositor_service_pb2 as compositor_pb
from gator.compositor.v1.compositor_service_pb2_grpc import CompositorServiceStub
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_gen_pb
from gator.frame_gen.v1.frame_gen_service_pb2_grpc import FrameGenServiceStub
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import video_pb2
from rpckit.client import open_channel
from tests.support.envoy import Envoy, envoy
from tests.support.ports import ReservedPort
from tests.support.processes import server_process

LOOPBACK = "127.0.0.1:0"
DRAIN_DELAY = "10"
"""As in deploy/k8s/base."""
Replica = tuple[asyncio.subprocess.Process, str]


@dataclass
class Deployment:
    """Two replicas of each service behind a proxy, and a client of the gateway."""

    frame_gen: list[Replica]
    compositor: list[Replica]
    proxy: Envoy
    gateway: RenderServiceStub


def frame_gen_at(listen: str) -> AbstractAsyncContextManager[Replica]:
    return server_process(
        "frame_gen",
        GATOR_FRAME_GEN_LISTEN=listen,
        GATOR_FRAME_GEN_BACKENDS="placeholder",
        GATOR_FRAME_GEN_DRAIN_DELAY=DRAIN_DELAY,
        GATOR_FRAME_GEN_GRACE="300",
    )


def compositor_at(listen: str) -> AbstractAsyncContextManager[Replica]:
    return server_process(
        "compositor",
        GATOR_COMPOSITOR_LISTEN=listen,
        GATOR_COMPOSITOR_THREADS="1",
        GATOR_COMPOSITOR_DRAIN_DELAY=DRAIN_DELAY,
        GATOR_COMPOSITOR_GRACE="300",
    )


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with AsyncExitStack() as stack:
        # Those that are replaced come back at the same addresses.
        ports = [stack.enter_context(ReservedPort()).address for _ in range(4)]
        frame_gen = [await stack.enter_async_context(frame_gen_at(port)) for port in ports[:2]]
        compositor = [await stack.enter_async_context(compositor_at(port)) for port in ports[2:]]
        proxy = await stack.enter_async_context(
            envoy(
                "internal",
                {
                    "frame_gen": [address for _, address in frame_gen],
                    "compositor": [address for _, address in compositor],
                },
            )
        )
        _, address = await stack.enter_async_context(
            server_process(
                "gateway",
                GATOR_GATEWAY_LISTEN=LOOPBACK,
                GATOR_GATEWAY_STATE_DIR=str(tmp_path),
                GATOR_GATEWAY_FRAME_GEN_TARGET=proxy.addresses["services"],
                GATOR_GATEWAY_COMPOSITOR_TARGET=proxy.addresses["services"],
                GATOR_GATEWAY_MAX_CONCURRENT_RENDERS="6",
            )
        )
        channel = await stack.enter_async_context(open_channel(address))
        await proxy.until_healthy("frame_gen", 2)
        await proxy.until_healthy("compositor", 2)
        yield Deployment(frame_gen, compositor, proxy, RenderServiceStub(channel))


async def create(gateway: RenderServiceStub, number: int) -> str:
    """A render of two scenes, 48 pictures."""
    render = pb.RenderRequest(
        scenes=[pb.Scene(prompt=f"scene {scene} of film {number}") for scene in range(2)],
        quality=video_pb2.QUALITY_DRAFT,
        use_ai_generation=False,
    )
    render.duration_per_frame.seconds = 1
    created = await gateway.CreateRender(pb.CreateRenderRequest(render=render), wait_for_ready=True)
    return created.render.render_id


async def outcome(gateway: RenderServiceStub, render_id: str) -> pb.Render:
    """The render once it has ended."""
    last = pb.Render()
    async for event in gateway.WatchRender(pb.WatchRenderRequest(render_id=render_id)):
        if event.HasField("render"):
            last = event.render
    return last


async def test_two_replicas_of_each_service_and_a_kill_of_one(deployment: Deployment):
    gateway, proxy = deployment.gateway, deployment.proxy
    await four_calls_are_two_and_two(deployment)

    # One of each dies while it works: no render fails.
    outcomes: list[pb.Render] = []
    numbers = itertools.count()
    killed = asyncio.Event()

    async def keep_rendering() -> None:
        # On and on: a frame takes so little time that it may not be seen at first.
        while not killed.is_set():
            outcomes.append(await outcome(gateway, await create(gateway, next(numbers))))

    async with asyncio.TaskGroup() as load:
        for _ in range(8):
            load.create_task(keep_rendering())
        for cluster, replicas in (
            ("compositor", deployment.compositor),
            ("frame_gen", deployment.frame_gen),
        ):
            process, address = replicas[0]
            await proxy.until_active(cluster, address)
            process.kill()
            await process.wait()
        killed.set()
    assert {render.state for render in outcomes} == {pb.RENDER_STATE_SUCCEEDED}
    assert {render.result.frame_count for render in outcomes} == {48}

    # The dead ones are known to be dead, and calls find the others.
    await proxy.until_healthy("frame_gen", 1)
    await proxy.until_healthy("compositor", 1)
    after = await outcome(gateway, await create(gateway, next(numbers)))
    assert after.state == pb.RENDER_STATE_SUCCEEDED
    assert after.attempts == 1

    await the_last_one_dies(deployment)


async def four_calls_are_two_and_two(deployment: Deployment) -> None:
    """Each call goes to the replica with the fewest, on one connection."""
    addresses = [address for _, address in deployment.compositor]
    specification = compositor_pb.ComposeSpecification(quality=video_pb2.QUALITY_DRAFT)
    specification.scenes.add().duration.seconds = 1
    async with open_channel(deployment.proxy.addresses["services"]) as channel:
        calls = []
        for _ in range(4):
            call = CompositorServiceStub(channel).Compose(timeout=300)
            calls.append(call)
            await call.write(compositor_pb.ComposeRequest(specification=specification))
            assert (await call.read()).HasField("plan")
        assert [await deployment.proxy.active("compositor", a) for a in addresses] == [2, 2]
        for call in calls:
            call.cancel()


async def the_last_one_dies(deployment: Deployment) -> None:
    """Where nobody is left a caller is told so, and does not wait."""
    process, _ = deployment.frame_gen[1]
    process.kill()
    await process.wait()
    # Without the channel's own retries.
    async with grpc.aio.insecure_channel(
        deployment.proxy.addresses["services"], options=[("grpc.enable_retries", 0)]
    ) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await FrameGenServiceStub(channel).GetCapabilities(
                frame_gen_pb.GetCapabilitiesRequest(), timeout=300
            )
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        # Nothing but the two services is behind this proxy.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=300)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_replica_of_each_service_that_is_replaced_interrupts_nothing(
    deployment: Deployment,
):
    gateway, proxy = deployment.gateway, deployment.proxy
    first = {"compositor": deployment.compositor[0], "frame_gen": deployment.frame_gen[0]}
    ended: list[pb.Render] = []
    replaced = asyncio.Event()

    async def keep_rendering(name: int) -> None:
        number = 0
        while not replaced.is_set() or number < 2:
            ended.append(await outcome(gateway, await create(gateway, 1000 * name + number)))
            number += 1

    async with asyncio.TaskGroup() as load:
        for name in range(3):
            load.create_task(keep_rendering(name))
        for cluster, (process, address) in first.items():
            await proxy.until_active(cluster, address)
            process.terminate()
        for process, _ in first.values():
            assert await process.wait() == 0
        async with (
            frame_gen_at(first["frame_gen"][1]),
            compositor_at(first["compositor"][1]),
        ):
            await proxy.until_healthy("frame_gen", 2)
            await proxy.until_healthy("compositor", 2)
            replaced.set()
            after = await outcome(gateway, await create(gateway, 9999))
            ended.append(after)

    assert len(ended) > 4
    assert {render.state for render in ended} == {pb.RENDER_STATE_SUCCEEDED}
    # What ran was finished where it ran.
    assert {render.attempts for render in ended} == {1}
