"""Frame generation and composing that cost nothing, in a process of their own.

What a scene does is said by its prompt: "now" has its frame at once, "hold" never has
one, "tick 5" never has one and tells its progress 5 times a second. The step that
progress tells is the time in ms, by the clock that all processes of a machine share. The
end of a call is a line on standard output: the render, and when.

Ends when its standard input does, so that it never outlives who started it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time

from gator.compositor.v1 import compositor_service_pb2 as compositor_pb
from gator.compositor.v1 import compositor_service_pb2_grpc as compositor_stubs
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_gen_pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as frame_gen_stubs
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.frame import Frame
from rpckit.server import RunningServer
from rpckit.telemetry import RENDER_ID_KEY, configure_logging
from rpckit.testing import LoopbackSettings, scripted

WIDTH, HEIGHT = 64, 36
FRAMES = 24
VIDEO = bytes(range(256)) * 64
"""What every video is: 16 KiB."""
MOST = 2**32 - 1


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Frames(frame_gen_stubs.FrameGenServiceServicer):
    frame = Frame.of(WIDTH, HEIGHT, b"\x40" * (WIDTH * HEIGHT * 3))

    async def GenerateFrame(self, request, context):
        render_id = dict(context.invocation_metadata())[RENDER_ID_KEY]
        what, _, rate = request.prompt.partition(" ")
        try:
            if what == "hold":
                await asyncio.Event().wait()
            while what == "tick":
                progress = frame_gen_pb.GenerationProgress(step=now_ms(), steps=MOST)
                yield frame_gen_pb.GenerateFrameResponse(progress=progress)
                await asyncio.sleep(1 / float(rate))
            yield frame_gen_pb.GenerateFrameResponse(header=self.frame.header.to_proto())
            for data in self.frame.chunks():
                yield frame_gen_pb.GenerateFrameResponse(chunk=frame_pb2.FrameChunk(data=data))
            made = frame_pb2.Provenance(backend=frame_pb2.BACKEND_DIFFUSERS, model="none")
            yield frame_gen_pb.GenerateFrameResponse(
                done=frame_gen_pb.GenerationDone(provenance=made)
            )
        finally:
            if what != "now":
                print(json.dumps({"ended": render_id, "at": time.monotonic()}), flush=True)

    async def PlanFrame(self, request, context):
        return frame_gen_pb.PlanFrameResponse(
            backend=frame_pb2.BACKEND_DIFFUSERS,
            model="none",
            generation_version="1",
            width=WIDTH,
            height=HEIGHT,
            shareable=False,
        )


class Videos(compositor_stubs.CompositorServiceServicer):
    async def Compose(self, requests, context):
        scenes, size, arrived = 0, 0, 0
        async for request in requests:
            match request.WhichOneof("part"):
                case "specification":
                    scenes = len(request.specification.scenes)
                    slots = [compositor_pb.SceneSlot(frame_count=FRAMES)] * scenes
                    plan = compositor_pb.ComposePlan(frame_count=FRAMES * scenes, slots=slots)
                    yield compositor_pb.ComposeResponse(plan=plan)
                case "scene":
                    size += request.scene.frame.size_bytes
                    scenes -= 1
                case "chunk":
                    arrived += len(request.chunk.data)
            if scenes == 0 and arrived == size:
                break
        video = video_pb2.VideoChunk(data=VIDEO)
        digest = hashlib.sha256(VIDEO).digest()
        yield compositor_pb.ComposeResponse(video=video)
        yield compositor_pb.ComposeResponse(stored=video)
        yield compositor_pb.ComposeResponse(
            summary=compositor_pb.ComposeSummary(
                frame_count=FRAMES * len(slots),
                size_bytes=len(VIDEO),
                sha256=digest,
                format="MP4",
                encoder="none",
                stored_size_bytes=len(VIDEO),
                stored_sha256=digest,
            )
        )


async def main() -> None:
    frames = scripted(
        lambda server: frame_gen_stubs.add_FrameGenServiceServicer_to_server(Frames(), server),
        "gator.frame_gen.v1.FrameGenService",
        name="frame_gen",
    )
    videos = scripted(
        lambda server: compositor_stubs.add_CompositorServiceServicer_to_server(Videos(), server),
        "gator.compositor.v1.CompositorService",
        name="compositor",
    )
    settings = LoopbackSettings(grace=0)
    async with RunningServer(frames, settings) as one, RunningServer(videos, settings) as other:
        print(json.dumps({"frame_gen": one.address, "compositor": other.address}), flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main())
