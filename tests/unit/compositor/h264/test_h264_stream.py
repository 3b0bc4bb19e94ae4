"""Streams of stills and told pictures: FFmpeg shows what the formulas say, sample for sample."""

from functools import cache

import h264_formulas as formulas
import numpy as np
import pytest
from h264_buffer import Buffer, check, header_of, parameter_sets, units_of
from h264_x264 import STILL, access_units, blocks, same, shown, still, uncropped
from hypothesis import given, settings
from hypothesis import strategies as st

from compositor.h264.bits import BitstreamError
from compositor.h264.coded import CodedPicture
from compositor.h264.format import Format
from compositor.h264.slice_data import Strip
from compositor.h264.slice_header import Weight
from compositor.h264.stream import Stream

SIZES = [(112, 80, 30), (70, 50, 30), (854, 480, 30), (1920, 1080, 40)]


@cache
def stills(width, height):
    """Three stills, and their samples without cropping."""
    pictures = [still(width, height, seed) for seed in range(3)]
    return pictures, [uncropped(picture) for picture in pictures]


def new_stream(width, height, level=30, **options):
    pps = stills(width, height)[0][0].pps
    return Stream(Format(width, height, 24, level, **options), pps, pps)


def slide(columns, shift):
    """Strips of 8: the left picture pushed out by `shift` luma samples, the right one after it."""
    width = 8 * columns
    seam = -(-(width - shift) // 8)
    return [Strip(0, 4 * shift)] * seam + [Strip(1, 4 * (shift - width))] * (columns - seam)


@pytest.mark.parametrize(("width", "height", "level"), SIZES)
def test_every_picture_at_every_size(width, height, level):
    (a_coded, b_coded, _), (a, b, _) = stills(width, height)
    stream = new_stream(width, height, level)
    assert stream.level == level
    shape = a[0].shape[0] // 8, a[0].shape[1] // 8
    cells = np.random.default_rng(1).random(shape) < 0.5
    strips = slide(shape[1], 2 * (width // 6))
    luma, chroma = Weight(77, 6), Weight(77, 51)

    first, ref_a = stream.intra(a_coded, 0, idr=True)
    units = [first, stream.hold(ref_a, 1)]
    second, ref_b = stream.intra(b_coded, 8, idr=False)
    units += [
        second,
        stream.hold(ref_a, 2),
        stream.blend(ref_a, ref_b, 1, 3),
        stream.blend(ref_a, ref_b, 50, 4),
        stream.scale(ref_a, luma, chroma, 5),
        stream.mosaic(ref_a, ref_b, cells, 6),
        stream.pan(ref_a, ref_b, strips, 7)[0],
        stream.hold(ref_b, 9),
        stream.scale(ref_b, Weight(0, 16), Weight(0, 127), 10),
    ]
    expected = [
        a,
        a,
        a,
        formulas.blend(a, b, 1),
        formulas.blend(a, b, 50),
        formulas.scale(a, luma, chroma),
        formulas.mosaic(a, b, cells),
        formulas.pan(a, b, strips),
        b,
        b,
        formulas.scale(b, Weight(0, 16), Weight(0, 127)),
    ]
    pictures = shown(stream, units)
    for number, planes in enumerate(expected):
        assert same(pictures[number], formulas.crop(planes, width, height)), number
    check(stream, units)


W, H = 48, 32


@st.composite
def scripts(draw):
    """Steps of a stream: (what, parameters), for `Script`."""
    step = st.one_of(
        st.tuples(st.just("idr"), st.integers(0, 2)),
        st.tuples(st.just("hold"), st.integers(0, 3)),
        st.tuples(st.just("scale"), st.integers(-128, 127), st.integers(-128, 127)),
        st.tuples(
            st.just("to"),
            st.integers(0, 2),
            st.lists(
                st.tuples(st.sampled_from(["blend", "mosaic", "pan", "hold"]), st.integers(1, 127)),
                max_size=4,
            ),
        ),
        st.tuples(st.just("keep"), st.integers(0, 12)),
    )
    return draw(st.lists(step, min_size=1, max_size=14))


class Script:
    """Runs steps; knows what each picture should show."""

    def __init__(self):
        self.stream = new_stream(W, H, 10, reorder=2)
        self.units, self.expected, self.held = [], {}, []
        self.next = 0
        self.still("idr", 0)

    def add(self, unit, planes):
        self.units.append(unit)
        self.expected[unit.output] = planes

    def still(self, kind, which, output=None):
        coded, planes = stills(W, H)
        output = self.next if output is None else output
        unit, reference = self.stream.intra(coded[which], output, idr=kind == "idr")
        self.add(unit, planes[which])
        if kind == "idr":
            self.held = []
            self.next = output + 1
        self.held = [*self.held[-1:], (reference, planes[which])]

    def hold(self, which):
        reference, planes = self.held[which % len(self.held)]
        self.add(self.stream.hold(reference, self.next), planes)
        self.next += 1

    def scale(self, weight, offset):
        reference, planes = self.held[-1]
        luma, chroma = Weight(weight, offset), Weight(offset, weight)
        unit = self.stream.scale(reference, luma, chroma, self.next)
        self.add(unit, formulas.scale(planes, luma, chroma))
        self.next += 1

    def keep(self, shift):
        (left, a), (right, b) = self.held[0], self.held[-1]
        strips = slide(W // 8, 4 * shift)
        unit, reference = self.stream.pan(left, right, strips, self.next, keep=True)
        planes = formulas.pan(a, b, strips)
        self.add(unit, planes)
        self.held = [*self.held, (reference, planes)][-4:]
        self.next += 1

    def to(self, which, between):
        """A still decoded ahead of the pictures that lead to it."""
        leaving, a = self.held[-1]
        target = self.next + len(between)
        self.still("ahead", which, target)
        coming, b = self.held[-1]
        for kind, amount in between:
            if kind == "blend":
                unit = self.stream.blend(leaving, coming, amount, self.next)
                planes = formulas.blend(a, b, amount)
            elif kind == "mosaic":
                cells = np.random.default_rng(amount).random((H // 8, W // 8)) < amount / 128
                unit = self.stream.mosaic(leaving, coming, cells, self.next)
                planes = formulas.mosaic(a, b, cells)
            elif kind == "pan":
                strips = slide(W // 8, 2 * (amount % (W // 2)))
                unit, _ = self.stream.pan(leaving, coming, strips, self.next)
                planes = formulas.pan(a, b, strips)
            else:
                unit, planes = self.stream.hold(leaving, self.next), a
            self.add(unit, planes)
            self.next += 1
        self.next = target + 1


@given(scripts())
@settings(max_examples=80, deadline=None)
def test_any_order_of_pictures(steps):
    script = Script()
    for step in steps:
        if step[0] == "idr":
            script.still(*step)
        else:
            getattr(script, step[0])(*step[1:])
    pictures = shown(script.stream, script.units)
    wrong = [n for n, planes in script.expected.items() if not same(pictures[n], planes)]
    assert wrong == []
    check(script.stream, script.units)


def test_frame_numbers_and_order_counts_wrap():
    """40 references where frame_num has 4 bits, 80,000 order counts where the lsb has 16."""
    coded, planes = stills(W, H)
    stream = new_stream(W, H, 10)
    units, expected = [], {}
    output = 0
    for number in range(40):
        unit, reference = stream.intra(coded[number % 3], output, idr=number == 0)
        units += [unit, stream.hold(reference, output + 1), stream.hold(reference, output + 2)]
        expected.update((output + k, planes[number % 3]) for k in range(3))
        output += 1000
    check(stream, units)
    assert units[-1].output * 2 > 1 << 16
    pictures = shown(stream, units)
    assert all(same(pictures[n], planes) for n, planes in expected.items())


def test_a_long_hold_of_many_groups():
    coded, planes = stills(W, H)
    stream = new_stream(W, H, 10)
    units = []
    for output in range(3000):
        if output % 240 == 0:
            unit, reference = stream.intra(coded[0], output, idr=True)
            units.append(unit)
        else:
            units.append(stream.hold(reference, output))
    check(stream, units)
    pictures = shown(stream, units)
    assert all(same(picture, planes[0]) for picture in pictures.values())
    # A picture that nothing was coded for: its length, a header and one skip run.
    assert max(len(unit.data) for unit in units if not unit.idr) < 16


def test_the_slice_data_of_a_still_are_kept():
    (unit,) = access_units([blocks(112, 80, 1)], STILL + ":slices=3")
    picture = CodedPicture.parse(unit)
    stream = Stream(Format(112, 80, 30, 30), picture.pps, picture.pps)
    again = [stream.intra(picture, 0, idr=True)[0], stream.intra(picture, 1, idr=False)[0]]
    for access_unit in [*again, stream.intra(picture, 2, idr=True)[0]]:
        nals = list(units_of(access_unit.data))
        assert len(nals) == 3
        assert all(
            nal.rbsp.endswith(coded.slice_data)
            for nal, coded in zip(nals, picture.slices, strict=True)
        )
    one, two = shown(stream, again).values()
    assert same(one, two)


def test_lists_are_modified_only_where_they_have_to_be():
    coded, _ = stills(W, H)
    stream = new_stream(W, H, 10)
    _, a = stream.intra(coded[0], 0, idr=True)
    plain = stream.hold(a, 1)
    _, b = stream.intra(coded[1], 9, idr=False)
    sps, pps = parameter_sets(stream.avcc)

    def modified(unit):
        (nal,) = units_of(unit.data)
        return header_of(nal, sps, pps).modifications != ()

    assert not modified(plain)
    assert modified(stream.hold(a, 2))
    assert not modified(stream.blend(a, b, 64, 3))
    few, most = np.zeros((4, 6), bool), np.ones((4, 6), bool)
    few[0, 0], most[0, 0] = True, False
    # The picture of which more is seen comes first, because P_Skip shows it.
    assert modified(stream.mosaic(a, b, few, 4))
    assert not modified(stream.mosaic(a, b, most, 5))


def test_the_level_is_raised_for_size_rate_and_references():
    assert new_stream(W, H, 10).level == 10
    pps = stills(W, H)[0][0].pps
    assert Stream(Format(1920, 1080, 60, 40), pps, pps).level == 42
    assert Stream(Format(1920, 1080, 30, 40, max_references=5), pps, pps).level == 50
    with pytest.raises(ValueError, match="no level"):
        Stream(Format(7680, 4320, 172, 40, max_references=16), pps, pps)


def test_the_same_pps_twice_is_written_once():
    first = stills(W, H)[0][0].pps
    (unit,) = access_units([blocks(W, H, 1)], STILL, preset="slow")
    second = CodedPicture.parse(unit).pps
    assert first != second
    counts = [
        len(parameter_sets(Stream(Format(W, H, 30, 10), first, pps).avcc)[1])
        for pps in (first, second)
    ]
    assert counts == [3, 4]


@pytest.fixture
def begun():
    stream = new_stream(W, H, 10)
    _, a = stream.intra(stills(W, H)[0][0], 0, idr=True)
    _, b = stream.intra(stills(W, H)[0][1], 5, idr=False)
    return stream, a, b


def test_pictures_that_have_left_cannot_be_shown(begun):
    stream, a, b = begun
    coded = stills(W, H)[0][2]
    stream.intra(coded, 8, idr=False)
    with pytest.raises(ValueError, match="no longer holds"):
        stream.hold(a, 9)
    stream.hold(b, 9)
    stream.intra(coded, 10, idr=True)
    for tell in (
        lambda: stream.hold(b, 11),
        lambda: stream.scale(b, Weight(64), Weight(64), 11),
        lambda: stream.mosaic(a, b, np.zeros((4, 6), bool), 11),
    ):
        with pytest.raises(ValueError, match="no longer holds"):
            tell()


@pytest.mark.parametrize("weight", [0, 128])
def test_a_blend_shows_both(begun, weight):
    stream, a, b = begun
    with pytest.raises(ValueError, match="1 to 127"):
        stream.blend(a, b, weight, 1)


def test_a_blend_stands_between_its_pictures(begun):
    stream, a, b = begun
    for first, second, output in [(b, a, 1), (a, a, 1), (a, b, 6)]:
        with pytest.raises(ValueError, match="between"):
            stream.blend(first, second, 64, output)


def test_shapes_are_those_of_the_picture(begun):
    stream, a, b = begun
    with pytest.raises(ValueError, match="8x8 blocks"):
        stream.mosaic(a, b, np.zeros((6, 4), bool), 1)
    with pytest.raises(ValueError, match="columns"):
        stream.pan(a, b, [Strip(0, 0)] * 5, 1)
    with pytest.raises(ValueError, match="range"):
        stream.scale(a, Weight(128), Weight(64), 1)


def test_a_refused_picture_changes_nothing(begun):
    stream, a, b = begun
    for output in (0, 5):
        with pytest.raises(ValueError, match="too late"):
            stream.hold(a, output)
        with pytest.raises(ValueError, match="too late"):
            stream.pan(a, b, [Strip(0, 0)] * 6, output, keep=True)
        with pytest.raises(ValueError, match="too late"):
            stream.intra(stills(W, H)[0][2], output, idr=False)
        with pytest.raises(ValueError, match="comes after"):
            stream.intra(stills(W, H)[0][2], output, idr=True)
    other = new_stream(W, H, 10)
    _, c = other.intra(stills(W, H)[0][0], 0, idr=True)
    _, d = other.intra(stills(W, H)[0][1], 5, idr=False)
    assert stream.hold(a, 1) == other.hold(c, 1)
    assert stream.blend(a, b, 9, 2) == other.blend(c, d, 9, 2)


def test_a_reference_stays_until_it_is_shown():
    stream = new_stream(W, H, 10, reorder=1)
    _, a = stream.intra(stills(W, H)[0][0], 0, idr=True)
    _, b = stream.intra(stills(W, H)[0][1], 9, idr=False)
    strips = [Strip(0, 0)] * 6
    for output in (1, 2):
        stream.pan(a, b, strips, output, keep=True)
    _, c = stream.pan(b, a, strips, 3, keep=True)  # a has left for it
    with pytest.raises(ValueError, match="not shown yet"):
        stream.pan(b, c, strips, 4, keep=True)


def test_a_decoder_keeps_two_stills_and_what_stands_between():
    """So that it has room for pictures that wait to be shown; with a pivot there are three."""
    stream = new_stream(W, H, 10, reorder=2)
    coded = stills(W, H)[0]
    unit, last = stream.intra(coded[0], 0, idr=True)
    units = [unit]
    for number in range(1, 40):
        at = 4 * number
        unit, coming = stream.intra(coded[number % 3], at, idr=False)
        units.append(unit)
        unit, pivot = stream.pan(last, coming, [Strip(0, 0)] * 6, at - 2, keep=True)
        units.append(unit)
        units.append(stream.mosaic(last, pivot, np.zeros((4, 6), bool), at - 3))
        units.append(stream.blend(last, coming, 64, at - 1))
        last = coming
    buffer = Buffer(stream)
    held = []
    for unit in units:
        buffer.add(unit)
        held.append(sum(frame.is_reference for frame in buffer.frames))
    assert max(held) == 3
    check(stream, units)


def test_a_stream_begins_with_an_idr_picture():
    stream = new_stream(W, H, 10)
    with pytest.raises(ValueError, match="begins with"):
        stream.intra(stills(W, H)[0][0], 0, idr=False)


@pytest.mark.parametrize(
    ("size", "params", "message"),
    [
        ((64, 32), "", "another stream"),
        ((W, H), ":8x8dct=0", "another PPS"),
    ],
)
def test_stills_of_another_stream_are_refused(size, params, message):
    stream = new_stream(W, H, 10)
    with pytest.raises(BitstreamError, match=message):
        stream.intra(still(*size, 1, params=params), 0, idr=True)
