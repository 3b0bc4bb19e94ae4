"""What decoders show of a told video, against the formulas applied to its decoded stills.

Stills are taken from the video itself, in whole macroblocks: wipes and slides refer to
what lies beyond the cropped edges too.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compositor import transitions
from compositor.compressed import CompressedEngine
from compositor.doctor import openh264
from compositor.doctor.openh264 import OpenH264Decoder
from compositor.encoder.decoding import DecodingError, FfmpegDecoder
from compositor.encoder.x264 import X264Coding
from compositor.gops import ScenePlan
from compositor.planes import Planes, to_i420
from compositor.timeline import Timeline
from rpckit.video import PRESETS, Preset, Quality, Transition
from tests.support.compressed import FileSink, Ready, Slot, timeline_of
from tests.support.natural import still

EXAMPLES = int(os.environ.get("GATOR_CONFORMANCE_EXAMPLES", "40"))
"""Timelines that are tried; more on demand."""
LEVELS = {Transition.CROSSFADE: 2, Transition.FADE: 2}
"""By how much a told sample may be off; 0 where it is not said."""


def _why_no_openh264() -> str:
    try:
        openh264._library()
    except DecodingError as error:
        return str(error)
    return ""


NO_OPENH264 = _why_no_openh264()


@dataclass(frozen=True)
class Made:
    preset: Preset
    timeline: Timeline
    scenes: tuple[ScenePlan, ...]
    path: Path


def make(
    folder: Path,
    preset: Preset,
    slots: Sequence[Slot],
    gop_seconds: float = 8,
    pictures: Sequence[Planes] | None = None,
) -> Made:
    """A video of (pictures of the slot, transition, pictures of the transition)."""
    timeline = timeline_of(preset, slots)
    engine = CompressedEngine(X264Coding(threads=2, gop_seconds=gop_seconds))
    path = folder / "video.mp4"
    shown = pictures or [to_i420(still(i, preset.width, preset.height)) for i in range(len(slots))]
    with closing(FileSink(path)) as sink:
        engine.compose(preset, timeline, Ready(shown), sink)
    return Made(preset, timeline, engine.scenes(preset, timeline), path)


# --- decoders ---------------------------------------------------------------------------


def strictly_decoded(path: Path, *, cropped: bool = True) -> Iterator[Planes]:
    """FFmpeg's pictures; it may complain and go on, so what it says is an error too."""
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as said:
            yield from FfmpegDecoder(cropped=cropped).pictures(path)
            assert said == []
    finally:
        av.logging.set_level(None)


