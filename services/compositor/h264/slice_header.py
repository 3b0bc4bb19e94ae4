"""Slice headers: ITU-T H.264 clause 7.3.3.

What is handled is a primary coded frame of I, P and B slices; reference pictures
are short-term ones, and leave by the sliding window or because a slice names
them. The reader raises BitstreamError on all else, and what was read is written
again bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from compositor.h264.bits import BitReader, Bits, BitstreamError, BitWriter, unsigned
from compositor.h264.nal import Nal, NalType
from compositor.h264.parameter_sets import Pps, Sps

_ALL_SLICES = 5
"""Added to slice_type where all slices of the picture have the same type: Table 7-6."""
_END_OF_MODIFICATIONS = 3
_END_OF_OPERATIONS = 0
_UNMARK = 1
"""memory_management_control_operation: a short-term picture is a reference no more, Table 7-9."""
EXPLICIT = 1
"""weighted_bipred_idc of explicit weights: clause 7.4.2.2."""


class SliceType(IntEnum):
    """slice_type modulo 5: Table 7-6."""

    P = 0
    B = 1
    I = 2  # noqa: E741 - the standard's name

    @property
    def lists(self) -> int:
        """Number of reference picture lists."""
        return {SliceType.I: 0, SliceType.P: 1, SliceType.B: 2}[self]


@dataclass(frozen=True)
class Modification:
    """A step of ref_pic_list_modification(): clause 7.3.3.1."""

    adds: bool
    """Whether the difference is added to the predicted picture number; otherwise subtracted."""
    abs_diff_pic_num: int
    """1 to MaxPicNum."""


@dataclass(frozen=True)
class Weight:
    """How samples are scaled: round(sample * weight / 2^denominator) + offset."""

    weight: int
    """-128 to 127."""
    offset: int = 0
    """-128 to 127."""


@dataclass(frozen=True)
class ReferenceWeights:
    """The weights of an entry of a reference list; None is an unchanged component."""

    luma: Weight | None
    chroma: tuple[Weight, Weight] | None
    """Of Cb and of Cr."""


@dataclass(frozen=True)
class PredWeightTable:
    """pred_weight_table(): clause 7.3.3.2."""

    luma_log2_weight_denom: int
    chroma_log2_weight_denom: int
    lists: tuple[tuple[ReferenceWeights, ...], ...]
    """For each reference list, the weights of its active entries."""


@dataclass(frozen=True)
class Deblocking:
    """disable_deblocking_filter_idc and, where the filter is on, its offsets."""

    disable_idc: int
    """0 on, 1 off, 2 on but not across slices."""
    alpha_c0_offset_div2: int = 0
    beta_offset_div2: int = 0


NO_DEBLOCKING = Deblocking(1)


@dataclass(frozen=True)
class SliceHeader:
    """nal_ref_idc, nal_unit_type and slice_header()."""

    nal_ref_idc: int
    slice_type: SliceType
    pps_id: int
    frame_num: int
    pic_order_cnt_lsb: int | None
    """None where pic_order_cnt_type is 2."""
    idr_pic_id: int | None = None
    """Of an IDR picture; None is any other picture."""
    first_mb_in_slice: int = 0
    all_slices_same_type: bool = True
    direct_spatial_mv_pred: bool = False
    """In B slices."""
    num_ref_idx_active: tuple[int, ...] | None = None
    """Active entries of each reference list, where they are not those of the PPS."""
    modifications: tuple[tuple[Modification, ...], ...] = ()
    """Of each reference list, empty where it stays as initialised."""
    weights: PredWeightTable | None = None
    no_output_of_prior_pics: bool = False
    """In IDR pictures."""
    unmarks: tuple[int, ...] = ()
    """Reference pictures that this reference picture makes references no more, each as the
    difference of their picture numbers, 1 to MaxPicNum. Empty: the sliding window decides."""
    cabac_init_idc: int = 0
    """In P and B slices with CABAC."""
    slice_qp_delta: int = 0
    deblocking: Deblocking | None = None
    """None where the PPS has no deblocking_filter_control_present."""

    @property
    def is_idr(self) -> bool:
        """IdrPicFlag."""
        return self.idr_pic_id is not None

    @property
    def nal_type(self) -> NalType:
        """nal_unit_type."""
        return NalType.IDR_SLICE if self.is_idr else NalType.SLICE

    def active(self, pps: Pps) -> tuple[int, ...]:
        """num_ref_idx_l0_active_minus1 + 1 and, in B slices, that of list 1: clause 7.4.3."""
        return self.num_ref_idx_active or pps.num_ref_idx_default_active[: self.slice_type.lists]

    def pic_order_cnt_position(self, sps: Sps) -> int:
        """Bits of slice_header() before pic_order_cnt_lsb."""
        before = (
            unsigned(self.first_mb_in_slice),
            unsigned(self._slice_type_code),
            unsigned(self.pps_id),
            unsigned(self.idr_pic_id) if self.idr_pic_id is not None else "",
        )
        return sum(map(len, before)) + sps.log2_max_frame_num

    @property
    def _slice_type_code(self) -> int:
        return self.slice_type + (_ALL_SLICES if self.all_slices_same_type else 0)

    def write(self, sps: Sps, pps: Pps) -> Bits:
        """slice_header() as the parameter sets ask for it.

        Raises:
            ValueError: a field is out of range, or it is missing.
        """
        writer = BitWriter()
        writer.ue(self.first_mb_in_slice)
        writer.ue(self._slice_type_code)
        writer.ue(self.pps_id)
        writer.u(sps.log2_max_frame_num, self.frame_num)
        if self.idr_pic_id is not None:
            writer.ue(self.idr_pic_id)
        if sps.pic_order_cnt_type == 0:
            if self.pic_order_cnt_lsb is None:
                raise ValueError("picture order count type 0 needs pic_order_cnt_lsb")
            writer.u(sps.log2_max_pic_order_cnt_lsb, self.pic_order_cnt_lsb)
        if self.slice_type is not SliceType.I:
            self._write_references(writer, pps)
        if self.nal_ref_idc:
            self._write_marking(writer)
        if pps.entropy_coding_mode and self.slice_type is not SliceType.I:
            writer.ue(self.cabac_init_idc)
        writer.se(self.slice_qp_delta)
        if pps.deblocking_filter_control_present:
            _write_deblocking(writer, self.deblocking or Deblocking(0))
        return writer.bits()

    def _write_references(self, writer: BitWriter, pps: Pps) -> None:
        if self.slice_type is SliceType.B:
            writer.flag(self.direct_spatial_mv_pred)
        writer.flag(self.num_ref_idx_active is not None)
        for count in self.num_ref_idx_active or ():
            writer.ue(count - 1)
        for steps in self.modifications or ((),) * self.slice_type.lists:
            _write_modifications(writer, steps)
        if _is_weighted(self.slice_type, pps):
            if self.weights is None:
                raise ValueError("the PPS asks for weights")
            _write_weights(writer, self.weights)

    def _write_marking(self, writer: BitWriter) -> None:
        """dec_ref_pic_marking(): clause 7.3.3.3."""
        if self.is_idr:
            writer.flag(self.no_output_of_prior_pics)
            writer.flag(False)  # long_term_reference_flag
            return
        writer.flag(bool(self.unmarks))
        if self.unmarks:
            for difference in self.unmarks:
                writer.ue(_UNMARK)
                writer.ue(difference - 1)
            writer.ue(_END_OF_OPERATIONS)

    @classmethod
    def read(cls, reader: BitReader, nal: Nal, sps: Sps, pps: Pps) -> SliceHeader:
        """Reads slice_header() of `nal`; `pps` is the one of its pps_id. Raises BitstreamError."""
        is_idr = nal.type == NalType.IDR_SLICE
        if is_idr and not nal.ref_idc:
            raise BitstreamError("an IDR picture is no reference picture")
        first_mb_in_slice = reader.ue(sps.mb_columns * sps.mb_rows - 1)
        code = reader.ue(9)
        slice_type = _SLICE_TYPES.get(code % 5)
        if slice_type is None:
            raise BitstreamError(f"slice_type {code} is not handled")
        pps_id = reader.ue(255)
        frame_num = reader.u(sps.log2_max_frame_num)
        if is_idr and (slice_type is not SliceType.I or frame_num):
            raise BitstreamError("an IDR picture refers to others")
        idr_pic_id = reader.ue(0xFFFF) if is_idr else None
        lsb = reader.u(sps.log2_max_pic_order_cnt_lsb) if sps.pic_order_cnt_type == 0 else None
        if pps.bottom_field_pic_order_in_frame_present and lsb is not None:
            raise BitstreamError("picture order counts of bottom fields are not handled")
        is_b = slice_type is SliceType.B
        direct_spatial_mv_pred = reader.flag() if is_b else False
        active, modifications, weights = _read_references(reader, slice_type, sps, pps)
        no_output_of_prior_pics = reader.flag() if is_idr else False
        unmarks = _read_unmarks(reader, sps.max_frame_num, is_idr=is_idr) if nal.ref_idc else ()
        has_cabac_init = pps.entropy_coding_mode and slice_type is not SliceType.I
        return cls(
            nal.ref_idc,
            slice_type,
            pps_id,
            frame_num,
            lsb,
            idr_pic_id,
            first_mb_in_slice,
            code >= _ALL_SLICES,
            direct_spatial_mv_pred,
            active,
            modifications,
            weights,
            no_output_of_prior_pics,
            unmarks,
            cabac_init_idc=reader.ue(2) if has_cabac_init else 0,
            slice_qp_delta=_read_qp_delta(reader, pps),
            deblocking=_read_deblocking(reader) if pps.deblocking_filter_control_present else None,
        )


_SLICE_TYPES = {kind.value: kind for kind in SliceType}


def _is_weighted(slice_type: SliceType, pps: Pps) -> bool:
    if slice_type is SliceType.P:
        return pps.weighted_pred
    return slice_type is SliceType.B and pps.weighted_bipred_idc == EXPLICIT


def _read_references(
    reader: BitReader, slice_type: SliceType, sps: Sps, pps: Pps
) -> tuple[tuple[int, ...] | None, tuple[tuple[Modification, ...], ...], PredWeightTable | None]:
    """num_ref_idx_active_override_flag to pred_weight_table()."""
    lists = range(slice_type.lists)
    active = None
    if lists and reader.flag():
        active = tuple(reader.ue(15) + 1 for _ in lists)
    modifications = tuple(_read_modifications(reader, sps.max_frame_num) for _ in lists)
    weights = None
    if _is_weighted(slice_type, pps):
        counts = active or pps.num_ref_idx_default_active[: len(lists)]
        weights = _read_weights(reader, counts)
    return active, modifications if any(modifications) else (), weights


def _write_modifications(writer: BitWriter, steps: tuple[Modification, ...]) -> None:
    writer.flag(bool(steps))
    if not steps:
        return
    for step in steps:
        writer.ue(1 if step.adds else 0)
        writer.ue(step.abs_diff_pic_num - 1)
    writer.ue(_END_OF_MODIFICATIONS)


def _read_modifications(reader: BitReader, max_pic_num: int) -> tuple[Modification, ...]:
    if not reader.flag():
        return ()
    steps: list[Modification] = []
    # There is at least one step, and at most one for each of 32 entries: clause 7.4.3.1.
    for _ in range(33):
        idc = reader.ue()
        if idc == _END_OF_MODIFICATIONS and steps:
            return tuple(steps)
        if idc not in {0, 1}:
            raise BitstreamError(f"modification_of_pic_nums_idc {idc} is not handled")
        steps.append(Modification(idc == 1, reader.ue(max_pic_num - 1) + 1))
    raise BitstreamError("a reference list is modified more often than it has entries")


def _read_unmarks(reader: BitReader, max_pic_num: int, *, is_idr: bool) -> tuple[int, ...]:
    """long_term_reference_flag, or from adaptive_ref_pic_marking_mode_flag on."""
    if not reader.flag():
        return ()
    if is_idr:
        raise BitstreamError("long-term reference pictures are not handled")
    unmarks: list[int] = []
    for _ in range(17):  # there are at most 16 reference frames
        operation = reader.ue()
        if operation == _END_OF_OPERATIONS and unmarks:
            return tuple(unmarks)
        if operation != _UNMARK:
            raise BitstreamError(f"memory_management_control_operation {operation} is not handled")
        unmarks.append(reader.ue(max_pic_num - 1) + 1)
    raise BitstreamError("more reference pictures are unmarked than there can be")


def _write_weights(writer: BitWriter, table: PredWeightTable) -> None:
    writer.ue(table.luma_log2_weight_denom)
    writer.ue(table.chroma_log2_weight_denom)
    for entries in table.lists:
        for entry in entries:
            writer.flag(entry.luma is not None)
            if entry.luma is not None:
                _write_weight(writer, entry.luma)
            writer.flag(entry.chroma is not None)
            for weight in entry.chroma or ():
                _write_weight(writer, weight)


def _write_weight(writer: BitWriter, weight: Weight) -> None:
    if not (-128 <= weight.weight <= 127 and -128 <= weight.offset <= 127):
        raise ValueError(f"{weight} is out of range")
    writer.se(weight.weight)
    writer.se(weight.offset)


def _read_weights(reader: BitReader, counts: tuple[int, ...]) -> PredWeightTable:
    return PredWeightTable(
        luma_log2_weight_denom=reader.ue(7),
        chroma_log2_weight_denom=reader.ue(7),
        lists=tuple(tuple(_read_entry(reader) for _ in range(count)) for count in counts),
    )


def _read_entry(reader: BitReader) -> ReferenceWeights:
    return ReferenceWeights(
        luma=_read_weight(reader) if reader.flag() else None,
        chroma=(_read_weight(reader), _read_weight(reader)) if reader.flag() else None,
    )


def _read_weight(reader: BitReader) -> Weight:
    return Weight(reader.se(-128, 127), reader.se(-128, 127))


def _read_qp_delta(reader: BitReader, pps: Pps) -> int:
    """slice_qp_delta, which gives a quantiser of 0 to 51: clause 7.4.3."""
    return reader.se(-pps.pic_init_qp, 51 - pps.pic_init_qp)


def _write_deblocking(writer: BitWriter, deblocking: Deblocking) -> None:
    writer.ue(deblocking.disable_idc)
    if deblocking.disable_idc != NO_DEBLOCKING.disable_idc:
        writer.se(deblocking.alpha_c0_offset_div2)
        writer.se(deblocking.beta_offset_div2)


def _read_deblocking(reader: BitReader) -> Deblocking:
    disable_idc = reader.ue(2)
    if disable_idc == NO_DEBLOCKING.disable_idc:
        return NO_DEBLOCKING
    return Deblocking(disable_idc, reader.se(-6, 6), reader.se(-6, 6))
