"""Parameter sets: both ways, those of x264, and the record in which they travel."""

import pytest
from h264_x264 import STILL, access_units, blocks, still
from hypothesis import example, given
from hypothesis import strategies as st

from compositor.h264.bits import BitReader, BitstreamError, BitWriter
from compositor.h264.coded import CodedPicture
from compositor.h264.format import Format
from compositor.h264.nal import Nal, NalType, split_annexb
from compositor.h264.parameter_sets import (
    BASELINE,
    HIGH,
    MAIN,
    Cropping,
    Pps,
    Sps,
    decoder_configuration,
)
from compositor.h264.vui import BitstreamRestriction, Colour, Timing, VideoSignal, Vui

byte = st.integers(0, 255)
word = st.integers(0, 2**32 - 1)
upto16 = st.integers(0, 16)


def optional(strategy):
    return st.none() | strategy


vuis = st.builds(
    Vui,
    st.none() | st.integers(0, 254),
    st.none(),
    optional(st.booleans()),
    optional(
        st.builds(
            VideoSignal,
            st.integers(0, 7),
            st.booleans(),
            optional(st.builds(Colour, byte, byte, byte)),
        )
    ),
    optional(st.tuples(st.integers(0, 5), st.integers(0, 5))),
    optional(st.builds(Timing, word, word, st.booleans())),
    st.booleans(),
    optional(
        st.builds(
            BitstreamRestriction, st.booleans(), upto16, upto16, upto16, upto16, upto16, upto16
        )
    ),
)


@st.composite
def sequences(draw):
    columns, rows = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    order_type = draw(st.sampled_from([0, 2]))
    even = st.integers(0, 3).map(lambda n: 2 * n)
    return Sps(
        draw(st.sampled_from([BASELINE, MAIN, HIGH])),
        draw(byte),
        draw(byte),
        draw(st.integers(0, 31)),
        draw(st.integers(4, 16)),
        order_type,
        draw(st.integers(4, 16)) if order_type == 0 else 0,
        draw(upto16),
        columns,
        rows,
        draw(st.booleans()),
        draw(st.builds(Cropping, even, even, even, even)),
        draw(optional(vuis)),
    )


offsets = st.integers(-12, 12)
active = st.integers(1, 32)


@st.composite
def pictures(draw):
    second = draw(optional(offsets))
    return Pps(
        draw(byte),
        draw(st.integers(0, 31)),
        draw(st.booleans()),
        draw(st.tuples(active, active)),
        draw(st.booleans()),
        draw(st.integers(0, 2)),
        draw(st.integers(0, 51)),
        draw(st.integers(0, 51)),
        draw(offsets),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.booleans()) if second is not None else False,
        second,
        draw(st.booleans()),
    )


@given(sequences())
def test_sps_both_ways(sps):
    assert Sps.read(sps.write()) == sps


@given(pictures())
def test_pps_both_ways(pps):
    assert Pps.read(pps.write()) == pps


def test_extended_aspect_ratio_both_ways():
    writer = BitWriter()
    Vui(aspect_ratio_idc=255, extended_sar=(40, 33)).write(writer)
    assert Vui.read(BitReader(writer.rbsp())).extended_sar == (40, 33)


@pytest.mark.parametrize(
    "params",
    [
        "",
        ":sar=4/3:overscan=show:videoformat=pal:range=on:colorprim=bt470bg:chromaloc=2",
        ":8x8dct=0",
        ":profile=baseline:8x8dct=0:cabac=0",
        ":keyint=60:ref=4:bframes=3:weightp=2:weightb=1:open-gop=1",
        ":constrained-intra=1:cqm=flat:level=4.1",
    ],
)
def test_what_x264_writes_is_written_again(params):
    (unit,) = access_units([blocks(70, 50, 1)], STILL + params)
    seen = set()
    for nal in split_annexb(unit):
        kind = {7: Sps, 8: Pps}.get(nal.type)
        if kind:
            seen.add(kind)
            assert kind.read(nal.rbsp).write() == nal.rbsp
    assert seen == {Sps, Pps}


