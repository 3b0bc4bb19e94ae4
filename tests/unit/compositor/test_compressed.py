"""The compressed-domain engine: what is coded, where readers can start, and what it holds."""

import threading
from collections import deque
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from compositor_reference import natural
from compositor_video import Collector, boxes, complaints, decode, packets, pictures_so_far

from compositor.compressed import CompressedEngine
from compositor.encoder.x264 import X264Coding
from compositor.engine import Cancelled
from compositor.handoff import STILLS
from compositor.planes import to_i420
from compositor.spool import Spool
from rpckit.video import Preset, Transition
from tests.support.compressed import timeline_of

SMALL = Preset(width=112, height=80, fps=24, bitrate=1_500_000, h264_level=30, use_case="tests")
WIDE = replace(SMALL, width=2304, height=48, h264_level=40)
I_SLICES, P_OR_B = 5, 1


class Stills:
    """Stills that come when a test says so, two at a time like the service's."""

    def __init__(self, planes=()):
        self._waiting = deque(planes)
        self._changed = threading.Condition()
        self.held = 0

    def put(self, planes):
        with self._changed:
            self._waiting.append(planes)
            self._changed.notify_all()

    def get(self, timeout=None):
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting and self.held < STILLS, timeout):
                return None
            planes = self._waiting.popleft()
            if planes is None:
                raise Cancelled
            self.held += 1
            return planes

    def release(self):
        with self._changed:
            self.held -= 1
            self._changed.notify_all()


def scenes(*slots, preset=SMALL):
    """A timeline of (pictures of the slot, transition, pictures of the transition)."""
    return timeline_of(preset, slots)


def pictures(count, preset=SMALL):
    return [to_i420(natural(i, preset.width, preset.height)) for i in range(count)]


def composed(timeline, preset=SMALL, coding=None, stored=None):
    sink = Collector()
    stills = Stills(pictures(len(timeline.slots), preset))
    CompressedEngine(coding or X264Coding(threads=2)).compose(
        preset, timeline, stills, sink, stored
    )
    return sink, stills


@pytest.mark.parametrize("transition", Transition, ids=lambda t: t.name)
def test_every_transition_has_its_pictures_at_their_times(transition, tmp_path):
    timeline = scenes((20, transition, 8), (20, transition, 8), (10, transition, 0))
    sink, _ = composed(timeline)
    video = decode(sink.data)
    assert video.times == [Fraction(k, SMALL.fps) for k in range(50)]
    assert sink.frames == 50
    path = tmp_path / "a.mp4"
    path.write_bytes(sink.data)
    assert complaints(path) == ""


def test_a_still_is_coded_once():
    sink, _ = composed(scenes((50, Transition.CROSSFADE, 10), (50, Transition.CROSSFADE, 0)))
    with_one = sum(len(chunk) for chunk in sink.writes)
    longer, _ = composed(scenes((90, Transition.CROSSFADE, 10), (90, Transition.CROSSFADE, 0)))
    # 80 more pictures: 15 bytes each, and what the container says of each.
    assert sum(len(chunk) for chunk in longer.writes) - with_one < 80 * 45 + 1000


def test_readers_can_start_as_often_as_asked():
    timeline = scenes(
        (100, Transition.CROSSFADE, 20), (30, Transition.ZOOM, 20), (60, Transition.SLIDE, 0)
    )
    sink, _ = composed(timeline, coding=X264Coding(threads=2, gop_seconds=1))
    keys = [pts for pts, _, key, _ in packets(sink.data) if key]
    assert keys[0] == 0
    assert max(b - a for a, b in pairwise([*keys, 190])) <= 24
    for pts, _, key, types in packets(sink.data):
        assert types == [I_SLICES if key else P_OR_B], pts


def test_decoding_times_are_one_picture_ahead():
    sink, _ = composed(scenes((20, Transition.WIPE, 8), (20, Transition.WIPE, 0)))
    times = [(pts, dts) for pts, dts, _, _ in packets(sink.data)]
    assert [dts for _, dts in times] == list(range(-1, 39))
    assert all(pts >= dts for pts, dts in times)


