"""Picture order count type 0, and in which order pictures come out: ITU-T H.264 clause 8.2.1."""

from __future__ import annotations

from bisect import insort

from compositor.h264.bits import BitstreamError

COUNTS_PER_PICTURE = 2
"""PicOrderCnt is counted in fields."""


class OutputOrder:
    """The places of a stream's pictures in output order, as they are written in decoding order.

    PicOrderCnt is 2 for each picture after the last IDR picture.
    """

    def __init__(self, *, reorder: int, log2_max_lsb: int) -> None:
        """Begins with no picture.

        Args:
            reorder: max_num_reorder_frames: pictures that may precede one in
                decoding order and follow it in output order.
            log2_max_lsb: log2_max_pic_order_cnt_lsb.
        """
        self._reorder = reorder
        self._half_turn = 1 << (log2_max_lsb - 1)
        self._origin: int | None = None
        # The last places in output order that are taken, reorder + 1 at most.
        self._latest: list[int] = []
        self._reference_count = 0

    def begin(self, output: int) -> None:
        """Places an IDR picture.

        Raises:
            ValueError: pictures before it in decoding order would come out after it.
        """
        if self._latest and output <= self._latest[-1]:
            raise ValueError(f"IDR picture {output} comes after picture {self._latest[-1]}")
        self._origin = output
        self._latest = [output]
        self._reference_count = 0

    def check(self, output: int) -> int:
        """PicOrderCnt of a picture that may come next and is no IDR picture.

        Raises:
            ValueError: it may not.
        """
        if self._origin is None:
            raise ValueError("a stream begins with an IDR picture")
        latest = self._latest
        is_full = len(latest) > self._reorder
        if output in latest or output < (latest[0] if is_full else self._origin):
            raise ValueError(
                f"picture {output} comes too late, after {latest} and with {self._reorder} ahead"
            )
        count = COUNTS_PER_PICTURE * (output - self._origin)
        # Clause 8.2.1.1 tells turns of the counter apart by the previous reference picture.
        if not -self._half_turn < count - self._reference_count < self._half_turn:
            raise ValueError(f"picture {output} is too far from the last reference picture")
        return count

    def place(self, output: int, *, is_reference: bool = False) -> int:
        """Places a picture that is no IDR picture; returns its PicOrderCnt. Raises as `check`."""
        count = self.check(output)
        insort(self._latest, output)
        if len(self._latest) > self._reorder + 1:
            del self._latest[0]
        if is_reference:
            self._reference_count = count
        return count


class OrderCounts:
    """Decodes PicOrderCnt: clause 8.2.1.1."""

    def __init__(self, log2_max_lsb: int) -> None:
        """Begins at an IDR picture, whose count is 0."""
        self._turn = 1 << log2_max_lsb
        self._reference_count = 0

    def count(self, lsb: int, *, is_reference: bool) -> int:
        """PicOrderCnt of the next picture, which is no IDR picture, from pic_order_cnt_lsb."""
        previous_lsb = self._reference_count % self._turn
        msb = self._reference_count - previous_lsb
        if lsb < previous_lsb and previous_lsb - lsb >= self._turn // 2:
            msb += self._turn
        elif lsb > previous_lsb and lsb - previous_lsb > self._turn // 2:
            msb -= self._turn
        count = msb + lsb
        if is_reference:
            self._reference_count = count
        return count


def picture_number(order_count: int) -> int:
    """Pictures between the IDR picture and this one in output order.

    Raises:
        BitstreamError: it precedes the IDR picture, or it stands between two pictures.
    """
    if order_count < 0 or order_count % COUNTS_PER_PICTURE:
        raise BitstreamError(f"picture order count {order_count} is not that of a closed group")
    return order_count // COUNTS_PER_PICTURE
