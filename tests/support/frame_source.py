"""A frame generation server that a test steers: when each scene's frame comes, or how it fails."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import aclosing

from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from gator.type.v1 import capability_pb2, frame_pb2, warning_pb2
from rpckit.errors import GatorError
from rpckit.frame import Frame
from rpckit.server import Service
from rpckit.testing import scripted

FULL_NAME = "gator.frame_gen.v1.FrameGenService"


def plain_frame(index: int, width: int = 320, height: int = 180) -> Frame:
    """A picture of one colour that depends on the scene."""
    colour = bytes((40 * index % 256, 255 - 30 * index % 256, 128))
    return Frame.of(width, height, colour * (width * height))


class FrameSource(stubs.FrameGenServiceServicer):
    """Answers with a plain frame once the scene's gate is open; gates are open unless closed."""

    def __init__(self) -> None:
        self.shareable = True
        self.pictures: dict[int, asyncio.Queue[bytes]] = defaultdict(asyncio.Queue)
        self.closed: dict[int, asyncio.Event] = {}
        self.errors: dict[int, list[GatorError]] = defaultdict(list)
        self.asked: Counter[int] = Counter()
        self.running: set[int] = set()
        self.most_running = 0
        self.calls = 0
        """Of GenerateFrame that have not ended."""
        self.started: dict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.ended: dict[int, asyncio.Event] = defaultdict(asyncio.Event)

    def hold(self, *indexes: int) -> None:
        """Closes the gates of scenes."""
        for index in indexes:
            self.closed[index] = asyncio.Event()

    def release(self, *indexes: int) -> None:
        """Opens the gates of scenes."""
        for index in indexes:
            self.closed[index].set()

    async def quiet(self) -> None:
        """Returns once no frame is in the making: also the callers of all that were have left."""
        while self.calls:  # noqa: ASYNC110 - one look after the other
            await asyncio.sleep(0.01)

    def show(self, index: int, jpeg: bytes) -> None:
        """Sends a preview of a scene whose gate is closed."""
        self.pictures[index].put_nowait(jpeg)

    async def _previews(self, index: int):
        """The previews of a scene until its gate opens."""
        opened = asyncio.create_task(self.closed[index].wait())
        shown: asyncio.Task[bytes] | None = None
        try:
            while True:
                shown = asyncio.create_task(self.pictures[index].get())
                await asyncio.wait({opened, shown}, return_when=asyncio.FIRST_COMPLETED)
                if not shown.done():
                    return
                preview = pb.GenerationPreview(jpeg=shown.result(), step=1)
                yield pb.GenerateFrameResponse(preview=preview)
        finally:
            for task in filter(None, (opened, shown)):
                task.cancel()

    async def GenerateFrame(self, request, context):
        index = request.scene_index
        self.asked[index] += 1
        self.calls += 1
        self.running.add(index)
        self.most_running = max(self.most_running, len(self.running))
        self.started[index].set()
        try:
            yield pb.GenerateFrameResponse(queued=pb.GenerationQueued(position=0))
            yield pb.GenerateFrameResponse(progress=pb.GenerationProgress(step=1, steps=2))
            if index in self.closed:
                async with aclosing(self._previews(index)) as previews:
                    async for preview in previews:
                        yield preview
            frame = plain_frame(index)
            yield pb.GenerateFrameResponse(header=frame.header.to_proto())
            if self.errors[index]:
                raise self.errors[index].pop(0)
            for data in frame.chunks():
                yield pb.GenerateFrameResponse(chunk=frame_pb2.FrameChunk(data=data))
            provenance = frame_pb2.Provenance(
                backend=frame_pb2.BACKEND_DIFFUSERS, model="plain", seed=request.seed
            )
            warning = warning_pb2.Warning(field="prompt", reason="it is plain")
            yield pb.GenerateFrameResponse(
                done=pb.GenerationDone(provenance=provenance, warnings=[warning])
            )
        finally:
            self.calls -= 1
            self.running.discard(index)
            self.ended[index].set()

    async def PlanFrame(self, request, context):
        return pb.PlanFrameResponse(
            backend=frame_pb2.BACKEND_DIFFUSERS,
            model="plain",
            generation_version="1",
            width=320,
            height=180,
            shareable=self.shareable,
        )

    async def GetCapabilities(self, request, context):
        backend = capability_pb2.BackendCapability(
            backend=frame_pb2.BACKEND_DIFFUSERS, available=True, models=["plain"]
        )
        return pb.GetCapabilitiesResponse(backends=[backend])

    def service(self) -> Service:
        def register(server):
            stubs.add_FrameGenServiceServicer_to_server(self, server)

        return scripted(register, FULL_NAME, name="frame_gen")
