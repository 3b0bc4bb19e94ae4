"""Drives a Compose call as a client does."""

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration

from gator.compositor.v1 import compositor_service_pb2 as pb
from gator.compositor.v1 import compositor_service_pb2_grpc as stubs
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.frame import Frame
from rpckit.video import Quality
from tests.support.reference import Scene


@dataclass(frozen=True)
class Composed:
    """What a call gave."""

    plan: pb.ComposePlan
    data: bytes
    summary: pb.ComposeSummary


async def compose(
    channel: grpc.aio.Channel,
    quality: Quality,
    scenes: Sequence[Scene],
    picture: Callable[[int], np.ndarray],
    came: Callable[[pb.ComposeResponse], None] = lambda _: None,
) -> Composed:
    """A video of `scenes`; `picture(i)` is the RGB picture (height, width, 3) of scene i.

    `picture` is called in a thread, and may wait; `came` sees every response.
    """
    call = stubs.CompositorServiceStub(channel).Compose()
    plan, summary, data = None, None, bytearray()
    try:
        # Written in a task: an error in an iterator of requests would only cancel the call.
        async with asyncio.TaskGroup() as group:
            group.create_task(_send(call, _requests(quality, scenes, picture)))
            async for response in call:
                came(response)
                match response.WhichOneof("part"):
                    case "plan":
                        plan = response.plan
                    case "video":
                        data += response.video.data
                    case "summary":
                        summary = response.summary
    finally:
        call.cancel()
    assert plan is not None
    assert summary is not None
    assert summary.size_bytes == len(data)
    assert summary.sha256 == hashlib.sha256(data).digest()
    return Composed(plan, bytes(data), summary)


async def _send(call: grpc.aio.StreamStreamCall, requests: AsyncIterator) -> None:
    async for request in requests:
        await call.write(request)
    await call.done_writing()


async def _requests(
    quality: Quality, scenes: Sequence[Scene], picture: Callable[[int], np.ndarray]
) -> AsyncIterator[pb.ComposeRequest]:
    yield pb.ComposeRequest(
        specification=pb.ComposeSpecification(
            quality=quality.value, scenes=[_scene(scene) for scene in scenes]
        )
    )
    for index in range(len(scenes)):
        rgb = await asyncio.to_thread(picture, index)
        height, width, _ = rgb.shape
        frame = Frame.of(width, height, np.ascontiguousarray(rgb).data.cast("B"))
        scene = pb.SceneFrame(index=index, frame=frame.header.to_proto())
        yield pb.ComposeRequest(scene=scene)
        for chunk in frame.chunks():
            yield pb.ComposeRequest(chunk=frame_pb2.FrameChunk(data=chunk))


def _scene(scene: Scene) -> pb.ComposeScene:
    return pb.ComposeScene(
        duration=duration(scene.duration),
        transition=video_pb2.Transition.Value(f"TRANSITION_{scene.transition}"),
        transition_duration=duration(scene.transition_duration),
    )


def duration(seconds: Fraction) -> Duration:
    """`seconds`, which must be a whole number of nanoseconds."""
    nanos = seconds * 10**9
    assert nanos.denominator == 1
    whole, rest = divmod(math.floor(nanos), 10**9)
    return Duration(seconds=whole, nanos=rest)
