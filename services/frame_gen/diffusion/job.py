"""What the engine is asked for and what it tells back, as plain values free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""RGB, shape (height, width, 3), dtype uint8, sRGB, full range."""


@dataclass(frozen=True)
class Job:
    """One image to be made."""

    model: Any
    """A `models.LoadedModel`; jobs of the same model object and size share steps."""
    prompt: str
    width: int
    """Pixels, a multiple of 8 (of the model's `size_multiple`)."""
    height: int
    """Pixels, a multiple of 8 (of the model's `size_multiple`)."""
    steps: int
    """Denoising steps, at least 1."""
    guidance: float
    """Classifier-free guidance scale; at 1 or less there is none, which halves the work."""
    seed: int
    """Of the CPU generator that draws the noise, 0 to 2^64 - 1."""
    negative_prompt: str = ""
    render: str = ""
    """Jobs of one render share their part of the device; unset: the job stands for itself."""
    deadline: float | None = None
    """On the engine's clock (`time.monotonic`), seconds; the job fails when it has passed."""


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    step: int
    """Denoising steps done, 1 to steps."""
    steps: int
    time_left: float | None
    """Estimate in seconds, decoding included; None before there is anything to judge by."""


@dataclass(frozen=True)
class Preview:
    """A small picture of the image as it stands."""

    jpeg: bytes
    """A JPEG file of at most 64 KiB."""
    step: int
    """Denoising steps done when it was made."""


@dataclass(frozen=True)
class Truncated:
    """Words that the model did not see, because its text encoder takes only so many."""

    field: str
    """`prompt` or `negative_prompt`."""
    ignored: str
    """The end of the text."""
    limit: int
    """Number of tokens that were read."""


@dataclass(frozen=True)
class Image:
    """A finished image."""

    picture: Picture
    queue_time: float
    """Seconds from submission to the first step."""
    generation_time: float
    """Seconds from the first step to the decoded picture."""
    truncated: tuple[Truncated, ...] = ()


class FailureReason(Enum):
    """Why a job has no image."""

    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline exceeded"
    OUT_OF_MEMORY = "out of memory"
    """Every way of needing less memory was tried; a smaller model may do."""
    CONTENT_REJECTED = "content rejected"
    """The safety checker flagged the image."""
    BROKEN = "broken"
    """A fault in the model or its code; the log has the traceback."""
    DEVICE_LOST = "device lost"
    """The device fails every call; the process must be started again."""
    CLOSED = "closed"
    """The engine was closed before the image was made."""


@dataclass(frozen=True)
class Failure:
    """Why a job has no image, for programs and for people."""

    reason: FailureReason
    message: str
    """One sentence, with what to do where something can be done."""


class Listener(Protocol):
    """Hears about one job, from the engine's threads; no method may block.

    `finished` or `failed` comes exactly once, and last. An exception raised by
    a method is logged and changes nothing.
    """

    def queued(self, position: int) -> None:
        """The job waits behind `position` others; comes again when that changes."""

    def progress(self, progress: Progress) -> None:
        """A step was done."""

    def wants_preview(self) -> bool:
        """Whether a preview would be read at once; none is made for a slow reader."""

    def preview(self, preview: Preview) -> None:
        """A small picture of the image as it stands."""

    def finished(self, image: Image) -> None:
        """The image is there."""

    def failed(self, failure: Failure) -> None:
        """There will be no image."""


class Handle(Protocol):
    """A submitted job."""

    def cancel(self) -> None:
        """Takes the job out at the next step; does nothing once it has ended."""
