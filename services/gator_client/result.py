"""What a render tells: events while it runs, and its result."""

from __future__ import annotations

from dataclasses import dataclass

from gator_client.video import Backend, Preset, Quality, SceneState, Transition, VideoForm


@dataclass(frozen=True)
class RenderWarning:
    """A value that could not be used as it was given, and what was used instead."""

    field: str
    """Path of the field in the request, such as "scenes[2].duration"."""
    asked: str
    """The value that was asked for; empty where none can be shown."""
    applied: str
    """The value that is used."""
    reason: str
    """Why, in one sentence."""


@dataclass(frozen=True)
class PassedOver:
    """A better backend that did not make a frame, and why."""

    backend: Backend
    reason: str
    """Such as "NO_MODEL_AVAILABLE"."""
    message: str
    """The same for people, with what to do about it."""


@dataclass(frozen=True)
class Provenance:
    """Where a scene's frame came from."""

    backend: Backend
    model: str
    """Name and revision of the model; empty where none was used."""
    seed: int
    """The seed that was used."""
    num_inference_steps: int
    """Denoising steps that were done; 0 where there are none."""
    guidance_scale: float
    """Guidance scale that was used; 0 where there is none."""
    width: int
    """Width at which the frame was made, in pixels."""
    height: int
    """Height at which the frame was made, in pixels."""
    queue_time: float
    """Seconds spent waiting for a device or a quota."""
    generation_time: float
    """Seconds spent making the frame."""
    passed_over: tuple[PassedOver, ...]
    """Better backends that were passed over, best first."""
    frame_sha256: str
    """SHA-256 of the frame's bytes as they were made, in hexadecimal."""
    original_backend: Backend | None = None
    """What made a frame that was stored already; None for any other."""


@dataclass(frozen=True)
class SceneResult:
    """A finished scene."""

    index: int
    """Position of the scene, from 0."""
    start_time: float
    """When the scene starts in the video, in seconds."""
    duration: float
    """How long the scene lasts in the video, in seconds."""
    transition: Transition | None
    """The transition to the next scene; None for the last scene."""
    provenance: Provenance


@dataclass(frozen=True)
class RenderAccepted:
    """The render was accepted. Always the first event."""

    render_id: str
    warnings: tuple[RenderWarning, ...]
    """What was changed in the request."""
    quality: Quality | None
    preset: Preset
    frame_count: int
    """Number of pictures of the video."""
    duration: float
    """Length of the video in seconds."""
    scene_count: int


@dataclass(frozen=True)
class RenderProgress:
    """How far the whole render is."""

    scenes_finished: int
    scene_count: int
    frames_encoded: int
    frame_count: int
    fraction: float
    """Part of the whole work that is done, 0 to 1; never falls."""


@dataclass(frozen=True)
class SceneProgress:
    """How far a scene is."""

    index: int
    """Position of the scene, from 0."""
    state: SceneState
    step: int
    """Denoising steps done."""
    steps: int
    """Denoising steps in all; 0 where the backend has none."""
    time_left: float | None
    """Estimate in seconds; None where there is none."""
    provenance: Provenance | None
    """Where the frame came from; set once the scene is finished."""


@dataclass(frozen=True)
class ScenePreview:
    """A small picture of a scene's frame as it stands.

    Image models send one every few steps, if the reader keeps up; placeholders none.
    """

    index: int
    """Position of the scene, from 0."""
    jpeg: bytes
    """A JPEG file of at most 64 KiB."""
    step: int
    """Denoising steps done when it was made."""


@dataclass(frozen=True)
class VideoHeader:
    """The bytes of the video begin.

    It comes again, with another `content_tag`, if what made the video died and another
    makes it anew: then the bytes that came before are to be dropped.
    """

    content_tag: str
    """Identifies the bytes: the render, the attempt that made them, the form."""
    form: VideoForm | None
    size_bytes: int | None = None
    """Number of bytes of the whole; None while it is being encoded."""


@dataclass(frozen=True)
class ConnectionLost:
    """The connection broke. It is made again, and then all goes on."""

    message: str


@dataclass(frozen=True)
class VideoChunk:
    """The next bytes of the video file."""

    data: bytes


@dataclass(frozen=True)
class RenderResult:
    """A finished render. The last event of `render`; the video's size and SHA-256 were checked."""

    render_id: str
    duration: float
    """Length of the video in seconds: frame_count / fps."""
    width: int
    height: int
    fps: int
    format: str
    """Container format, such as "MP4"."""
    quality: Quality | None
    num_scenes: int
    transition: Transition | None
    """The render-wide transition."""
    frame_count: int
    """Number of pictures of the video."""
    frames_generated: int
    """Number of scene frames that were made for this render."""
    size_bytes: int
    """Number of bytes of the video."""
    sha256: str
    """SHA-256 of the video's bytes, in hexadecimal."""
    scenes: tuple[SceneResult, ...]
    warnings: tuple[RenderWarning, ...]
    """What was changed in the request, and what came up on the way."""
    encoder: str
    """What coded the pictures, such as "x264 veryfast crf 18"."""
    frames_reused: int = 0
    """Number of scene frames that were stored already."""
    form: VideoForm | None = None
    """The form whose size and SHA-256 stand here."""

    @property
    def resolution(self) -> str:
        """The size as text, such as "1920x1080"."""
        return f"{self.width}x{self.height}"


RenderEvent = (
    RenderAccepted
    | RenderProgress
    | SceneProgress
    | ScenePreview
    | VideoHeader
    | VideoChunk
    | ConnectionLost
    | RenderResult
)
"""What `render` yields: accepted first, the result last, the others between."""
