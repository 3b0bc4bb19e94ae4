"""Events of a render as messages to clients."""

from __future__ import annotations

from fractions import Fraction

from gateway.convert.parts import preset_message, warning_messages
from gateway.events import (
    Accepted,
    RenderEvent,
    RenderProgress,
    Result,
    ScenePreview,
    SceneProgress,
    Slot,
    Video,
)
from gateway.request import Scene
from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.provenance import Provenance
from rpckit.times import to_duration


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
        warnings=warning_messages(render.warnings),
        quality=render.quality.value,
        preset=preset_message(render.quality),
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
        warnings=warning_messages(event.warnings),
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
