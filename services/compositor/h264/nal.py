"""NAL units: ITU-T H.264 clause 7.3.1, Annex B, and ISO/IEC 14496-15."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from compositor.h264.bits import BitstreamError

_START_CODE = b"\0\0\1"
_MUST_ESCAPE = re.compile(rb"\x00\x00(?=[\x00-\x03])")
_FORBIDDEN = re.compile(rb"\x00\x00(?:[\x00-\x02]|\x03[^\x00-\x03])")


class NalType(IntEnum):
    """nal_unit_type of Table 7-1; those that are told apart here."""

    SLICE = 1
    """A slice of a picture that is no IDR picture."""
    IDR_SLICE = 5
    SEI = 6
    SPS = 7
    PPS = 8
    ACCESS_UNIT_DELIMITER = 9
    END_OF_SEQUENCE = 10
    END_OF_STREAM = 11
    FILLER = 12


@dataclass(frozen=True)
class Nal:
    """A NAL unit: clause 7.3.1."""

    type: int
    """nal_unit_type, 0 to 31; see NalType."""
    ref_idc: int
    """nal_ref_idc, 0 to 3; not 0 in parameter sets and in slices of reference pictures."""
    rbsp: bytes
    """The payload without emulation prevention bytes."""

    def write(self) -> bytes:
        """nal_unit(): the header byte and the payload with emulation prevention bytes."""
        if not (0 <= self.type < 32 and 0 <= self.ref_idc < 4):
            raise ValueError(f"no NAL unit has type {self.type} and nal_ref_idc {self.ref_idc}")
        return bytes((self.ref_idc << 5 | self.type,)) + escaped(self.rbsp)

    @classmethod
    def read(cls, unit: bytes) -> Nal:
        """Reads nal_unit(). Raises BitstreamError."""
        if not unit:
            raise BitstreamError("a NAL unit is empty")
        header = unit[0]
        if header & 0x80:
            raise BitstreamError("forbidden_zero_bit is set")
        return cls(header & 0x1F, header >> 5, unescaped(unit[1:]))


def escaped(rbsp: bytes) -> bytes:
    """`rbsp` with emulation_prevention_three_bytes: clause 7.4.1.1."""
    if b"\0\0" in rbsp:
        rbsp = _MUST_ESCAPE.sub(b"\0\0\3", rbsp)
    # cabac_zero_words may end an RBSP; a NAL unit never ends in a zero byte.
    return rbsp + b"\3" if rbsp.endswith(b"\0") else rbsp


def unescaped(payload: bytes) -> bytes:
    """The RBSP of a NAL unit's `payload`, the reverse of `escaped`: clause 7.3.1.

    Raises:
        BitstreamError: a sequence of bytes is there that clause 7.4.1 forbids.
    """
    if payload.endswith(b"\0"):
        raise BitstreamError("a NAL unit ends in a zero byte")
    if b"\0\0" not in payload:
        return payload
    if _FORBIDDEN.search(payload):
        raise BitstreamError("a NAL unit holds bytes that should have been escaped")
    return payload.replace(b"\0\0\3", b"\0\0")


def length_prefixed(unit: bytes) -> bytes:
    """A NAL unit after its length in 4 bytes, as in MP4: ISO/IEC 14496-15."""
    return len(unit).to_bytes(4, "big") + unit


def split_annexb(stream: bytes) -> Iterator[Nal]:
    """The NAL units of a byte stream: clause B.1.1.

    Raises:
        BitstreamError: bytes stand before the first start code, or a NAL unit is none.
    """
    leading, *units = stream.split(_START_CODE)
    if leading.strip(b"\0"):
        raise BitstreamError("a byte stream begins with a start code")
    for unit in units:
        # zero_byte and trailing_zero_8bits; the unit itself never ends in zero.
        yield Nal.read(unit.rstrip(b"\0"))
