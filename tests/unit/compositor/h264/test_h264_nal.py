"""NAL units: escaping both ways, and the two forms in which they follow each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compositor.h264.bits import BitstreamError
from compositor.h264.nal import (
    Nal,
    NalType,
    escaped,
    length_prefixed,
    split_annexb,
    unescaped,
)

# What trips escapes: mostly small bytes.
spiky = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 128]), max_size=60).map(bytes)
# An RBSP ends in its stop bit, or in cabac_zero_words.
rbsps = st.builds(lambda body, words: body + b"\x80" + words * b"\0\0", spiky, st.integers(0, 2))


@pytest.mark.parametrize(
    ("rbsp", "payload"),
    [
        (b"\0\0\0", b"\0\0\3\0\3"),
        (b"\0\0\1", b"\0\0\3\1"),
        (b"\0\0\2", b"\0\0\3\2"),
        (b"\0\0\3", b"\0\0\3\3"),
        (b"\0\0\4", b"\0\0\4"),
        (b"\0\0\0\0\1", b"\0\0\3\0\0\3\1"),
        (b"\x80\0\0", b"\x80\0\0\3"),
    ],
)
def test_bytes_like_start_codes_are_escaped(rbsp, payload):
    assert escaped(rbsp) == payload


@given(rbsps)
def test_escaping_is_undone(rbsp):
    payload = escaped(rbsp)
    assert unescaped(payload) == rbsp
    assert not any(bad in payload for bad in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))
    assert payload[-1]


@given(st.lists(st.tuples(st.integers(1, 31), st.integers(0, 3), rbsps), max_size=5))
def test_a_byte_stream_is_split_into_its_units(fields):
    nals = [Nal(*field) for field in fields]
    stream = b"".join(b"\0\0\0\1" + nal.write() + b"\0" for nal in nals)
    assert list(split_annexb(stream)) == nals


def test_header_byte():
    assert Nal(NalType.IDR_SLICE, 3, b"\x80").write() == b"\x65\x80"
    assert length_prefixed(b"\x65\x80") == b"\0\0\0\2\x65\x80"
    with pytest.raises(ValueError, match="no NAL unit"):
        Nal(NalType.SLICE, 4, b"\x80").write()


@pytest.mark.parametrize(
    "stream",
    [
        b"\x65\0\0\1\x65\x80",
        b"\0\0\1",
        b"\0\0\1\xe5\x80",
        b"\0\0\1\x65\0\0\2\x80",
        b"\0\0\1\x65\0\0\3\4\x80",
    ],
)
def test_what_is_no_byte_stream_is_refused(stream):
    with pytest.raises(BitstreamError):
        list(split_annexb(stream))


@given(st.binary(max_size=80) | spiky)
def test_any_bytes_are_split_or_refused(stream):
    try:
        nals = list(split_annexb(stream))
    except BitstreamError:
        return
    assert all(0 <= nal.type < 32 and 0 <= nal.ref_idc < 4 for nal in nals)
