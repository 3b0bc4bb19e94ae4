"""A frame generation server that dies (SIGKILL) in the middle of a frame."""

from __future__ import annotations

import asyncio
import os
import signal

from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.type.v1 import frame_pb2
from rpckit.server import RunningServer
from rpckit.telemetry import configure_logging
from rpckit.termination import terminations
from rpckit.testing import LoopbackSettings
from tests.support.frame_source import FrameSource, plain_frame


class Dying(FrameSource):
    async def GenerateFrame(self, request, context):
        frame = plain_frame(0, 1920, 1080)
        yield pb.GenerateFrameResponse(header=frame.header.to_proto())
        yield pb.GenerateFrameResponse(chunk=frame_pb2.FrameChunk(data=next(frame.chunks())))
        os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    with terminations() as terminated:
        async with RunningServer(Dying().service(), LoopbackSettings()):
            await terminated.wait()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main())
