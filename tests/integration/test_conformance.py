"""Whether decoders take the engine's streams as they are, wherever they start.

Each video is many scenes in any order, at a preset's own size. That the pictures
are the right ones is shown in test_synthesized_pictures.py.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import pairwise, zip_longest
from pathlib import Path

import av
import pytest

from compositor.doctor.openh264 import OpenH264Decoder
from compositor.encoder.decoding import FfmpegDecoder
from compositor.planes import Planes, to_i420
from rpckit.video import PRESETS, Quality, Transition
from tests.support.compressed import Files, Slot, composed
from tests.support.natural import still
from tests.support.video import ffmpeg

VIDEOS = int(os.environ.get("GATOR_CONFORMANCE_VIDEOS", "1"))
"""Videos of each size; more on demand."""
SCENES = {Quality.DRAFT: 50, Quality.STANDARD: 20, Quality.HIGH: 10, Quality.PREMIUM: 4}
STILLS = 3


@cache
def natural(quality: Quality) -> tuple[Planes, ...]:
    preset = PRESETS[quality]
    return tuple(to_i420(still(i, preset.width, preset.height)) for i in range(STILLS))


def slots(quality: Quality, seed: int) -> list[Slot]:
    """Scenes of 1 to 12 pictures; at 4K each transition that is synthesized in a way of its own."""
    dice = random.Random(seed)
    count = SCENES[quality]
    if quality is Quality.PREMIUM and VIDEOS == 1:
        synthesized = (Transition.CROSSFADE, Transition.SLIDE, Transition.DISSOLVE)
        return [*((9, transition, 7) for transition in synthesized), (2, Transition.FADE, 0)]
    return [
        (dice.randint(1, 12), dice.choice(list(Transition)), dice.randint(0, 12))
        for _ in range(count)
    ]


@pytest.fixture(
    scope="module",
    params=[(quality, seed) for quality in Quality for seed in range(VIDEOS)],
    ids=lambda param: f"{param[0].name.lower()}-{param[1]}",
)
def files(request, tmp_path_factory) -> Files:
    quality, seed = request.param
    gop_seconds = random.Random(seed).choice([1, 2, 8])
    folder = tmp_path_factory.mktemp("conformance")
    made = composed(folder, PRESETS[quality], slots(quality, seed), natural(quality), gop_seconds)
    natural.cache_clear()
    return made


@pytest.fixture(scope="module")
def digests(files) -> list[bytes]:
    """MD5 of each picture in output order."""
    return [digest(picture) for picture in FfmpegDecoder().pictures(files.stored)]


def digest(picture: Planes) -> bytes:
    return hashlib.md5(picture.i420.data).digest()


@pytest.mark.parametrize("form", ["streamed", "stored"])
def test_ffmpeg_has_nothing_to_say(form, files):
    strict = ("-v", "warning", "-err_detect", "explode", "-xerror")
    run = ffmpeg(*strict, "-i", getattr(files, form), "-f", "null", "-")
    assert (run.returncode, run.stderr) == (0, "")


def test_ffmpegs_parser_and_headers_have_nothing_to_say(files):
    """It reads every field of every header, and complains of those that are out of range."""
    command = ("-i", files.streamed, "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-")
    run = ffmpeg("-v", "warning", *command)
    # The chroma format and bit depths that the High profile adds: FFmpeg writes
    # them into every avcC, but this filter does not read them.
    said = [line for line in run.stderr.splitlines() if "4 bytes left at end of AVCC" not in line]
    assert (run.returncode, said) == (0, [])


def test_every_picture_is_there(files, digests):
    assert len(digests) == files.frame_count
    streamed = [digest(picture) for picture in FfmpegDecoder().pictures(files.streamed)]
    assert streamed == digests


@pytest.mark.skipif(
    "." not in OpenH264Decoder().name,
    reason="there is no library openh264: the second decoder was not asked",
)
def test_another_decoder_shows_the_same(files, digests):
    shown = map(digest, OpenH264Decoder().pictures(files.streamed))
    differing = [n for n, (a, b) in enumerate(zip_longest(digests, shown)) if a != b]
    assert differing == []


def test_both_forms_have_the_same_packets(files):
    assert list(packets(files.streamed)) == list(packets(files.stored))


def packets(path: Path) -> Iterator[tuple[bytes, Fraction, Fraction, bool]]:
    with av.open(path) as container:
        for packet in container.demux(video=0):
            if packet.size:
                shown, decoded = packet.pts * packet.time_base, packet.dts * packet.time_base
                yield bytes(packet), shown, decoded, packet.is_keyframe


def test_a_reader_can_start_at_every_group(files, digests):
    """What it then shows is what it would have shown."""
    with av.open(files.stored) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        begins = [p.pts for p in container.demux(stream) if p.size and p.is_keyframe]
    numbers = [int(pts * stream.time_base * rate) for pts in begins]
    for pts, (begin, end) in zip(begins, pairwise([*numbers, len(digests)]), strict=True):
        with av.open(files.stored) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = {"err_detect": "explode"}
            container.seek(pts, stream=stream)
            shown = []
            for frame in container.decode(stream):
                shown.append(hashlib.md5(frame.to_ndarray(format="yuv420p").data).digest())
                if len(shown) == end - begin:
                    break
        assert shown == digests[begin:end]
