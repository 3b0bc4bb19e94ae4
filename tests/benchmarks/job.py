"""The job that every contender does: the stills, the timeline, the settings of x264."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from compositor.settings import Settings
from rpckit.video import PRESETS, Preset, Quality
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
class Job:
    """Stills that crossfade into each other, at a quality."""

    name: str
    """What the stills are."""
    quality: Quality
    stills: tuple[np.ndarray, ...]
    """(height, width, 3) uint8 RGB, at the preset's size."""
    folder: Path
    """Where the stills lie as files and the videos go."""

    @property
    def preset(self) -> Preset:
        return PRESETS[self.quality]

    @property
    def hold_frames(self) -> int:
        """Pictures of a scene before its transition."""
        return self.slot_frames - self.transition_frames

    @property
    def slot_frames(self) -> int:
        return int(DURATION * self.preset.fps)

    @property
    def transition_frames(self) -> int:
        return int(TRANSITION * self.preset.fps)

    @property
    def frame_count(self) -> int:
        return SCENES * self.slot_frames

    @property
    def scenes(self) -> list[Scene]:
        return [Scene(DURATION, "CROSSFADE", TRANSITION)] * SCENES

    def png(self, index: int) -> Path:
        return self.folder / f"{index}.png"

    def raw(self, index: int) -> Path:
        return self.folder / f"{index}.rgb"

    def video(self, contender: str) -> Path:
        return self.folder / f"{contender}.mp4"


def prepared(name: str, quality: Quality, stills: Sequence[np.ndarray], folder: Path) -> Job:
    """A job whose stills lie in `folder` as PNG files and as raw ones."""
    job = Job(name, quality, tuple(stills), folder)
    folder.mkdir(parents=True)
    for index, rgb in enumerate(stills):
        Image.fromarray(rgb).save(job.png(index))
        job.raw(index).write_bytes(rgb.tobytes())
    return job


def x264_options(preset: Preset) -> dict[str, str]:
    """What the compositor tells x264 by default, in the words of FFmpeg's libx264."""
    settings = Settings()
    return {
        "preset": settings.x264_preset,
        "crf": f"{settings.crf:g}",
        "maxrate": str(preset.bitrate * 3 // 2),
        "bufsize": str(preset.bitrate * 2),
        "profile": "high",
        "level": f"{preset.h264_level / 10:.1f}",
        "x264-params": f"keyint={int(settings.gop_seconds * preset.fps)}"
        ":open-gop=0:force-cfr=1:cabac=1:8x8dct=1",
    }
