"""Segments: closed groups of x264 pictures that another stream can take."""

from dataclasses import replace

import av
import numpy as np
import pytest
from compositor_reference import natural
from compositor_video import nal_units

from compositor.encoder.segments import SegmentCoder
from compositor.encoder.x264 import X264Coding
from compositor.planes import Planes, to_i420
from rpckit.video import Preset

SMALL = Preset(width=160, height=96, fps=24, bitrate=1_500_000, h264_level=30, use_case="tests")
SPS, PPS, SEI, SLICES = 7, 8, 6, (1, 5)


def level_of(number):
    return 30 + number * 37 % 180


def numbered(count, preset=SMALL):
    """`count` pictures in one buffer, each with a brightness of its own."""
    planes = Planes.empty(preset.width, preset.height)
    planes.chroma[:] = 128
    for number in range(count):
        planes.y[:] = level_of(number)
        yield planes


def moving(count):
    wide = to_i420(natural(0, SMALL.width + 4 * count, SMALL.height))
    for number in range(count):
        x = 4 * number
        planes = Planes.empty(SMALL.width, SMALL.height)
        planes.y[:] = wide.y[:, x : x + SMALL.width]
        planes.u[:] = wide.u[:, x // 2 : (x + SMALL.width) // 2]
        planes.v[:] = wide.v[:, x // 2 : (x + SMALL.width) // 2]
        yield planes


def decoded(units):
    codec = av.CodecContext.create("h264", "r")
    codec.options = {"err_detect": "explode"}
    pictures = [p for unit in units for p in codec.decode(av.Packet(unit.data))]
    pictures += codec.decode(None)
    return [p.to_ndarray() for p in pictures]


@pytest.mark.parametrize("x264_preset", ["ultrafast", "superfast", "veryfast", "medium", "slower"])
@pytest.mark.parametrize("count", [1, 2, 60])
def test_a_segment_is_closed_groups_of_single_slices(x264_preset, count):
    coder = SegmentCoder(SMALL, X264Coding(x264_preset=x264_preset, threads=2), gop_pictures=25)
    known = coder.parameter_sets()
    units = list(coder.code(moving(count)))
    assert sorted(unit.output for unit in units) == list(range(count))
    assert [unit.output for unit in units if unit.idr] == list(range(0, count, 25))
    begin, ahead = 0, 0
    for place, unit in enumerate(units):
        begin = unit.output if unit.idr else begin
        assert unit.output >= begin
        ahead = max(ahead, unit.output - place)
        nals = nal_units(unit.data)
        sets = [n for n in nals if n[0] & 31 in (SPS, PPS)]
        assert sets == (nal_units(known) if unit.idr else [])
        (piece,) = [n for n in nals if n[0] & 31 in SLICES]
        assert unit.idr == (piece[0] & 31 == 5)
    for place, unit in enumerate(units):
        # Decoded no more than one picture ahead of its turn.
        later = sum(other.output < unit.output for other in units[place + 1 :])
        assert later <= max(0, len(units) - place)
        earlier = sum(other.output > unit.output for other in units[:place])
        assert earlier <= 1
    assert len(decoded(units)) == count


def test_pictures_come_back_as_they_went_in():
    units = list(SegmentCoder(SMALL, X264Coding(threads=2), 250).code(numbered(40)))
    for number, picture in enumerate(decoded(units)):
        assert abs(picture[: SMALL.height].mean() - level_of(number)) < 2


def test_moving_pictures_keep_their_quality():
    units = list(SegmentCoder(SMALL, X264Coding(threads=1), 250).code(moving(30)))
    for picture, planes in zip(decoded(units), moving(30), strict=True):
        error = np.mean((picture.astype(float) - planes.i420) ** 2)
        assert 10 * np.log10(255**2 / error) > 36


def test_units_leave_before_the_last_picture_comes():
    asked = []

    def pictures():
        for number, planes in enumerate(numbered(100)):
            asked.append(number)
            yield planes

    coming = SegmentCoder(SMALL, X264Coding(threads=1), 250).code(pictures())
    next(coming)
    assert len(asked) < 50
    coming.close()


def test_no_pictures_are_no_units():
    assert list(SegmentCoder(SMALL, X264Coding(), 250).code([])) == []


def test_a_segment_stays_under_the_ceiling():
    preset = replace(SMALL, width=320, height=240, bitrate=600_000)
    rng = np.random.default_rng(1)
    pictures = (Planes(rng.integers(16, 236, (360, 320), np.uint8)) for _ in range(96))
    units = list(SegmentCoder(preset, X264Coding(threads=2), 48).code(pictures))
    bits = 8 * sum(len(unit.data) for unit in units)
    # maxrate over 4 s, and the buffer of 2 seconds' bits once.
    assert bits <= preset.bitrate * (1.5 * 4 + 2) * 1.02


def test_wide_pictures_are_coded_alike():
    preset = replace(SMALL, width=2080, height=32)
    coder = SegmentCoder(preset, X264Coding(threads=2), gop_pictures=250)
    units = list(coder.code(numbered(12, preset)))
    assert [unit.output for unit in units if unit.idr] == [0]
    sets = [n for n in nal_units(units[0].data) if n[0] & 31 in (SPS, PPS)]
    assert sets == nal_units(coder.parameter_sets())
    assert len(decoded(units)) == 12
