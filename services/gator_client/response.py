"""Messages of the gateway as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import capability_pb2, frame_pb2, video_pb2, warning_pb2
from gator_client.capabilities import (
    BackendCapability,
    Capabilities,
    CodecCapability,
    Device,
    Limits,
)
from gator_client.result import (
    PassedOver,
    Provenance,
    RenderAccepted,
    RenderEvent,
    RenderProgress,
    RenderResult,
    RenderWarning,
    ScenePreview,
    SceneProgress,
    SceneResult,
    VideoChunk,
)
from gator_client.video import Backend, Codec, Preset, Quality, SceneState, Transition

_E = TypeVar("_E", bound=StrEnum)


def to_event(message: pb.RenderResponse, warnings: tuple[RenderWarning, ...]) -> RenderEvent | None:
    """The event in a message; None for one that this version does not know.

    `warnings` are the client's own; they stand before the server's.
    """
    kind = message.WhichOneof("event")
    if kind == "accepted":
        return _accepted(message.accepted, warnings)
    if kind == "result":
        return _result(message.result, warnings)
    return _passing(message, kind)


def _passing(message: pb.RenderResponse, kind: str | None) -> RenderEvent | None:
    match kind:
        case "video":
            return VideoChunk(message.video.data)
        case "scene":
            return _scene_progress(message.scene)
        case "preview":
            return ScenePreview(message.preview.index, message.preview.jpeg, message.preview.step)
        case "progress":
            return _progress(message.progress)
        case _:
            return None


def to_capabilities(message: pb.GetCapabilitiesResponse) -> Capabilities:
    """What a server can do; qualities, transitions and codecs not known here are left out."""
    presets = {
        quality: to_preset(item.preset)
        for item in message.presets
        if (quality := _quality(item.quality)) is not None
    }
    return Capabilities(
        presets=presets,
        transitions=tuple(t for n in message.transitions if (t := _transition(n)) is not None),
        backends=tuple(_backend_capability(item) for item in message.backends),
        device=Device(
            message.device.type,
            message.device.name,
            message.device.total_memory_bytes,
            message.device.free_memory_bytes,
        ),
        limits=_limits(message.limits),
        encoder=message.encoder,
        version=message.version,
        codecs=tuple(
            CodecCapability(codec, item.encoder, item.hardware)
            for item in message.codecs
            if (codec := _member(Codec, video_pb2.Codec.DESCRIPTOR, item.codec)) is not None
        ),
    )


def to_preset(message: video_pb2.Preset) -> Preset:
    """What a quality stands for."""
    return Preset(
        message.width, message.height, message.fps, message.bitrate_kbps, message.use_case
    )


def to_provenance(message: frame_pb2.Provenance) -> Provenance:
    """Where a frame came from."""
    return Provenance(
        backend=_backend(message.backend),
        model=message.model,
        seed=message.seed,
        num_inference_steps=message.num_inference_steps,
        guidance_scale=message.guidance_scale,
        width=message.width,
        height=message.height,
        queue_time=_seconds(message.queue_time),
        generation_time=_seconds(message.generation_time),
        passed_over=tuple(
            PassedOver(_backend(item.backend), item.reason, item.message)
            for item in message.passed_over
        ),
        frame_sha256=message.frame_sha256.hex(),
    )


def _accepted(message: pb.RenderAccepted, warnings: tuple[RenderWarning, ...]) -> RenderAccepted:
    return RenderAccepted(
        render_id=message.render_id,
        warnings=warnings + _warnings(message.warnings),
        quality=_quality(message.quality),
        preset=to_preset(message.preset),
        frame_count=message.frame_count,
        duration=_seconds(message.duration),
        scene_count=message.scene_count,
    )


def _progress(message: pb.RenderProgress) -> RenderProgress:
    return RenderProgress(
        message.scenes_finished,
        message.scene_count,
        message.frames_encoded,
        message.frame_count,
        message.fraction,
    )


def _scene_progress(message: pb.SceneProgress) -> SceneProgress:
    has_provenance = message.HasField("provenance")
    return SceneProgress(
        index=message.index,
        state=_member(SceneState, pb.SceneState.DESCRIPTOR, message.state) or SceneState.UNKNOWN,
        step=message.step,
        steps=message.steps,
        time_left=_seconds(message.time_left) if message.HasField("time_left") else None,
        provenance=to_provenance(message.provenance) if has_provenance else None,
    )


def _result(message: pb.RenderResult, warnings: tuple[RenderWarning, ...]) -> RenderResult:
    return RenderResult(
        render_id=message.render_id,
        duration=_seconds(message.duration),
        width=message.width,
        height=message.height,
        fps=message.fps,
        format=message.format,
        quality=_quality(message.quality),
        num_scenes=message.num_scenes,
        transition=_transition(message.transition),
        frame_count=message.frame_count,
        frames_generated=message.frames_generated,
        size_bytes=message.size_bytes,
        sha256=message.sha256.hex(),
        scenes=tuple(_scene_result(scene) for scene in message.scenes),
        warnings=warnings + _warnings(message.warnings),
        encoder=message.encoder,
    )


def _scene_result(message: pb.SceneResult) -> SceneResult:
    return SceneResult(
        index=message.index,
        start_time=_seconds(message.start_time),
        duration=_seconds(message.duration),
        transition=_transition(message.transition),
        provenance=to_provenance(message.provenance),
    )


def _backend_capability(message: capability_pb2.BackendCapability) -> BackendCapability:
    return BackendCapability(
        _backend(message.backend), message.available, tuple(message.models), message.message
    )


def _limits(message: pb.Limits) -> Limits:
    return Limits(
        max_scenes=message.max_scenes,
        max_prompt_characters=message.max_prompt_characters,
        max_scene_duration=_seconds(message.max_scene_duration),
        max_transition_duration=_seconds(message.max_transition_duration),
        max_total_duration=_seconds(message.max_total_duration),
        max_total_pixels=message.max_total_pixels,
    )


def _warnings(messages: Iterable[warning_pb2.Warning]) -> tuple[RenderWarning, ...]:
    return tuple(RenderWarning(w.field, w.asked, w.applied, w.reason) for w in messages)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _quality(number: video_pb2.Quality.ValueType) -> Quality | None:
    return _member(Quality, video_pb2.Quality.DESCRIPTOR, number)


def _transition(number: video_pb2.Transition.ValueType) -> Transition | None:
    return _member(Transition, video_pb2.Transition.DESCRIPTOR, number)


def _backend(number: frame_pb2.Backend.ValueType) -> Backend:
    return _member(Backend, frame_pb2.Backend.DESCRIPTOR, number) or Backend.UNKNOWN


def _member(members: type[_E], descriptor: EnumDescriptor, number: int) -> _E | None:
    """The member that stands for an enum number; None for one that is not known here."""
    value = descriptor.values_by_number.get(number)
    if value is None:
        return None
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return members.__members__.get(value.name.removeprefix(prefix))