def test_a_format_says_what_its_pictures_are():
    sps = Format(70, 50, 24, 30, reorder=2).sps()
    assert (sps.width, sps.height, sps.mb_columns, sps.mb_rows) == (70, 50, 5, 4)
    assert (sps.profile_idc, sps.level_idc, sps.max_num_ref_frames) == (HIGH, 30, 4)
    assert sps.cropping == Cropping(right=10, bottom=14)
    vui = sps.vui
    assert vui.video_signal == VideoSignal(5, full_range=False, colour=Colour(1, 1, 1))
    assert vui.timing == Timing(1, 48, fixed_frame_rate=True)
    assert vui.aspect_ratio_idc == 1
    restriction = vui.restriction
    assert (restriction.max_num_reorder_frames, restriction.max_dec_frame_buffering) == (2, 4)
    # Slides move by up to 2,048 samples; level 3 moves by up to 256 up and down.
    assert 1 << restriction.log2_max_mv_length_horizontal == 4 * 2048
    assert 1 << restriction.log2_max_mv_length_vertical == 4 * 256


@pytest.mark.parametrize(
    ("width", "height", "options"),
    [
        (71, 50, {}),
        (70, 0, {}),
        (70, 50, {"fps": 0}),
        (70, 50, {"reorder": 5}),
        (70, 50, {"max_references": 17}),
    ],
)
def test_formats_that_cannot_be(width, height, options):
    with pytest.raises(ValueError, match=r"samples|picture"):
        Format(width, height, **{"fps": 30, "level": 30, **options})


def test_the_record_holds_the_parameter_sets():
    sps = Format(70, 50, fps=24, level=30).sps()
    picture_sets = [Pps(0, 0, entropy_coding_mode=False), still(16, 16, 1).pps]
    record = decoder_configuration(sps, picture_sets)
    # Version 1; profile, compatibility and level; lengths of 4 bytes; one SPS.
    assert record[:6] == bytes([1, 100, 0, 30, 0xFF, 0xE1])
    units, at = [], 6
    while at < len(record) - 4:
        end = at + 2 + int.from_bytes(record[at : at + 2], "big")
        units.append(Nal.read(record[at + 2 : end]))
        at = end
        if len(units) == 1:
            assert record[at] == len(picture_sets)
            at += 1
    assert [(unit.type, unit.rbsp) for unit in units] == [
        (NalType.SPS, sps.write()),
        *((NalType.PPS, pps.write()) for pps in picture_sets),
    ]
    # 4:2:0 with 8 bits, and no SPS extension.
    assert record[at:] == bytes([0xFD, 0xF8, 0xF8, 0])


def test_the_record_of_another_profile_ends_with_its_pps():
    sps = Sps(MAIN, 0, 30, 0, 4, 0, 16, 4, 4, 4)
    pps = Pps(0, 0, entropy_coding_mode=True)
    assert decoder_configuration(sps, [pps]).endswith(pps.nal().write())


SPS = Format(70, 50, 24, 30).sps().write()
PPS = Pps(0, 0, True, second_chroma_qp_index_offset=-2, transform_8x8_mode=True).write()


@given(st.binary(max_size=60))
@example(b"")
def test_random_bytes_are_read_or_refused(data):
    for kind in (Sps, Pps):
        try:
            parsed = kind.read(data)
        except BitstreamError:
            continue
        assert kind.read(parsed.write()) == parsed


@given(st.sampled_from([(Sps, SPS), (Pps, PPS)]), st.data())
def test_flipped_and_missing_bits_are_read_or_refused(kind_and_rbsp, data):
    kind, rbsp = kind_and_rbsp
    flipped = bytearray(rbsp)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(rbsp) - 1), max_size=4)):
        flipped[bit >> 3] ^= 0x80 >> (bit & 7)
    end = data.draw(st.integers(0, len(rbsp)))
    try:
        kind.read(bytes(flipped[:end] if end else flipped))
    except BitstreamError:
        return


@pytest.mark.parametrize("missing", range(1, 8))
def test_a_truncated_sps_is_refused(missing):
    with pytest.raises(BitstreamError):
        Sps.read(SPS[:-missing])


@pytest.mark.parametrize(
    "params", [":cqm=jvt", ":qp=0", ":interlaced=1", ":nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900"]
)
def test_what_streams_cannot_hold_is_refused(params):
    (unit,) = access_units([blocks(64, 64, 1)], STILL + params)
    with pytest.raises(BitstreamError, match=r"not handled|4:2:0|profile"):
        CodedPicture.parse(unit)
