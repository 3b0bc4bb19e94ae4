"""What a backend is: it makes one frame from one request and says how far it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from rpckit.errors import Reason
from rpckit.frame import Frame
from rpckit.provenance import Backend as Kind

NO_MODEL_ADVICE = (
    "No image generation models available. Set OPENAI_API_KEY for images by OpenAI, set HF_TOKEN "
    "and install the diffusers extra for a model on this machine, or ask for placeholders with "
    "use_ai_generation = false"
)
"""What a user is told where no image model can be used."""


@dataclass(frozen=True)
class GenerationRequest:
    """A frame to be made, with every default filled in."""

    prompt: str
    """1 to 4,000 characters, not blank."""
    negative_prompt: str = ""
    seed: int = 0
    """0 to 2**64 - 1."""
    num_inference_steps: int = 25
    """1 to 100."""
    guidance_scale: float = 7.5
    """1 to 20."""
    use_ai_generation: bool = True
    may_fall_back: bool = True
    """Whether a placeholder may stand in where no model could make the frame."""
    video_width: int = 1920
    """Pixels. Placeholders are drawn at this size; models generate at their own."""
    video_height: int = 1080
    """Pixels."""
    scene_index: int = 0
    """From 0."""
    scene_count: int = 1
    render_id: str = ""
    """The render that the frame is for; empty if the caller named none."""
    deadline: float | None = None
    """When the frame must be there, `time.monotonic` seconds; None: any time."""


@dataclass(frozen=True)
class Queued:
    """The request waits, until the next event. Waiting does not count as time for the frame."""

    position: int
    """Requests before this one."""
    time_left: Fraction | None = None
    """Seconds until a model is downloaded; None where there is no estimate."""


@dataclass(frozen=True)
class Progress:
    """How far the frame is."""

    step: int
    steps: int
    time_left: Fraction | None = None
    """Seconds; None where there is no estimate."""


@dataclass(frozen=True)
class Preview:
    """A small picture of the frame as it stands."""

    jpeg: bytes
    """At most 64 KiB."""
    step: int


@dataclass(frozen=True)
class FrameWarning:
    """What a viewer of the frame should know."""

    field: str
    """Of the request, such as "prompt"."""
    asked: str
    applied: str
    reason: str


@dataclass(frozen=True)
class Generated:
    """The frame. Always the last event."""

    frame: Frame
    model: str = ""
    """Name and revision; empty where no model was used."""
    num_inference_steps: int = 0
    """Steps that were done; 0 where there are none."""
    guidance_scale: float = 0.0
    """0 where there is none."""
    warnings: tuple[FrameWarning, ...] = ()


GenerationEvent = Queued | Progress | Preview | Generated


@dataclass(frozen=True)
class Availability:
    """Whether a backend can make a frame now."""

    available: bool
    models: tuple[str, ...] = ()
    """Names of its models, the one in use first."""
    message: str = ""
    """Where it is not available: why, and what to do."""
    reason: Reason = Reason.NO_MODEL_AVAILABLE
    """Where it is not available: why, for programs."""


@dataclass(frozen=True)
class Plan:
    """What would make a frame as things stand, and how.

    A frame that was made so may be used instead of making it.
    """

    backend: Kind
    width: int
    """Of the frame as it would be made, pixels."""
    height: int
    """Of the frame as it would be made, pixels."""
    generation_version: str
    """Of the code that makes frames, and what else of its settings tells in the picture. It
    changes when the same parameters would give another frame."""
    model: str = ""
    """Name and revision, as the provenance would give it; empty where there is none."""
    scheduler: str = ""
    """Empty where there is none."""
    num_inference_steps: int = 0
    """That would be done; 0 where there are none."""
    guidance_scale: float = 0.0
    """That would be used; 0 where there is none."""
    shareable: bool = False
    """Whether the frame may serve other renders."""


class BackendError(Exception):
    """A backend could not make a frame. Another may; a caller sees it in the provenance."""

    def __init__(self, reason: Reason, message: str) -> None:
        """`message` is for people, with what to do; it holds no secret and no prompt."""
        super().__init__(message)
        self.reason = reason
        self.message = message


class Backend(Protocol):
    """Makes frames. Used by many requests at a time; each stands alone."""

    @property
    def kind(self) -> Kind:
        """Which one, as it stands in the provenance."""

    def availability(self) -> Availability:
        """Whether it can make a frame now. Answers at once, from what it knows."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Makes one frame; `Generated` is the last event.

        Closing the generator, or cancelling its task, ends the work soon and
        leaves nothing behind.

        Raises:
            BackendError: it could not.
        """

    async def plan(self, request: GenerationRequest) -> Plan:
        """What it would make the frame with now. Loads and downloads nothing.

        Raises:
            BackendError: it could not make it.
        """

    async def close(self) -> None:
        """Frees what it holds, once no request runs."""
