"""Bits: syntax elements both ways, and readers that fail in one way only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compositor.h264.bits import (
    BitReader,
    BitstreamError,
    BitWriter,
    signed,
    truncated,
    unsigned,
)

# Table 9-2 and clause 9.1.1
CODES = {0: "1", 1: "010", 2: "011", 3: "00100", 4: "00101", 5: "00110", 6: "00111", 7: "0001000"}


def test_unsigned_codes_are_those_of_the_standard():
    assert {value: unsigned(value) for value in CODES} == CODES


def test_signed_codes_alternate():
    assert [signed(v) for v in (0, 1, -1, 2, -2)] == [CODES[k] for k in range(5)]


def test_truncated_codes():
    assert [truncated(v, 1) for v in (0, 1)] == ["1", "0"]
    assert truncated(2, 3) == CODES[2]


elements = st.one_of(
    st.integers(1, 40).flatmap(
        lambda bits: st.tuples(st.just("u"), st.just(bits), st.integers(0, (1 << bits) - 1))
    ),
    st.tuples(st.just("ue"), st.none(), st.integers(0, 2**32 - 2)),
    st.tuples(st.just("se"), st.none(), st.integers(-(2**31) + 1, 2**31 - 1)),
    st.tuples(st.just("flag"), st.none(), st.booleans()),
)


@given(st.lists(elements, max_size=30))
def test_what_is_written_is_read(written):
    writer = BitWriter()
    for kind, bits, value in written:
        getattr(writer, kind)(*([value] if bits is None else [bits, value]))
    length = len(writer)
    reader = BitReader(writer.rbsp())
    for kind, bits, value in written:
        assert reader.more_rbsp_data()
        assert getattr(reader, kind)(*([] if bits is None else [bits])) == value
    assert reader.position == length
    assert not reader.more_rbsp_data()
    reader.trailing_bits()


def test_values_without_a_code_are_refused():
    writer = BitWriter()
    with pytest.raises(ValueError, match="does not fit"):
        writer.u(3, 8)
    with pytest.raises(ValueError, match="no unsigned"):
        writer.ue(-1)
    writer.u(3, 7)
    with pytest.raises(ValueError, match="no whole bytes"):
        writer.aligned_bytes()


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"", lambda r: r.u(1)),
        (b"\0\0\0\0\1\0\0\0\0", lambda r: r.ue()),  # 39 leading zeros
        (b"\0\0", lambda r: r.ue()),
        (b"\x40", lambda r: r.ue(0)),
        (b"\x40", lambda r: r.se(-1, 0)),
        (b"\xff", lambda r: (r.u(3), r.rest())),
        (b"\xbf", lambda r: (r.u(1), r.align("1"))),
        (b"\x00", lambda r: r.trailing_bits()),
        (b"\x81", lambda r: r.trailing_bits()),
        (b"\x80\x00", lambda r: r.trailing_bits()),
    ],
)
def test_wrong_bits_raise_one_error(data, read):
    with pytest.raises(BitstreamError):
        read(BitReader(data))


def test_more_data_ends_before_the_last_one():
    reader = BitReader(b"\xa8\0\0")
    assert [reader.more_rbsp_data() and reader.u(1) for _ in range(5)] == [1, 0, 1, 0, False]
    assert not BitReader(b"\0").more_rbsp_data()
