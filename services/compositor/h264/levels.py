"""What a decoder of a level can do: ITU-T H.264 Annex A, for frames in the High profile."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

HORIZONTAL_MV_RANGE = range(-8192, 8192)
"""Horizontal vector components in quarter luma samples, at every level: clause A.3.1."""

_MAX_FRAMES = 16
_HIGH_VCL_FACTOR = 1250
"""cpbBrVclFactor of the High profile: Table A-2."""
_MACROBLOCK_BYTES = 384
"""Samples of a macroblock in 4:2:0 with 8 bits: clause A.3.1."""
_MAX_FRAME_RATE = 172
"""fR is 1/172 for frames: clause A.3.1."""


@dataclass(frozen=True)
class Level:
    """A row of Table A-1."""

    idc: int
    """level_idc: 10 times the level."""
    max_mbps: int
    """MaxMBPS, macroblocks per second."""
    max_fs: int
    """MaxFS, macroblocks per frame."""
    max_dpb_mbs: int
    """MaxDpbMbs, macroblocks in the decoded picture buffer."""
    max_br: int
    """MaxBR, units of cpbBrVclFactor bits per second."""
    max_cpb: int
    """MaxCPB, units of cpbBrVclFactor bits."""
    max_vmv_r: int
    """MaxVmvR: vertical vector components lie in [-max_vmv_r, max_vmv_r - 1/4] luma samples."""
    min_cr: int
    """MinCR, the least ratio between a picture's samples and its coded bytes."""

    @property
    def bitrate(self) -> int:
        """Most bits per second of the slices in the High profile: clause A.3.1."""
        return self.max_br * _HIGH_VCL_FACTOR

    @property
    def buffer(self) -> int:
        """Most bits that the coded picture buffer holds in the High profile: clause A.3.1."""
        return self.max_cpb * _HIGH_VCL_FACTOR

    def frames(self, mb_columns: int, mb_rows: int) -> int:
        """MaxDpbFrames, how many frames the decoded picture buffer holds: clause A.3.1."""
        return min(self.max_dpb_mbs // (mb_columns * mb_rows), _MAX_FRAMES)

    def allows(self, mb_columns: int, mb_rows: int, fps: Fraction | int, frames: int) -> bool:
        """Whether pictures of that size may come at that rate, with that many kept: clause A.3.1.

        Args:
            mb_columns: PicWidthInMbs.
            mb_rows: FrameHeightInMbs.
            fps: Pictures per second.
            frames: max_dec_frame_buffering.
        """
        macroblocks = mb_columns * mb_rows
        return (
            macroblocks <= self.max_fs
            and max(mb_columns, mb_rows) <= isqrt(8 * self.max_fs)
            and macroblocks * fps <= self.max_mbps
            and fps <= _MAX_FRAME_RATE
            and frames <= self.frames(mb_columns, mb_rows)
        )

    def first_picture_bytes(self, mb_columns: int, mb_rows: int) -> int:
        """Most bytes of the slices of a stream's first picture, by MinCR: clause A.3.1.

        The time between its removal from the buffer and the nominal one, which is
        0 without a delayed decoder, is left out.
        """
        macroblocks = max(mb_columns * mb_rows, self.max_mbps // _MAX_FRAME_RATE)
        return _MACROBLOCK_BYTES * macroblocks // self.min_cr

    def picture_bytes(self, interval: Fraction) -> int:
        """Most bytes of the slices of a picture, by MinCR: clause A.3.1.

        Args:
            interval: Seconds after the picture before it, in decoding order.
        """
        return int(_MACROBLOCK_BYTES * self.max_mbps * interval / self.min_cr)


LEVELS = (
    Level(10, 1485, 99, 396, 64, 175, 64, 2),
    Level(11, 3000, 396, 900, 192, 500, 128, 2),
    Level(12, 6000, 396, 2376, 384, 1000, 128, 2),
    Level(13, 11880, 396, 2376, 768, 2000, 128, 2),
    Level(20, 11880, 396, 2376, 2000, 2000, 128, 2),
    Level(21, 19800, 792, 4752, 4000, 4000, 256, 2),
    Level(22, 20250, 1620, 8100, 4000, 4000, 256, 2),
    Level(30, 40500, 1620, 8100, 10000, 10000, 256, 2),
    Level(31, 108000, 3600, 18000, 14000, 14000, 512, 4),
    Level(32, 216000, 5120, 20480, 20000, 20000, 512, 4),
    Level(40, 245760, 8192, 32768, 20000, 25000, 512, 4),
    Level(41, 245760, 8192, 32768, 50000, 62500, 512, 2),
    Level(42, 522240, 8704, 34816, 50000, 62500, 512, 2),
    Level(50, 589824, 22080, 110400, 135000, 135000, 512, 2),
    Level(51, 983040, 36864, 184320, 240000, 240000, 512, 2),
    Level(52, 2073600, 36864, 184320, 240000, 240000, 512, 2),
    Level(60, 4177920, 139264, 696320, 240000, 240000, 8192, 2),
    Level(61, 8355840, 139264, 696320, 480000, 480000, 8192, 2),
    Level(62, 16711680, 139264, 696320, 800000, 800000, 8192, 2),
)
"""Table A-1 without level 1b, from the lowest."""


def lowest_level(
    mb_columns: int, mb_rows: int, fps: Fraction | int, frames: int, *, minimum: int = 0
) -> Level:
    """The lowest level with level_idc `minimum` or more that allows such pictures.

    Args:
        mb_columns: PicWidthInMbs.
        mb_rows: FrameHeightInMbs.
        fps: Pictures per second.
        frames: max_dec_frame_buffering.
        minimum: Least level_idc.

    Raises:
        ValueError: no level does.
    """
    for level in LEVELS:
        if level.idc >= minimum and level.allows(mb_columns, mb_rows, fps, frames):
            return level
    raise ValueError(
        f"no level of at least {minimum / 10} allows {mb_columns}x{mb_rows} macroblocks"
        f" at {fps} pictures per second with {frames} kept"
    )
