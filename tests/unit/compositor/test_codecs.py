"""HEVC, AV1 and H.264 on devices: what the files say, counts, pauses, GOPs, ceilings."""

from fractions import Fraction

import av
import numpy as np
import pytest
from compositor_reference import natural
from compositor_video import Collector, complaints, decode_any, described

from compositor.encoder.av1 import Av1Coding
from compositor.encoder.hardware import NvencCoding, VaapiCoding, h264_coder, probe
from compositor.encoder.hevc import HevcCoding, x265_version
from compositor.encoder.pictures import Encoder
from compositor.encoder.x264 import X264Coding
from compositor.engines import choose
from compositor.planes import Planes, to_i420
from compositor.settings import Settings
from compositor.spool import Spool
from rpckit.errors import GatorError, Reason
from rpckit.video import PRESETS, Codec, Preset, Quality

SMALL = Preset(width=160, height=96, fps=24, bitrate=1_500_000, h264_level=30, use_case="tests")
CODERS = {"hevc": HevcCoding, "av1": Av1Coding}
SAID = {"hevc": "hevc (Main) (hvc1", "av1": "av1 (libdav1d) (Main) (av01"}


@pytest.fixture(params=CODERS)
def name(request):
    return request.param


@pytest.fixture
def stored():
    spool = Spool()
    yield spool
    spool.close()


def level_of(number):
    return 30 + number * 37 % 180


def flat(preset, level):
    planes = Planes.empty(preset.width, preset.height)
    planes.y[:], planes.chroma[:] = level, 128
    return planes


def encode(runs, coder, stored=None, preset=SMALL):
    """A file with as many pictures as `runs` says, and a pause after each run."""
    sink = Collector()
    encoder = Encoder(preset, coder, sink, stored)
    number = 0
    for run in runs:
        for _ in range(run):
            encoder.add(flat(preset, level_of(number)))
            number += 1
        encoder.flush()
    encoder.close()
    return sink.data


@pytest.mark.parametrize("quality", [Quality.DRAFT, Quality.HIGH], ids=lambda q: q.name)
def test_a_preset_is_what_the_file_says(name, quality, tmp_path):
    preset = PRESETS[quality]
    sink = Collector()
    encoder = Encoder(preset, CODERS[name](threads=2), sink)
    picture = to_i420(natural(0, preset.width, preset.height))
    for _ in range(5):
        encoder.add(picture)
    encoder.close()
    path = tmp_path / "a.mp4"
    path.write_bytes(sink.data)
    text = described(path)
    assert SAID[name] in text
    assert "yuv420p(tv, bt709" in text
    assert f", {preset.width}x{preset.height}" in text
    assert f" {preset.fps} fps" in text
    assert "start: 0.000000" in text
    assert b"colrnclx\0\1\0\1\0\1\0" in sink.data
    pictures = decode_any(sink.data)
    assert [time for time, _ in pictures] == [Fraction(k, preset.fps) for k in range(5)]
    assert np.abs(pictures[-1][1].astype(float) - picture.y).mean() < 3
    assert complaints(path) == ""


@pytest.mark.parametrize("runs", [[1], [2], [1, 1, 1], [40, 1, 40], [0, 5, 0, 0, 5]], ids=str)
def test_pauses_leave_no_trace_in_the_pictures(name, runs, stored, tmp_path):
    streamed = encode(runs, CODERS[name](threads=2), stored)
    for form, data in (("streamed", streamed), ("stored", stored.read(0, stored.size))):
        pictures = decode_any(data)
        assert [time for time, _ in pictures] == [Fraction(k, 24) for k in range(sum(runs))]
        for number, (_, luma) in enumerate(pictures):
            assert abs(luma.mean() - level_of(number)) < 2
        path = tmp_path / f"{form}.mp4"
        path.write_bytes(data)
        assert complaints(path) == ""


