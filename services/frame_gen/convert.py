"""Protobuf messages <-> the plain values of frame generation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from frame_gen.backends.base import (
    Backend,
    GenerationRequest,
    Plan,
    Preview,
    Progress,
    Queued,
)
from frame_gen.backends.fallback import Done, availability_of
from frame_gen.diffusion.device import Device
from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.type.v1 import capability_pb2, frame_pb2, warning_pb2
from rpckit.errors import FieldViolation, invalid
from rpckit.times import to_duration

MAX_PROMPT_CHARACTERS = 4_000
SIDES = (16, 8_192)
STEPS = (1, 100)
GUIDANCE = (1.0, 20.0)


def generation_request(
    message: pb.GenerateFrameRequest, render_id: str, *, path: str = ""
) -> GenerationRequest:
    """The request of a message, or INVALID_ARGUMENT with every bad field.

    `path` leads the fields' names: where the message stands in the call's request.
    """
    if bad := tuple(_violations(message)):
        raise invalid(*(FieldViolation(path + v.field, v.description) for v in bad))
    return GenerationRequest(
        prompt=message.prompt,
        negative_prompt=message.negative_prompt,
        seed=message.seed,
        num_inference_steps=message.num_inference_steps,
        guidance_scale=message.guidance_scale,
        use_ai_generation=message.use_ai_generation,
        may_fall_back=message.fallback_policy != frame_pb2.FALLBACK_POLICY_FAIL,
        video_width=message.video_width,
        video_height=message.video_height,
        scene_index=message.scene_index,
        scene_count=message.scene_count,
        render_id=render_id,
    )


def _violations(message: pb.GenerateFrameRequest) -> Iterator[FieldViolation]:
    if not message.prompt.strip():
        yield FieldViolation("prompt", "is blank; say what the frame shows")
    for name in ("prompt", "negative_prompt"):
        length = len(getattr(message, name))
        if length > MAX_PROMPT_CHARACTERS:
            yield FieldViolation(
                name, f"has {length} characters; at most {MAX_PROMPT_CHARACTERS} are allowed"
            )
    for name, (low, high) in (
        ("num_inference_steps", STEPS),
        ("guidance_scale", GUIDANCE),
        ("video_width", SIDES),
        ("video_height", SIDES),
        ("scene_count", (1, 500)),
    ):
        value = getattr(message, name)
        if not math.isfinite(value) or not low <= value <= high:
            shown = value if isinstance(value, int) else f"{value:.7g}"
            yield FieldViolation(name, f"is {shown}; must be from {low:g} to {high:g}")
    if message.scene_index >= max(message.scene_count, 1):
        yield FieldViolation("scene_index", f"is {message.scene_index}; must be below scene_count")
    if message.fallback_policy not in frame_pb2.FallbackPolicy.values():
        yield FieldViolation("fallback_policy", f"is {message.fallback_policy}; is not known")


def event(value: Queued | Progress | Preview) -> pb.GenerateFrameResponse:
    """The message of an event before the frame."""
    match value:
        case Queued(position, time_left):
            left = None if time_left is None else to_duration(time_left)
            queued = pb.GenerationQueued(position=position, time_left=left)
            return pb.GenerateFrameResponse(queued=queued)
        case Progress(step, steps, time_left):
            left = None if time_left is None else to_duration(time_left)
            progress = pb.GenerationProgress(step=step, steps=steps, time_left=left)
            return pb.GenerateFrameResponse(progress=progress)
        case Preview(jpeg, step):
            return pb.GenerateFrameResponse(preview=pb.GenerationPreview(jpeg=jpeg, step=step))


def frame(done: Done) -> Iterator[pb.GenerateFrameResponse]:
    """The messages of a finished frame: header, chunks, done."""
    yield pb.GenerateFrameResponse(header=done.frame.header.to_proto())
    for data in done.frame.chunks():
        yield pb.GenerateFrameResponse(chunk=frame_pb2.FrameChunk(data=data))
    warnings = [
        warning_pb2.Warning(field=w.field, asked=w.asked, applied=w.applied, reason=w.reason)
        for w in done.warnings
    ]
    yield pb.GenerateFrameResponse(
        done=pb.GenerationDone(provenance=done.provenance.to_proto(), warnings=warnings)
    )


def plan(value: Plan) -> pb.PlanFrameResponse:
    """The message of a plan."""
    return pb.PlanFrameResponse(
        backend=value.backend.value,
        model=value.model,
        scheduler=value.scheduler,
        generation_version=value.generation_version,
        width=value.width,
        height=value.height,
        num_inference_steps=value.num_inference_steps,
        guidance_scale=value.guidance_scale,
        shareable=value.shareable,
    )


def capabilities(
    backends: Sequence[Backend], device: Device | None, version: str
) -> pb.GetCapabilitiesResponse:
    """What the backends can do now, and on what device."""
    answer = pb.GetCapabilitiesResponse(device=_device(device), version=version)
    for backend in backends:
        state = availability_of(backend)
        answer.backends.add(
            backend=backend.kind.value,
            available=state.available,
            models=state.models,
            message=state.message,
        )
    return answer


def _device(device: Device | None) -> capability_pb2.Device:
    if device is None:
        return capability_pb2.Device(type="cpu")
    return capability_pb2.Device(
        type=device.type.value,
        name=device.name,
        total_memory_bytes=device.total_memory,
        free_memory_bytes=device.free_memory,
    )
