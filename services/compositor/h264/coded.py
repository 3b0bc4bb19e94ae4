"""What x264 coded: its parameter sets, and its pictures as headers and slice data."""

from __future__ import annotations

from dataclasses import dataclass

from compositor.h264.parameter_sets import Pps, Sps
from compositor.h264.slice_header import SliceHeader


@dataclass(frozen=True)
class CodedSlice:
    """A slice: its header, and its slice data byte for byte."""

    header: SliceHeader
    slice_data: bytes
    """RBSP from the first byte after the cabac_alignment_one_bits to the end of the NAL unit."""


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


class PictureReader:
    """Reads x264's access units one after the other; remembers the parameter sets they bring."""

    def read(self, annexb: bytes) -> CodedPicture:
        """The picture of the next access unit in Annex B form. Raises BitstreamError."""
        raise NotImplementedError


def read_parameter_sets(annexb: bytes) -> tuple[Sps, Pps]:
    """The SPS and the PPS of x264's headers (extradata) in Annex B form. Raises BitstreamError."""
    raise NotImplementedError
