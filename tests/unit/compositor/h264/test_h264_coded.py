"""x264's pictures: read, written again, and refused where they are broken."""

from dataclasses import replace

import pytest
from h264_x264 import SEGMENT, STILL, access_units, blocks, moving, segment
from hypothesis import given, settings
from hypothesis import strategies as st

from compositor.h264.bits import BitstreamError
from compositor.h264.coded import CodedPicture, PictureReader, read_parameter_sets
from compositor.h264.format import Format
from compositor.h264.nal import Nal, NalType, split_annexb
from compositor.h264.slice_header import SliceType
from compositor.h264.stream import Stream

START = b"\0\0\0\1"


def annexb(nals):
    return b"".join(START + nal.write() for nal in nals)


@pytest.mark.parametrize(
    ("preset", "params"),
    [
        ("superfast", ""),
        ("medium", ":ref=4:weightp=2"),
        ("medium", ":slices=3:bframes=0:deblock=2,-3"),
        ("slow", ":ref=4:weightb=1:direct=temporal:no-deblock=1"),
        ("slow", ":keyint=6:8x8dct=0"),
    ],
)
def test_slices_are_written_again_bit_for_bit(preset, params):
    units = access_units(moving(64, 48, 16), SEGMENT + params, preset=preset)
    pictures = segment(units)
    for unit, picture in zip(units, pictures, strict=True):
        nals = [nal for nal in split_annexb(unit) if nal.type in (1, 5)]
        written = [s.under(s.header, picture.sps, picture.pps) for s in picture.slices]
        assert written == nals
    assert {s.header.slice_type for p in pictures for s in p.slices} >= {SliceType.I, SliceType.P}


def test_what_a_picture_says_of_itself():
    still, later = segment(access_units(moving(64, 48, 2), SEGMENT + ":slices=2:bframes=0"))
    assert (still.is_idr, still.is_intra, still.is_reference) == (True, True, True)
    assert (later.is_idr, later.is_intra, later.is_reference) == (False, False, True)
    assert [s.header.first_mb_in_slice for s in still.slices] == [0, 8]


def test_stills_share_their_pps_at_every_quality():
    picture = blocks(64, 48, 1)
    units = [access_units([picture], STILL, crf=crf)[0] for crf in (5, 20, 51)]
    coarser = access_units([picture], STILL + ":qp=60:ipratio=1")
    parsed = [CodedPicture.parse(unit) for unit in [*units, *coarser]]
    assert len({picture.pps for picture in parsed}) == 1
    assert len({picture.slices[0].header.slice_qp_delta for picture in parsed}) > 1


def test_headers_alone_give_the_parameter_sets():
    (unit,) = access_units([blocks(64, 48, 1)], STILL)
    picture = CodedPicture.parse(unit)
    headers = annexb(nal for nal in split_annexb(unit) if nal.type != NalType.IDR_SLICE)
    assert read_parameter_sets(headers) == (picture.sps, picture.pps)


UNIT = access_units(moving(48, 32, 1), SEGMENT + ":slices=2")[0]
NALS = list(split_annexb(UNIT))
SETS = [nal for nal in NALS if nal.type in (NalType.SPS, NalType.PPS)]
SLICES = [nal for nal in NALS if nal.type == NalType.IDR_SLICE]


@pytest.mark.parametrize(
    ("nals", "message"),
    [
        (SETS, "no picture"),
        (SLICES, "before its parameter sets"),
        ([SETS[0], *SLICES], "before its parameter sets"),
        ([SETS[1], *SLICES], "before its parameter sets"),
        ([*SETS, SLICES[1]], "not those of one picture"),
        ([*SETS, *SLICES, *SLICES], "not those of one picture"),
        ([*SETS, *reversed(SLICES)], "not those of one picture"),
        ([*SETS, SLICES[0], replace(SLICES[1], ref_idc=2)], "not those of one picture"),
        ([*SETS, Nal(2, 3, b"\x80"), *SLICES], "type 2"),
        ([*SETS, Nal(5, 3, SLICES[0].rbsp[:2]), *SLICES], "bits were to be read|no slice data"),
    ],
)
def test_what_is_no_picture_is_refused(nals, message):
    with pytest.raises(BitstreamError, match=message):
        CodedPicture.parse(annexb(nals))


def test_cavlc_is_refused():
    (unit,) = access_units([blocks(48, 32, 1)], STILL + ":cabac=0")
    with pytest.raises(BitstreamError, match="not CABAC"):
        CodedPicture.parse(unit)


def test_two_streams_are_not_one():
    with pytest.raises(BitstreamError, match="0 SPS"):
        read_parameter_sets(annexb([SETS[1]]))


SEQUENCE = access_units(moving(48, 32, 8), SEGMENT + ":ref=3:bframes=2", preset="medium")


@given(st.data())
@settings(max_examples=200)
def test_broken_pictures_are_read_or_refused(data):
    """Bits flip, mostly in headers; bytes go missing; units come twice or not at all."""
    units = [bytearray(unit) for unit in SEQUENCE]
    for _ in range(data.draw(st.integers(1, 3))):
        unit = data.draw(st.sampled_from(units))
        position = data.draw(st.integers(0, 8 * min(len(unit), 60) - 1) if unit else st.just(0))
        kind = data.draw(st.sampled_from(["flip", "cut", "drop"]))
        if kind == "flip" and unit:
            unit[position >> 3] ^= 0x80 >> (position & 7)
        elif kind == "cut":
            del unit[position >> 3 :]
        else:
            units.remove(unit)
            units.insert(data.draw(st.integers(0, len(units))), bytearray(unit))
    first = CodedPicture.parse(SEQUENCE[0])
    stream = Stream(Format(48, 32, 30, 10), first.pps, first.pps)
    reader = PictureReader()
    try:
        told = list(stream.segment((reader.read(bytes(unit)) for unit in units), 0))
    except BitstreamError:
        return
    assert sorted(unit.output for unit in told) == list(range(len(units)))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    for unit in (data, START + data, UNIT[:40] + data):
        with pytest.raises(BitstreamError):
            CodedPicture.parse(unit)
