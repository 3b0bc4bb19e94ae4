"""Reference lists and picture order, by the standard's rules and its worked numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compositor.h264.bits import BitstreamError
from compositor.h264.order import OrderCounts, OutputOrder, picture_number
from compositor.h264.references import Reference, ReferencePictures
from compositor.h264.slice_header import Modification, SliceHeader, SliceType

P, B, I = SliceType.P, SliceType.B, SliceType.I  # noqa: E741
TURN = 16


def held(order_counts, *, maximum=4, before=0):
    """`before` pictures that have left, then pictures with these PicOrderCnt."""
    references = ReferencePictures(maximum, TURN)
    pictures = []
    for order_count in [-2] * before + list(order_counts):
        picture = Reference(references.next_frame_num, order_count)
        references.add(picture)
        pictures.append(picture)
    return references, pictures[before:]


def test_a_p_list_begins_with_the_last_decoded():
    references, pictures = held([0, 10, 4, 6])
    (entries,) = references.initial(P, 4, 8)
    assert entries == pictures[::-1]


def test_frame_numbers_wrap():
    references, pictures = held([0, 2, 4, 6], before=14)
    assert [picture.frame_num for picture in pictures] == [14, 15, 0, 1]
    assert references.next_frame_num == 2
    (entries,) = references.initial(P, 2, 8)
    assert entries == pictures[::-1]


def test_b_lists_begin_with_the_nearest_before_and_after():
    references, (a, d, b, c) = held([0, 12, 4, 8])
    assert references.initial(B, 4, 6) == ([b, a, c, d], [c, d, b, a])


def test_list_1_differs_from_list_0():
    references, (a, b, c) = held([0, 2, 4])
    assert references.initial(B, 3, 6) == ([c, b, a], [b, c, a])
    single, (only,) = held([0])
    assert single.initial(B, 1, 6) == ([only], [only])


def test_an_i_slice_has_no_list():
    references, _ = held([0])
    assert references.initial(I, 1, 2) == ()


def test_the_window_slides():
    references, pictures = held([0, 2, 4, 6])
    assert references.leaving is pictures[0]
    references.add(Reference(4, 8))
    assert [picture in references for picture in pictures] == [False, True, True, True]
    references.clear()
    assert references.leaving is None
    assert references.next_frame_num == 0
    assert not any(picture in references for picture in pictures)


def lists(references, modifications, active, *, kind=P, frame_num, order_count=100):
    header = SliceHeader(0, kind, 0, frame_num, 0, modifications=modifications)
    return references.lists(header, active, order_count)


def test_steps_count_from_the_picture_itself():
    references, (a, b, c) = held([0, 2, 4])
    # From 3: minus 3 is 0, plus 2 is 2.
    steps = (Modification(False, 3), Modification(True, 2))
    assert lists(references, (steps,), [3], frame_num=3) == ([a, c, b],)


def test_steps_go_around():
    references, (a, b) = held([0, 2], before=15)
    assert [a.frame_num, b.frame_num] == [15, 0]
    # From 1: plus 14 is 15, which is before this picture; plus 1 is 0.
    steps = (Modification(True, 14), Modification(True, 1))
    assert lists(references, (steps,), [2], frame_num=1) == ([a, b],)
    # A whole turn names the same picture twice.
    steps = (Modification(False, 1), Modification(True, 16))
    assert lists(references, (steps,), [3], frame_num=1) == ([b, b, a],)


def test_lists_without_a_picture_are_refused():
    references, _ = held([0, 2])
    with pytest.raises(BitstreamError, match="2 of 3"):
        lists(references, (), [3], frame_num=2)
    with pytest.raises(BitstreamError, match="picture number -1"):
        lists(references, ((Modification(False, 3),),), [1], frame_num=2)


@given(st.data())
def test_any_list_can_be_asked_for(data):
    count = data.draw(st.integers(1, 4))
    before = data.draw(st.integers(0, 20))
    counts = data.draw(st.permutations([2 * n for n in range(count)]))
    references, pictures = held(counts, before=before if count == 4 else 0)
    kind = data.draw(st.sampled_from([P, B]))
    order_count = data.draw(st.sampled_from([-1, 1, 3, 5, 9]))
    wish = st.lists(st.sampled_from(pictures), min_size=1, max_size=6)
    wanted = tuple(data.draw(wish) for _ in range(kind.lists))
    frame_num = references.next_frame_num
    steps = references.modifications(wanted, kind, frame_num, order_count)
    given_lists = lists(
        references,
        steps,
        [len(entries) for entries in wanted],
        kind=kind,
        frame_num=frame_num,
        order_count=order_count,
    )
    assert given_lists == wanted
    for taken, entries in zip(steps, wanted, strict=False):
        assert len(taken) <= len(entries)
        assert all(1 <= step.abs_diff_pic_num <= TURN for step in taken)


def test_no_steps_where_the_list_is_right_already():
    references, (a, b) = held([0, 8])
    assert references.modifications([[b]], P, 2, 4) == ()
    assert references.modifications([[b, a]], P, 2, 4) == ()
    assert references.modifications([[a], [b]], B, 2, 4) == ()
    assert references.modifications([[a]], P, 2, 4) == ((Modification(False, 2),),)


def order(reorder=1):
    return OutputOrder(reorder=reorder, log2_max_lsb=16)


def test_counts_go_by_twos_from_the_idr_picture():
    places = order()
    places.begin(100)
    assert [places.place(n) for n in (101, 105, 102, 103, 104, 106)] == [2, 10, 4, 6, 8, 12]
    places.begin(107)
    assert places.place(108) == 2


@pytest.mark.parametrize(
    ("before", "late"),
    [
        ([1, 2], 2),  # twice
        ([1, 2], 1),
        ([5, 6], 1),  # two are ahead
        ([5, 6, 7], 4),
        ([], 0),
        ([], -1),
    ],
)
def test_pictures_that_come_too_late_are_refused(before, late):
    places = order()
    places.begin(0)
    for output in before:
        places.place(output)
    with pytest.raises(ValueError, match="too late"):
        places.place(late)


def test_two_pictures_ahead_need_a_reorder_of_two():
    places = order(2)
    places.begin(0)
    assert [places.place(n) for n in (9, 5, 1, 2)] == [18, 10, 2, 4]


def test_idr_pictures_come_after_all_before_them():
    places = order()
    with pytest.raises(ValueError, match="begins with"):
        places.place(0)
    places.begin(0)
    places.place(5)
    with pytest.raises(ValueError, match="IDR picture 5"):
        places.begin(5)
    assert places.place(4) == 8
    places.begin(6)


def test_the_counter_does_not_go_half_around():
    places = order()
    places.begin(0)
    assert places.check((1 << 14) - 1) == (1 << 15) - 2
    with pytest.raises(ValueError, match="too far"):
        places.check(1 << 14)
    places.place((1 << 14) - 1, is_reference=True)
    assert places.check(1 << 14) == 1 << 15


@given(
    st.lists(st.tuples(st.integers(-127, 127), st.booleans()), max_size=50),
    st.sampled_from([8, 9, 16]),
)
def test_counts_are_decoded_from_their_low_bits(steps, log2_max_lsb):
    counts = OrderCounts(log2_max_lsb)
    reference = 0
    for step, is_reference in steps:
        count = reference + step
        assert counts.count(count % (1 << log2_max_lsb), is_reference=is_reference) == count
        reference = count if is_reference else reference


@pytest.mark.parametrize(
    ("previous", "lsb", "count"),
    # MaxPicOrderCntLsb is 16; 8 is half a turn: 8.2.1.1
    [(0, 8, 8), (8, 0, 16), (15, 7, 23), (15, 8, 8), (1, 10, -6), (1, 9, 9)],
)
def test_half_a_turn(previous, lsb, count):
    counts = OrderCounts(4)
    for step in (min(previous, 7), previous):
        counts.count(step, is_reference=True)
    assert counts.count(lsb, is_reference=False) == count


def test_pictures_between_pictures_are_refused():
    assert picture_number(8) == 4
    for count in (-2, 3):
        with pytest.raises(BitstreamError):
            picture_number(count)
