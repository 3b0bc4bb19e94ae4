"""AV1 by SVT-AV1."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

from av.video.codeccontext import VideoCodecContext

from compositor.encoder.codec import WIDE, ceilings, cpu_count, create, gop_pictures
from rpckit.video import Codec, Preset

ENCODER = "libsvtav1"
"""FFmpeg's name of it."""

_CRF_OFFSET = 10
"""SVT-AV1's scale against x264's: with 10 more it is as good in PSNR, in half the bytes."""
_PARALLELISM = 4
"""At most; SVT-AV1's levels of it go on to 6, with more pictures in memory at each."""
_WIDE_PARALLELISM = 3
"""At 4K 1 GB; 1.4 GB at the next."""

# No farther ahead, and groups of 8 pictures: with it 4K takes 0.8 GB instead of 1.2.
# Not its "low delay", which takes 0.4 GB, but then ignores the ceiling of the rate.
_STRUCTURE = "lookahead=0:hierarchical-levels=3"


@dataclass(frozen=True)
class Av1Coding:
    """AV1 Main profile by SVT-AV1, a `PictureCoder`."""

    svtav1_preset: int = 8
    """SVT-AV1's own preset, 4 (slow) to 12 (fast)."""
    crf: float = 18.0
    """Quality on x264's scale, as in `x264.X264Coding`."""
    gop_seconds: float = 8.0
    """Longest time between two pictures at which a reader can start, 1 to 10 s."""
    threads: int = 0
    """How much is done at the same time; 0 takes the number of CPUs, at most 4."""

    @property
    def codec(self) -> Codec:
        """See `PictureCoder`."""
        return Codec.AV1

    @property
    def description(self) -> str:
        """See `PictureCoder`."""
        return f"SVT-AV1 preset {self.svtav1_preset} crf {self._crf}"

    @property
    def hardware(self) -> bool:
        """See `PictureCoder`."""
        return False

    @property
    def reorder(self) -> int:
        """See `PictureCoder`; a temporal unit shows one picture, in display order."""
        return 0

    def open(self, preset: Preset, *, header: bool = False) -> VideoCodecContext:
        """See `PictureCoder`."""
        # It writes what it does to the standard error unless told not to.
        os.environ.setdefault("SVT_LOG", "1")
        codec = create(ENCODER, preset)
        most = _WIDE_PARALLELISM if preset.width > WIDE else _PARALLELISM
        parallelism = 1 if header else min(self.threads or cpu_count(), most)
        codec.options = {
            "preset": str(self.svtav1_preset),
            "crf": str(self._crf),
            "g": str(gop_pictures(self.gop_seconds, preset.fps)),
            # On noise it is up to a fourth above what it is told: more where its threads are late.
            **ceilings(preset, margin=Fraction(3, 4)),
            "svtav1-params": f"{_STRUCTURE}:lp={parallelism}",
        }
        codec.open()
        return codec

    @property
    def _crf(self) -> int:
        return round(self.crf) + _CRF_OFFSET