def test_a_wide_slide_goes_by_a_picture_half_way():
    timeline = scenes((20, Transition.SLIDE, 15), (20, Transition.SLIDE, 0), preset=WIDE)
    sink, _ = composed(timeline, WIDE)
    order = [pts for pts, _, _, _ in packets(sink.data)]
    # After the coming still, the middle picture of the 15, then the others.
    assert order[:9] == [0, 1, 2, 3, 4, 20, 12, 5, 6]
    assert len(decode(sink.data).times) == 40


def test_a_transition_between_holds_that_leave_no_room_is_coded():
    timeline = scenes((25, Transition.CROSSFADE, 24), (25, Transition.CROSSFADE, 0))
    sink, _ = composed(timeline, coding=X264Coding(threads=2, gop_seconds=1))
    assert len(decode(sink.data).times) == 50


@pytest.mark.parametrize("transition", [Transition.WIPE, Transition.ZOOM], ids=lambda t: t.name)
def test_two_stills_at_a_time_are_enough_and_all_are_let_go(transition):
    timeline = scenes(*[(12, transition, 5)] * 7)
    _, stills = composed(timeline)
    # The last may stay: nothing comes after it.
    assert stills.held <= 1


def test_what_is_there_is_sent_while_a_still_is_late():
    stills = Stills(pictures(1))
    sink = Collector()
    timeline = scenes((72, Transition.CROSSFADE, 10), (24, Transition.CROSSFADE, 0))
    engine = CompressedEngine(X264Coding(threads=2))
    arrived = threading.Event()
    sink.progress = lambda frames: arrived.set() if frames == 62 else None
    thread = threading.Thread(target=engine.compose, args=(SMALL, timeline, stills, sink))
    thread.start()
    assert arrived.wait(30)
    # What the muxer has not cut into a fragment yet is under 0.5 s.
    assert pictures_so_far(sink.data) >= 62 - 12
    stills.put(pictures(2)[1])
    thread.join(30)
    assert len(decode(sink.data).times) == 96


def test_cancelled_while_it_waits():
    stills = Stills(pictures(1))
    timeline = scenes((24, Transition.CROSSFADE, 10), (24, Transition.CROSSFADE, 0))
    stills.put(None)
    before = threading.active_count()
    with pytest.raises(Cancelled):
        CompressedEngine(X264Coding(threads=2)).compose(SMALL, timeline, stills, Collector())
    assert threading.active_count() == before


def test_the_stored_file_shows_the_same_pictures():
    timeline = scenes((20, Transition.SLIDE, 8), (20, Transition.ZOOM, 8), (9, Transition.FADE, 0))
    stored = Spool()
    sink, _ = composed(timeline, stored=stored)
    data = stored.read(0, stored.size)
    stored.close()
    assert [kind for kind, _ in boxes(data)][:2] == ["ftyp", "moov"]
    streamed, kept = decode(sink.data), decode(data)
    assert kept.times == streamed.times
    assert all(np.array_equal(a, b) for a, b in zip(streamed.lumas, kept.lumas, strict=True))


def test_a_still_that_is_all_noise_stays_under_the_ceiling(tmp_path):
    preset = replace(SMALL, bitrate=200_000)
    noise = np.random.default_rng(1).integers(0, 256, (80, 112, 3), np.uint8)
    timeline = scenes((12, Transition.CROSSFADE, 5), (12, Transition.CROSSFADE, 0), preset=preset)
    sink = Collector()
    stills = Stills([to_i420(noise), to_i420(noise[::-1].copy())])
    CompressedEngine(X264Coding(threads=2)).compose(preset, timeline, stills, sink)
    path = tmp_path / "a.mp4"
    path.write_bytes(sink.data)
    assert complaints(path) == ""
    # 0.8 of a buffer of 400 kbit for each still, and next to nothing for the rest.
    assert len(sink.data) < 2 * 40_000 + 4_000
