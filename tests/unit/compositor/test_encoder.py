"""The files that the encoder writes: counts, times, tags, GOPs, and pauses half-way."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import psutil
import pytest
from compositor_reference import natural
from compositor_video import Collector, complaints, decode, described, packets, pictures_so_far

from compositor.encoder.pictures import Encoder
from compositor.encoder.x264 import X264Coding, cpu_count, x264_version
from compositor.engine import Cancelled
from compositor.planes import Planes, to_i420
from compositor.settings import Settings
from rpckit.video import PRESETS, Preset, Quality

SMALL = Preset(width=64, height=48, fps=24, bitrate=1_500_000, h264_level=30, use_case="tests")


def level_of(frame):
    """A luma level that tells which picture it is."""
    return 30 + frame * 37 % 180


def flat(preset, level):
    planes = Planes.empty(preset.width, preset.height)
    planes.y[:], planes.chroma[:] = level, 128
    return planes


def encode(runs, preset=SMALL, coding=None):
    """A file with as many pictures as `runs` says, and a flush after each run."""
    sink = Collector()
    encoder = Encoder(preset, coding or X264Coding(threads=2), sink)
    number = 0
    for run in runs:
        for _ in range(run):
            encoder.add(flat(preset, level_of(number)))
            number += 1
        encoder.flush()
    encoder.close()
    return sink


@pytest.mark.parametrize("quality", Quality, ids=lambda q: q.name)
def test_a_preset_is_what_the_file_says(quality, tmp_path):
    preset = PRESETS[quality]
    sink = Collector()
    encoder = Encoder(preset, X264Coding(threads=2), sink)
    picture = to_i420(natural(0, preset.width, preset.height))
    for _ in range(5):
        encoder.add(picture)
    encoder.close()
    path = tmp_path / "a.mp4"
    path.write_bytes(sink.data)
    text = described(path)
    assert "h264 (High)" in text
    assert "yuv420p(tv, bt709, progressive)" in text
    assert f", {preset.width}x{preset.height}" in text
    assert f" {preset.fps} fps" in text
    assert "start: 0.000000" in text
    video = decode(sink.data)
    assert (video.profile, video.level) == (100, preset.h264_level)
    assert video.times == [Fraction(k, preset.fps) for k in range(5)]
    assert video.start_time == 0
    assert complaints(path) == ""


@pytest.mark.parametrize(
    "runs",
    [[1], [2], [1, 1, 1], [1, 40], [40, 1, 40], [30, 2, 3, 1, 5, 30], [0, 5, 0, 0, 5]],
    ids=str,
)
@pytest.mark.parametrize("x264_preset", ["ultrafast", "veryfast", "slower"])
def test_pauses_leave_no_trace_in_the_pictures(runs, x264_preset, tmp_path):
    data = encode(runs, coding=X264Coding(x264_preset=x264_preset, threads=2)).data
    count = sum(runs)
    video = decode(data)
    assert video.times == [Fraction(k, 24) for k in range(count)]
    assert video.start_time == 0
    assert abs(video.duration - Fraction(count, 24)) <= Fraction(1, 500_000)
    assert video.profile == 100
    for number, luma in enumerate(video.lumas):
        assert abs(luma.mean() - level_of(number)) < 2
    decoding = [dts for _, dts, _, _ in packets(data)]
    assert all(b - a == 1 for a, b in pairwise(decoding))
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    assert complaints(path) == ""


def test_a_pause_begins_with_a_picture_to_start_at():
    keys = [pts for pts, _, key, nals in packets(encode([30, 30]).data) if key and 5 in nals]
    assert 30 in keys


@pytest.mark.parametrize("seconds", [1, 2.5, 8])
def test_gops_are_closed_and_no_longer_than_asked(seconds):
    sink = Collector()
    encoder = Encoder(SMALL, X264Coding(gop_seconds=seconds, threads=2), sink)
    picture = to_i420(natural(0, 64, 48))
    for _ in range(24 * 20):
        encoder.add(picture)
    encoder.close()
    coded = packets(sink.data)
    keys = [pts for pts, _, key, _ in coded if key]
    assert keys[0] == 0
    assert max(b - a for a, b in zip(keys, [*keys[1:], 480], strict=True)) <= 24 * seconds
    begin = -1
    for pts, _, key, nals in coded:
        # Closed: a key picture is an IDR, and nothing after it is shown before it.
        assert key == (5 in nals)
        begin = pts if key else begin
        assert pts >= begin


def test_bytes_leave_while_pictures_come():
    sink = Collector()
    encoder = Encoder(SMALL, X264Coding(threads=2), sink)
    picture = to_i420(natural(1, 64, 48))
    seen = []
    for _ in range(24 * 6):
        encoder.add(picture)
        seen.append(len(sink.data))
    assert len(set(seen)) > 15  # fragments of 1/4 s
    encoder.close()
    assert sink.data[4:8] == b"ftyp"
    assert sink.data.count(b"moof") > 20


def test_a_flush_sends_all_but_the_last_fragment():
    sink = Collector()
    encoder = Encoder(SMALL, X264Coding(x264_preset="slower", threads=2), sink)
    picture = to_i420(natural(1, 64, 48))
    for _ in range(48):
        encoder.add(picture)
    before = len(sink.data)
    encoder.flush()
    assert len(sink.data) > before
    assert pictures_so_far(sink.data) >= 48 - 12
    encoder.close()
    assert len(decode(sink.data).times) == 48


def test_a_picture_may_change_once_it_is_added():
    sink = Collector()
    encoder = Encoder(SMALL, X264Coding(threads=2), sink)
    planes = flat(SMALL, 0)
    picture = planes
    for number in range(60):
        planes.y[:] = level_of(number)
        encoder.add(picture)
    encoder.close()
    for number, luma in enumerate(decode(sink.data).lumas):
        assert abs(luma.mean() - level_of(number)) < 2


def test_the_bit_rate_stays_under_its_ceiling():
    preset = replace(SMALL, width=320, height=240, bitrate=600_000)
    sink = Collector()
    encoder = Encoder(preset, X264Coding(threads=2), sink)
    rng = np.random.default_rng(1)
    seconds = 6
    for _ in range(preset.fps * seconds):
        planes = Planes(rng.integers(16, 236, (360, 320), np.uint8))
        encoder.add(planes)
    encoder.close()
    # maxrate over the time, and the buffer of 2 seconds' bits once.
    assert len(sink.data) * 8 <= preset.bitrate * (1.5 * seconds + 2) * 1.02


@pytest.mark.parametrize("when", ["write", "check"])
def test_what_the_sink_raises_ends_the_encoder(when):
    class Full(Collector):
        def write(self, data):
            if when == "write":
                raise Cancelled
            return super().write(data)

        def check(self):
            if when == "check":
                raise Cancelled

    encoder = Encoder(SMALL, X264Coding(threads=2), Full())
    with pytest.raises(Cancelled):
        for number in range(100):
            encoder.add(flat(SMALL, level_of(number)))
    encoder.abort()


def test_an_aborted_encoder_writes_nothing_more():
    sink = Collector()
    encoder = Encoder(SMALL, X264Coding(threads=2), sink)
    for number in range(60):
        encoder.add(flat(SMALL, level_of(number)))
    before = len(sink.data)
    process = psutil.Process()
    threads = process.num_threads()
    encoder.abort()
    assert len(sink.data) == before
    # x264's own threads, which Python does not see.
    assert process.num_threads() < threads


def test_the_encoder_says_what_it_is():
    coding = X264Coding(x264_preset="slow", crf=20)
    assert coding.description == f"{x264_version()} slow crf 20"
    assert x264_version().startswith("x264 core ")
    assert cpu_count() >= 1


def test_settings_are_read_and_bounded(monkeypatch):
    monkeypatch.setenv("GATOR_COMPOSITOR_X264_PRESET", "fast")
    monkeypatch.setenv("GATOR_COMPOSITOR_GOP_SECONDS", "2")
    settings = Settings()
    assert (settings.x264_preset, settings.gop_seconds, settings.crf) == ("fast", 2, 18)
    monkeypatch.setenv("GATOR_COMPOSITOR_GOP_SECONDS", "11")
    with pytest.raises(ValueError, match="gop_seconds"):
        Settings()
