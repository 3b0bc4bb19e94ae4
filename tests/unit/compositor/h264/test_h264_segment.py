"""Pictures that x264 coded, in a stream of others: the same samples as in its own stream."""

from itertools import pairwise

import pytest
from h264_buffer import check
from h264_x264 import SEGMENT, decoded, moving, same, segment, shown, still, timed_access_units

from compositor.h264.bits import BitstreamError
from compositor.h264.format import Format
from compositor.h264.slice_header import SliceType
from compositor.h264.stream import Stream

W, H = 112, 80
COUNT = 30


def coded(params="", *, preset="medium", count=COUNT, size=(W, H)):
    """(access unit, number) and the pictures in them."""
    units = timed_access_units(moving(*size, count), SEGMENT + params, preset=preset)
    return units, segment(unit for unit, _ in units)


def new_stream(pictures, size=(W, H), **options):
    intra = still(*size, 7)
    return intra, Stream(Format(*size, 30, 30, **options), intra.pps, pictures[0].pps)


@pytest.mark.parametrize(
    ("preset", "params", "size"),
    [
        ("superfast", "", (W, H)),
        ("medium", ":ref=3:weightp=1", (W, H)),
        ("medium", ":ref=4:weightp=2", (W, H)),  # names references twice, a turn of frame_num away
        ("medium", ":ref=3:slices=3", (W, H)),
        ("medium", ":ref=2:bframes=0", (W, H)),  # picture order count type 2
        ("medium", ":ref=3:keyint=8", (W, H)),
        ("medium", ":keyint=1", (W, H)),
        ("slow", ":ref=4:bframes=3:b-adapt=0:direct=temporal:weightb=1", (W, H)),
        ("medium", ":ref=3", (70, 50)),
    ],
)
def test_a_segment_between_holds(preset, params, size):
    units, pictures = coded(params, preset=preset, size=size)
    intra, stream = new_stream(pictures, size)
    first, a = stream.intra(intra, 0, idr=True)
    told = [first, stream.hold(a, 1), *stream.segment(pictures, 2)]
    last, b = stream.intra(intra, 2 + COUNT, idr=True)
    told += [last, stream.hold(b, 3 + COUNT)]
    check(stream, told)
    together, alone = shown(stream, told), decoded(units)
    assert sorted(together) == list(range(COUNT + 4))
    assert [n for n, planes in alone.items() if not same(together[2 + n], planes)] == []
    assert same(together[0], together[1])
    assert same(together[0], together[2 + COUNT])


def test_groups_follow_each_other():
    _, pictures = coded(":keyint=8")
    _, stream = new_stream(pictures)
    units = list(stream.segment(pictures, 5))
    groups = [unit.output for unit in units if unit.idr]
    assert groups == [5, 13, 21, 29]
    assert units[0].idr
    assert sorted(unit.output for unit in units) == list(range(5, 5 + COUNT))


def test_pictures_are_read_one_at_a_time():
    _, pictures = coded()
    _, stream = new_stream(pictures)
    asked = []

    def reading():
        for picture in pictures:
            asked.append(picture)
            yield picture

    told = stream.segment(reading(), 0)
    for number in range(1, 4):
        next(told)
        assert len(asked) == number


def test_a_still_may_follow_without_an_idr_picture():
    """Nothing of the segment is shown again, but its references are still held."""
    units, pictures = coded(":ref=3")
    intra, stream = new_stream(pictures)
    told = list(stream.segment(pictures, 0))
    unit, reference = stream.intra(intra, COUNT, idr=False)
    told += [unit, stream.hold(reference, COUNT + 1)]
    check(stream, told)
    together, alone = shown(stream, told), decoded(units)
    assert all(same(together[n], planes) for n, planes in alone.items())
    assert same(together[COUNT], together[COUNT + 1])


def test_long_groups_turn_the_numbers_around():
    """x264 counts references to 16 and order to 32 in streams like these; the stream to 65,536."""
    units, pictures = coded(":ref=3", count=80)
    assert pictures[0].sps.log2_max_frame_num == 4
    assert 1 << pictures[0].sps.log2_max_pic_order_cnt_lsb < 160
    _, stream = new_stream(pictures)
    told = list(stream.segment(pictures, 0))
    check(stream, told)
    together, alone = shown(stream, told), decoded(units)
    assert [n for n, planes in alone.items() if not same(together[n], planes)] == []


def test_the_cases_are_what_they_say():
    """That x264 did use what these tests are about."""
    _, pictures = coded(":ref=4:weightp=2")
    headers = [s.header for p in pictures for s in p.slices]
    assert any(h.slice_type is SliceType.B and h.nal_ref_idc == 0 for h in headers)
    assert any(w.luma for h in headers if h.weights for w in h.weights.lists[0])
    a_turn = 1 << pictures[0].sps.log2_max_frame_num
    steps = [step for h in headers for entries in h.modifications for step in entries]
    assert any(step.abs_diff_pic_num == a_turn for step in steps)
    _, pictures = coded(":ref=2:bframes=0")
    assert pictures[0].sps.pic_order_cnt_type == 2


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        (":b-pyramid=normal:ref=4:bframes=3:b-adapt=0", {"reorder": 2}, "sliding window"),
        (":ref=5", {}, "5 references"),
        (":ref=3", {"max_references": 2}, "3 references"),
        (":bframes=3:b-adapt=0", {"reorder": 0}, "do not fit"),
        (":level=4.0", {}, "level 4.0"),
    ],
)
def test_segments_that_do_not_fit_are_refused(params, options, message):
    with pytest.raises(BitstreamError, match=message):
        _, pictures = coded(params)
        _, stream = new_stream(pictures, **options)
        list(stream.segment(pictures, 0))


def test_a_segment_is_whole():
    _, pictures = coded(":ref=3:bframes=2:b-adapt=0")
    broken = [
        (pictures[1:], "without the IDR picture"),
        (pictures[:1] + pictures[2:], "gap|number|entries"),
        (pictures[:2], "go up to number"),
    ]
    for wrong, message in broken:
        _, stream = new_stream(pictures)
        with pytest.raises(BitstreamError, match=message):
            list(stream.segment(wrong, 0))


def test_a_segment_comes_after_what_was_shown():
    _, pictures = coded(count=4)
    intra, stream = new_stream(pictures)
    stream.intra(intra, 0, idr=True)
    with pytest.raises(BitstreamError, match="IDR picture 0 comes after"):
        list(stream.segment(pictures, 0))


def test_stills_and_segments_may_share_their_pps():
    units, pictures = coded(":ref=1:weightp=0:bframes=0", preset="superfast")
    intra, _ = new_stream(pictures)
    stream = Stream(Format(W, H, 30, 30), pictures[0].pps, intra.pps)
    told = list(stream.segment(pictures, 0))
    unit, _ = stream.intra(intra, COUNT, idr=True)
    together, alone = shown(stream, [*told, unit]), decoded(units)
    assert all(same(together[n], planes) for n, planes in alone.items())


def test_numbers_of_idr_pictures_differ():
    _, pictures = coded(":keyint=1", count=6)
    _, stream = new_stream(pictures)
    units = list(stream.segment(pictures, 0))
    assert all(one.data != other.data for one, other in pairwise(units))
    check(stream, units)
