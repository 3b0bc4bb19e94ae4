"""What Prometheus reads of a server's calls."""

import asyncio
from contextlib import aclosing

import grpc
import pytest
from prometheus_client import REGISTRY

from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from rpckit.errors import GatorError, Reason
from rpckit.testing import connected, scripted

NAME = "gator.frame_gen.v1.FrameGenService"


class Servicer(stubs.FrameGenServiceServicer):
    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def GetCapabilities(self, request, context):
        raise GatorError(Reason.OVERLOADED, "busy")

    async def GenerateFrame(self, request, context):
        try:
            yield pb.GenerateFrameResponse(queued=pb.GenerationQueued(position=0))
            yield pb.GenerateFrameResponse(queued=pb.GenerationQueued(position=0))
            if request.prompt == "wait":
                await asyncio.Event().wait()
        finally:
            self.ended.set()


class Counted:
    """How much the metrics of a method have grown since this was made."""

    def __init__(self, method: str) -> None:
        self._method = f"{NAME}/{method}"
        self._before: dict[str, float] = {}
        self._before = {name: self[name] for name in ("first", "took", "running")}

    def __getitem__(self, name: str) -> float:
        full = {
            "first": "gator_rpc_first_message_seconds_count",
            "took": "gator_rpc_duration_seconds_count",
            "running": "gator_rpcs_running",
        }[name]
        value = REGISTRY.get_sample_value(full, {"method": self._method}) or 0
        return value - self._before.get(name, 0)

    def ended(self, code: str) -> float:
        labels = {"method": self._method, "code": code}
        return REGISTRY.get_sample_value("gator_rpcs_total", labels) or 0


def service(servicer: Servicer):
    return scripted(
        lambda server: stubs.add_FrameGenServiceServicer_to_server(servicer, server), NAME
    )


async def test_calls_are_counted_by_method_and_code():
    counted = Counted("GetCapabilities")
    before = counted.ended("RESOURCE_EXHAUSTED")
    async with connected(service(Servicer())) as channel:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await stubs.FrameGenServiceStub(channel).GetCapabilities(
                    pb.GetCapabilitiesRequest()
                )
    assert counted.ended("RESOURCE_EXHAUSTED") - before == 3
    assert (counted["took"], counted["first"], counted["running"]) == (3, 0, 0)


async def test_a_stream_counts_its_first_message_once_and_runs_until_it_ends():
    counted = Counted("GenerateFrame")
    before = counted.ended("OK"), counted.ended("CANCELLED")
    servicer = Servicer()
    async with connected(service(servicer)) as channel:
        stub = stubs.FrameGenServiceStub(channel)
        async for _ in stub.GenerateFrame(pb.GenerateFrameRequest()):
            pass
        servicer.ended.clear()
        call = stub.GenerateFrame(pb.GenerateFrameRequest(prompt="wait"))
        async with aclosing(aiter(call)) as responses:
            await anext(responses)
            await anext(responses)
            assert counted["running"] == 1
        call.cancel()
        await servicer.ended.wait()
    assert (counted["took"], counted["first"], counted["running"]) == (2, 2, 0)
    assert (counted.ended("OK") - before[0], counted.ended("CANCELLED") - before[1]) == (1, 1)
