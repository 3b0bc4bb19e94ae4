"""What happens in a render, as plain values: what services report, and what clients are told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from gateway.request import Render, RenderWarning
from gator.gateway.v1 import render_service_pb2
from rpckit.frame import FrameHeader
from rpckit.provenance import Provenance
from rpckit.video import VideoForm


@dataclass(frozen=True)
class FrameQueued:
    """From the frame generation service: a frame waits for a device, a model or a quota."""

    time_left: Fraction | None = None
    """Seconds until a model is downloaded."""


@dataclass(frozen=True)
class FrameProgress:
    """From the frame generation service: how far the making of a frame is."""

    step: int
    steps: int
    """0 where the backend has none."""
    time_left: Fraction | None
    """Seconds."""


@dataclass(frozen=True)
class FramePreview:
    """From the frame generation service: a small picture of a frame as it stands."""

    jpeg: bytes
    step: int


@dataclass(frozen=True)
class FrameDone:
    """From the frame generation service: a frame is complete."""

    provenance: Provenance
    warnings: tuple[RenderWarning, ...]


FrameEvent = FrameQueued | FrameProgress | FramePreview | FrameHeader | bytes | FrameDone
"""A header comes before the frame's bytes, `FrameDone` last."""


@dataclass(frozen=True)
class Slot:
    """A scene's place on the timeline, in pictures."""

    first_frame: int
    frame_count: int


@dataclass(frozen=True)
class ComposePlan:
    """From the compositor: the timeline."""

    frame_count: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class ComposeProgress:
    """From the compositor: how far the video is."""

    frames_encoded: int


@dataclass(frozen=True)
class StoredBytes:
    """From the compositor: the next bytes of the stored form, after all of the streamed one."""

    data: bytes


@dataclass(frozen=True)
class Content:
    """A form of a video, as the compositor sent it."""

    size: int
    """Bytes."""
    sha256: bytes


@dataclass(frozen=True)
class ComposeSummary:
    """From the compositor: the finished video."""

    frame_count: int
    fragmented: Content
    stored: Content
    format: str
    encoder: str


ComposeEvent = ComposePlan | ComposeProgress | bytes | StoredBytes | ComposeSummary
"""The plan comes first, the summary last; bytes are the next of the streamed form."""


class SceneState(Enum):
    """State of a scene; the value is its number in render_service.proto."""

    QUEUED = render_service_pb2.SCENE_STATE_QUEUED
    GENERATING = render_service_pb2.SCENE_STATE_GENERATING
    FINISHED = render_service_pb2.SCENE_STATE_FINISHED


@dataclass(frozen=True)
class Accepted:
    """The render was accepted: its timeline stands."""

    render_id: str
    render: Render
    frame_count: int


@dataclass(frozen=True)
class RenderProgress:
    """To the client: how far the render is."""

    scenes_finished: int
    scene_count: int
    frames_encoded: int
    frame_count: int
    fraction: float
    """0 to 1, never falling."""


@dataclass(frozen=True)
class SceneProgress:
    """To the client: how far a scene is."""

    index: int
    state: SceneState
    step: int = 0
    steps: int = 0
    time_left: Fraction | None = None
    provenance: Provenance | None = None
    """Set once the scene is finished."""


@dataclass(frozen=True)
class ScenePreview:
    """To the client: a small picture of a scene's frame as it stands."""

    index: int
    jpeg: bytes
    step: int


@dataclass(frozen=True)
class Video:
    """To the client: the next bytes of the video."""

    data: bytes


@dataclass(frozen=True)
class VideoHeader:
    """To the client: the bytes of the video begin."""

    content_tag: str
    form: VideoForm
    offset: int = 0
    size: int | None = None
    """Bytes of the whole form; None while it is being encoded."""
    sha256: bytes = b""
    """Of the whole form; empty while it is being encoded."""


@dataclass(frozen=True)
class VideoTrailer:
    """To the client: all bytes of the form have been sent."""

    size: int
    """Bytes of the whole form."""
    sha256: bytes


@dataclass(frozen=True)
class Finished:
    """To the client: the video is complete, in the form that was sent."""

    result: bytes
    """As it is stored, for the stored form."""
    form: VideoForm
    size: int
    """Bytes of the form that was sent."""
    sha256: bytes


@dataclass(frozen=True)
class Result:
    """From the pipeline: the video is complete."""

    render_id: str
    render: Render
    summary: ComposeSummary
    slots: tuple[Slot, ...]
    provenances: tuple[Provenance, ...]
    warnings: tuple[RenderWarning, ...]


PassingEvent = RenderProgress | SceneProgress | ScenePreview
"""How far a render is; a newer one of the same kind and scene overtakes an older one."""

PipelineEvent = Accepted | PassingEvent | Video | StoredBytes | Result
"""`Accepted` comes first, `Result` last."""

RenderEvent = Accepted | PassingEvent | VideoHeader | Video | Finished
"""`Accepted` comes first, `Finished` last; a header comes before the first bytes of each form."""

DownloadPart = VideoHeader | Video | VideoTrailer
"""The header comes first, the trailer last."""
