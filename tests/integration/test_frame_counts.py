"""What a finished video says of itself, and how many pictures it has, by two readers."""

import asyncio
import shutil
import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from compositor.servicer import build
from compositor.settings import Settings
from gator.compositor.v1 import compositor_service_pb2 as pb
from rpckit.testing import connected
from rpckit.video import PRESETS, Preset, Quality, Transition
from tests.support import video
from tests.support.composing import Composed, compose
from tests.support.natural import still
from tests.support.reference import Scene, Shown, timeline

GOP_SECONDS = 8
TRANSITIONS = [transition.name for transition in Transition]


@dataclass(frozen=True)
class Case:
    quality: Quality
    durations: tuple[str, ...]
    """Seconds of each scene; the transitions take turns."""
    engine: str = "auto"
    late: bool = False
    """Whether the second scene comes only when all that can be shown of the first has come."""

    def __str__(self) -> str:
        late = "-late" if self.late else ""
        return f"{self.engine}-{self.quality.name.lower()}-{'+'.join(self.durations)}{late}"

    @property
    def preset(self) -> Preset:
        return PRESETS[self.quality]

    @property
    def scenes(self) -> list[Scene]:
        return [
            Scene(Fraction(duration), TRANSITIONS[i % len(TRANSITIONS)])
            for i, duration in enumerate(self.durations)
        ]

    @property
    def shown(self) -> list[Shown]:
        return timeline(self.scenes, self.preset.fps)


ROUNDED = ("0.5", "1.0", "2.37", "3.0")
# Half pictures at 24 and at 30 per second, and scenes of one picture.
TIES = ("0.3125", "0.25", "0.041666667", "0.35", "0.041666667", "0.3125", "0.25")
VIDEOS = [
    *(Case(q, d) for q in Quality if q is not Quality.PREMIUM for d in (ROUNDED, TIES)),
    # 60 pictures of 4K take seconds each second: few, with half pictures again.
    Case(Quality.PREMIUM, ("0.125", "0.237", "0.041666667")),
    Case(Quality.DRAFT, ("19.98",)),
    Case(Quality.DRAFT, ("9.01", "8.99")),
    Case(Quality.DRAFT, ("1.0", "0.5", "0.35"), late=True),
]
CASES = [replace(case, engine=engine) for case in VIDEOS for engine in ("auto", "reference")]


@dataclass(frozen=True)
class Made:
    case: Case
    composed: Composed
    path: Path


@pytest.fixture(scope="module", params=CASES, ids=str)
def made(request, tmp_path_factory) -> Made:
    case: Case = request.param
    stills = [still(i, 320, 180) for i in range(len(case.durations))]
    some_video = threading.Event()

    def picture(index: int) -> np.ndarray:
        if case.late and index:
            assert some_video.wait(60)
        return stills[index]

    def came(response: pb.ComposeResponse) -> None:
        if response.HasField("video"):
            some_video.set()

    flush_after = 0 if case.late else Settings().flush_after
    settings = Settings(engine=case.engine, flush_after=flush_after)

    async def run() -> Composed:
        async with connected(build(settings)) as channel:
            return await compose(channel, case.quality, case.scenes, picture, came)

    composed = asyncio.run(run())
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    path.write_bytes(composed.data)
    return Made(case, composed, path)


def test_plan_and_summary_have_the_rules_count(made):
    shown, preset = made.case.shown, made.case.preset
    plan, summary = made.composed.plan, made.composed.summary
    assert plan.frame_count == summary.frame_count == len(shown)
    for i, slot in enumerate(plan.slots):
        numbers = [n for n, picture in enumerate(shown) if picture.scene == i]
        blended = [n for n in numbers if shown[n].p is not None]
        assert (slot.first_frame, slot.frame_count) == (numbers[0], len(numbers))
        assert slot.transition_frame_count == len(blended)
    nanos = Fraction(len(shown), preset.fps) * 10**9
    for duration in (plan.duration, summary.duration):
        assert abs(duration.ToNanoseconds() - nanos) <= Fraction(1, 2)


