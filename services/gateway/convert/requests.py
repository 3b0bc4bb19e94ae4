"""Requests of clients as plain values."""

from __future__ import annotations

import hashlib

from gateway.jobs.downloads import DownloadAsked
from gateway.request import RenderAsked, SceneAsked
from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import video_pb2
from rpckit.times import to_seconds


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
        request_id=message.request_id,
        labels=dict(message.labels),
        priority=message.priority,
        fingerprint=_fingerprint(message),
    )


def download_asked(message: pb.DownloadVideoRequest) -> DownloadAsked:
    """The bytes that are asked for."""
    return DownloadAsked(
        render_id=message.render_id,
        offset=message.offset,
        content_tag=message.content_tag,
        form=message.form,
    )


def video_file_asked(message: pb.GetVideoFileRequest) -> DownloadAsked:
    """The whole of the stored video."""
    return DownloadAsked(render_id=message.render_id, form=video_pb2.VIDEO_FORM_FASTSTART)


def _fingerprint(message: pb.RenderRequest) -> bytes:
    content = pb.RenderRequest()
    content.CopyFrom(message)
    content.ClearField("request_id")
    return hashlib.sha256(content.SerializeToString(deterministic=True)).digest()


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
