"""The health port, and the command that asks it."""

import asyncio
from dataclasses import replace

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpckit.health import LIVENESS
from rpckit.probe import main, probe
from rpckit.server import RunningServer, Service
from rpckit.testing import LoopbackSettings


async def nothing() -> None:
    return


def service(ready: asyncio.Event) -> Service:
    async def is_ready() -> bool:
        return ready.is_set()

    return Service("probed", "gator.test.Probed", lambda server: None, is_ready, nothing)


async def test_a_server_that_waits_for_its_database_lives_and_is_not_ready(monkeypatch):
    monkeypatch.setattr("rpckit.probe.TIMEOUT", 60.0)
    ready = asyncio.Event()
    settings = LoopbackSettings(health_listen="127.0.0.1:0")
    async with RunningServer(service(ready), settings) as server:
        address = f"127.0.0.1:{server.health_port}"
        assert await asyncio.to_thread(probe, address, LIVENESS) == "SERVING"
        for name in ("", "gator.test.Probed"):
            assert await asyncio.to_thread(probe, address, name) == "NOT_SERVING"
        assert await asyncio.to_thread(main, [address]) == 1

        ready.set()
        async with grpc.aio.insecure_channel(address) as channel:
            request = health_pb2.HealthCheckRequest()
            async for status in health_pb2_grpc.HealthStub(channel).Watch(request):
                if status.status == health_pb2.HealthCheckResponse.SERVING:
                    break
        assert await asyncio.to_thread(main, [address]) == 0
        assert await asyncio.to_thread(main, [address, LIVENESS]) == 0
    assert (await asyncio.to_thread(probe, address)).startswith("UNAVAILABLE")
    assert await asyncio.to_thread(main, []) == 2


async def test_a_service_that_only_a_restart_helps_is_not_live_and_takes_calls():
    why = ["the device is lost"]
    ready = asyncio.Event()
    ready.set()
    ill = replace(service(ready), needs_restart=lambda: why[0])
    settings = LoopbackSettings(health_listen="127.0.0.1:0")
    async with RunningServer(ill, settings) as server:
        address = f"127.0.0.1:{server.health_port}"

        async def liveness_is(wanted: health_pb2.HealthCheckResponse.ServingStatus) -> None:
            async with grpc.aio.insecure_channel(address) as channel:
                request = health_pb2.HealthCheckRequest(service=LIVENESS)
                async for told in health_pb2_grpc.HealthStub(channel).Watch(request):
                    if told.status == wanted:
                        return

        await liveness_is(health_pb2.HealthCheckResponse.NOT_SERVING)
        assert await asyncio.to_thread(main, [address, LIVENESS]) == 1
        assert await asyncio.to_thread(main, [address]) == 0
        why[0] = ""
        await liveness_is(health_pb2.HealthCheckResponse.SERVING)
        assert await asyncio.to_thread(main, [address, LIVENESS]) == 0
