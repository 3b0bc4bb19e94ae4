"""The fraction of a render's work that is done."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.progress import ProgressMeter

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(0, 4), st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("encoded"), st.integers(0, 100)),
    )
)


@given(EVENTS)
def test_the_fraction_never_falls_and_stays_in_range(events):
    meter = ProgressMeter(5)
    meter.frame_count = 100
    last = 0.0
    for event in events:
        if event[0] == "step":
            meter.scene_stepped(*event[1:])
        else:
            meter.frames_encoded = event[1]
        fraction = meter.progress().fraction
        assert last <= fraction <= 1
        last = fraction


def test_all_scenes_and_all_pictures_are_the_whole():
    meter = ProgressMeter(2)
    meter.frame_count = 48
    meter.scene_finished(0)
    assert meter.progress().fraction == 0.25
    meter.scene_finished(1)
    meter.frames_encoded = 48
    assert meter.progress().fraction == 1
    assert meter.progress().scenes_finished == 2
