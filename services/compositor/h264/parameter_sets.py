"""Sequence and picture parameter sets: ITU-T H.264 clauses 7.3.2.1 and 7.3.2.2.

What is handled is what x264 writes for progressive 4:2:0 video with 8 bits and
flat scaling matrices: frames, one slice group, picture order count type 0 or 2.
The readers raise BitstreamError on all else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compositor.h264.bits import BitReader, BitstreamError, BitWriter
from compositor.h264.nal import Nal, NalType
from compositor.h264.vui import Vui

BASELINE, MAIN, HIGH = 66, 77, 100
"""profile_idc: clause A.2."""
_CROP_UNIT = 2
"""CropUnitX and CropUnitY of 4:2:0 frames, in luma samples: clause 7.4.2.1.1."""
_MAX_MACROBLOCKS = 1 << 12
"""Macroblocks in a row or a column, more than any level allows."""


@dataclass(frozen=True)
class Cropping:
    """What is cut off the coded frame, in luma samples, even."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        """Whether anything is cut off."""
        return self != _WHOLE


_WHOLE = Cropping()


@dataclass(frozen=True)
class Sps:
    """seq_parameter_set_data(): clause 7.3.2.1.1."""

    profile_idc: int
    constraint_flags: int
    """constraint_set0_flag to reserved_zero_2bits, as one byte."""
    level_idc: int
    id: int
    log2_max_frame_num: int
    pic_order_cnt_type: int
    """0 or 2."""
    log2_max_pic_order_cnt_lsb: int
    """0 where pic_order_cnt_type is 2."""
    max_num_ref_frames: int
    mb_columns: int
    """PicWidthInMbs."""
    mb_rows: int
    """FrameHeightInMbs."""
    direct_8x8_inference: bool = True
    cropping: Cropping = _WHOLE
    vui: Vui | None = None

    @property
    def width(self) -> int:
        """Luma samples of the cropped frame."""
        return 16 * self.mb_columns - self.cropping.left - self.cropping.right

    @property
    def height(self) -> int:
        """Luma samples of the cropped frame."""
        return 16 * self.mb_rows - self.cropping.top - self.cropping.bottom

    @property
    def max_frame_num(self) -> int:
        """MaxFrameNum: clause 7.4.2.1.1."""
        return 1 << self.log2_max_frame_num

    @property
    def max_pic_order_cnt_lsb(self) -> int:
        """MaxPicOrderCntLsb: clause 7.4.2.1.1."""
        return 1 << self.log2_max_pic_order_cnt_lsb

    def write(self) -> bytes:
        """seq_parameter_set_rbsp()."""
        writer = BitWriter()
        writer.u(8, self.profile_idc)
        writer.u(8, self.constraint_flags)
        writer.u(8, self.level_idc)
        writer.ue(self.id)
        if self.profile_idc == HIGH:
            writer.ue(1)  # chroma_format_idc
            writer.ue(0)  # bit_depth_luma_minus8
            writer.ue(0)  # bit_depth_chroma_minus8
            writer.u(2, 0)  # qpprime_y_zero_transform_bypass_flag, seq_scaling_matrix_present_flag
        writer.ue(self.log2_max_frame_num - 4)
        writer.ue(self.pic_order_cnt_type)
        if self.pic_order_cnt_type == 0:
            writer.ue(self.log2_max_pic_order_cnt_lsb - 4)
        writer.ue(self.max_num_ref_frames)
        writer.flag(False)  # gaps_in_frame_num_value_allowed_flag
        writer.ue(self.mb_columns - 1)
        writer.ue(self.mb_rows - 1)
        writer.flag(True)  # frame_mbs_only_flag
        writer.flag(self.direct_8x8_inference)
        writer.flag(bool(self.cropping))
        if self.cropping:
            crop = self.cropping
            for samples in (crop.left, crop.right, crop.top, crop.bottom):
                writer.ue(samples // _CROP_UNIT)
        writer.flag(self.vui is not None)
        if self.vui is not None:
            self.vui.write(writer)
        return writer.rbsp()

    def nal(self) -> Nal:
        """The NAL unit that holds it."""
        return Nal(NalType.SPS, 3, self.write())

    @classmethod
    def read(cls, rbsp: bytes) -> Sps:
        """Reads seq_parameter_set_rbsp(). Raises BitstreamError."""
        reader = BitReader(rbsp)
        profile_idc, constraint_flags, level_idc = reader.u(8), reader.u(8), reader.u(8)
        sps_id = reader.ue(31)
        _read_sample_format(reader, profile_idc)
        log2_max_frame_num = reader.ue(12) + 4
        pic_order_cnt_type = reader.ue(2)
        if pic_order_cnt_type == 1:
            raise BitstreamError("picture order count type 1 is not handled")
        log2_max_pic_order_cnt_lsb = reader.ue(12) + 4 if pic_order_cnt_type == 0 else 0
        max_num_ref_frames = reader.ue(16)
        if reader.flag():
            raise BitstreamError("gaps in frame_num are not handled")
        mb_columns = reader.ue(_MAX_MACROBLOCKS - 1) + 1
        mb_rows = reader.ue(_MAX_MACROBLOCKS - 1) + 1
        if not reader.flag():
            raise BitstreamError("fields are not handled")
        direct_8x8_inference = reader.flag()
        cropping = _read_cropping(reader, mb_columns, mb_rows) if reader.flag() else _WHOLE
        vui = Vui.read(reader) if reader.flag() else None
        reader.trailing_bits()
        return cls(
            profile_idc,
            constraint_flags,
            level_idc,
            sps_id,
            log2_max_frame_num,
            pic_order_cnt_type,
            log2_max_pic_order_cnt_lsb,
            max_num_ref_frames,
            mb_columns,
            mb_rows,
            direct_8x8_inference,
            cropping,
            vui,
        )


def _read_sample_format(reader: BitReader, profile_idc: int) -> None:
    if profile_idc == HIGH:
        if (reader.ue(3), reader.ue(6), reader.ue(6)) != (1, 0, 0):
            raise BitstreamError("the samples are not 4:2:0 with 8 bits")
        if reader.u(2):
            raise BitstreamError("lossless coding and scaling matrices are not handled")
    elif profile_idc not in {BASELINE, MAIN}:
        raise BitstreamError(f"profile {profile_idc} is not handled")


def _read_cropping(reader: BitReader, mb_columns: int, mb_rows: int) -> Cropping:
    left, right, top, bottom = (
        _CROP_UNIT * reader.ue(8 * maximum - 1)
        for maximum in (mb_columns, mb_columns, mb_rows, mb_rows)
    )
    if left + right >= 16 * mb_columns or top + bottom >= 16 * mb_rows:
        raise BitstreamError("nothing is left of the cropped frame")
    return Cropping(left, right, top, bottom)


@dataclass(frozen=True)
class Pps:
    """pic_parameter_set_rbsp() with one slice group: clause 7.3.2.2."""

    id: int
    sps_id: int
    entropy_coding_mode: bool
    """Whether slice data is CABAC; otherwise CAVLC."""
    num_ref_idx_default_active: tuple[int, int] = (1, 1)
    """Active entries of reference lists 0 and 1 where a slice does not say, 1 to 32."""
    weighted_pred: bool = False
    """Whether P slices weight explicitly."""
    weighted_bipred_idc: int = 0
    """How B slices weight: 0 not, 1 explicitly, 2 implicitly."""
    pic_init_qp: int = 26
    pic_init_qs: int = 26
    chroma_qp_index_offset: int = 0
    deblocking_filter_control_present: bool = True
    constrained_intra_pred: bool = False
    transform_8x8_mode: bool = False
    second_chroma_qp_index_offset: int | None = None
    """None where the syntax of the High profile is absent, and transform_8x8_mode with it."""
    bottom_field_pic_order_in_frame_present: bool = False

    def write(self) -> bytes:
        """pic_parameter_set_rbsp()."""
        writer = BitWriter()
        writer.ue(self.id)
        writer.ue(self.sps_id)
        writer.flag(self.entropy_coding_mode)
        writer.flag(self.bottom_field_pic_order_in_frame_present)
        writer.ue(0)  # num_slice_groups_minus1
        for active in self.num_ref_idx_default_active:
            writer.ue(active - 1)
        writer.flag(self.weighted_pred)
        writer.u(2, self.weighted_bipred_idc)
        writer.se(self.pic_init_qp - 26)
        writer.se(self.pic_init_qs - 26)
        writer.se(self.chroma_qp_index_offset)
        writer.flag(self.deblocking_filter_control_present)
        writer.flag(self.constrained_intra_pred)
        writer.flag(False)  # redundant_pic_cnt_present_flag
        if self.second_chroma_qp_index_offset is not None:
            writer.flag(self.transform_8x8_mode)
            writer.flag(False)  # pic_scaling_matrix_present_flag
            writer.se(self.second_chroma_qp_index_offset)
        elif self.transform_8x8_mode:
            raise ValueError("transform_8x8_mode needs second_chroma_qp_index_offset")
        return writer.rbsp()

    def nal(self) -> Nal:
        """The NAL unit that holds it."""
        return Nal(NalType.PPS, 3, self.write())

    @classmethod
    def read(cls, rbsp: bytes) -> Pps:
        """Reads pic_parameter_set_rbsp(). Raises BitstreamError."""
        reader = BitReader(rbsp)
        pps_id, sps_id = reader.ue(255), reader.ue(31)
        entropy_coding_mode = reader.flag()
        bottom_field_pic_order_in_frame_present = reader.flag()
        if reader.ue():
            raise BitstreamError("slice groups are not handled")
        default_active = (reader.ue(31) + 1, reader.ue(31) + 1)
        weighted_pred = reader.flag()
        weighted_bipred_idc = reader.u(2)
        if weighted_bipred_idc == 3:
            raise BitstreamError("weighted_bipred_idc is 3")
        pic_init_qp, pic_init_qs = 26 + reader.se(-26, 25), 26 + reader.se(-26, 25)
        chroma_qp_index_offset = reader.se(-12, 12)
        deblocking_filter_control_present = reader.flag()
        constrained_intra_pred = reader.flag()
        if reader.flag():
            raise BitstreamError("redundant pictures are not handled")
        transform_8x8_mode, second_offset = False, None
        if reader.more_rbsp_data():
            transform_8x8_mode = reader.flag()
            if reader.flag():
                raise BitstreamError("scaling matrices are not handled")
            second_offset = reader.se(-12, 12)
        reader.trailing_bits()
        return cls(
            pps_id,
            sps_id,
            entropy_coding_mode,
            default_active,
            weighted_pred,
            weighted_bipred_idc,
            pic_init_qp,
            pic_init_qs,
            chroma_qp_index_offset,
            deblocking_filter_control_present,
            constrained_intra_pred,
            transform_8x8_mode,
            second_offset,
            bottom_field_pic_order_in_frame_present,
        )


def decoder_configuration(sps: Sps, picture_sets: Sequence[Pps]) -> bytes:
    """AVCDecoderConfigurationRecord of ISO/IEC 14496-15, clause 5.3.3.1 (an MP4's avcC box).

    NAL units of samples have lengths of 4 bytes.
    """
    sps_unit = sps.nal().write()
    record = bytearray((1,))  # configurationVersion
    record += sps_unit[1:4]  # profile, compatibility and level, as in the SPS
    record.append(0xFC | 3)  # lengthSizeMinusOne
    record.append(0xE0 | 1)  # numOfSequenceParameterSets
    record += len(sps_unit).to_bytes(2, "big") + sps_unit
    record.append(len(picture_sets))
    for pps in picture_sets:
        unit = pps.nal().write()
        record += len(unit).to_bytes(2, "big") + unit
    if sps.profile_idc == HIGH:
        record.append(0xFC | 1)  # chroma_format
        record.append(0xF8)  # bit_depth_luma_minus8
        record.append(0xF8)  # bit_depth_chroma_minus8
        record.append(0)  # numOfSequenceParameterSetExt
    return bytes(record)
