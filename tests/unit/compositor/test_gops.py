"""Where groups of pictures begin: as near as asked, never inside what is synthesized."""

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from compositor.gops import ScenePlan, plan
from compositor.timeline import SceneTiming, Timeline
from compositor.timeline import plan as plan_timeline
from rpckit.video import Transition

FPS = 10


def timeline_of(*scenes: tuple[int, int]) -> Timeline:
    """Scenes as (pictures of the slot, pictures of the transition)."""
    return plan_timeline(
        [
            SceneTiming(Fraction(slot, FPS), Transition.CROSSFADE, Fraction(transition, FPS))
            for slot, transition in scenes
        ],
        FPS,
    )


def idr_frames(scenes: tuple[ScenePlan, ...], longest: int) -> list[int]:
    """All pictures at which a reader can start, those of coded transitions too."""
    frames = []
    for scene in scenes:
        frames += scene.idrs
        if not scene.synthesized:
            end = scene.slot.first_frame + scene.slot.frame_count
            frames += range(scene.first_transition_frame, end, longest)
    return sorted(frames)


def planned(*scenes: tuple[int, int], longest: int) -> tuple[ScenePlan, ...]:
    return plan(timeline_of(*scenes), longest, lambda _: True)


def test_one_group_when_it_is_long_enough():
    scenes = planned((30, 5), (30, 5), (30, 0), longest=200)
    assert [scene.idrs for scene in scenes] == [(0,), (), ()]
    assert [scene.referred for scene in scenes] == [False, True, True]
    assert all(scene.synthesized for scene in scenes)


def test_a_cut_begins_a_group():
    scenes = planned((30, 0), (30, 0), longest=200)
    assert [scene.idrs for scene in scenes] == [(0,), (30,)]
    assert [scene.referred for scene in scenes] == [False, False]


def test_a_long_hold_repeats_its_still():
    (scene,) = planned((100, 0), longest=30)
    assert scene.idrs == (0, 30, 60, 90)


def test_a_group_begins_a_second_before_a_transition_that_would_not_fit():
    scenes = planned((60, 10), (60, 10), (60, 0), longest=65)
    # The first transition shows pictures 50 to 59, so the next group can begin at 61.
    assert scenes[0].idrs == (0,)
    assert scenes[1].idrs == (61,) or scenes[1].idrs[0] <= 65
    assert all(scene.synthesized for scene in scenes)


def test_a_transition_as_long_as_a_group_is_coded():
    scenes = planned((40, 30), (40, 0), longest=30)
    assert not scenes[0].synthesized
    assert scenes[1].idrs[0] == 40
    assert not scenes[1].referred


def test_scenes_of_one_picture_in_a_row_are_not_synthesized_for_longer_than_a_group():
    scenes = planned((5, 4), *[(10, 9)] * 8, longest=30)
    frames = idr_frames(scenes, 30)
    assert max(b - a for a, b in pairwise(frames)) <= 30
    assert any(scene.synthesized and scene.slot.transition_frame_count for scene in scenes)
    assert any(not scene.synthesized for scene in scenes)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), min_size=1, max_size=12),
    st.integers(1, 80),
    st.sets(st.integers(0, 11)),
)
def test_groups_are_short_and_whole(slots, longest, coded):
    timeline = timeline_of(*slots)
    scenes = plan(timeline, longest, lambda index: index not in coded)
    frames = idr_frames(scenes, longest)
    assert frames[0] == 0
    assert len(set(frames)) == len(frames)
    ends = [*frames[1:], timeline.frame_count]
    assert max(b - a for a, b in zip(frames, ends, strict=True)) <= longest
    for index, scene in enumerate(scenes):
        slot = scene.slot
        begin, end = scene.first_transition_frame, slot.first_frame + slot.frame_count
        assert all(slot.first_frame <= frame < begin for frame in scene.idrs)
        if scene.transition_is_synthesized:
            assert index not in coded
            assert not any(begin <= frame <= end for frame in frames)
        if index:
            assert scene.referred == scenes[index - 1].transition_is_synthesized
            assert scene.referred or scene.idrs[0] == slot.first_frame
    # What can be synthesized is, where groups are long enough for each by itself.
    if (
        not coded
        and longest > max(b for _, b in slots) + 2
        and min(s.hold_frame_count for s in timeline.slots) > 1
    ):
        assert all(scene.synthesized for scene in scenes)