def test_gops_are_closed_and_no_longer_than_asked(name, tmp_path):
    data = encode([24 * 5], CODERS[name](gop_seconds=1, threads=2))
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with av.open(path) as container:
        stream = container.streams.video[0]
        tick = 1 / (stream.time_base * 24)
        coded = [(p.pts / tick, p.is_keyframe) for p in container.demux(stream) if p.size]
    assert [pts for pts, key in coded if key] == [0, 24, 48, 72, 96]
    begin = -1
    for pts, key in coded:
        begin = pts if key else begin
        assert pts >= begin  # nothing after a key picture is shown before it
    with av.open(path) as container:
        container.seek(int(72 * tick), stream=container.streams.video[0])
        first = next(container.decode(video=0))
        assert first.pts == 72 * tick
        assert abs(first.to_ndarray()[:96].mean() - level_of(72)) < 2


def test_the_bit_rate_stays_under_its_ceiling(name):
    preset = Preset(320, 240, 24, bitrate=600_000, h264_level=30, use_case="tests")
    sink = Collector()
    encoder = Encoder(preset, CODERS[name](threads=2), sink)
    rng = np.random.default_rng(1)
    seconds = 6
    for _ in range(preset.fps * seconds):
        encoder.add(Planes(rng.integers(16, 236, (360, 320), np.uint8)))
    encoder.close()
    assert len(sink.data) * 8 <= preset.bitrate * (1.5 * seconds + 2) * 1.02


def test_coders_say_what_they_are():
    assert HevcCoding("slow", 20).description == f"{x265_version()} slow crf 22"
    assert x265_version().startswith("x265 ")
    assert Av1Coding(6, 18).description == "SVT-AV1 preset 6 crf 28"
    assert [coder.codec for coder in (X264Coding(), HevcCoding(), Av1Coding(), NvencCoding())] == [
        Codec.H264,
        Codec.HEVC,
        Codec.AV1,
        Codec.H264,
    ]
    assert [
        coder.hardware for coder in (X264Coding(), HevcCoding(), Av1Coding(), NvencCoding())
    ] == [
        False,
        False,
        False,
        True,
    ]


def test_a_probe_really_codes():
    assert probe(X264Coding(threads=1)) == ""

    class Mute(X264Coding):
        def open(self, preset, *, header=False):
            codec = super().open(preset, header=header)

            class Codes:
                time_base, extradata = codec.time_base, codec.extradata

                def encode(self, picture):
                    return []

            return Codes()

    assert probe(Mute(threads=1)) == "0 of 3 pictures came back"


@pytest.mark.parametrize("choice", ["h264_nvenc", "h264_vaapi"])
def test_a_device_is_used_where_it_is_and_told_of_where_it_is_not(choice, tmp_path):
    coder = {"h264_nvenc": NvencCoding(), "h264_vaapi": VaapiCoding()}[choice]
    if problem := probe(coder):
        with pytest.raises(GatorError, match=choice) as caught:
            h264_coder(choice, X264Coding())
        assert caught.value.reason is Reason.ENCODING_FAILED
        assert problem in caught.value.message
        return
    assert h264_coder(choice, X264Coding()).hardware
    data = encode([30, 3], coder, preset=PRESETS[Quality.DRAFT])
    assert [time for time, _ in decode_any(data)] == [Fraction(k, 24) for k in range(33)]
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    assert complaints(path) == ""


def test_without_a_device_auto_is_x264():
    coding = X264Coding(crf=21)
    assert h264_coder("x264", coding) is coding
    if probe(NvencCoding()) and probe(VaapiCoding()):
        assert h264_coder("auto", coding) is coding


def test_settings_choose_the_coder_of_each_codec(monkeypatch):
    monkeypatch.setenv("GATOR_COMPOSITOR_ENGINE", "reference")
    monkeypatch.setenv("GATOR_COMPOSITOR_X265_PRESET", "fast")
    monkeypatch.setenv("GATOR_COMPOSITOR_SVTAV1_PRESET", "9")
    monkeypatch.setenv("GATOR_COMPOSITOR_CRF", "20")
    engines = choose(Settings())
    assert list(engines) == [Codec.H264, Codec.HEVC, Codec.AV1]
    told = [choice.engine.description.split()[-3:] for choice in engines.values()]
    assert told == [["veryfast", "crf", "20"], ["fast", "crf", "22"], ["9", "crf", "30"]]
    assert not any(choice.hardware for choice in engines.values())
