"""The decoders that checks are made with: what they give, and how they fail."""

from fractions import Fraction
from itertools import zip_longest

import numpy as np
import pytest

from compositor.doctor import openh264
from compositor.doctor.clips import Clip, compose
from compositor.doctor.examination import Verdict, compare
from compositor.doctor.openh264 import OpenH264Decoder
from compositor.encoder.decoding import (
    DecodingError,
    FfmpegDecoder,
    access_units,
    codec_string,
    hardware_decoders,
)
from compositor.planes import Planes
from compositor.timeline import SceneTiming
from rpckit.video import Quality, Transition
from tests.support.video import ffmpeg

COUNT = 18
IDR = 5


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """18 pictures of 854x480: B pictures, P pictures with two references, a group of x264's."""
    scenes = [
        SceneTiming(Fraction(n, 24), transition, Fraction(n - 1, 24))
        for n, transition in (
            (5, Transition.CROSSFADE),
            (5, Transition.SLIDE),
            (5, Transition.ZOOM),
        )
    ]
    last = SceneTiming(Fraction(3, 24), Transition.FADE, Fraction(0))
    path = tmp_path_factory.mktemp("clips") / "video.mp4"
    path.write_bytes(compose(Clip("video", "", Quality.DRAFT, (*scenes, last))).streamed)
    return path


def digests(path):
    """MD5 of each picture by the ffmpeg of another wheel than PyAV."""
    run = ffmpeg("-v", "error", "-i", path, "-f", "framemd5", "-")
    lines = [line for line in run.stdout.splitlines() if not line.startswith("#")]
    return [bytes.fromhex(line.split()[-1]) for line in lines]


needs_openh264 = pytest.mark.skipif(
    "." not in OpenH264Decoder().name,
    reason="there is no library openh264: the second decoder was not tried",
)


def damaged(video, folder, at):
    """The file with a byte of coded samples changed."""
    data = bytearray(video.read_bytes())
    begin = data.index(b"mdat") + 4
    data[begin + at] ^= 0xFF
    path = folder / "damaged.mp4"
    path.write_bytes(data)
    return path


def test_ffmpeg_shows_every_picture(video):
    expected = digests(video)
    assert len(expected) == COUNT
    assert compare(FfmpegDecoder(), video, expected).verdict is Verdict.AGREES


@needs_openh264
def test_openh264_shows_the_same(video):
    assert compare(OpenH264Decoder(), video, digests(video)).verdict is Verdict.AGREES


@needs_openh264
def test_openh264_starts_at_every_group(video):
    """Pictures of one group may still wait when the next begins."""
    begins = [unit.output for unit in access_units(video) if unit.begins]
    assert len(begins) == 3
    both = zip_longest(FfmpegDecoder().pictures(video), OpenH264Decoder().pictures(video))
    for number, (one, other) in enumerate(both):
        for plane in ("y", "u", "v"):
            assert np.array_equal(getattr(one, plane), getattr(other, plane)), number


def test_access_units_are_annexb(video):
    units = list(access_units(video))
    assert sorted(unit.output for unit in units) == list(range(COUNT))
    assert [unit.output for unit in units] != list(range(COUNT))
    for unit in units:
        assert unit.data.startswith(b"\0\0\0\1")
        types = {unit.data[at + 3] & 31 for at in starts(unit.data)}
        assert (IDR in types) == unit.begins
        assert ({7, 8} <= types) == unit.begins


def starts(data):
    at = -1
    while (at := data.find(b"\0\0\1", at + 1)) >= 0:
        yield at


def test_pictures_can_be_whole_macroblocks(video):
    whole = next(FfmpegDecoder(cropped=False).pictures(video))
    shown = next(FfmpegDecoder().pictures(video))
    assert (whole.width, whole.height) == (864, 480)
    assert np.array_equal(whole.y[:, :854], shown.y)


def test_codecs_are_named_as_browsers_do(video, tmp_path):
    assert codec_string(video) == "avc1.64001e"
    other = tmp_path / "other.mp4"
    ffmpeg("-i", video, "-c:v", "mpeg4", "-frames:v", "2", other)
    with pytest.raises(DecodingError, match="AVCDecoderConfigurationRecord"):
        codec_string(other)


@pytest.mark.parametrize(
    "decoder",
    [FfmpegDecoder(), pytest.param(OpenH264Decoder(), marks=needs_openh264)],
    ids=["ffmpeg", "openh264"],
)
@pytest.mark.parametrize("at", [20, 100, 5000])
def test_damage_is_noticed(decoder, at, video, tmp_path):
    found = compare(decoder, damaged(video, tmp_path, at), digests(video))
    assert found.verdict in (Verdict.FAILS, Verdict.DIFFERS)
    assert found.picture is not None


@pytest.mark.parametrize("data", [b"", b"no video"], ids=["empty", "text"])
def test_what_is_no_video_is_an_error(data, tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(data)
    for decoder in (FfmpegDecoder(), OpenH264Decoder()):
        with pytest.raises(DecodingError):
            next(decoder.pictures(path))


def test_a_library_that_is_not_there_is_an_error(monkeypatch, video):
    monkeypatch.setenv(openh264.LIBRARY_VARIABLE, "/nowhere/libopenh264.so")
    openh264._library.cache_clear()
    try:
        decoder = OpenH264Decoder()
        assert decoder.name == "OpenH264"
        with pytest.raises(DecodingError, match="there is no /nowhere/"):
            next(decoder.pictures(video))
    finally:
        openh264._library.cache_clear()


def test_a_device_that_is_not_there_is_an_error(video):
    """On a machine with a graphics card some of these show the right pictures instead."""
    expected = digests(video)
    for decoder in hardware_decoders():
        found = compare(decoder, video, expected)
        assert found.verdict is Verdict.AGREES or (found.reason and found.picture == 0)


class Scripted:
    """A decoder that shows these brightnesses, then fails if it is told to."""

    name = "scripted"

    def __init__(self, *levels, fails=False):
        self.levels, self.fails = levels, fails

    def pictures(self, path):
        for level in self.levels:
            yield Planes(np.full((24, 16), level, np.uint8))
        if self.fails:
            raise DecodingError("tired")


@pytest.mark.parametrize(
    ("decoder", "verdict", "picture", "reason"),
    [
        (Scripted(1, 2, 3), Verdict.AGREES, None, ""),
        (Scripted(1, 9, 3), Verdict.DIFFERS, 1, ""),
        (Scripted(1, 2), Verdict.DIFFERS, 2, ""),
        (Scripted(1, 2, 3, 3), Verdict.DIFFERS, 3, ""),
        (Scripted(1, 2, fails=True), Verdict.FAILS, 2, "tired"),
        (Scripted(1, 2, 3, fails=True), Verdict.FAILS, 3, "tired"),
    ],
)
def test_pictures_are_compared_one_by_one(decoder, verdict, picture, reason, tmp_path):
    from compositor.doctor.examination import _digest  # noqa: PLC0415 - what is compared

    expected = [_digest(shown) for shown in Scripted(1, 2, 3).pictures(tmp_path)]
    found = compare(decoder, tmp_path, expected)
    assert (found.verdict, found.picture, found.reason) == (verdict, picture, reason)
