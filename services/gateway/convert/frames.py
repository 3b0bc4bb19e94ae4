"""Calls of the frame generation service."""

from __future__ import annotations

from gateway.convert.parts import unknown_message
from gateway.events import FrameDone, FrameEvent, FramePreview, FrameProgress, FrameQueued
from gateway.jobs.frames import FramePlan
from gateway.request import Render, RenderWarning
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_gen_pb
from gator.type.v1 import frame_pb2
from rpckit.errors import GatorError, Reason
from rpckit.frame import FrameHeader, checked_header
from rpckit.provenance import Backend, Provenance
from rpckit.times import to_seconds


def generate_frame_request(render: Render, index: int) -> frame_gen_pb.GenerateFrameRequest:
    """What the frame generation service is asked for scene `index`."""
    scene = render.scenes[index]
    return frame_gen_pb.GenerateFrameRequest(
        prompt=scene.prompt,
        negative_prompt=scene.negative_prompt,
        seed=scene.seed,
        num_inference_steps=scene.num_inference_steps,
        guidance_scale=scene.guidance_scale,
        use_ai_generation=render.use_ai_generation,
        fallback_policy=render.fallback_policy.value,
        video_width=render.preset.width,
        video_height=render.preset.height,
        scene_index=index,
        scene_count=len(render.scenes),
    )


def plan_frame_request(render: Render, index: int) -> frame_gen_pb.PlanFrameRequest:
    """What the frame generation service is asked about scene `index`."""
    return frame_gen_pb.PlanFrameRequest(frame=generate_frame_request(render, index))


def frame_plan(message: frame_gen_pb.PlanFrameResponse) -> FramePlan:
    """What would make a frame."""
    try:
        backend = Backend(message.backend)
    except ValueError:
        raise unknown_message("frame_gen") from None
    return FramePlan(
        backend=backend,
        model=message.model,
        scheduler=message.scheduler,
        generation_version=message.generation_version,
        width=message.width,
        height=message.height,
        num_inference_steps=message.num_inference_steps,
        guidance_scale=message.guidance_scale,
        shareable=message.shareable,
    )


def frame_event(message: frame_gen_pb.GenerateFrameResponse, index: int) -> FrameEvent:
    """What the frame generation service says of scene `index`."""
    match message.WhichOneof("event"):
        case "queued":
            queued = message.queued
            left = to_seconds(queued.time_left) if queued.HasField("time_left") else None
            return FrameQueued(left)
        case "progress":
            progress = message.progress
            left = to_seconds(progress.time_left) if progress.HasField("time_left") else None
            return FrameProgress(progress.step, progress.steps, left)
        case "preview":
            return FramePreview(message.preview.jpeg, message.preview.step)
        case "header":
            return _header(message.header)
        case "chunk":
            return message.chunk.data
        case "done":
            done = message.done
            warnings = tuple(
                RenderWarning(f"scenes[{index}].{w.field}", w.asked, w.applied, w.reason)
                for w in done.warnings
            )
            return FrameDone(_provenance(done.provenance), warnings)
        case _:
            raise unknown_message("frame_gen")


def _provenance(message: frame_pb2.Provenance) -> Provenance:
    try:
        return Provenance.from_proto(message)
    except ValueError:
        raise unknown_message("frame_gen") from None


def _header(message: frame_pb2.FrameHeader) -> FrameHeader:
    try:
        return checked_header(message, field="header")
    except GatorError as error:  # INVALID_ARGUMENT would blame the client
        raise GatorError(
            Reason.FRAME_CORRUPT,
            f"the frame_gen service announced a frame that cannot be: {error.message}",
            metadata={"downstream": "frame_gen"},
        ) from error
