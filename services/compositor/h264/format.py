"""What all pictures of a stream have in common, and the SPS that says so."""

from __future__ import annotations

from dataclasses import dataclass

from compositor.h264.levels import HORIZONTAL_MV_RANGE, Level, lowest_level
from compositor.h264.parameter_sets import HIGH, Cropping, Sps
from compositor.h264.vui import (
    BT709,
    SQUARE_SAMPLES,
    BitstreamRestriction,
    Timing,
    VideoSignal,
    Vui,
)

_LOG2_MAX_FRAME_NUM = 4
_LOG2_MAX_PIC_ORDER_CNT_LSB = 16
_QUARTERS = 4
"""Vectors count quarters of luma samples."""


@dataclass(frozen=True)
class Format:
    """What all pictures of a stream have in common."""

    width: int
    """Luma samples, even."""
    height: int
    """Luma samples, even."""
    fps: int
    """Pictures per second, constant."""
    level: int
    """Lowest level_idc (10 times the level) to signal; raised where Table A-1 asks for more."""
    reorder: int = 1
    """Pictures by which decoding may run ahead of output: max_num_reorder_frames."""
    max_references: int = 4
    """Reference pictures that a decoder keeps: max_num_ref_frames."""

    def __post_init__(self) -> None:
        if self.width < 2 or self.height < 2 or self.width % 2 or self.height % 2:
            raise ValueError(f"{self.width}x{self.height} samples are no picture in 4:2:0")
        if self.fps < 1:
            raise ValueError("there is at least one picture per second")
        if not 1 <= self.max_references <= 16 or not 0 <= self.reorder <= self.max_references:
            raise ValueError("a decoder keeps 1 to 16 pictures and reorders no more than these")

    @property
    def mb_columns(self) -> int:
        """Macroblocks in a row, the last of which may be cropped."""
        return -(-self.width // 16)

    @property
    def mb_rows(self) -> int:
        """Rows of macroblocks, the last of which may be cropped."""
        return -(-self.height // 16)

    def sps(self) -> Sps:
        """The sequence parameter set of a stream of this format, in the High profile.

        Raises:
            ValueError: no level allows the format.
        """
        level = lowest_level(
            self.mb_columns, self.mb_rows, self.fps, self.max_references, minimum=self.level
        )
        return Sps(
            profile_idc=HIGH,
            constraint_flags=0,
            level_idc=level.idc,
            id=0,
            log2_max_frame_num=_LOG2_MAX_FRAME_NUM,
            pic_order_cnt_type=0,
            log2_max_pic_order_cnt_lsb=_LOG2_MAX_PIC_ORDER_CNT_LSB,
            max_num_ref_frames=self.max_references,
            mb_columns=self.mb_columns,
            mb_rows=self.mb_rows,
            cropping=Cropping(
                right=16 * self.mb_columns - self.width, bottom=16 * self.mb_rows - self.height
            ),
            vui=self._vui(level),
        )

    def _vui(self, level: Level) -> Vui:
        return Vui(
            aspect_ratio_idc=SQUARE_SAMPLES,
            video_signal=VideoSignal(colour=BT709),
            timing=Timing.constant(self.fps),
            restriction=BitstreamRestriction(
                motion_vectors_over_pic_boundaries=True,
                max_bytes_per_pic_denom=0,
                max_bits_per_mb_denom=0,
                log2_max_mv_length_horizontal=_log2(HORIZONTAL_MV_RANGE.stop),
                log2_max_mv_length_vertical=_log2(_QUARTERS * level.max_vmv_r),
                max_num_reorder_frames=self.reorder,
                max_dec_frame_buffering=self.max_references,
            ),
        )


def _log2(power_of_two: int) -> int:
    return power_of_two.bit_length() - 1
