"""Events of `Render`, results and capabilities as plain values."""

from __future__ import annotations

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import capability_pb2
from gator_client.capabilities import (
    BackendCapability,
    Capabilities,
    CodecCapability,
    Device,
    Limits,
)
from gator_client.fields import (
    to_backend,
    to_codec,
    to_form,
    to_preset,
    to_preview,
    to_progress,
    to_provenance,
    to_quality,
    to_scene_progress,
    to_seconds,
    to_transition,
    to_warnings,
)
from gator_client.result import (
    RenderAccepted,
    RenderEvent,
    RenderResult,
    RenderWarning,
    SceneResult,
    VideoChunk,
    VideoHeader,
)


def to_event(message: pb.RenderResponse, warnings: tuple[RenderWarning, ...]) -> RenderEvent | None:
    """The event in a message; None for one that this version does not know.

    `warnings` are the client's own; they stand before the server's.
    """
    kind = message.WhichOneof("event")
    if kind == "accepted":
        return _accepted(message.accepted, warnings)
    if kind == "result":
        return to_result(message.result, warnings)
    return _passing(message, kind)


def _passing(message: pb.RenderResponse, kind: str | None) -> RenderEvent | None:
    match kind:
        case "video":
            return VideoChunk(message.video.data)
        case "video_header":
            return to_header(message.video_header)
        case "scene":
            return to_scene_progress(message.scene)
        case "preview":
            return to_preview(message.preview)
        case "progress":
            return to_progress(message.progress)
        case _:
            return None


def to_header(message: pb.VideoHeader) -> VideoHeader:
    """The beginning of a video."""
    size = message.size_bytes if message.HasField("size_bytes") else None
    return VideoHeader(message.content_tag, to_form(message.form), size)


def to_capabilities(message: pb.GetCapabilitiesResponse) -> Capabilities:
    """What a server can do; qualities, transitions and codecs not known here are left out."""
    presets = {
        quality: to_preset(item.preset)
        for item in message.presets
        if (quality := to_quality(item.quality)) is not None
    }
    return Capabilities(
        presets=presets,
        transitions=tuple(t for n in message.transitions if (t := to_transition(n)) is not None),
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
            if (codec := to_codec(item.codec)) is not None
        ),
    )


def _accepted(message: pb.RenderAccepted, warnings: tuple[RenderWarning, ...]) -> RenderAccepted:
    return RenderAccepted(
        render_id=message.render_id,
        warnings=warnings + to_warnings(message.warnings),
        quality=to_quality(message.quality),
        preset=to_preset(message.preset),
        frame_count=message.frame_count,
        duration=to_seconds(message.duration),
        scene_count=message.scene_count,
    )


def to_result(message: pb.RenderResult, warnings: tuple[RenderWarning, ...] = ()) -> RenderResult:
    """A finished render. `warnings` as in `to_event`."""
    return RenderResult(
        render_id=message.render_id,
        duration=to_seconds(message.duration),
        width=message.width,
        height=message.height,
        fps=message.fps,
        format=message.format,
        quality=to_quality(message.quality),
        num_scenes=message.num_scenes,
        transition=to_transition(message.transition),
        frame_count=message.frame_count,
        frames_generated=message.frames_generated,
        size_bytes=message.size_bytes,
        sha256=message.sha256.hex(),
        scenes=tuple(_scene_result(scene) for scene in message.scenes),
        warnings=warnings + to_warnings(message.warnings),
        encoder=message.encoder,
        frames_reused=message.frames_reused,
        form=to_form(message.form),
    )


def _scene_result(message: pb.SceneResult) -> SceneResult:
    return SceneResult(
        index=message.index,
        start_time=to_seconds(message.start_time),
        duration=to_seconds(message.duration),
        transition=to_transition(message.transition),
        provenance=to_provenance(message.provenance),
    )


def _backend_capability(message: capability_pb2.BackendCapability) -> BackendCapability:
    return BackendCapability(
        to_backend(message.backend), message.available, tuple(message.models), message.message
    )


def _limits(message: pb.Limits) -> Limits:
    return Limits(
        max_scenes=message.max_scenes,
        max_prompt_characters=message.max_prompt_characters,
        max_scene_duration=to_seconds(message.max_scene_duration),
        max_transition_duration=to_seconds(message.max_transition_duration),
        max_total_duration=to_seconds(message.max_total_duration),
        max_total_pixels=message.max_total_pixels,
    )
