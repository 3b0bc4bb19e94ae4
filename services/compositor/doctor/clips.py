"""Short videos that between them use all of H.264 that the compressed-domain engine uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from compositor.compressed import CompressedEngine
from compositor.doctor.stills import still
from compositor.encoder.x264 import X264Coding
from compositor.planes import Planes
from compositor.reference import ReferenceEngine
from compositor.spool import Spool
from compositor.timeline import SceneTiming, Timeline, plan
from rpckit.video import PRESETS, Quality, Transition

_NONE = Fraction(0)
_CRF = 28.0
"""Coarse: what is checked does not depend on it, and the page is to be small."""


@dataclass(frozen=True)
class Clip:
    """A video to check decoders with."""

    name: str
    """Also that of its files."""
    about: str
    """What a decoder must get right to show it, in a few words."""
    quality: Quality
    scenes: tuple[SceneTiming, ...]
    gop_seconds: float = 8.0
    """Longest time between two pictures at which a player can start."""
    is_control: bool = False
    """Whether it is made by x264 alone, of what every decoder knows: one that fails here is no
    decoder of this machine."""

    @property
    def timeline(self) -> Timeline:
        """Which picture belongs to which scene."""
        return plan(self.scenes, PRESETS[self.quality].fps)


@dataclass(frozen=True)
class ClipFiles:
    """A composed clip, as MP4."""

    streamed: bytes
    """Fragmented, as it is while it is composed."""
    stored: bytes
    """With its index in front, as it is kept."""


def clips() -> tuple[Clip, ...]:
    """All clips, the control first."""
    half = Fraction(1, 2)
    transitions = tuple(
        Clip(t.name.lower(), about, Quality.DRAFT, _scenes(3, Fraction(5, 6), t, half))
        for t, about in _ABOUT.items()
    )
    return (
        Clip(
            "control",
            "plain x264, no B pictures",
            Quality.DRAFT,
            _scenes(2, Fraction(1, 2), Transition.CROSSFADE, Fraction(1, 4)),
            is_control=True,
        ),
        Clip(
            "cut",
            "stills of one picture and held ones",
            Quality.DRAFT,
            _scenes(12, Fraction(1, 24), Transition.CROSSFADE, _NONE)
            + _scenes(2, Fraction(1, 2), Transition.CROSSFADE, _NONE),
        ),
        Clip(
            "hold",
            "a still that is sent again where a player can start",
            Quality.DRAFT,
            _scenes(1, Fraction(5, 2), Transition.CROSSFADE, _NONE),
            gop_seconds=1.0,
        ),
        *transitions,
        Clip(
            "rapid",
            "12 crossfades between two pictures to start at",
            Quality.STANDARD,
            _scenes(13, Fraction(1, 5), Transition.CROSSFADE, Fraction(1, 6)),
        ),
        Clip(
            "all-1080p",
            "all transitions in one stream at 1920x1080",
            Quality.HIGH,
            tuple(SceneTiming(half, t, Fraction(2, 5)) for t in Transition)
            + _scenes(1, half, Transition.CROSSFADE, _NONE),
        ),
        Clip(
            "slide-4k",
            "motion further than a vector reaches, at 3840x2160",
            Quality.PREMIUM,
            _scenes(2, Fraction(1, 2), Transition.SLIDE, Fraction(2, 5)),
        ),
    )


_ABOUT = {
    Transition.CROSSFADE: "skipped B macroblocks, explicit weights for two pictures",
    Transition.FADE: "a weight and an offset for one picture",
    Transition.WIPE: "two reference pictures, no motion",
    Transition.SLIDE: "two reference pictures, motion past the edges",
    Transition.DISSOLVE: "a reference picture for each block of 8x8",
    Transition.ZOOM: "pictures that x264 coded, in the same stream",
}


def _scenes(
    count: int, seconds: Fraction, transition: Transition, transition_seconds: Fraction
) -> tuple[SceneTiming, ...]:
    return (SceneTiming(seconds, transition, transition_seconds),) * count


def compose(clip: Clip) -> ClipFiles:
    """The clip. Takes from some milliseconds to about a second.

    Raises:
        GatorError: ENCODING_FAILED.
    """
    preset = PRESETS[clip.quality]
    timeline = clip.timeline
    stills = _Stills(
        _still(number % _STILLS, preset.width, preset.height)
        for number in range(len(timeline.slots))
    )
    x264_preset = "ultrafast" if clip.is_control else "veryfast"
    coding = X264Coding(x264_preset, crf=_CRF, gop_seconds=clip.gop_seconds)
    engine = ReferenceEngine(coding, 0) if clip.is_control else CompressedEngine(coding)
    sink = _Sink()
    with closing(Spool()) as spool:
        engine.compose(preset, timeline, stills, sink, spool)
        return ClipFiles(bytes(sink.data), spool.read(0, spool.size))


_STILLS = 4
"""Pictures that scenes take turns with."""


@lru_cache(maxsize=_STILLS)
def _still(number: int, width: int, height: int) -> Planes:
    return still(number, width, height)


class _Stills:
    """See `engine.Stills`; all there."""

    def __init__(self, planes: Iterator[Planes]) -> None:
        self._planes = planes

    def get(self, timeout: float | None = None) -> Planes | None:  # noqa: ARG002 - the protocol's
        return next(self._planes, None)

    def release(self) -> None:
        pass


class _Sink:
    """See `engine.Sink`; takes everything."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)

    def progress(self, frames: int) -> None:
        pass

    def check(self) -> None:
        pass
