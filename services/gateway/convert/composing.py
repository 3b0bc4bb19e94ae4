"""Calls of the compositor."""

from __future__ import annotations

from gateway.convert.parts import unknown_message
from gateway.events import (
    ComposeEvent,
    ComposePlan,
    ComposeProgress,
    ComposeSummary,
    Content,
    Slot,
    StoredBytes,
)
from gateway.request import Render
from gator.compositor.v1 import compositor_service_pb2 as compositor_pb
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.frame import FrameHeader
from rpckit.times import to_duration


def compose_specification(render: Render) -> compositor_pb.ComposeRequest:
    """The first message to the compositor."""
    scenes = [
        compositor_pb.ComposeScene(
            duration=to_duration(scene.duration),
            transition=scene.transition.value,
            transition_duration=to_duration(scene.transition_duration),
        )
        for scene in render.scenes
    ]
    return compositor_pb.ComposeRequest(
        specification=compositor_pb.ComposeSpecification(
            quality=render.quality.value,
            scenes=scenes,
            codec=render.codec.value,
            forms=[video_pb2.VIDEO_FORM_FRAGMENTED, video_pb2.VIDEO_FORM_FASTSTART],
        )
    )


def compose_scene(index: int, header: FrameHeader) -> compositor_pb.ComposeRequest:
    """The message that begins the frame of scene `index`."""
    return compositor_pb.ComposeRequest(
        scene=compositor_pb.SceneFrame(index=index, frame=header.to_proto())
    )


def compose_chunk(data: bytes) -> compositor_pb.ComposeRequest:
    """The message with the next bytes of a frame."""
    return compositor_pb.ComposeRequest(chunk=frame_pb2.FrameChunk(data=data))


def compose_event(message: compositor_pb.ComposeResponse) -> ComposeEvent:
    """What the compositor says."""
    match message.WhichOneof("part"):
        case "plan":
            slots = tuple(Slot(s.first_frame, s.frame_count) for s in message.plan.slots)
            return ComposePlan(message.plan.frame_count, slots)
        case "progress":
            return ComposeProgress(message.progress.frames_encoded)
        case "video":
            return message.video.data
        case "stored":
            return StoredBytes(message.stored.data)
        case "summary":
            summary = message.summary
            return ComposeSummary(
                frame_count=summary.frame_count,
                fragmented=Content(summary.size_bytes, summary.sha256),
                stored=Content(summary.stored_size_bytes, summary.stored_sha256),
                format=summary.format,
                encoder=summary.encoder,
            )
        case _:
            raise unknown_message("compositor")