def assert_another_decoder_agrees(made: Made) -> None:
    if NO_OPENH264:
        return
    pairs = zip_longest(
        FfmpegDecoder(cropped=False).pictures(made.path), OpenH264Decoder().pictures(made.path)
    )
    height, width = made.preset.height, made.preset.width
    for number, (one, other) in enumerate(pairs):
        assert one is not None, f"no picture {number} of FFmpeg"
        assert other is not None, f"no picture {number} of OpenH264"
        for a, b, scale in zip(
            (one.y, one.u, one.v), (other.y, other.u, other.v), (1, 2, 2), strict=True
        ):
            shown = (slice(height // scale), slice(width // scale))
            assert np.array_equal(a[shown], b[shown]), f"picture {number}"


# --- formulas ---------------------------------------------------------------------------


def wanted(
    made: Made, scene: ScenePlan, index: int, k: int, a: Planes, b: Planes
) -> tuple[np.ndarray, ...]:
    """Y, U and V of picture `k` of a transition, as much as is shown."""
    slot, width, height = scene.slot, made.preset.width, made.preset.height
    p = list(slot.progress())[k]
    out = Planes.empty(a.width, a.height)
    if slot.transition is Transition.WIPE:
        column = transitions.wipe_column(p, width)
        for pa, pb, into, scale in planes(a, b, out):
            into[...] = pa
            into[:, : column // scale] = pb[:, : column // scale]
    elif slot.transition is Transition.SLIDE:
        shift = transitions.slide_shift(p, width)
        seam = ceil((width - shift) / 8) * 8
        for pa, pb, into, scale in planes(a, b, out):
            columns = np.arange(into.shape[1])
            last = into.shape[1] - 1
            from_a = np.clip(columns + shift // scale, 0, last)
            from_b = np.clip(columns - (width - shift) // scale, 0, last)
            into[...] = np.where(columns < seam // scale, pa[:, from_a], pb[:, from_b])
    elif slot.transition is Transition.DISSOLVE:
        cells = transitions.dissolve_cells(p, index, width, height)
        for pa, pb, into, scale in planes(a, b, out):
            side = 8 // scale
            mask = np.kron(cells, np.ones((side, side), bool))[: height // scale, : width // scale]
            into[...] = pa
            part = into[: height // scale, : width // scale]
            part[mask] = pb[: height // scale, : width // scale][mask]
    else:
        transitions.compose(slot.transition, a, b, p, index, out)
    return visible(out, made.preset)


def planes(
    a: Planes, b: Planes, out: Planes
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    yield a.y, b.y, out.y, 1
    yield a.u, b.u, out.u, 2
    yield a.v, b.v, out.v, 2


def visible(picture: Planes, preset: Preset) -> tuple[np.ndarray, ...]:
    height, width = preset.height, preset.width
    half = (slice(height // 2), slice(width // 2))
    return picture.y[:height, :width], picture.u[half], picture.v[half]


def assert_as_told(made: Made) -> None:
    """Holds are their stills, and told transitions the formulas of them."""
    stills: dict[int, Planes] = {}
    shown: dict[int, Planes] = {}
    firsts = {scene.slot.first_frame: i for i, scene in enumerate(made.scenes)}
    count = checked = 0
    current = -1
    for number, picture in enumerate(strictly_decoded(made.path, cropped=False)):
        count += 1
        if number in firsts:
            current = firsts[number]
            stills[current] = picture
            if current:
                checked += assert_transition(made, current - 1, stills, shown)
                stills.pop(current - 1)
            shown.clear()
            continue
        scene = made.scenes[current]
        if number < scene.first_transition_frame:
            assert np.array_equal(picture.i420, stills[current].i420), f"hold {number}"
        elif scene.told:
            shown[number - scene.first_transition_frame] = picture
    assert count == made.timeline.frame_count
    assert checked == sum(
        scene.slot.transition_frame_count for scene in made.scenes if scene.transition_is_told
    )


def assert_transition(
    made: Made, index: int, stills: dict[int, Planes], shown: dict[int, Planes]
) -> int:
    scene = made.scenes[index]
    tolerance = LEVELS.get(scene.slot.transition, 0)
    for k, picture in shown.items():
        formula = wanted(made, scene, index, k, stills[index], stills[index + 1])
        for got, want in zip(visible(picture, made.preset), formula, strict=True):
            off = np.abs(got.astype(int) - want).max()
            assert off <= tolerance, f"{scene.slot.transition.name} {k}: off by {off}"
    return len(shown)


# --- what is tried ----------------------------------------------------------------------


@pytest.mark.parametrize("quality", Quality, ids=lambda q: q.name.lower())
def test_presets(quality, tmp_path):
    preset = PRESETS[quality]
    shown = [*Transition]
    hold, blend = 6, 16
    if quality is Quality.PREMIUM and EXAMPLES < 100:
        # Each picture of 4K takes decoders and this test tenths of a second.
        shown, hold, blend = [Transition.CROSSFADE, Transition.SLIDE, Transition.DISSOLVE], 1, 15
    slots = [(hold + blend, transition, blend) for transition in shown]
    made = make(tmp_path, preset, [*slots, (3, Transition.FADE, 0)])
    assert [scene.told for scene in made.scenes[:-1]] == [t is not Transition.ZOOM for t in shown]
    assert_as_told(made)
    assert_another_decoder_agrees(made)


SMALL = Preset(width=64, height=48, fps=24, bitrate=400_000, h264_level=30, use_case="tests")


@pytest.mark.parametrize(
    "slots",
    [
        pytest.param([(1, Transition.FADE, 0)], id="one picture"),
        pytest.param([(1, Transition.FADE, 0)] * 50, id="50 scenes of one picture"),
        pytest.param([(6, t, 5) for t in Transition] * 8, id="48 scenes"),
        pytest.param([(300, Transition.CROSSFADE, 255)] * 3, id="the longest crossfades"),
        pytest.param([(7200, Transition.SLIDE, 12), (7200, Transition.WIPE, 0)], id="10 minutes"),
    ],
)
def test_lengths(slots, tmp_path):
    few = [to_i420(still(i, SMALL.width, SMALL.height)) for i in range(7)]
    made = make(tmp_path, SMALL, slots, 10, [few[i % 7] for i in range(len(slots))])
    assert_as_told(made)
    assert_another_decoder_agrees(made)


@st.composite
def videos(draw):
    # One in eight so wide that a slide goes by a picture half way.
    wide = draw(st.integers(0, 7)) == 0
    width = 2 * draw(st.integers(1025, 1700) if wide else st.integers(8, 90))
    height = 2 * draw(st.integers(8, 16) if wide else st.integers(8, 60))
    fps = draw(st.sampled_from([1, 5, 24, 30, 60]))
    preset = Preset(width, height, fps, draw(st.sampled_from([100_000, 3_000_000])), 30, "tests")
    count = draw(st.integers(1, 6))
    slots = [
        (draw(st.integers(1, 40)), draw(st.sampled_from(Transition)), draw(st.integers(0, 30)))
        for _ in range(count)
    ]
    gop_seconds = draw(st.sampled_from([1, 2, 8]))
    kinds = [draw(st.sampled_from(["natural", "noise", "flat", "edges"])) for _ in slots]
    return preset, slots, gop_seconds, kinds


def picture(kind: str, index: int, preset: Preset) -> Planes:
    width, height = preset.width, preset.height
    random = np.random.default_rng(index)
    if kind == "natural":
        return to_i420(still(index, width, height))
    if kind == "noise":
        return Planes(random.integers(0, 256, (height * 3 // 2, width), np.uint8))
    if kind == "flat":
        return Planes(np.full((height * 3 // 2, width), random.integers(0, 256), np.uint8))
    edges = Planes.empty(width, height)
    edges.i420[...] = np.where(np.arange(width) // 3 % 2, 235, 16)
    return edges


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(videos())
def test_any_timeline(tmp_path, video):
    preset, slots, gop_seconds, kinds = video
    stills = [picture(kind, i, preset) for i, kind in enumerate(kinds)]
    made = make(tmp_path, preset, slots, gop_seconds, stills)
    assert_as_told(made)
    assert_another_decoder_agrees(made)


@pytest.mark.skipif(bool(NO_OPENH264), reason=f"a second decoder was not asked: {NO_OPENH264}")
def test_a_second_decoder_was_asked():
    """Shows in the summary whether OpenH264 took part in the tests above."""
