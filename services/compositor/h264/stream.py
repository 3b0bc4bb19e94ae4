"""One coded video sequence of stills, of pictures that are told, and of pictures that x264 coded.

A told picture is a slice without a single residual: it says which pictures it
shows, how they are weighted and where they have moved, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compositor.h264 import slice_data
from compositor.h264.bits import Bits, BitstreamError
from compositor.h264.coded import CodedPicture
from compositor.h264.format import Format
from compositor.h264.nal import length_prefixed
from compositor.h264.order import OutputOrder
from compositor.h264.parameter_sets import Pps, decoder_configuration
from compositor.h264.references import Reference, ReferencePictures
from compositor.h264.slice_data import Strip
from compositor.h264.slice_header import (
    EXPLICIT,
    NO_DEBLOCKING,
    Modification,
    PredWeightTable,
    ReferenceWeights,
    SliceHeader,
    SliceType,
    Weight,
)
from compositor.h264.source import Source
from compositor.h264.told import ToldSlice

BLEND_WHOLE = 128
"""The weights of a blend add up to this."""
_BLEND_LOG2_DENOM = 6
_SCALE_LOG2_DENOM = 7

_REF_IDC = 2
"""nal_ref_idc of told pictures that are kept; any value but 0 says so."""

_PLAIN = Pps(id=0, sps_id=0, entropy_coding_mode=False)
_WEIGHTED = replace(_PLAIN, id=1, weighted_pred=True, weighted_bipred_idc=EXPLICIT)
_FIRST_CODED_ID = 2


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """A picture as a sample of an MP4 track with an avcC."""

    data: bytes
    """NAL units, each after its length in 4 bytes; no parameter sets."""
    output: int
    """Number of the picture in output order: the presentation time in pictures."""
    idr: bool
    """Whether decoding can begin here."""


class Stream:
    """Writes access units in decoding order; keeps the state of the decoder that will read them.

    Every method that gives an access unit takes its number in output order.
    Numbers never come twice; all pictures before an IDR picture precede it in
    output order, and all after it follow. ValueError where a picture would
    break that, the `reorder` of the format, or refers to a picture that the
    decoder no longer holds; the stream may go on as if it had not been asked.
    """

    def __init__(self, format: Format, intra: Pps, coded: Pps) -> None:  # noqa: A002
        """Begins a stream.

        Args:
            format: Size, rate and limits.
            intra: The PPS with which x264 codes stills.
            coded: The PPS with which x264 codes segments.

        Raises:
            ValueError: no level allows the format.
        """
        self._sps = format.sps()
        contents = dict.fromkeys((_anonymous(intra), _anonymous(coded)))
        self._coded = {
            pps: replace(pps, id=pps_id) for pps_id, pps in enumerate(contents, _FIRST_CODED_ID)
        }
        self._skipped = slice_data.all_skipped(format.mb_columns * format.mb_rows)
        self._references = ReferencePictures(format.max_references, self._sps.max_frame_num)
        self._order = OutputOrder(
            reorder=format.reorder, log2_max_lsb=self._sps.log2_max_pic_order_cnt_lsb
        )
        self._idr_pic_id = 0
        self._holds: dict[Reference, ToldSlice] = {}

    @property
    def avcc(self) -> bytes:
        """AVCDecoderConfigurationRecord of ISO/IEC 14496-15, with the SPS and all PPS."""
        return decoder_configuration(self._sps, (_PLAIN, _WEIGHTED, *self._coded.values()))

    @property
    def level(self) -> int:
        """level_idc that is signalled."""
        return self._sps.level_idc

    def intra(
        self, picture: CodedPicture, output: int, *, idr: bool
    ) -> tuple[AccessUnit, Reference]:
        """A still that x264 coded as I slices, with its slice data byte for byte.

        The same picture may be given again, as when an IDR picture stands inside a hold.
        Of the reference pictures before it in output order a decoder keeps only the
        last. Some have few buffers beside those for references: OpenH264 runs out
        of them, and edge264 loses the order, where as many references as allowed
        are held while pictures are shown that are none.

        Raises:
            BitstreamError: it is not intra coded, or with other parameters than the stream has.
        """
        pps = self._accepted(picture)
        if not picture.is_intra or not picture.is_reference:
            raise BitstreamError("a still is a reference picture of I slices")
        leaving = [] if idr else self._references.all_but_last(self._order.check(output))
        order_count = self._place(output, idr=idr, is_reference=True, leaving=leaving)
        unmodified = [()] * len(picture.slices)
        unmarks = self._references.unmarks(leaving)
        data = self._reheaded(picture, pps, order_count, idr, unmodified, unmarks)
        return AccessUnit(data, output, idr), self._keep(order_count, leaving)

    def hold(self, of: Reference, output: int) -> AccessUnit:
        """`of` once more: all P_Skip, no reference picture."""
        told = self._holds.get(of)
        if told is None:
            # Which picture comes first in the list does not depend on the place of this one.
            told = self._told(SliceType.P, _PLAIN, ([of],), self._skipped)
            self._holds[of] = told
        return AccessUnit(told.sample(self._order.place(output)), output, idr=False)

    def blend(self, a: Reference, b: Reference, weight_b: int, output: int) -> AccessUnit:
        """((128 - weight_b) a + weight_b b + 64) >> 7 in every sample, `weight_b` in 1..127.

        All B_Skip with explicit weights (clause 8.4.2.3.2, logWD 6); `a` before
        and `b` after this picture in output order.
        """
        if not 0 < weight_b < BLEND_WHOLE:
            raise ValueError(f"the weight of a blend is 1 to 127, not {weight_b}")
        order_count = self._order.check(output)
        if not a.order_count < order_count < b.order_count:
            raise ValueError(f"picture {output} does not stand between the pictures it blends")
        told = self._told(
            SliceType.B,
            _WEIGHTED,
            ([a], [b]),
            self._skipped,
            order_count,
            weights=PredWeightTable(
                _BLEND_LOG2_DENOM,
                _BLEND_LOG2_DENOM,
                tuple(
                    (ReferenceWeights(Weight(w), (Weight(w), Weight(w))),)
                    for w in (BLEND_WHOLE - weight_b, weight_b)
                ),
            ),
        )
        return AccessUnit(told.sample(self._order.place(output)), output, idr=False)

    def scale(self, of: Reference, luma: Weight, chroma: Weight, output: int) -> AccessUnit:
        """((weight of + 64) >> 7) + offset, clipped to 0..255: weights and offsets in -128..127.

        All P_Skip with explicit weights (clause 8.4.2.3.2, logWD 7), the same for Cb and Cr.
        """
        entry = ReferenceWeights(luma, (chroma, chroma))
        weights = PredWeightTable(_SCALE_LOG2_DENOM, _SCALE_LOG2_DENOM, ((entry,),))
        told = self._told(SliceType.P, _WEIGHTED, ([of],), self._skipped, weights=weights)
        return AccessUnit(told.sample(self._order.place(output)), output, idr=False)

    def mosaic(
        self, a: Reference, b: Reference, shown: NDArray[np.bool_], output: int
    ) -> AccessUnit:
        """Blocks of 8x8 luma samples of `b` where `shown`, of `a` elsewhere.

        Args:
            a: Shown where `shown` is False.
            b: Shown where `shown` is True.
            shown: (2 * macroblock rows, 2 * macroblock columns).
            output: Number of the picture in output order.
        """
        if shown.shape != (2 * self._sps.mb_rows, 2 * self._sps.mb_columns):
            raise ValueError(f"{shown.shape} are not the 8x8 blocks of a picture")
        if 2 * np.count_nonzero(shown) > shown.size:
            # P_Skip shows reference 0, so that is the one of which more is seen.
            a, b, shown = b, a, ~shown
        told = self._told(SliceType.P, _PLAIN, ([a, b],), slice_data.mosaic(shown))
        return AccessUnit(told.sample(self._order.place(output)), output, idr=False)

    def pan(
        self,
        left: Reference,
        right: Reference,
        strips: Sequence[Strip],
        output: int,
        *,
        keep: bool = False,
    ) -> tuple[AccessUnit, Reference | None]:
        """Columns of 8 luma samples, each from `left` (reference 0) or `right` (1), moved sideways.

        Args:
            left: Reference 0 of the strips.
            right: Reference 1 of the strips.
            strips: One per column of 8 luma samples, 2 * macroblock columns.
            output: Number of the picture in output order.
            keep: Whether this becomes a reference picture itself.

        Returns:
            The access unit, and its handle if it is kept.
        """
        if len(strips) != 2 * self._sps.mb_columns:
            raise ValueError(f"{len(strips)} strips are not the columns of a picture")
        if 2 * sum(strip.reference for strip in strips) > len(strips):
            # P_Skip shows reference 0, so that is the one of which more is seen.
            left, right = right, left
            strips = [Strip(1 - strip.reference, strip.mv_x) for strip in strips]
        told = self._told(
            SliceType.P,
            _PLAIN,
            ([left, right],),
            slice_data.panned(strips, self._sps.mb_rows),
            nal_ref_idc=_REF_IDC if keep else 0,
        )
        order_count = self._place(output, idr=False, is_reference=keep)
        unit = AccessUnit(told.sample(order_count), output, idr=False)
        return unit, self._keep(order_count) if keep else None

    def segment(self, pictures: Iterable[CodedPicture], first_output: int) -> Iterator[AccessUnit]:
        """Closed groups of pictures that x264 coded (no B-pyramid), in decoding order.

        The first is an IDR picture with number `first_output`; the numbers of
        the others follow from their picture order counts, without a gap.
        `pictures` is read lazily. What stands before it can be referred to no more.

        Raises:
            BitstreamError: `pictures` are not such groups, or have other parameters
                than the stream has.
        """
        source = Source()
        ours: dict[Reference, Reference] = {}
        for picture in pictures:
            pps = self._accepted(picture)
            placed = source.place(picture)
            output = first_output + placed.number
            try:
                order_count = self._place(
                    output, idr=picture.is_idr, is_reference=picture.is_reference
                )
            except ValueError as error:
                raise BitstreamError(
                    f"x264's pictures do not fit into the stream: {error}"
                ) from error
            modifications = [
                self._references.modifications(
                    [[ours[entry] for entry in entries] for entries in lists],
                    coded.header.slice_type,
                    self._references.next_frame_num,
                    order_count,
                )
                for coded, lists in zip(picture.slices, placed.lists, strict=True)
            ]
            data = self._reheaded(picture, pps, order_count, picture.is_idr, modifications)
            if placed.reference is not None:
                ours[placed.reference] = self._keep(order_count)
            yield AccessUnit(data, output, picture.is_idr)
        source.close()

    def _accepted(self, picture: CodedPicture) -> Pps:
        """The stream's PPS that a coded picture can be decoded with. Raises BitstreamError."""
        sps = picture.sps
        if (sps.mb_columns, sps.mb_rows) != (self._sps.mb_columns, self._sps.mb_rows):
            raise BitstreamError(f"a picture of {sps.width}x{sps.height} is of another stream")
        if sps.direct_8x8_inference != self._sps.direct_8x8_inference:
            raise BitstreamError("direct motion is inferred otherwise than in the stream")
        if sps.max_num_ref_frames > self._sps.max_num_ref_frames:
            raise BitstreamError(f"a picture asks for {sps.max_num_ref_frames} references")
        # The level bounds motion; what it allows of intra pictures is for their coder to know.
        if sps.level_idc > self._sps.level_idc and not picture.is_intra:
            raise BitstreamError(f"a picture asks for level {sps.level_idc / 10}")
        pps = self._coded.get(_anonymous(picture.pps))
        if pps is None:
            raise BitstreamError("a picture is coded with another PPS than the stream has")
        return pps

    def _place(
        self, output: int, *, idr: bool, is_reference: bool, leaving: Sequence[Reference] = ()
    ) -> int:
        """PicOrderCnt of the next picture, a valid one; an IDR picture resets the decoder.

        A reference picture that names none as `leaving` moves the sliding window.
        """
        if idr:
            self._order.begin(output)
            self._references.clear()
            self._idr_pic_id ^= 1
            return 0
        slides = self._references.leaving if is_reference and not leaving else None
        if slides is not None and slides.order_count > self._order.check(output):
            raise ValueError(f"picture {output} drops a reference that is not shown yet")
        return self._order.place(output, is_reference=is_reference)

    def _keep(self, order_count: int, leaving: Sequence[Reference] = ()) -> Reference:
        """The picture just written, as a reference picture."""
        reference = Reference(self._references.next_frame_num, order_count)
        self._references.add(reference, leaving)
        self._holds.clear()
        return reference

    def _told(
        self,
        slice_type: SliceType,
        pps: Pps,
        wanted: Sequence[list[Reference]],
        bits: Bits,
        order_count: int = 0,
        *,
        weights: PredWeightTable | None = None,
        nal_ref_idc: int = 0,
    ) -> ToldSlice:
        """A picture in one slice of `bits`, whose reference lists are those `wanted`."""
        if not all(entry in self._references for entries in wanted for entry in entries):
            raise ValueError("a picture refers to one that the decoder no longer holds")
        frame_num = self._references.next_frame_num
        active = tuple(map(len, wanted))
        header = SliceHeader(
            nal_ref_idc,
            slice_type,
            pps.id,
            frame_num,
            pic_order_cnt_lsb=0,
            direct_spatial_mv_pred=True,
            num_ref_idx_active=active if set(active) != {1} else None,
            modifications=self._references.modifications(
                wanted, slice_type, frame_num, order_count
            ),
            weights=weights,
            deblocking=NO_DEBLOCKING,
        )
        return ToldSlice.of(header, bits, self._sps, pps)

    def _reheaded(
        self,
        picture: CodedPicture,
        pps: Pps,
        order_count: int,
        idr: bool,
        modifications: Sequence[tuple[tuple[Modification, ...], ...]],
        unmarks: tuple[int, ...] = (),
    ) -> bytes:
        """The NAL units of a coded picture, as the next picture of this stream."""
        units = []
        for coded, steps in zip(picture.slices, modifications, strict=True):
            header = replace(
                coded.header,
                pps_id=pps.id,
                frame_num=self._references.next_frame_num,
                pic_order_cnt_lsb=order_count % self._sps.max_pic_order_cnt_lsb,
                idr_pic_id=self._idr_pic_id if idr else None,
                modifications=steps,
                no_output_of_prior_pics=False,
                unmarks=unmarks,
            )
            units.append(length_prefixed(coded.under(header, self._sps, pps).write()))
        return b"".join(units)


def _anonymous(pps: Pps) -> Pps:
    """`pps` without its numbers, which x264 and the stream choose each for themselves."""
    return replace(pps, id=0, sps_id=0)
