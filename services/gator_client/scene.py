"""What a render is asked for: scenes, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TypedDict

from gator_client.video import Codec, FallbackPolicy, Quality, Transition

Seconds = int | float | Decimal | Fraction | timedelta
"""A time: a number of seconds, or a timedelta. Sent exactly, to the nearest nanosecond."""


@dataclass(frozen=True)
class Scene:
    """A prompt that becomes a still, shown for a time. None is taken from the render."""

    prompt: str
    """What the scene shows. 1 to 4,000 characters, not blank."""
    negative_prompt: str | None = None
    """What the scene must not show. Up to 4,000 characters."""
    duration: Seconds | None = None
    """How long the scene lasts, its transition included: one frame to 600 s."""
    transition: Transition | str | None = None
    """Transition to the next scene. Of no effect on the last scene."""
    transition_duration: Seconds | None = None
    """How long that transition takes: 0 (a cut) to 10 s."""
    seed: int | None = None
    """Seed of the noise, 0 to 2^64 - 1. None derives one from the prompt."""
    num_inference_steps: int | None = None
    """Denoising steps, 1 to 100."""
    guidance_scale: float | None = None
    """How closely to follow the prompt, 1 to 20."""


Scenes = str | Scene | Sequence[str | Scene]
"""One scene or several; a text is a scene with that prompt."""


class RenderOptions(TypedDict, total=False):
    """What holds for all scenes of a render, as keyword arguments. None means the default."""

    quality: Quality | str | None
    """Size, rate and bit rate. Default: high."""
    transition: Transition | str | None
    """Transition between scenes. Default: crossfade."""
    duration_per_frame: Seconds | None
    """How long each scene lasts, its transition included. Default: 3 s."""
    transition_duration: Seconds | None
    """How long transitions take. Default: 0.5 s."""
    use_ai_generation: bool | None
    """Whether image models are used; False draws placeholders. Default: True."""
    num_inference_steps: int | None
    """Denoising steps, 1 to 100. Default: 25."""
    guidance_scale: float | None
    """How closely to follow the prompt, 1 to 20. Default: 7.5."""
    negative_prompt: str | None
    """What no frame may show."""
    fallback_policy: FallbackPolicy | str | None
    """What becomes of a scene that no model could make. Default: a placeholder."""
    codec: Codec | str | None
    """How the pictures are coded. Default: H.264."""
    strict: bool
    """Refuse values that would otherwise be replaced with a warning. Default: False."""


class CreateOptions(RenderOptions, total=False):
    """What holds for a render, and how it is queued and found again."""

    request_id: str | None
    """Makes creating the render safe to repeat: the same id with the same content finds the
    render that is there. Up to 128 characters. Default: one of the client's own."""
    labels: Mapping[str, str] | None
    """What to find the render by: up to 32 pairs."""
    priority: str | None
    """Which renders are made first: interactive or batch."""


@dataclass(frozen=True)
class Storyboard:
    """The scenes of a video, and the options that hold for all of them."""

    scenes: tuple[Scene, ...]
    options: RenderOptions
    """Keyword arguments for `render` and its kin."""
