"""The timeline's arithmetic: exact counts, no gaps, no empty slots."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compositor.timeline import SceneTiming, plan
from rpckit.video import PRESETS, Quality, Transition

FPS = st.sampled_from([24, 30, 60])


def nanoseconds(low, high):
    """Exact seconds from whole nanoseconds, as a Duration gives them."""
    return st.integers(low, high).map(lambda n: Fraction(n, 1_000_000_000))


@st.composite
def scenes(draw, fps):
    duration = nanoseconds(-(-1_000_000_000 // fps), 20_000_000_000)
    kind = st.sampled_from(Transition)
    scene = st.builds(SceneTiming, duration, kind, nanoseconds(0, 10_000_000_000))
    return draw(st.lists(scene, min_size=1, max_size=30))


@given(st.data(), FPS)
def test_slots_follow_the_rule_without_gaps(data, fps):
    timings = data.draw(scenes(fps))
    timeline = plan(timings, fps)
    expected = 0
    for i, (slot, timing) in enumerate(zip(timeline.slots, timings, strict=True)):
        assert slot.first_frame == expected
        assert slot.first_frame == floor(
            fps * sum((s.duration for s in timings[:i]), Fraction(0)) + Fraction(1, 2)
        )
        assert slot.frame_count >= 1
        assert slot.hold_frame_count >= 1
        asked = floor(fps * timing.transition_duration + Fraction(1, 2))
        last = i == len(timings) - 1
        assert slot.transition_frame_count == (0 if last else min(asked, slot.frame_count - 1))
        expected += slot.frame_count
    total = sum((s.duration for s in timings), Fraction(0))
    assert timeline.frame_count == expected == floor(fps * total + Fraction(1, 2))
    assert timeline.duration == Fraction(timeline.frame_count, fps)


@given(FPS, st.integers(1, 400))
def test_scenes_of_one_frame_get_one_frame_each(fps, count):
    timings = [SceneTiming(Fraction(1, fps), Transition.FADE, Fraction(1, 2))] * count
    timeline = plan(timings, fps)
    assert [s.frame_count for s in timeline.slots] == [1] * count
    assert not any(s.transition_frame_count for s in timeline.slots)


@given(FPS, st.lists(st.integers(0, 1_000_000), min_size=1, max_size=40))
def test_no_rounding_makes_a_slot_empty(fps, excess):
    # Just over one frame each: where rounding would bite first.
    shortest = -(-1_000_000_000 // fps)
    timings = [
        SceneTiming(Fraction(shortest + e, 1_000_000_000), Transition.WIPE, Fraction(0))
        for e in excess
    ]
    assert all(slot.frame_count >= 1 for slot in plan(timings, fps).slots)


def test_progress_runs_between_the_ends():
    timings = [SceneTiming(Fraction(1), Transition.CROSSFADE, Fraction(1, 8))] * 2
    slot = plan(timings, 24).slots[0]
    assert list(slot.progress()) == [Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)]


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("seconds", ["0.5", "1.0", "2.37", "3.0"])
def test_counts_of_the_presets(quality, seconds):
    fps = PRESETS[quality].fps
    timings = [SceneTiming(Fraction(seconds), Transition.SLIDE, Fraction(1, 2))] * 3
    assert plan(timings, fps).frame_count == floor(fps * 3 * Fraction(seconds) + Fraction(1, 2))


def test_a_transition_leaves_one_picture_of_its_scene():
    timings = [SceneTiming(Fraction(1), Transition.ZOOM, Fraction(10))] * 2
    assert [s.transition_frame_count for s in plan(timings, 30).slots] == [29, 0]


def test_no_scenes_and_too_short_scenes_are_refused():
    with pytest.raises(ValueError, match="at least one scene"):
        plan([], 30)
    short = SceneTiming(Fraction(1, 31), Transition.FADE, Fraction(0))
    with pytest.raises(ValueError, match="at least one frame"):
        plan([short], 30)
