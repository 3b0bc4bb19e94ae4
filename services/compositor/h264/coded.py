"""What x264 coded: its parameter sets, and its pictures as headers and slice data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compositor.h264.bits import BitReader, BitstreamError, BitWriter
from compositor.h264.nal import Nal, NalType, split_annexb
from compositor.h264.parameter_sets import Pps, Sps
from compositor.h264.slice_header import SliceHeader, SliceType

_SLICES = (NalType.SLICE, NalType.IDR_SLICE)
# What a decoder may leave out: it changes no sample.
_LEFT_OUT = (
    NalType.SEI,
    NalType.ACCESS_UNIT_DELIMITER,
    NalType.END_OF_SEQUENCE,
    NalType.END_OF_STREAM,
    NalType.FILLER,
)


@dataclass(frozen=True)
class CodedSlice:
    """A slice: its header, and its slice data byte for byte."""

    header: SliceHeader
    slice_data: bytes
    """RBSP from the first byte after the cabac_alignment_one_bits to the end of the NAL unit."""

    def under(self, header: SliceHeader, sps: Sps, pps: Pps) -> Nal:
        """The same slice data after another header, as `sps` and `pps` ask for it: clause 7.3.4."""
        writer = BitWriter()
        writer.append(header.write(sps, pps))
        writer.align("1")
        return Nal(header.nal_type, header.nal_ref_idc, writer.aligned_bytes() + self.slice_data)


@dataclass(frozen=True)
class CodedPicture:
    """A primary coded picture: one slice or more, in order."""

    sps: Sps
    pps: Pps
    slices: tuple[CodedSlice, ...]

    @classmethod
    def parse(cls, annexb: bytes) -> CodedPicture:
        """The one picture of an access unit that brings its own parameter sets.

        Raises:
            BitstreamError: `annexb` is no such access unit.
        """
        return PictureReader().read(annexb)

    @property
    def is_idr(self) -> bool:
        """Whether it is an IDR picture."""
        return self.slices[0].header.is_idr

    @property
    def is_reference(self) -> bool:
        """Whether other pictures may refer to it."""
        return self.slices[0].header.nal_ref_idc != 0

    @property
    def is_intra(self) -> bool:
        """Whether it refers to no other picture."""
        return all(coded.header.slice_type is SliceType.I for coded in self.slices)


class PictureReader:
    """Reads x264's access units one after the other; remembers the parameter sets they bring."""

    def __init__(self) -> None:
        self._sps: dict[int, Sps] = {}
        self._pps: dict[int, Pps] = {}

    def read(self, annexb: bytes) -> CodedPicture:
        """The picture of the next access unit in Annex B form.

        Raises:
            BitstreamError: there is not exactly one picture, it is not what
                `slice_header` handles, or its slice data are not CABAC.
        """
        pictures = []
        for nal in split_annexb(annexb):
            if nal.type in _SLICES:
                pictures.append(self._slice(nal))
            else:
                self._remember(nal)
        if not pictures:
            raise BitstreamError("there is no picture in the access unit")
        sps, pps, _ = pictures[0]
        slices = tuple(coded for _, _, coded in pictures)
        _check_one_picture([coded.header for coded in slices])
        return CodedPicture(sps, pps, slices)

    def read_parameter_sets(self, annexb: bytes) -> None:
        """Remembers the parameter sets of a stream's headers. Raises BitstreamError."""
        for nal in split_annexb(annexb):
            self._remember(nal)

    @property
    def parameter_sets(self) -> tuple[Sps, Pps]:
        """The one SPS and the one PPS that are known. Raises BitstreamError if they are not one."""
        if len(self._sps) != 1 or len(self._pps) != 1:
            raise BitstreamError(f"there are {len(self._sps)} SPS and {len(self._pps)} PPS")
        return next(iter(self._sps.values())), next(iter(self._pps.values()))

    def _remember(self, nal: Nal) -> None:
        if nal.type == NalType.SPS:
            sps = Sps.read(nal.rbsp)
            self._sps[sps.id] = sps
        elif nal.type == NalType.PPS:
            pps = Pps.read(nal.rbsp)
            self._pps[pps.id] = pps
        elif nal.type not in _LEFT_OUT:
            raise BitstreamError(f"NAL units of type {nal.type} are not handled")

    def _slice(self, nal: Nal) -> tuple[Sps, Pps, CodedSlice]:
        pps = self._pps.get(_pps_id(nal))
        sps = self._sps.get(pps.sps_id) if pps is not None else None
        if pps is None or sps is None:
            raise BitstreamError("a slice comes before its parameter sets")
        if not pps.entropy_coding_mode:
            raise BitstreamError("slice data are not CABAC")
        reader = BitReader(nal.rbsp)
        header = SliceHeader.read(reader, nal, sps, pps)
        reader.align("1")  # cabac_alignment_one_bit: clause 7.3.4
        slice_data = reader.rest()
        if not slice_data:
            raise BitstreamError("a slice has no slice data")
        return sps, pps, CodedSlice(header, slice_data)


def read_parameter_sets(annexb: bytes) -> tuple[Sps, Pps]:
    """The SPS and the PPS of x264's headers (extradata) in Annex B form. Raises BitstreamError."""
    reader = PictureReader()
    reader.read_parameter_sets(annexb)
    return reader.parameter_sets


def _pps_id(nal: Nal) -> int:
    """pic_parameter_set_id, without which the rest of a slice header cannot be read."""
    reader = BitReader(nal.rbsp)
    reader.ue()  # first_mb_in_slice
    reader.ue()  # slice_type
    return reader.ue()


def _check_one_picture(headers: Sequence[SliceHeader]) -> None:
    """Clause 7.4.1.2.4 tells pictures apart; slices come in order, as x264 writes them."""
    identities = {
        (h.nal_ref_idc, h.pps_id, h.frame_num, h.pic_order_cnt_lsb, h.idr_pic_id) for h in headers
    }
    starts = [h.first_mb_in_slice for h in headers]
    if len(identities) > 1 or starts[0] or starts != sorted(set(starts)):
        raise BitstreamError("the slices are not those of one picture")
