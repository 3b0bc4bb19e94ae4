"""Slice headers: both ways, and only those that are handled."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compositor.h264.bits import BitReader, BitstreamError, BitWriter
from compositor.h264.nal import Nal, NalType
from compositor.h264.parameter_sets import Pps, Sps
from compositor.h264.slice_header import (
    Deblocking,
    Modification,
    PredWeightTable,
    ReferenceWeights,
    SliceHeader,
    SliceType,
    Weight,
)

SPS = Sps(100, 0, 30, 0, 4, 0, 16, 4, 20, 20)

signed_byte = st.integers(-128, 127)
weights = st.builds(Weight, signed_byte, signed_byte)
entries = st.builds(ReferenceWeights, st.none() | weights, st.none() | st.tuples(weights, weights))
steps = st.lists(
    st.builds(Modification, st.booleans(), st.integers(1, SPS.max_frame_num)), max_size=4
).map(tuple)

unmarks = st.lists(st.integers(1, SPS.max_frame_num), max_size=16).map(tuple)


@st.composite
def headers(draw):
    """(SPS, PPS, header) that fit each other."""
    order_type = draw(st.sampled_from([0, 2]))
    sps = replace(
        SPS, pic_order_cnt_type=order_type, log2_max_pic_order_cnt_lsb=0 if order_type else 16
    )
    pps = Pps(
        draw(st.integers(0, 255)),
        0,
        draw(st.booleans()),
        draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        weighted_pred=draw(st.booleans()),
        weighted_bipred_idc=draw(st.integers(0, 2)),
        pic_init_qp=draw(st.integers(0, 51)),
        deblocking_filter_control_present=draw(st.booleans()),
    )
    kind = draw(st.sampled_from(SliceType))
    idr = kind is SliceType.I and draw(st.booleans())
    count = kind.lists
    active = draw(st.none() | st.tuples(*[st.integers(1, 16)] * count)) if count else None
    modifications = draw(st.tuples(*[steps] * count))
    is_weighted = (kind is SliceType.P and pps.weighted_pred) or (
        kind is SliceType.B and pps.weighted_bipred_idc == 1
    )
    table = None
    if is_weighted:
        sizes = active or pps.num_ref_idx_default_active[:count]
        table = PredWeightTable(
            draw(st.integers(0, 7)),
            draw(st.integers(0, 7)),
            tuple(tuple(draw(entries) for _ in range(size)) for size in sizes),
        )
    deblocking = None
    if pps.deblocking_filter_control_present:
        offsets = st.integers(-6, 6)
        deblocking = draw(
            st.builds(Deblocking, st.sampled_from([0, 2]), offsets, offsets)
            | st.just(Deblocking(1))
        )
    nal_ref_idc = draw(st.integers(1 if idr else 0, 3))
    header = SliceHeader(
        nal_ref_idc=nal_ref_idc,
        slice_type=kind,
        pps_id=pps.id,
        frame_num=0 if idr else draw(st.integers(0, 15)),
        pic_order_cnt_lsb=None if order_type else draw(st.integers(0, 65535)),
        idr_pic_id=draw(st.integers(0, 65535)) if idr else None,
        first_mb_in_slice=draw(st.integers(0, 399)),
        all_slices_same_type=draw(st.booleans()),
        direct_spatial_mv_pred=draw(st.booleans()) if kind is SliceType.B else False,
        num_ref_idx_active=active,
        modifications=modifications if any(modifications) else (),
        weights=table,
        no_output_of_prior_pics=draw(st.booleans()) if idr else False,
        unmarks=() if idr or not nal_ref_idc else draw(unmarks),
        cabac_init_idc=draw(st.integers(0, 2)) if pps.entropy_coding_mode and count else 0,
        slice_qp_delta=draw(st.integers(-pps.pic_init_qp, 51 - pps.pic_init_qp)),
        deblocking=deblocking,
    )
    return sps, pps, header


def rbsp(bits):
    writer = BitWriter()
    writer.append(bits)
    return writer.rbsp()


def read(data, header, sps, pps):
    nal = Nal(header.nal_type, header.nal_ref_idc, data)
    reader = BitReader(data)
    return SliceHeader.read(reader, nal, sps, pps), reader


@given(headers())
def test_both_ways(example):
    sps, pps, header = example
    bits = header.write(sps, pps)
    parsed, reader = read(rbsp(bits), header, sps, pps)
    assert parsed == header
    assert reader.position == len(bits)
    assert parsed.active(pps) == (
        header.num_ref_idx_active or pps.num_ref_idx_default_active[: header.slice_type.lists]
    )


@given(headers())
def test_the_place_of_the_picture_order_count(example):
    sps, pps, header = example
    if header.pic_order_cnt_lsb is None:
        return
    at = header.pic_order_cnt_position(sps)
    bits = header.write(sps, pps)
    assert int(bits[at : at + sps.log2_max_pic_order_cnt_lsb], 2) == header.pic_order_cnt_lsb


@given(headers(), st.data())
def test_flipped_and_missing_bits_are_read_or_refused(example, data):
    sps, pps, header = example
    whole = bytearray(rbsp(header.write(sps, pps)))
    for bit in data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), max_size=4)):
        whole[bit >> 3] ^= 0x80 >> (bit & 7)
    try:
        parsed, reader = read(
            bytes(whole[: data.draw(st.integers(0, len(whole)))]), header, sps, pps
        )
    except BitstreamError:
        return
    again = parsed.write(sps, pps)
    assert len(again) == reader.position
    assert read(rbsp(again), parsed, sps, pps)[0] == parsed


PPS = Pps(0, 0, entropy_coding_mode=True)
P = SliceHeader(2, SliceType.P, 0, 3, 6, deblocking=Deblocking(0))


@pytest.mark.parametrize(
    ("bits", "nal_type", "ref_idc"),
    [
        ("100100", NalType.SLICE, 0),  # SP
        ("100101", NalType.SLICE, 0),  # SI
        ("10001011", NalType.SLICE, 0),  # slice_type 10
        ("11", NalType.IDR_SLICE, 3),  # a P slice of an IDR picture
        ("1011", NalType.IDR_SLICE, 0),  # an IDR picture that is no reference
        ("0000000011001000" + "1", NalType.SLICE, 0),  # macroblock 400 of 400
    ],
)
def test_slices_that_cannot_be_are_refused(bits, nal_type, ref_idc):
    data = rbsp(bits + "1" * 60)
    with pytest.raises(BitstreamError):
        SliceHeader.read(BitReader(data), Nal(nal_type, ref_idc, data), SPS, PPS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # ref_pic_list_modification_flag_l0, then an end without a step; a long-term picture; idc 4
        ("00" + "0", "01" + "00100" + "0"),
        ("00" + "0", "01" + "011" + "1" + "00100" + "0"),
        ("00" + "0", "01" + "00101" + "1" + "00100" + "0"),
        # adaptive_ref_pic_marking_mode_flag
        ("00" + "0", "00" + "1"),
    ],
)
def test_references_that_are_not_handled_are_refused(old, new):
    bits = P.write(SPS, PPS)
    at = P.pic_order_cnt_position(SPS) + 16
    assert bits[at : at + 3] == old
    changed = bits[:at] + new + bits[at + 3 :]
    with pytest.raises(BitstreamError, match=r"not handled|least|modification"):
        read(rbsp(changed), P, SPS, PPS)


def test_marking_without_end_is_refused():
    header = replace(P, unmarks=(1,))
    bits = header.write(SPS, PPS)
    end = "010" + "1" + "1"  # operation 1, difference 1, the end
    at = bits.index("1" + end, P.pic_order_cnt_position(SPS) + 16) + 1
    with pytest.raises(BitstreamError, match="unmarked"):
        read(rbsp(bits[:at] + "0101" * 20), header, SPS, PPS)


def test_a_list_that_is_modified_without_end_is_refused():
    bits = P.write(SPS, PPS)
    at = P.pic_order_cnt_position(SPS) + 16
    with pytest.raises(BitstreamError, match="more often"):
        read(rbsp(bits[:at] + "01" + "11" * 40), P, SPS, PPS)


@pytest.mark.parametrize(
    ("changes", "pps"),
    [
        ({"frame_num": 16}, PPS),
        ({"pic_order_cnt_lsb": None}, PPS),
        ({"pic_order_cnt_lsb": 65536}, PPS),
        ({}, replace(PPS, weighted_pred=True)),
        (
            {
                "weights": PredWeightTable(7, 7, ((ReferenceWeights(Weight(128), None),),)),
            },
            replace(PPS, weighted_pred=True),
        ),
    ],
)
def test_headers_that_cannot_be_written_are_refused(changes, pps):
    with pytest.raises(ValueError, match=r"fit|needs|weights|range"):
        replace(P, **changes).write(SPS, pps)
