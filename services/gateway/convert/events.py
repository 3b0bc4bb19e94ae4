"""Events of a render as messages to clients."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from google.api.httpbody_pb2 import HttpBody

from gateway.convert.parts import warning_messages
from gateway.events import (
    Accepted,
    DownloadPart,
    Finished,
    PassingEvent,
    RenderEvent,
    RenderProgress,
    Result,
    ScenePreview,
    SceneProgress,
    Slot,
    Video,
    VideoHeader,
    VideoTrailer,
)
from gateway.request import Scene
from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.provenance import Provenance
from rpckit.times import to_duration


def render_response(event: RenderEvent) -> pb.RenderResponse:
    """The message of an event of Render."""
    match event:
        case Video(data):
            return pb.RenderResponse(video=video_pb2.VideoChunk(data=data))
        case Accepted():
            return pb.RenderResponse(accepted=_accepted(event))
        case VideoHeader():
            return pb.RenderResponse(video_header=header_message(event))
        case Finished():
            return pb.RenderResponse(result=_finished(event))
        case _:
            return _passing(event)


def _passing(event: PassingEvent) -> pb.RenderResponse:
    match event:
        case RenderProgress():
            return pb.RenderResponse(progress=progress_message(event))
        case SceneProgress():
            return pb.RenderResponse(scene=scene_message(event))
        case ScenePreview():
            return pb.RenderResponse(preview=preview_message(event))


def download_response(part: DownloadPart) -> pb.DownloadVideoResponse:
    """The message of a part of a download."""
    match part:
        case Video(data):
            return pb.DownloadVideoResponse(chunk=video_pb2.VideoChunk(data=data))
        case VideoHeader():
            return pb.DownloadVideoResponse(header=header_message(part))
        case VideoTrailer(size, sha256):
            trailer = pb.VideoTrailer(size_bytes=size, sha256=sha256)
            return pb.DownloadVideoResponse(trailer=trailer)


def video_file_responses(part: DownloadPart) -> Iterator[pb.GetVideoFileResponse]:
    """The messages of a part of a download whose receiver knows nothing but HTTP."""
    match part:
        case VideoHeader():
            yield pb.GetVideoFileResponse(body=HttpBody(content_type="video/mp4"))
        case Video(data):
            yield pb.GetVideoFileResponse(body=HttpBody(data=data))
        case VideoTrailer():
            return


def progress_message(progress: RenderProgress) -> pb.RenderProgress:
    """How far a render is."""
    return pb.RenderProgress(
        scenes_finished=progress.scenes_finished,
        scene_count=progress.scene_count,
        frames_encoded=progress.frames_encoded,
        frame_count=progress.frame_count,
        fraction=progress.fraction,
    )


def preview_message(preview: ScenePreview) -> pb.ScenePreview:
    """A small picture of a scene's frame."""
    return pb.ScenePreview(index=preview.index, jpeg=preview.jpeg, step=preview.step)


def header_message(header: VideoHeader) -> pb.VideoHeader:
    """The beginning of a form."""
    return pb.VideoHeader(
        content_tag=header.content_tag,
        form=header.form.value,
        offset=header.offset,
        size_bytes=header.size,
        sha256=header.sha256,
    )


def _finished(event: Finished) -> pb.RenderResult:
    message = pb.RenderResult.FromString(event.result)
    message.form = event.form.value
    message.size_bytes = event.size
    message.sha256 = event.sha256
    return message


def _accepted(event: Accepted) -> pb.RenderAccepted:
    render = event.render
    return pb.RenderAccepted(
        render_id=event.render_id,
        warnings=warning_messages(render.warnings),
        quality=render.quality.value,
        preset=render.preset.to_proto(),
        frame_count=event.frame_count,
        duration=to_duration(Fraction(event.frame_count, render.preset.fps)),
        scene_count=len(render.scenes),
    )


def scene_message(event: SceneProgress) -> pb.SceneProgress:
    """How far a scene is."""
    return pb.SceneProgress(
        index=event.index,
        state=event.state.value,
        step=event.step,
        steps=event.steps,
        time_left=None if event.time_left is None else to_duration(event.time_left),
        provenance=None if event.provenance is None else event.provenance.to_proto(),
    )


def result_message(event: Result) -> pb.RenderResult:
    """A finished render, with size and checksum of the stored form."""
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
        frames_reused=len(event.provenances) - len(made),
        size_bytes=summary.stored.size,
        sha256=summary.stored.sha256,
        form=video_pb2.VIDEO_FORM_FASTSTART,
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
