"""Stills under the ceilings: a reader's buffer never runs empty."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from compositor.gops import plan
from compositor.rate import Ceiling, still_budgets
from compositor.timeline import SceneTiming
from compositor.timeline import plan as plan_timeline
from rpckit.video import Transition

FPS = 30
HIGH = Ceiling(rate=9e6, buffer=12e6, picture=6.2e6)


def scenes_of(*slots: tuple[int, int], longest: int = 240):
    timeline = plan_timeline(
        [
            SceneTiming(Fraction(slot, FPS), Transition.WIPE, Fraction(transition, FPS))
            for slot, transition in slots
        ],
        FPS,
    )
    return plan(timeline, longest, lambda _: True)


def test_a_still_with_time_after_it_takes_what_the_level_allows():
    assert still_budgets(scenes_of((90, 15), (90, 15), (90, 0)), FPS, HIGH) == [6_200_000] * 3


def test_a_still_takes_at_most_0_8_of_the_buffer():
    wide = Ceiling(rate=9e6, buffer=12e6, picture=1e9)
    assert still_budgets(scenes_of((300, 0)), FPS, wide) == [9_600_000]


def test_stills_in_quick_succession_share_the_rate():
    budgets = still_budgets(scenes_of(*[(3, 0)] * 40), FPS, HIGH)
    assert budgets[0] == 6_000_000
    assert budgets[:-1] == sorted(budgets[:-1], reverse=True)
    # In the long run each gets what comes in between two: 3 pictures at 300 kbit.
    assert 900_000 <= budgets[-2] < 910_000


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 40)), min_size=1, max_size=15),
    st.integers(5, 240),
)
def test_the_buffer_never_runs_empty(slots, longest):
    scenes = scenes_of(*slots, longest=longest)
    budgets = still_budgets(scenes, FPS, HIGH)
    sent = []
    for index, (scene, bits) in enumerate(zip(scenes, budgets, strict=True)):
        arrival = (
            scenes[index - 1].first_transition_frame if scene.referred else scene.slot.first_frame
        )
        assert bits > 0
        sent += [(frame, bits) for frame in sorted({arrival, *scene.idrs})]
        if not scene.synthesized:
            sent.append((scene.first_transition_frame, None))
    level, at = HIGH.buffer, 0
    for frame, bits in sent:
        level = min(HIGH.buffer, level + HIGH.rate / FPS * (frame - at))
        at = frame
        # x264 takes half of the buffer, or what is there: its own model sees to that.
        level -= min(HIGH.buffer / 2, level) if bits is None else bits
        assert level > -1
