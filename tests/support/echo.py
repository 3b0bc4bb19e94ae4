"""A small service for tests of servers and channels: it tells who called."""

from __future__ import annotations

import asyncio

from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from rpckit.identity import caller
from rpckit.server import Service
from rpckit.testing import scripted


class Echo(stubs.FrameGenServiceServicer):
    """Answers with the owner and the certificate's common name."""

    def __init__(self) -> None:
        self.certificates: set[str] = set()
        """Common names of the certificates of callers, so far."""
        self.peers: set[str] = set()
        """Addresses of callers, one for each of their connections."""
        self.hold = asyncio.Event()
        """A stream ends when this is set."""

    def _answer(self, context) -> str:
        names = context.auth_context().get("x509_common_name", [b""])
        self.certificates.add(names[0].decode())
        self.peers.add(context.peer())
        return caller().owner

    async def GetCapabilities(self, request, context):
        return pb.GetCapabilitiesResponse(version=self._answer(context))

    async def GenerateFrame(self, request, context):
        owner = self._answer(context)
        for step in range(3):
            yield pb.GenerateFrameResponse(queued=pb.GenerationQueued(position=step))
        if request.prompt == "hold":
            await self.hold.wait()
        yield pb.GenerateFrameResponse(preview=pb.GenerationPreview(jpeg=owner.encode()))


def echo_service(servicer: Echo) -> Service:
    """The service of `servicer`."""
    return scripted(
        lambda server: stubs.add_FrameGenServiceServicer_to_server(servicer, server),
        "gator.frame_gen.v1.FrameGenService",
    )


async def unary(channel, **call) -> str:
    """The owner that a unary call is answered with."""
    stub = stubs.FrameGenServiceStub(channel)
    return (await stub.GetCapabilities(pb.GetCapabilitiesRequest(), **call)).version


async def stream(channel, prompt="", **call) -> str:
    """The owner that a stream ends with."""
    request = pb.GenerateFrameRequest(prompt=prompt)
    started = stubs.FrameGenServiceStub(channel).GenerateFrame(request, **call)
    try:
        messages = [message async for message in started]
    finally:
        started.cancel()
    assert [m.queued.position for m in messages[:-1]] == [0, 1, 2]
    return messages[-1].preview.jpeg.decode()