def test_decoded_pictures_are_as_many_at_a_constant_rate(made):
    fps, count = made.case.preset.fps, len(made.case.shown)
    assert video.timestamps(made.path) == [Fraction(k, fps) for k in range(count)]


def test_another_decoder_sees_the_same_pictures_and_no_error(made):
    assert video.ffmpeg_pictures(made.path) == [(k, 1) for k in range(len(made.case.shown))]


def test_packets_are_one_picture_each_and_in_order(made):
    coded = video.accesses(made.path)
    assert sorted(access.pts for access in coded) == list(range(len(made.case.shown)))
    assert {access.duration for access in coded} == {1}
    dts = [access.dts for access in coded]
    assert dts == list(range(dts[0], dts[0] + len(dts)))
    assert all(access.dts <= access.pts for access in coded)


def test_reader_can_start_at_least_every_8_seconds(made):
    coded = video.accesses(made.path)
    assert coded[0].keyframe
    begins = [i for i, access in enumerate(coded) if access.keyframe]
    assert {access.keyframe for access in coded if access.idr} == {True}
    assert all(coded[i].idr for i in begins)
    for begin, end in zip(begins, [*begins[1:], len(coded)], strict=True):
        group = coded[begin:end]
        assert len(group) <= GOP_SECONDS * made.case.preset.fps
        # Closed: its pictures are shown in one run that its first one leads.
        first = group[0].pts
        assert sorted(access.pts for access in group) == list(range(first, first + len(group)))


def test_file_says_what_the_preset_does(made):
    preset = made.case.preset
    found = video.described(made.path)
    assert (found.width, found.height, found.fps) == (preset.width, preset.height, preset.fps)
    assert (found.pix_fmt, found.profile, found.level) == ("yuv420p", "High", preset.h264_level)
    assert found.colours == ("MPEG", "ITU709", "BT709", "BT709")
    assert found.start == 0


def test_another_reader_says_so_too(made):
    preset = made.case.preset
    found = video.ffmpeg_says(made.path)
    duration = found.pop("duration")
    assert found == {
        "start": "0.000000",
        "profile": "High",
        "pix_fmt": "yuv420p",
        "colours": "tv, bt709, progressive",
        "size": f"{preset.width}x{preset.height}",
        "fps": str(preset.fps),
    }
    hours, minutes, seconds = duration.split(":")
    total = 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    assert abs(total - Fraction(len(made.case.shown), preset.fps)) <= Fraction(1, 100)


def test_coded_parameters_say_so_too(made):
    found = video.sequence_parameters(made.path)
    synthesized_wide = made.case.engine == "auto" and made.case.preset.width > 2048
    wanted = {
        "profile_idc": 100,
        "level_idc": made.case.preset.h264_level,
        # One more for slides that go by a picture half way.
        "max_num_ref_frames": 5 if synthesized_wide else 4,
        "frame_mbs_only_flag": 1,
        "video_full_range_flag": 0,
        "colour_primaries": 1,
        "transfer_characteristics": 1,
        "matrix_coefficients": 1,
        "time_scale": 2 * made.case.preset.fps,
        "num_units_in_tick": 1,
        "fixed_frame_rate_flag": 1,
    }
    assert {name: found.get(name) for name in wanted} == wanted


def test_reported_duration_is_the_files(made):
    reported = Fraction(made.composed.summary.duration.ToNanoseconds(), 10**9)
    # A reader gives microseconds.
    assert abs(reported - video.described(made.path).duration) <= Fraction(1, 10**6)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe")
def test_ffprobe_says_so_too(made):
    preset, count = made.case.preset, len(made.case.shown)
    found = video.ffprobe_says(made.path)
    assert int(found["nb_read_frames"]) == count
    wanted = {
        "codec_name": "h264",
        "profile": "High",
        "level": preset.h264_level,
        "width": preset.width,
        "height": preset.height,
        "pix_fmt": "yuv420p",
        "r_frame_rate": f"{preset.fps}/1",
        "avg_frame_rate": f"{preset.fps}/1",
        "color_range": "tv",
        "color_space": "bt709",
        "color_primaries": "bt709",
        "color_transfer": "bt709",
        "start_pts": 0,
    }
    assert {name: found.get(name) for name in wanted} == wanted
