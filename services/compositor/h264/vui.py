"""Video usability information, ITU-T H.264 Annex E: what samples mean, when they are shown."""

from __future__ import annotations

from dataclasses import dataclass

from compositor.h264.bits import BitReader, BitstreamError, BitWriter

SQUARE_SAMPLES = 1
"""aspect_ratio_idc of a sample aspect ratio of 1:1: Table E-1."""
_EXTENDED_SAR = 255
_UNSPECIFIED_FORMAT = 5
_BT709 = 1


@dataclass(frozen=True)
class Colour:
    """colour_primaries, transfer_characteristics, matrix_coefficients: Tables E-3 to E-5."""

    primaries: int
    transfer: int
    matrix: int


BT709 = Colour(_BT709, _BT709, _BT709)


@dataclass(frozen=True)
class VideoSignal:
    """What the sample values stand for."""

    video_format: int = _UNSPECIFIED_FORMAT
    """Table E-2."""
    full_range: bool = False
    """Whether luma takes 0..255; otherwise 16..235."""
    colour: Colour | None = None


@dataclass(frozen=True)
class Timing:
    """A clock of which a picture takes two ticks."""

    units_in_tick: int
    time_scale: int
    """Units per second."""
    fixed_frame_rate: bool = True

    @classmethod
    def constant(cls, fps: int) -> Timing:
        """`fps` pictures per second, always."""
        return cls(1, 2 * fps)


@dataclass(frozen=True)
class BitstreamRestriction:
    """What a decoder need not be ready for: bitstream_restriction_flag."""

    motion_vectors_over_pic_boundaries: bool
    max_bytes_per_pic_denom: int
    max_bits_per_mb_denom: int
    log2_max_mv_length_horizontal: int
    """n: components lie in -2^n to 2^n - 1 quarter luma samples."""
    log2_max_mv_length_vertical: int
    max_num_reorder_frames: int
    max_dec_frame_buffering: int


@dataclass(frozen=True)
class Vui:
    """vui_parameters() without HRD parameters: clause E.1.1. None is what is not said."""

    aspect_ratio_idc: int | None = None
    """Table E-1."""
    extended_sar: tuple[int, int] | None = None
    """Width and height of a sample, if and only if aspect_ratio_idc is 255."""
    overscan_appropriate: bool | None = None
    video_signal: VideoSignal | None = None
    chroma_sample_location: tuple[int, int] | None = None
    """Of the top and of the bottom field: Figure E-1."""
    timing: Timing | None = None
    pic_struct_present: bool = False
    restriction: BitstreamRestriction | None = None

    def write(self, writer: BitWriter) -> None:
        """Writes vui_parameters()."""
        writer.flag(self.aspect_ratio_idc is not None)
        if self.aspect_ratio_idc is not None:
            writer.u(8, self.aspect_ratio_idc)
            if self.aspect_ratio_idc == _EXTENDED_SAR:
                for side in self.extended_sar or (0, 0):
                    writer.u(16, side)
        writer.flag(self.overscan_appropriate is not None)
        if self.overscan_appropriate is not None:
            writer.flag(self.overscan_appropriate)
        _write_video_signal(writer, self.video_signal)
        writer.flag(self.chroma_sample_location is not None)
        for location in self.chroma_sample_location or ():
            writer.ue(location)
        writer.flag(self.timing is not None)
        if self.timing is not None:
            writer.u(32, self.timing.units_in_tick)
            writer.u(32, self.timing.time_scale)
            writer.flag(self.timing.fixed_frame_rate)
        writer.u(2, 0)  # nal_hrd_parameters_present_flag, vcl_hrd_parameters_present_flag
        writer.flag(self.pic_struct_present)
        _write_restriction(writer, self.restriction)

    @classmethod
    def read(cls, reader: BitReader) -> Vui:
        """Reads vui_parameters(). Raises BitstreamError, also where they hold HRD parameters."""
        aspect_ratio_idc = reader.u(8) if reader.flag() else None
        is_extended = aspect_ratio_idc == _EXTENDED_SAR
        extended_sar = (reader.u(16), reader.u(16)) if is_extended else None
        has_overscan_info = reader.flag()
        overscan_appropriate = reader.flag() if has_overscan_info else None
        video_signal = _read_video_signal(reader) if reader.flag() else None
        chroma_sample_location = (reader.ue(5), reader.ue(5)) if reader.flag() else None
        timing = Timing(reader.u(32), reader.u(32), reader.flag()) if reader.flag() else None
        if reader.u(2):
            raise BitstreamError("HRD parameters are not handled")
        return cls(
            aspect_ratio_idc,
            extended_sar,
            overscan_appropriate,
            video_signal,
            chroma_sample_location,
            timing,
            pic_struct_present=reader.flag(),
            restriction=_read_restriction(reader) if reader.flag() else None,
        )


def _write_video_signal(writer: BitWriter, signal: VideoSignal | None) -> None:
    writer.flag(signal is not None)
    if signal is None:
        return
    writer.u(3, signal.video_format)
    writer.flag(signal.full_range)
    writer.flag(signal.colour is not None)
    if signal.colour is not None:
        writer.u(8, signal.colour.primaries)
        writer.u(8, signal.colour.transfer)
        writer.u(8, signal.colour.matrix)


def _read_video_signal(reader: BitReader) -> VideoSignal:
    return VideoSignal(
        video_format=reader.u(3),
        full_range=reader.flag(),
        colour=Colour(reader.u(8), reader.u(8), reader.u(8)) if reader.flag() else None,
    )


def _write_restriction(writer: BitWriter, restriction: BitstreamRestriction | None) -> None:
    writer.flag(restriction is not None)
    if restriction is None:
        return
    writer.flag(restriction.motion_vectors_over_pic_boundaries)
    writer.ue(restriction.max_bytes_per_pic_denom)
    writer.ue(restriction.max_bits_per_mb_denom)
    writer.ue(restriction.log2_max_mv_length_horizontal)
    writer.ue(restriction.log2_max_mv_length_vertical)
    writer.ue(restriction.max_num_reorder_frames)
    writer.ue(restriction.max_dec_frame_buffering)


def _read_restriction(reader: BitReader) -> BitstreamRestriction:
    return BitstreamRestriction(
        motion_vectors_over_pic_boundaries=reader.flag(),
        max_bytes_per_pic_denom=reader.ue(16),
        max_bits_per_mb_denom=reader.ue(16),
        log2_max_mv_length_horizontal=reader.ue(16),
        log2_max_mv_length_vertical=reader.ue(16),
        max_num_reorder_frames=reader.ue(16),
        max_dec_frame_buffering=reader.ue(16),
    )
