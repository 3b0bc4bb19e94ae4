"""What the doctor draws and writes: stills, thumbnails, checksums, the page."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest

from compositor.doctor.clips import Clip, clips
from compositor.doctor.examination import Examination, Verdict
from compositor.doctor.stills import still
from compositor.doctor.thumbnails import COLUMNS, ROWS, thumbnail
from compositor.planes import to_i420
from compositor.timeline import SceneTiming
from rpckit.video import PRESETS, Quality, Transition
from tests.support.video import ffmpeg

CUTS = (SceneTiming(Fraction(2, 24), Transition.FADE, Fraction(0)),) * 3


@pytest.mark.parametrize(("width", "height"), [(854, 480), (320, 180), (1280, 720)])
def test_stills_differ_and_clip_no_colour(width, height):
    one, two = still(0, width, height), still(1, width, height)
    assert np.array_equal(one.i420, still(0, width, height).i420)
    assert np.abs(one.y.astype(int) - two.y).mean() > 10
    assert one.y.min() > 16
    assert one.y.max() < 235


@pytest.mark.parametrize(("width", "height"), [(854, 480), (34, 20), (1920, 1080)])
def test_thumbnails_are_mean_colours(width, height):
    ramp = np.linspace(60, 190, width)[None, :, None] * np.ones((height, 1, 1))
    rgb = (ramp + np.array([-20, 0, 25])).astype(np.uint8)
    rgb[height // 2 :, :, 0] += 30
    made = thumbnail(to_i420(rgb))
    assert made.shape == (ROWS, COLUMNS, 3)
    for row, column in np.ndindex(ROWS, COLUMNS):
        y, y_end = (2 * (i * height // (2 * ROWS)) for i in (row, row + 1))
        x, x_end = (2 * (i * width // (2 * COLUMNS)) for i in (column, column + 1))
        y_end = height if row == ROWS - 1 else y_end
        x_end = width if column == COLUMNS - 1 else x_end
        mean = rgb[y:y_end, x:x_end].mean(axis=(0, 1))
        assert np.abs(made[row, column] - mean).max() <= 3


def test_clips_cover_every_transition_and_the_wide_slide():
    found = clips()
    assert found[0].is_control
    assert not any(clip.is_control for clip in found[1:])
    assert len({clip.name for clip in found}) == len(found)
    used = {
        slot.transition
        for clip in found[1:]
        for slot in clip.timeline.slots
        if slot.transition_frame_count
    }
    assert used == set(Transition)
    assert any(PRESETS[clip.quality].width > 2048 for clip in found)


def test_checksums_are_those_that_ffmpeg_prints(tmp_path):
    examination = Examination(tmp_path, keep=True)
    checked = examination.check(Clip("cuts", "three", Quality.DRAFT, CUTS))
    assert checked.pictures == 6
    assert checked.outcomes[0].verdict is Verdict.AGREES
    run = ffmpeg("-v", "error", "-i", tmp_path / "cuts.mp4", "-f", "framemd5", "-")
    theirs = [line for line in run.stdout.splitlines() if not line.startswith("#software")]
    assert (tmp_path / "cuts.framemd5").read_text().splitlines() == theirs


def test_the_page_has_everything_inside(tmp_path):
    examination = Examination(tmp_path, keep=True)
    examination.check(Clip("cuts", "a < b </script>", Quality.DRAFT, CUTS))
    text = examination.write_page().read_text()
    (content,) = re.findall(r'<script type="application/json" id="clips">(.*?)</script>', text)
    (clip,) = json.loads(content)
    assert clip["about"] == "a < b </script>"
    assert clip["count"] == 6
    assert not re.search(r'(src|href)="', text)


def test_nothing_but_the_clip_is_written_unless_asked(tmp_path):
    Examination(tmp_path, keep=False).check(Clip("cuts", "", Quality.DRAFT, CUTS))
    assert [path.name for path in tmp_path.iterdir()] == ["cuts.mp4"]


def test_a_decoder_that_fails_at_the_control_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("GATOR_OPENH264_LIBRARY", "/nowhere.so")
    from compositor.doctor import openh264  # noqa: PLC0415 - its cache is cleared

    openh264._library.cache_clear()
    try:
        examination = Examination(tmp_path, keep=False)
        control = examination.check(Clip("control", "", Quality.DRAFT, CUTS, is_control=True))
        later = examination.check(Clip("cuts", "", Quality.DRAFT, CUTS))
    finally:
        openh264._library.cache_clear()
    for checked in (control, later):
        (found,) = [o for o in checked.outcomes if o.decoder == "OpenH264"]
        assert found.verdict is Verdict.MISSING
        assert "/nowhere.so" in found.reason
