"""Chromium shows what the compressed-domain engine composed: the page of `gator doctor`."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compositor.doctor.clips import ClipFiles, clips, compose
from compositor.doctor.page import PageClip, page
from compositor.doctor.thumbnails import thumbnail
from compositor.encoder.decoding import FfmpegDecoder, codec_string
from rpckit.video import PRESETS
from tests.support.browser import CHROMIUM, report
from tests.support.video import ffmpeg

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        CHROMIUM is None, reason="chromium is not on this machine: no browser was asked"
    ),
]
LEVELS = 4
"""By how much a mean colour may be off: libyuv has other factors for blue than BT.709."""


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """A folder with what `gator doctor --decoders -o` writes, and what it printed."""
    folder = tmp_path_factory.mktemp("doctor")
    run = subprocess.run(
        [sys.executable, "-m", "gator_client.cli", "doctor", "--decoders", "-o", "check"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return folder / "check", run


def test_the_command_writes_clips_and_checksums(checked):
    folder, run = checked
    assert run.returncode == 0, run.stdout + run.stderr
    table = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines() if line.strip()}
    for clip in clips():
        count = str(clip.timeline.frame_count)
        assert table[clip.name][:2] == [count, "agrees"]
        path = folder / f"{clip.name}.mp4"
        if PRESETS[clip.quality].width < 1920:
            theirs = ffmpeg("-v", "error", "-i", path, "-f", "framemd5", "-").stdout
            lines = [line for line in theirs.splitlines() if not line.startswith("#software")]
            assert path.with_suffix(".framemd5").read_text().splitlines() == lines


def test_chromium_shows_every_clip_right(checked, tmp_path_factory):
    """It plays each through, goes to its pictures, and takes it as a stream."""
    page_text = (checked[0] / "players.html").read_text()
    found = report(page_text, tmp_path_factory.mktemp("chromium"))
    counts = {clip.name: clip.timeline.frame_count for clip in clips()}
    assert [result["name"] for result in found["clips"]] == list(counts)
    for result in found["clips"]:
        assert result["seeks"]["wrong"] == [], result
        assert result["seeks"]["looks"] >= 10
        assert result["seeks"]["worst"] <= LEVELS, result
        assert result["streams"]["wrong"] == [], result
        assert result["streams"]["worst"] <= LEVELS, result
        # Whether a picture is dropped for coming late is a matter of the machine alone.
        assert result["plays"]["total"] == counts[result["name"]], result
        assert result["plays"]["corrupted"] == 0
        assert result["agrees"]


def on_a_page(name: str, files: ClipFiles, folder: Path) -> PageClip:
    (clip,) = (clip for clip in clips() if clip.name == name)
    path = folder / f"{name}.mp4"
    path.write_bytes(files.stored)
    shown = [thumbnail(picture).tobytes() for picture in FfmpegDecoder().pictures(path)]
    return PageClip(
        name,
        clip.about,
        PRESETS[clip.quality],
        codec_string(path),
        clip.timeline.frame_count,
        b"".join(shown),
        files,
    )


def test_the_page_tells_a_wrong_picture(tmp_path):
    """One clip with two pictures in each other's place, one cut short, one broken."""
    files = {clip.name: compose(clip) for clip in clips() if clip.name in ("wipe", "fade", "hold")}
    good = on_a_page("wipe", files["wipe"], tmp_path)
    size = len(good.thumbnails) // good.pictures
    parts = [good.thumbnails[i : i + size] for i in range(0, len(good.thumbnails), size)]
    parts[12], parts[14] = parts[14], parts[12]
    swapped = replace(good, thumbnails=b"".join(parts))
    fade, hold = files["fade"], files["hold"]
    half = replace(fade, streamed=fade.streamed[: len(fade.streamed) // 2])
    short = replace(on_a_page("fade", fade, tmp_path), files=half)
    begun = replace(hold, stored=hold.stored[:2000])
    broken = replace(on_a_page("hold", hold, tmp_path), files=begun)
    profile = tmp_path / "chromium"
    profile.mkdir()
    found = report(page([swapped, short, broken]), profile)
    assert not found["agrees"]
    one, two, three = found["clips"]
    assert {wrong["number"] for wrong in one["seeks"]["wrong"]} == {12, 14}
    assert {(w["number"], w["nearest"]) for w in one["seeks"]["wrong"]} == {(12, 14), (14, 12)}
    assert two["seeks"]["right"]
    assert not two["streams"]["right"]
    assert "error" in three["seeks"]
    assert [result["agrees"] for result in found["clips"]] == [False] * 3
