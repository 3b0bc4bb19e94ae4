"""Which picture of a video belongs to which scene. Pure, in exact rationals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import floor

from rpckit.video import Transition

_HALF = Fraction(1, 2)


def round_half_up(x: Fraction) -> int:
    """floor(x + 1/2), the one rounding of the design."""
    return floor(x + _HALF)


@dataclass(frozen=True)
class SceneTiming:
    """How long a scene lasts and how it gives way to the next."""

    duration: Fraction
    """Seconds, the transition included; at least one frame, 1/fps."""
    transition: Transition
    transition_duration: Fraction
    """Seconds, at least 0."""


@dataclass(frozen=True)
class Slot:
    """A scene's pictures: first those that show it alone, then its transition to the next."""

    first_frame: int
    """Number of the first picture, from 0 at the start of the video."""
    frame_count: int
    """Number of pictures, at least 1."""
    transition: Transition
    transition_frame_count: int
    """Number of pictures of the transition, 0 to frame_count - 1."""

    @property
    def hold_frame_count(self) -> int:
        """Number of pictures that show the scene alone, at least 1."""
        return self.frame_count - self.transition_frame_count

    def progress(self) -> Iterator[Fraction]:
        """Progress p of each picture of the transition: (k + 1)/(n + 1) for k = 0..n-1."""
        n = self.transition_frame_count
        return (Fraction(k + 1, n + 1) for k in range(n))


@dataclass(frozen=True)
class Timeline:
    """The slots of a video's scenes in order, without a gap."""

    fps: int
    slots: tuple[Slot, ...]

    @property
    def frame_count(self) -> int:
        """Number of pictures of the video."""
        last = self.slots[-1]
        return last.first_frame + last.frame_count

    @property
    def duration(self) -> Fraction:
        """frame_count / fps in seconds."""
        return Fraction(self.frame_count, self.fps)


def plan(scenes: Sequence[SceneTiming], fps: int) -> Timeline:
    """The timeline of `scenes`, by the design's rule.

    Scene i has the pictures [b_i, b_(i+1)) with b_i = round(fps * sum of the
    durations before i). Its transition takes the last min(round(fps * T),
    slot - 1) of them; the last scene has none. A scene of at least 1/fps
    seconds has at least one picture: floor(x + d) >= floor(x) + 1 for d >= 1.

    Raises:
        ValueError: there are no scenes, or one is shorter than a frame.
    """
    if not scenes:
        raise ValueError("a video has at least one scene")
    if any(scene.duration * fps < 1 for scene in scenes):
        raise ValueError("a scene lasts at least one frame")
    bounds = [0]
    elapsed = Fraction(0)
    for scene in scenes:
        elapsed += scene.duration
        bounds.append(round_half_up(fps * elapsed))
    last = len(scenes) - 1
    slots = (
        _slot(scene, begin, end, fps=fps, is_last=i == last)
        for i, (scene, (begin, end)) in enumerate(zip(scenes, pairwise(bounds), strict=True))
    )
    return Timeline(fps, tuple(slots))


def _slot(scene: SceneTiming, begin: int, end: int, *, fps: int, is_last: bool) -> Slot:
    asked = 0 if is_last else round_half_up(fps * scene.transition_duration)
    return Slot(begin, end - begin, scene.transition, min(asked, end - begin - 1))
