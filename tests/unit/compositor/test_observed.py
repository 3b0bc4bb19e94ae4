"""What is seen of an engine from outside, whichever it is."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
import structlog
from prometheus_client import REGISTRY

from compositor.engine import Cancelled
from compositor.observed import observed
from compositor.planes import Planes
from compositor.timeline import SceneTiming, plan
from rpckit.tracing import current_origin, span
from rpckit.video import PRESETS, Quality, Transition
from tests.support.spans import named, recorded_spans

PRESET = PRESETS[Quality.DRAFT]
SECOND, HALF = Fraction(1), Fraction(1, 2)
STILL = Planes.empty(16, 16)


class Clock:
    """Seconds that pass when a test says so; the time of day goes on by itself too."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return time.time_ns() + round((self.now - 1000.0) * 1e9)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("compositor.observed.time", clock)
    return clock


class Stills:
    """What is done for each still is given."""

    def __init__(self, made=lambda: None) -> None:
        self.made = made
        self.released = 0

    def get(self, timeout=None):
        self.made()
        return STILL

    def release(self):
        self.released += 1


class Sink:
    def __init__(self) -> None:
        self.data = b""
        self.frames = 0
        self.checks = 0
        self.cancel_at = -1

    def write(self, data):
        self.data += data
        return len(data)

    def progress(self, frames):
        self.frames = frames

    def check(self):
        self.checks += 1
        if self.checks == self.cancel_at:
            raise Cancelled


class Engine:
    """Ten bytes a picture, in no time."""

    description = "ten bytes"

    def __init__(self) -> None:
        self.seen: tuple[str, dict, str] = ("", {}, "")

    def compose(self, preset, timeline, stills, sink, stored=None):
        self.seen = (
            current_origin(),
            structlog.contextvars.get_contextvars(),
            threading.current_thread().name,
        )
        frames = 0
        for index, slot in enumerate(timeline.slots):
            if index == 0:
                stills.get()
            for k in range(slot.frame_count):
                if k == slot.hold_frame_count:
                    stills.get()
                    stills.release()
                sink.check()
                sink.write(bytes(10))
                frames += 1
                sink.progress(frames)


def compose(engine, stills=None, sink=None):
    """Three scenes of a second: a crossfade of 12 pictures, a cut."""
    timeline = plan(
        [
            SceneTiming(SECOND, Transition.CROSSFADE, HALF),
            SceneTiming(SECOND, Transition.WIPE, Fraction(0)),
            SceneTiming(SECOND, Transition.FADE, HALF),
        ],
        PRESET.fps,
    )
    arguments = (PRESET, timeline, stills or Stills(), sink or Sink(), None)
    with ThreadPoolExecutor(thread_name_prefix="engine") as threads:
        threads.submit(observed(engine), *arguments).result()


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"quality": "draft"}) or 0


def test_an_engine_gets_what_it_asks_for_and_what_it_does_is_counted():
    stills, sink = Stills(), Sink()
    pictures, size = counted("gator_pictures_encoded_total"), counted("gator_video_bytes_total")
    compose(Engine(), stills, sink)
    assert (sink.frames, sink.checks, len(sink.data), stills.released) == (72, 72, 720, 1)
    assert counted("gator_pictures_encoded_total") - pictures == 72
    assert counted("gator_video_bytes_total") - size == 720


def test_encoding_and_transitions_are_spans_of_the_call_in_the_engines_thread(clock):
    engine = Engine()
    with (
        recorded_spans() as spans,
        structlog.contextvars.bound_contextvars(render_id="r-1"),
        span("call"),
    ):
        compose(engine)
    call, encode, crossfade = (named(spans, n) for n in ("call", "encode", "transition"))
    assert encode.parent.span_id == call.context.span_id
    assert crossfade.parent.span_id == encode.context.span_id
    assert crossfade.attributes == {
        "gator.transition": "crossfade",
        "gator.scene.index": 0,
        "gator.transition.pictures": 12,
    }
    assert encode.start_time <= crossfade.start_time < crossfade.end_time <= encode.end_time
    assert dict(encode.attributes) == {
        "gator.video.quality": "draft",
        "gator.video.encoder": "ten bytes",
        "gator.video.pictures": 72,
        "gator.video.bytes": 720,
        "gator.encode.seconds": 0,
    }
    origin, context, thread = engine.seen
    assert format(encode.context.span_id, "016x") in origin
    assert context == {"render_id": "r-1"}
    assert thread.startswith("engine")


def test_the_time_in_which_an_engine_waits_for_frames_is_not_its_work(clock):
    def made():
        clock.now += 1000

    before = counted("gator_encode_seconds_total")
    with recorded_spans() as spans:
        compose(Engine(), Stills(made))
    assert counted("gator_encode_seconds_total") == before
    crossfade, encode = named(spans, "transition"), named(spans, "encode")
    # Nor is it a transition's: that begins when both of its scenes are there.
    assert crossfade.end_time - crossfade.start_time < 1000e9
    assert crossfade.start_time - encode.start_time >= 2000e9


def test_an_engine_that_is_stopped_has_told_how_far_it_came():
    sink = Sink()
    sink.cancel_at = 31
    pictures = counted("gator_pictures_encoded_total")
    with recorded_spans() as spans, pytest.raises(Cancelled):
        compose(Engine(), sink=sink)
    assert counted("gator_pictures_encoded_total") - pictures == 30
    encode = named(spans, "encode")
    assert encode.attributes["gator.video.pictures"] == 30
    assert encode.attributes["error.type"] == "Cancelled"
