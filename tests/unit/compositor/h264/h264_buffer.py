"""A decoder's picture buffer as Annex C.4 has it, and what slice headers must keep to."""

from dataclasses import dataclass

from compositor.h264.bits import BitReader
from compositor.h264.nal import Nal, NalType
from compositor.h264.order import OrderCounts
from compositor.h264.parameter_sets import Pps, Sps
from compositor.h264.slice_header import SliceHeader


@dataclass
class Frame:
    """A frame in the buffer."""

    output: int
    order_count: int
    frame_num: int
    is_reference: bool
    is_waiting: bool = True


def units_of(sample):
    at = 0
    while at < len(sample):
        end = at + 4 + int.from_bytes(sample[at : at + 4], "big")
        yield Nal.read(sample[at + 4 : end])
        at = end


def parameter_sets(avcc):
    sps, pps, at = None, {}, 6
    while at < len(avcc) - 4:
        end = at + 2 + int.from_bytes(avcc[at : at + 2], "big")
        nal = Nal.read(avcc[at + 2 : end])
        at = end
        if nal.type == NalType.SPS:
            sps = Sps.read(nal.rbsp)
            at += 1
        else:
            read = Pps.read(nal.rbsp)
            pps[read.id] = read
    return sps, pps


def header_of(nal, sps, pps):
    reader = BitReader(nal.rbsp)
    reader.ue()
    reader.ue()
    return SliceHeader.read(BitReader(nal.rbsp), nal, sps, pps[reader.ue()])


class Buffer:
    """Bumping: clause C.4.5.3. Keeps the order in which pictures come out."""

    def __init__(self, stream):
        self.sps, self.pps = parameter_sets(stream.avcc)
        self.size = self.sps.vui.restriction.max_dec_frame_buffering
        self.frames = []
        self.out = []
        self.idr_pic_id = None
        self.reference_frame_num = None

    def add(self, unit):
        headers = [header_of(nal, self.sps, self.pps) for nal in units_of(unit.data)]
        header = headers[0]
        is_reference = header.nal_ref_idc > 0
        assert header.is_idr == unit.idr
        if header.is_idr:
            # Clause 7.4.3: those that follow each other differ.
            assert header.idr_pic_id != self.idr_pic_id
            self.idr_pic_id = header.idr_pic_id
            assert header.pic_order_cnt_lsb == 0
            self.bump_all()
            self.counts = OrderCounts(self.sps.log2_max_pic_order_cnt_lsb)
            self.origin = unit.output
        else:
            expected = (self.reference_frame_num + 1) % self.sps.max_frame_num
            assert header.frame_num == expected
            if is_reference:
                self.unmark(header)
        count = self.counts.count(header.pic_order_cnt_lsb, is_reference=is_reference)
        assert count == 2 * (unit.output - self.origin)
        if is_reference:
            self.reference_frame_num = header.frame_num
        self.store(Frame(unit.output, count, header.frame_num, is_reference))

    def unmark(self, header):
        """Clauses 8.2.5.3 and 8.2.5.4.1."""
        references = [frame for frame in self.frames if frame.is_reference]
        for difference in header.unmarks:
            number = (header.frame_num - difference) % self.sps.max_frame_num
            (named,) = (frame for frame in references if frame.frame_num == number)
            named.is_reference = False
        if not header.unmarks and len(references) == self.sps.max_num_ref_frames:
            references[0].is_reference = False

    def store(self, frame):
        self.free()
        while len(self.frames) == self.size:
            waiting = [f.order_count for f in self.frames if f.is_waiting]
            if not frame.is_reference and all(frame.order_count < count for count in waiting):
                self.out.append(frame.output)
                return
            self.bump()
        self.frames.append(frame)

    def bump(self):
        first = min((f for f in self.frames if f.is_waiting), key=lambda f: f.order_count)
        first.is_waiting = False
        self.out.append(first.output)
        self.free()

    def bump_all(self):
        while any(frame.is_waiting for frame in self.frames):
            self.bump()
        self.frames = []

    def free(self):
        self.frames = [frame for frame in self.frames if frame.is_reference or frame.is_waiting]


def check(stream, units):
    """Frame numbers, order counts and marking are right, and a full buffer bumps in order."""
    buffer = Buffer(stream)
    for unit in units:
        buffer.add(unit)
    buffer.bump_all()
    assert buffer.out == sorted(unit.output for unit in units)
