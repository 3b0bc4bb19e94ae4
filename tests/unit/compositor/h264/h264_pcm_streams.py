"""The smallest streams that show synthesized pictures: two stills in I_PCM, and those.

Nothing is lost in I_PCM, so every sample of a decoded picture is known. All of
the coded picture is shown: there is no cropping.
"""

import re
from contextlib import contextmanager

import av
import av.logging
import numpy as np

from compositor.h264.bits import BitWriter

IDR, NON_IDR, SPS, PPS = 5, 1, 7, 8
REFERENCE, DISPOSABLE = 3, 0
SLICE_P, SLICE_B, SLICE_I = 5, 6, 7
LOG_FRAME_NUM, LOG_POC = 4, 16


def nal(ref_idc, kind, rbsp):
    escaped = re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", rbsp)
    return b"\0\0\0\1" + bytes([ref_idc << 5 | kind]) + escaped


class PcmStream:
    """Stills A and B as planes (y, u, v), uint8; synthesized pictures come after, or between."""

    def __init__(self, a, b, *, between=False):
        self.mb_rows, self.mb_columns = (n // 16 for n in a[0].shape)
        self._order = 1
        stills = [self._still(a, 0, frame_num=0), self._still(b, 1000, frame_num=1)]
        self.packets = [self._sps(reorder=between) + self._pps() + stills[0], stills[1]]
        self._next_poc = 2 if between else 1002

    def synthesize(self, slice_data, *, a_first, kind=SLICE_P):
        """Adds a picture; `a_first` makes A reference index 0, else B is."""
        header = self._header(kind, frame_num=2, poc=self._next_poc)
        self._next_poc += 2
        if kind == SLICE_B:
            header.flag(True)  # direct_spatial_mv_pred_flag
            header.flag(False)  # num_ref_idx_active_override_flag: one each
            header.flag(False)
            header.flag(False)
        else:
            header.flag(True)  # num_ref_idx_active_override_flag
            header.ue(1)
            header.flag(a_first)  # without modification the later one comes first
            if a_first:
                header.ue(0)
                header.ue(1)
                header.ue(3)
        header.se(0)  # slice_qp_delta
        header.ue(1)  # disable_deblocking_filter_idc
        header.append(slice_data)
        self.packets.append(nal(DISPOSABLE, NON_IDR, header.rbsp()))

    def _sps(self, *, reorder):
        w = BitWriter()
        w.u(8, 100)
        w.u(8, 0)
        w.u(8, 52)
        for value in (0, 1, 0, 0):
            w.ue(value)
        w.u(2, 0)
        for value in (LOG_FRAME_NUM - 4, 0, LOG_POC - 4, 4):
            w.ue(value)
        w.flag(False)
        w.ue(self.mb_columns - 1)
        w.ue(self.mb_rows - 1)
        w.u(4, 0b1101)  # frames only, direct_8x8_inference_flag, no cropping, VUI
        w.u(8, 0)
        w.flag(True)  # bitstream_restriction_flag
        w.flag(True)
        for value in (0, 0, 15, 15, int(reorder), 4):
            w.ue(value)
        return nal(REFERENCE, SPS, w.rbsp())

    def _pps(self):
        w = BitWriter()
        w.ue(0)
        w.ue(0)
        w.u(2, 0)  # CAVLC
        for value in (0, 0, 0):
            w.ue(value)
        w.u(3, 0)
        for value in (0, 0, 0):
            w.se(value)
        w.u(3, 0b100)  # deblocking_filter_control_present_flag
        return nal(REFERENCE, PPS, w.rbsp())

    def _header(self, kind, *, frame_num, poc):
        w = BitWriter()
        w.ue(0)
        w.ue(kind)
        w.ue(0)
        w.u(LOG_FRAME_NUM, frame_num)
        if frame_num == 0:
            w.ue(0)  # idr_pic_id
        w.u(LOG_POC, poc)
        return w

    def _still(self, planes, poc, *, frame_num):
        idr = frame_num == 0
        w = self._header(SLICE_I, frame_num=frame_num, poc=poc)
        w.u(2 if idr else 1, 0)  # dec_ref_pic_marking()
        w.se(0)
        w.ue(1)
        w.ue(25)  # I_PCM
        w.align("0")
        samples = [
            plane.reshape(self.mb_rows, n, self.mb_columns, n).swapaxes(1, 2).reshape(-1, n * n)
            for plane, n in zip(planes, (16, 8, 8), strict=True)
        ]
        # Later macroblocks begin on a byte: ue(25) is 000011010, then zeros up to the next byte.
        start = np.tile(np.array([0b00001101, 0], np.uint8), (len(samples[0]), 1))
        body = np.hstack([start, *samples]).tobytes()[2:]
        rbsp = w.aligned_bytes() + body + b"\x80"
        return nal(REFERENCE, IDR if idr else NON_IDR, rbsp)

    def pictures(self):
        """The synthesized pictures as planes, in output order; FFmpeg decodes without complaint."""
        with complaints() as messages:
            codec = av.CodecContext.create("h264", "r")
            codec.thread_count = 1
            codec.options = {"err_detect": "explode"}
            decoded = [f for p in self.packets for f in codec.decode(av.Packet(p))]
            decoded += codec.decode(None)
        assert not messages
        assert len(decoded) == len(self.packets)
        frames = [self._planes(frame) for frame in decoded]
        return frames[1:-1] if self._next_poc < 1000 else frames[2:]

    def _planes(self, frame):
        assert frame.format.name == "yuv420p"
        planes = []
        for plane, n in zip(frame.planes, (16, 8, 8), strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            planes.append(rows[: self.mb_rows * n, : self.mb_columns * n].copy())
        return planes


@contextmanager
def complaints():
    """What libav says at warning or worse, on this thread."""
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as messages:
            yield messages
    finally:
        av.logging.set_skip_repeated(True)
        av.logging.set_level(None)


def noise(mb_columns, mb_rows, seed):
    """Planes of random samples."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (mb_rows * n, mb_columns * n), np.uint8) for n in (16, 8, 8)]
