"""Protobuf messages <-> the gateway's plain values."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from gateway.events import (
    Accepted,
    ComposeEvent,
    ComposePlan,
    ComposeProgress,
    ComposeSummary,
    FrameDone,
    FrameEvent,
    FramePreview,
    FrameProgress,
    FrameQueued,
    RenderEvent,
    RenderProgress,
    Result,
    ScenePreview,
    SceneProgress,
    Slot,
    Video,
)
from gateway.request import Limits, Render, RenderAsked, RenderWarning, Scene, SceneAsked
from gator.compositor.v1 import compositor_service_pb2 as compositor_pb
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_gen_pb
from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2, video_pb2, warning_pb2
from rpckit.errors import GatorError, Reason
from rpckit.frame import FrameHeader, checked_header
from rpckit.provenance import Provenance
from rpckit.times import to_duration, to_seconds

# --- requests of clients ----------------------------------------------------------------


def render_asked(message: pb.RenderRequest) -> RenderAsked:
    """The request as it was sent, unset fields as None."""
    return RenderAsked(
        scenes=tuple(_scene_asked(scene) for scene in message.scenes),
        quality=message.quality,
        transition=message.transition,
        duration_per_frame=(
            to_seconds(message.duration_per_frame)
            if message.HasField("duration_per_frame")
            else None
        ),
        transition_duration=(
            to_seconds(message.transition_duration)
            if message.HasField("transition_duration")
            else None
        ),
        use_ai_generation=(
            message.use_ai_generation if message.HasField("use_ai_generation") else None
        ),
        num_inference_steps=(
            message.num_inference_steps if message.HasField("num_inference_steps") else None
        ),
        guidance_scale=message.guidance_scale if message.HasField("guidance_scale") else None,
        negative_prompt=message.negative_prompt,
        fallback_policy=message.fallback_policy,
        strict=message.strict,
        codec=message.codec,
    )


def _scene_asked(message: pb.Scene) -> SceneAsked:
    return SceneAsked(
        prompt=message.prompt,
        negative_prompt=message.negative_prompt if message.HasField("negative_prompt") else None,
        duration=to_seconds(message.duration) if message.HasField("duration") else None,
        transition=message.transition,
        transition_duration=(
            to_seconds(message.transition_duration)
            if message.HasField("transition_duration")
            else None
        ),
        seed=message.seed if message.HasField("seed") else None,
        num_inference_steps=(
            message.num_inference_steps if message.HasField("num_inference_steps") else None
        ),
        guidance_scale=message.guidance_scale if message.HasField("guidance_scale") else None,
    )


# --- calls of the services below --------------------------------------------------------


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
            raise _unknown_message("frame_gen")


def _provenance(message: frame_pb2.Provenance) -> Provenance:
    try:
        return Provenance.from_proto(message)
    except ValueError:
        raise _unknown_message("frame_gen") from None


def _header(message: frame_pb2.FrameHeader) -> FrameHeader:
    try:
        return checked_header(
            message.width,
            message.height,
            message.pixel_format,
            message.size_bytes,
            message.sha256,
            field="header",
        )
    except GatorError as error:  # INVALID_ARGUMENT would blame the client
        raise GatorError(
            Reason.FRAME_CORRUPT,
            f"the frame_gen service announced a frame that cannot be: {error.message}",
            metadata={"downstream": "frame_gen"},
        ) from error


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
            quality=render.quality.value, scenes=scenes, codec=render.codec.value
        )
    )


def compose_scene(index: int, header: FrameHeader) -> compositor_pb.ComposeRequest:
    """The message that begins the frame of scene `index`."""
    return compositor_pb.ComposeRequest(
        scene=compositor_pb.SceneFrame(
            index=index,
            frame=frame_pb2.FrameHeader(
                width=header.width,
                height=header.height,
                pixel_format=header.pixel_format.value,
                size_bytes=header.size,
                sha256=header.sha256,
            ),
        )
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
        case "summary":
            summary = message.summary
            return ComposeSummary(
                frame_count=summary.frame_count,
                size=summary.size_bytes,
                sha256=summary.sha256,
                format=summary.format,
                encoder=summary.encoder,
            )
        case _:
            raise _unknown_message("compositor")


def _unknown_message(service: str) -> GatorError:
    return GatorError(
        Reason.INTERNAL,
        f"the {service} service sent a message that this gateway does not know; "
        "run the same version of both",
        metadata={"downstream": service},
    )


# --- answers to clients -----------------------------------------------------------------


def render_response(event: RenderEvent) -> pb.RenderResponse:
    """The message of an event."""
    match event:
        case Video(data):
            return pb.RenderResponse(video=video_pb2.VideoChunk(data=data))
        case Accepted():
            return pb.RenderResponse(accepted=_accepted(event))
        case RenderProgress():
            progress = pb.RenderProgress(
                scenes_finished=event.scenes_finished,
                scene_count=event.scene_count,
                frames_encoded=event.frames_encoded,
                frame_count=event.frame_count,
                fraction=event.fraction,
            )
            return pb.RenderResponse(progress=progress)
        case SceneProgress():
            return pb.RenderResponse(scene=_scene_progress(event))
        case ScenePreview(index, jpeg, step):
            preview = pb.ScenePreview(index=index, jpeg=jpeg, step=step)
            return pb.RenderResponse(preview=preview)
        case Result():
            return pb.RenderResponse(result=_result(event))


def _accepted(event: Accepted) -> pb.RenderAccepted:
    render = event.render
    return pb.RenderAccepted(
        render_id=event.render_id,
        warnings=_warnings(render.warnings),
        quality=render.quality.value,
        preset=_preset(render),
        frame_count=event.frame_count,
        duration=to_duration(Fraction(event.frame_count, render.preset.fps)),
        scene_count=len(render.scenes),
    )


def _scene_progress(event: SceneProgress) -> pb.SceneProgress:
    return pb.SceneProgress(
        index=event.index,
        state=event.state.value,
        step=event.step,
        steps=event.steps,
        time_left=None if event.time_left is None else to_duration(event.time_left),
        provenance=None if event.provenance is None else event.provenance.to_proto(),
    )


def _result(event: Result) -> pb.RenderResult:
    render, summary = event.render, event.summary
    preset = render.preset
    scenes = [
        _scene_result(index, scene, slot, provenance, preset.fps)
        for index, (scene, slot, provenance) in enumerate(
            zip(render.scenes, event.slots, event.provenances, strict=True)
        )
    ]
    scenes[-1].transition = video_pb2.TRANSITION_UNSPECIFIED
    made = [p for p in event.provenances if p.backend.value != frame_pb2.BACKEND_CACHE]
    return pb.RenderResult(
        render_id=event.render_id,
        duration=to_duration(Fraction(summary.frame_count, preset.fps)),
        width=preset.width,
        height=preset.height,
        fps=preset.fps,
        format=summary.format,
        quality=render.quality.value,
        num_scenes=len(render.scenes),
        transition=render.transition.value,
        frame_count=summary.frame_count,
        frames_generated=len(made),
        size_bytes=summary.size,
        sha256=summary.sha256,
        scenes=scenes,
        warnings=_warnings(event.warnings),
        encoder=summary.encoder,
    )


def _scene_result(
    index: int, scene: Scene, slot: Slot, provenance: Provenance, fps: int
) -> pb.SceneResult:
    return pb.SceneResult(
        index=index,
        start_time=to_duration(Fraction(slot.first_frame, fps)),
        duration=to_duration(Fraction(slot.frame_count, fps)),
        transition=scene.transition.value,
        provenance=provenance.to_proto(),
    )


def _warnings(warnings: Sequence[RenderWarning]) -> list[warning_pb2.Warning]:
    return [
        warning_pb2.Warning(field=w.field, asked=w.asked, applied=w.applied, reason=w.reason)
        for w in warnings
    ]


def _preset(render: Render) -> video_pb2.Preset:
    value = video_pb2.Quality.DESCRIPTOR.values_by_number[render.quality.value]
    preset: video_pb2.Preset = value.GetOptions().Extensions[video_pb2.preset]
    return preset


def capabilities(
    frames: frame_gen_pb.GetCapabilitiesResponse,
    videos: compositor_pb.GetCapabilitiesResponse,
    limits: Limits,
    version: str,
) -> pb.GetCapabilitiesResponse:
    """What the two services below can do, and the limits on requests."""
    return pb.GetCapabilitiesResponse(
        presets=videos.presets,
        transitions=videos.transitions,
        backends=frames.backends,
        device=frames.device,
        limits=pb.Limits(
            max_scenes=limits.max_scenes,
            max_prompt_characters=limits.max_prompt_characters,
            max_scene_duration=to_duration(limits.max_scene_duration),
            max_transition_duration=to_duration(limits.max_transition_duration),
            max_total_duration=to_duration(limits.max_total_duration),
            max_total_pixels=limits.max_total_pixels,
        ),
        encoder=videos.encoder,
        version=version,
        codecs=videos.codec_capabilities,
    )
