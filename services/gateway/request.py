"""A render as it was asked for, and as it will be made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

from gator.type.v1 import frame_pb2
from rpckit.video import PRESETS, Codec, Preset, Quality, Transition


class FallbackPolicy(Enum):
    """What to do with a scene that no model could make; the value is its number in frame.proto."""

    PLACEHOLDER = frame_pb2.FALLBACK_POLICY_PLACEHOLDER
    FAIL = frame_pb2.FALLBACK_POLICY_FAIL


@dataclass(frozen=True)
class Limits:
    """What a request may not exceed."""

    max_scenes: int = 500
    max_prompt_characters: int = 4_000
    max_scene_duration: Fraction = Fraction(600)
    """Seconds."""
    max_transition_duration: Fraction = Fraction(10)
    """Seconds."""
    max_total_duration: Fraction = Fraction(7_200)
    """Seconds."""
    max_total_pixels: int = 4_000_000_000_000
    """Pictures times pixels."""


@dataclass(frozen=True)
class SceneAsked:
    """A scene as the client sent it. None is what the client left unset."""

    prompt: str
    negative_prompt: str | None = None
    duration: Fraction | None = None
    transition: int = 0
    transition_duration: Fraction | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None


@dataclass(frozen=True)
class RenderAsked:
    """A render as the client sent it. None is what the client left unset; enums are numbers."""

    scenes: tuple[SceneAsked, ...]
    quality: int = 0
    transition: int = 0
    duration_per_frame: Fraction | None = None
    transition_duration: Fraction | None = None
    use_ai_generation: bool | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str = ""
    fallback_policy: int = 0
    strict: bool = False
    codec: int = 0
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    fingerprint: bytes = b""
    """SHA-256 of all of this but the request_id."""


@dataclass(frozen=True)
class RenderWarning:
    """A parameter that could not be used as it was given, and what is used."""

    field: str
    asked: str
    applied: str
    reason: str


@dataclass(frozen=True)
class Scene:
    """A scene as it will be made: every default filled in."""

    prompt: str
    negative_prompt: str
    duration: Fraction
    """Seconds."""
    transition: Transition
    transition_duration: Fraction
    """Seconds."""
    seed: int
    num_inference_steps: int
    guidance_scale: float


@dataclass(frozen=True)
class Render:
    """A render as it will be made: every default filled in."""

    scenes: tuple[Scene, ...]
    quality: Quality
    transition: Transition
    use_ai_generation: bool
    fallback_policy: FallbackPolicy
    negative_prompt: str = ""
    """That of the scenes that were given none."""
    warnings: tuple[RenderWarning, ...] = field(default=())
    codec: Codec = Codec.H264

    @property
    def frame_count(self) -> int:
        """Pictures of the video: fps times its length, rounded, halves up."""
        total = sum((scene.duration for scene in self.scenes), Fraction(0))
        return math.floor(self.preset.fps * total + Fraction(1, 2))

    @property
    def preset(self) -> Preset:
        """What the quality stands for."""
        return PRESETS[self.quality]
