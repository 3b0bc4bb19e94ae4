"""What the pictures of an x264 stream refer to, by ITU-T H.264 clause 8.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compositor.h264.bits import BitstreamError
from compositor.h264.coded import CodedPicture
from compositor.h264.order import COUNTS_PER_PICTURE, OrderCounts, picture_number
from compositor.h264.parameter_sets import Sps
from compositor.h264.references import Reference, ReferencePictures


@dataclass(frozen=True)
class PlacedPicture:
    """A picture of closed groups of pictures, with what its headers say in relation to others."""

    coded: CodedPicture
    number: int
    """In output order, from 0."""
    lists: tuple[tuple[Sequence[Reference], ...], ...]
    """For each slice its reference lists."""
    reference: Reference | None
    """What later pictures name in their lists; None if they cannot."""


class Source:
    """Follows x264's pictures in decoding order as their own decoder would."""

    def __init__(self) -> None:
        self._sps: Sps | None = None
        self._references = ReferencePictures(1, 1 << 4)
        self._counts = OrderCounts(4)
        self._pictures = 0
        self._first_of_group = 0
        self._highest = -1

    def place(self, picture: CodedPicture) -> PlacedPicture:
        """Where the next picture stands, and what it refers to.

        Raises:
            BitstreamError: it does not follow from the pictures before it.
        """
        if picture.is_idr:
            self._begin_group(picture.sps)
        if picture.sps != self._sps:
            raise BitstreamError("pictures come without the IDR picture of their sequence")
        header = picture.slices[0].header
        if header.unmarks:
            raise BitstreamError("reference marking other than the sliding window is not handled")
        if header.frame_num != self._references.next_frame_num:
            raise BitstreamError(f"there is a gap in the frame numbers before {header.frame_num}")
        order_count = self._order_count(picture)
        lists = tuple(
            tuple(
                self._references.lists(coded.header, coded.header.active(picture.pps), order_count)
            )
            for coded in picture.slices
        )
        number = self._first_of_group + picture_number(order_count)
        self._highest = max(self._highest, number)
        self._pictures += 1
        reference = Reference(header.frame_num, order_count) if picture.is_reference else None
        if reference is not None:
            self._references.add(reference)
        return PlacedPicture(picture, number, lists, reference)

    def close(self) -> None:
        """Ends a group. Raises BitstreamError if numbers are missing, or came twice."""
        if self._highest != self._pictures - 1:
            raise BitstreamError(f"{self._pictures} pictures go up to number {self._highest}")

    def _begin_group(self, sps: Sps) -> None:
        self.close()
        self._sps = sps
        self._references = ReferencePictures(max(sps.max_num_ref_frames, 1), sps.max_frame_num)
        self._counts = OrderCounts(sps.log2_max_pic_order_cnt_lsb or 4)
        self._first_of_group = self._pictures

    def _order_count(self, picture: CodedPicture) -> int:
        lsb = picture.slices[0].header.pic_order_cnt_lsb
        if lsb is None:
            # Type 2 is decoding order: clause 8.2.1.3.
            return COUNTS_PER_PICTURE * (self._pictures - self._first_of_group)
        if picture.is_idr and lsb:
            raise BitstreamError("an IDR picture has another picture order count than 0")
        return self._counts.count(lsb, is_reference=picture.is_reference)
