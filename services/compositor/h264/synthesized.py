"""Synthesized slices as samples of an MP4 track: ITU-T H.264 clause 7.3.2.10."""

from __future__ import annotations

from dataclasses import dataclass

from compositor.h264.bits import Bits, BitWriter
from compositor.h264.nal import Nal, length_prefixed
from compositor.h264.parameter_sets import Pps, Sps
from compositor.h264.slice_header import SliceHeader


@dataclass(frozen=True, slots=True)
class SynthesizedSlice:
    """A slice without a residual, ready but for its place in output order.

    A held scene is thousands of pictures that differ in nothing else.
    """

    nal_type: int
    nal_ref_idc: int
    rbsp: int
    """The bits as a number, with a pic_order_cnt_lsb of 0."""
    rbsp_bytes: int
    shift: int
    """Bits after pic_order_cnt_lsb."""
    lsb_mask: int

    @classmethod
    def of(cls, header: SliceHeader, slice_data: Bits, sps: Sps, pps: Pps) -> SynthesizedSlice:
        """The slice of `header`, whose pic_order_cnt_lsb is 0, with CAVLC `slice_data`."""
        writer = BitWriter()
        writer.append(header.write(sps, pps))
        writer.append(slice_data)
        rbsp = writer.rbsp()
        lsb_end = header.pic_order_cnt_position(sps) + sps.log2_max_pic_order_cnt_lsb
        return cls(
            header.nal_type,
            header.nal_ref_idc,
            int.from_bytes(rbsp, "big"),
            len(rbsp),
            8 * len(rbsp) - lsb_end,
            (1 << sps.log2_max_pic_order_cnt_lsb) - 1,
        )

    def sample(self, order_count: int) -> bytes:
        """The NAL unit after its length, of a picture with PicOrderCnt `order_count`."""
        rbsp = self.rbsp | (order_count & self.lsb_mask) << self.shift
        nal = Nal(self.nal_type, self.nal_ref_idc, rbsp.to_bytes(self.rbsp_bytes, "big"))
        return length_prefixed(nal.write())
