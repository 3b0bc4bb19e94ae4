"""Renders that outlive their client, from messages to plain values."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2
from gator_client.durable import Priority, Render, RenderState, WatchEvent
from gator_client.fields import (
    to_codec,
    to_member,
    to_preview,
    to_progress,
    to_quality,
    to_scene_progress,
    to_seconds,
    to_transition,
    to_warnings,
)
from gator_client.response import to_result
from gator_client.result import RenderWarning
from gator_client.scene import RenderOptions, Scene, Storyboard
from gator_client.status import to_failure
from gator_client.video import FallbackPolicy


def to_render(message: pb.Render, warnings: tuple[RenderWarning, ...] = ()) -> Render:
    """A render as it stands. `warnings` are the client's own; they stand before the server's."""
    request = message.request
    warnings = warnings + to_warnings(message.warnings)
    return Render(
        render_id=message.render_id,
        state=to_member(RenderState, pb.RenderState.DESCRIPTOR, message.state)
        or RenderState.UNKNOWN,
        request=_storyboard(request),
        warnings=warnings,
        create_time=_time(message.create_time),
        start_time=_time(message.start_time) if message.HasField("start_time") else None,
        end_time=_time(message.end_time) if message.HasField("end_time") else None,
        expire_time=_time(message.expire_time) if message.HasField("expire_time") else None,
        progress=to_progress(message.progress),
        scene_progress=tuple(to_scene_progress(scene) for scene in message.scenes),
        attempts=message.attempts,
        error=to_failure(message.error) if message.HasField("error") else None,
        result=to_result(message.result) if message.HasField("result") else None,
        sequence=message.sequence,
        retry_of=message.retry_of,
        attached=message.attached,
        request_id=request.request_id,
        labels=dict(request.labels),
        priority=to_member(Priority, pb.Priority.DESCRIPTOR, request.priority),
    )


def to_watch_event(message: pb.WatchRenderResponse) -> WatchEvent | None:
    """The event in a message; None for one that this version does not know."""
    match message.WhichOneof("event"):
        case "render":
            return to_render(message.render)
        case "progress":
            return to_progress(message.progress)
        case "scene":
            return to_scene_progress(message.scene)
        case "preview":
            return to_preview(message.preview)
        case _:
            return None


def _storyboard(message: pb.RenderRequest) -> Storyboard:
    options = RenderOptions(
        quality=to_quality(message.quality),
        transition=to_transition(message.transition),
        use_ai_generation=message.use_ai_generation,
        negative_prompt=message.negative_prompt,
        fallback_policy=to_member(
            FallbackPolicy, frame_pb2.FallbackPolicy.DESCRIPTOR, message.fallback_policy
        ),
        codec=to_codec(message.codec),
    )
    return Storyboard(tuple(_scene(scene) for scene in message.scenes), options)


def _scene(message: pb.Scene) -> Scene:
    def given(name: str) -> bool:
        return message.HasField(name)  # type: ignore[arg-type]  # one of the literals

    return Scene(
        prompt=message.prompt,
        negative_prompt=message.negative_prompt if given("negative_prompt") else None,
        duration=to_seconds(message.duration) if given("duration") else None,
        transition=to_transition(message.transition),
        transition_duration=(
            to_seconds(message.transition_duration) if given("transition_duration") else None
        ),
        seed=message.seed if given("seed") else None,
        num_inference_steps=message.num_inference_steps if given("num_inference_steps") else None,
        guidance_scale=message.guidance_scale if given("guidance_scale") else None,
    )


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(UTC)
