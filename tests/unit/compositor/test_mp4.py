"""Packets into the two files: same pictures, index in front, from records or Annex B."""

import errno
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from compositor_video import Collector, boxes, complaints, decode, nal_units, packets

from compositor.encoder.mp4 import Mp4, Track
from compositor.encoder.pictures import Encoder
from compositor.encoder.x264 import X264Coding
from compositor.engine import Cancelled
from compositor.planes import Planes
from compositor.spool import Spool
from rpckit.errors import GatorError, Reason
from rpckit.video import Preset

PRESET = Preset(width=64, height=48, fps=24, bitrate=1_500_000, h264_level=30, use_case="tests")
HIDDEN = (b"\x67", b"\x68")


@pytest.fixture
def stored():
    spool = Spool()
    yield spool
    spool.close()


def noise(number):
    return Planes(np.random.default_rng(number).integers(16, 236, (72, 64), np.uint8))


def coded(count):
    """Packets (Annex B) of x264, in decoding order: data, pts, key; its extradata and delay."""
    codec = X264Coding(gop_seconds=1, threads=1).open(PRESET)
    found = []
    for number in [*range(count), None]:
        picture = None
        if number is not None:
            picture = av.VideoFrame.from_numpy_buffer(noise(number).i420, format="yuv420p")
            picture.pts, picture.time_base = number, codec.time_base
        found += [(bytes(p), p.pts, p.is_keyframe) for p in codec.encode(picture)]
    return found, codec.extradata, codec.reorder_depth


def avcc(extradata):
    """The AVCDecoderConfigurationRecord of ISO/IEC 14496-15, 5.3.3.1, for High profile."""
    sps, pps = (next(n for n in nal_units(extradata) if n[:1] == kind) for kind in HIDDEN)
    return b"".join(
        [
            bytes([1, *sps[1:4], 0xFC | 3, 0xE0 | 1]),
            len(sps).to_bytes(2, "big") + sps,
            bytes([1]) + len(pps).to_bytes(2, "big") + pps,
            bytes([0xFC | 1, 0xF8, 0xF8, 0]),
        ]
    )


def prefixed(annexb):
    units = [n for n in nal_units(annexb) if n[:1] not in HIDDEN]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def mux(found, extradata, delay, stored, convert=bytes):
    sink = Collector()
    file = Mp4(Track("h264", 64, 48, 24, extradata), sink, stored)
    for number, (data, pts, key) in enumerate(found):
        file.add(convert(data), pts=pts, dts=number - delay, key=key)
    file.close()
    return sink.data


@pytest.mark.parametrize("count", [1, 2, 100])
def test_both_files_have_the_same_pictures(count, stored, tmp_path):
    streamed = mux(*coded(count), stored)
    whole = stored.read(0, stored.size)
    assert packets(whole) == packets(streamed)
    for name, data in (("streamed", streamed), ("stored", whole)):
        video = decode(data)
        assert video.times == [Fraction(k, 24) for k in range(count)]
        assert (video.start_time, video.level) == (0, 30)
        assert abs(video.duration - Fraction(count, 24)) <= Fraction(1, 1000)
        assert b"colrnclx\0\1\0\1\0\1\0" in data
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(data)
        assert complaints(path) == ""


def test_a_stored_file_has_its_index_in_front_and_no_hole(stored):
    mux(*coded(48), stored)
    kinds = [kind for kind, _ in boxes(stored.read(0, stored.size))]
    assert [kind for kind in kinds if kind != "free"] == ["ftyp", "moov", "mdat"]
    assert all(size <= 8 for kind, size in boxes(stored.read(0, stored.size)) if kind == "free")


def test_an_index_larger_than_what_is_moved_at_a_time_is_right(stored):
    found, extradata, delay = coded(30)
    # As many packets as make an index of some 80 KB, each with a size of its own.
    first = found[0][0]
    many = [(first + bytes(k % 999 + 1), k, k % 24 == 0) for k in range(20_000)]
    streamed = mux(many, extradata, delay, stored)
    whole = stored.read(0, stored.size)
    assert dict(boxes(whole))["moov"] > 80_000
    assert packets(whole) == packets(streamed)


def test_packets_with_lengths_need_only_a_record(stored, tmp_path):
    found, extradata, delay = coded(60)
    plain = decode(mux(found, extradata, delay, None))
    streamed = mux(found, avcc(extradata), delay, stored, prefixed)
    for name, data in (("streamed", streamed), ("stored", stored.read(0, stored.size))):
        video = decode(data)
        assert video.times == plain.times
        assert all(map(np.array_equal, video.lumas, plain.lumas))
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(data)
        assert complaints(path) == ""


def test_fragments_leave_before_the_file_is_complete():
    found, extradata, delay = coded(48)
    sink = Collector()
    file = Mp4(Track("h264", 64, 48, 24, extradata), sink)
    sizes = []
    for number, (data, pts, key) in enumerate(found):
        file.add(data, pts=pts, dts=number - delay, key=key)
        sizes.append(len(sink.data))
    assert len(set(sizes)) >= 6  # a fragment each 1/4 s
    file.close()


def test_the_encoder_writes_both_in_one_pass(stored):
    sink = Collector()
    encoder = Encoder(PRESET, X264Coding(threads=2), sink, stored)
    for number in range(40):
        encoder.add(noise(number))
        if number == 20:
            encoder.flush()
    encoder.close()
    whole = stored.read(0, stored.size)
    assert packets(whole) == packets(sink.data)
    decoding = [dts for _, dts, _, _ in packets(whole)]
    assert all(b - a == 1 for a, b in pairwise(decoding))


def test_an_aborted_file_writes_nothing_more(stored):
    found, extradata, delay = coded(60)
    sink = Collector()
    file = Mp4(Track("h264", 64, 48, 24, extradata), sink, stored)
    for number, (data, pts, key) in enumerate(found):
        file.add(data, pts=pts, dts=number - delay, key=key)
    before = len(sink.data), stored.size
    file.abort()
    assert (len(sink.data), stored.size) == before


def test_what_the_sink_raises_is_let_through(stored):
    class Gone(Collector):
        def write(self, data):
            raise Cancelled

    found, extradata, delay = coded(60)
    file = Mp4(Track("h264", 64, 48, 24, extradata), Gone(), stored)
    with pytest.raises(Cancelled):
        for number, (data, pts, key) in enumerate(found):
            file.add(data, pts=pts, dts=number - delay, key=key)
    file.abort()


def test_a_full_disk_is_told_as_such(stored, monkeypatch):
    found, extradata, delay = coded(60)
    file = Mp4(Track("h264", 64, 48, 24, extradata), Collector(), stored)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(GatorError) as caught:
        for number, (data, pts, key) in enumerate(found):
            file.add(data, pts=pts, dts=number - delay, key=key)
        file.close()
    assert caught.value.reason is Reason.STORAGE_FULL
    file.abort()


def test_a_packet_out_of_its_turn_is_refused():
    found, extradata, _ = coded(2)
    file = Mp4(Track("h264", 64, 48, 24, extradata), Collector())
    file.add(found[0][0], pts=1, dts=1, key=True)
    with pytest.raises(GatorError) as caught:
        file.add(found[0][0], pts=0, dts=0, key=True)
    assert caught.value.reason is Reason.ENCODING_FAILED
    file.abort()
