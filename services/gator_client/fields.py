"""Parts of the gateway's messages as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2, video_pb2, warning_pb2
from gator_client.result import (
    PassedOver,
    Provenance,
    RenderProgress,
    RenderWarning,
    ScenePreview,
    SceneProgress,
)
from gator_client.video import Backend, Codec, Preset, Quality, SceneState, Transition, VideoForm

_E = TypeVar("_E", bound=StrEnum)


def to_preset(message: video_pb2.Preset) -> Preset:
    """What a quality stands for."""
    return Preset(
        message.width, message.height, message.fps, message.bitrate_kbps, message.use_case
    )


def to_provenance(message: frame_pb2.Provenance) -> Provenance:
    """Where a frame came from."""
    return Provenance(
        backend=to_backend(message.backend),
        model=message.model,
        seed=message.seed,
        num_inference_steps=message.num_inference_steps,
        guidance_scale=message.guidance_scale,
        width=message.width,
        height=message.height,
        queue_time=to_seconds(message.queue_time),
        generation_time=to_seconds(message.generation_time),
        passed_over=tuple(
            PassedOver(to_backend(item.backend), item.reason, item.message)
            for item in message.passed_over
        ),
        frame_sha256=message.frame_sha256.hex(),
        original_backend=to_backend(message.original_backend) if message.original_backend else None,
    )


def to_progress(message: pb.RenderProgress) -> RenderProgress:
    """How far a render is."""
    return RenderProgress(
        message.scenes_finished,
        message.scene_count,
        message.frames_encoded,
        message.frame_count,
        message.fraction,
    )


def to_scene_progress(message: pb.SceneProgress) -> SceneProgress:
    """How far a scene is."""
    has_provenance = message.HasField("provenance")
    return SceneProgress(
        index=message.index,
        state=to_member(SceneState, pb.SceneState.DESCRIPTOR, message.state) or SceneState.UNKNOWN,
        step=message.step,
        steps=message.steps,
        time_left=to_seconds(message.time_left) if message.HasField("time_left") else None,
        provenance=to_provenance(message.provenance) if has_provenance else None,
    )


def to_preview(message: pb.ScenePreview) -> ScenePreview:
    """A small picture of a scene's frame."""
    return ScenePreview(message.index, message.jpeg, message.step)


def to_warnings(messages: Iterable[warning_pb2.Warning]) -> tuple[RenderWarning, ...]:
    """What was changed in a request."""
    return tuple(RenderWarning(w.field, w.asked, w.applied, w.reason) for w in messages)


def to_seconds(duration: Duration) -> float:
    """A time in seconds."""
    return duration.seconds + duration.nanos / 1e9


def to_quality(number: video_pb2.Quality.ValueType) -> Quality | None:
    """The quality; None where this version does not know it."""
    return to_member(Quality, video_pb2.Quality.DESCRIPTOR, number)


def to_transition(number: video_pb2.Transition.ValueType) -> Transition | None:
    """The transition; None where this version does not know it."""
    return to_member(Transition, video_pb2.Transition.DESCRIPTOR, number)


def to_codec(number: video_pb2.Codec.ValueType) -> Codec | None:
    """The codec; None where this version does not know it."""
    return to_member(Codec, video_pb2.Codec.DESCRIPTOR, number)


def to_form(number: video_pb2.VideoForm.ValueType) -> VideoForm | None:
    """The form; None where this version does not know it."""
    return to_member(VideoForm, video_pb2.VideoForm.DESCRIPTOR, number)


def to_backend(number: frame_pb2.Backend.ValueType) -> Backend:
    """The backend."""
    return to_member(Backend, frame_pb2.Backend.DESCRIPTOR, number) or Backend.UNKNOWN


def to_member(members: type[_E], descriptor: EnumDescriptor, number: int) -> _E | None:
    """The member that stands for an enum number; None for one that is not known here."""
    value = descriptor.values_by_number.get(number)
    if value is None:
        return None
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return members.__members__.get(value.name.removeprefix(prefix))
