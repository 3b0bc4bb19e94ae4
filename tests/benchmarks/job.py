"""The job that every contender does: the stills, the timeline, the settings of x264."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from compositor.settings import Settings
from rpckit.video import PRESETS, Preset, Quality
from tests.support import reference
from tests.support.reference import Scene

SCENES = 4
DURATION = Fraction(3)
TRANSITION = Fraction(1, 2)
PROMPTS = (
    "A serene mountain landscape at sunrise",
    "A bustling city skyline at night",
    "A quiet harbour with fishing boats in the fog",
    "A market street in full swing, seen from above",
)


@dataclass(frozen=True)
class Stills:
    """Pictures of one size that lie in a folder: raw RGB, which all contenders read."""

    kind: str
    """What they are."""
    folder: Path
    width: int
    height: int
    distinct: int
    """How many there are; a job with more scenes begins with the first again."""
    _lumas: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def raw(self, scene: int) -> Path:
        """(height, width, 3) RGB, byte by byte."""
        return self.folder / f"{scene % self.distinct}.rgb"

    def png(self, scene: int) -> Path:
        """The same as PNG, for the recipes that begin there."""
        path = self.raw(scene).with_suffix(".png")
        if not path.exists():
            Image.fromarray(self.rgb(scene)).save(path)
        return path

    def rgb(self, scene: int) -> np.ndarray:
        """(height, width, 3) uint8."""
        return np.fromfile(self.raw(scene), np.uint8).reshape(self.height, self.width, 3)

    def luma(self, scene: int) -> np.ndarray:
        """(height, width) float32, 16 to 235, not rounded."""
        number = scene % self.distinct
        if number not in self._lumas:
            self._lumas[number] = reference.luma(self.rgb(number).astype(np.float32))
        return self._lumas[number]


def stored(kind: str, pictures: Sequence[np.ndarray], folder: Path) -> Stills:
    """Writes pictures of one size (height, width, 3) uint8 RGB into a new folder."""
    folder.mkdir(parents=True)
    height, width = pictures[0].shape[:2]
    stills = Stills(kind, folder, width, height, len(pictures))
    for index, rgb in enumerate(pictures):
        stills.raw(index).write_bytes(rgb.tobytes())
    return stills


@dataclass(frozen=True)
class Job:
    """Stills that give way to each other, at a quality."""

    quality: Quality
    stills: Stills
    folder: Path
    """Where the videos go."""
    count: int = SCENES
    duration: Fraction = DURATION
    """Of each scene; a whole number of pictures."""
    transition: str = "CROSSFADE"

    @property
    def name(self) -> str:
        return f"{self.quality.name.lower()} {self.length} {self.transition.lower()}"

    @property
    def length(self) -> str:
        return f"{self.count}x{float(self.duration):g}s"

    @property
    def preset(self) -> Preset:
        return PRESETS[self.quality]

    @property
    def hold_frames(self) -> int:
        """Pictures of a scene before its transition."""
        return self.slot_frames - self.transition_frames

    @property
    def slot_frames(self) -> int:
        return int(self.duration * self.preset.fps)

    @property
    def transition_frames(self) -> int:
        return int(TRANSITION * self.preset.fps)

    @property
    def frame_count(self) -> int:
        return self.count * self.slot_frames

    @property
    def scenes(self) -> list[Scene]:
        return [Scene(self.duration, self.transition, TRANSITION)] * self.count

    def video(self, contender: str) -> Path:
        return self.folder / f"{self.name.replace(' ', '-')}-{contender}.mp4"


GOP_SECONDS = Settings().gop_seconds
"""Longest time between two pictures at which a reader can start, for everybody."""


def x264_options(preset: Preset, speed: str | None = None) -> dict[str, str]:
    """What the compositor tells x264 by default, in the words of FFmpeg's libx264.

    `speed` is x264's own preset, the compositor's unless given.
    """
    settings = Settings()
    return {
        "preset": speed or settings.x264_preset,
        "crf": f"{settings.crf:g}",
        "maxrate": str(preset.bitrate * 3 // 2),
        "bufsize": str(preset.bitrate * 2),
        "profile": "high",
        "level": f"{preset.h264_level / 10:.1f}",
        "x264-params": f"keyint={int(GOP_SECONDS * preset.fps)}"
        ":open-gop=0:force-cfr=1:cabac=1:8x8dct=1",
    }
