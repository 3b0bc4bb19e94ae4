"""One coded video sequence of stills, of pictures that are told, and of pictures that x264 coded.

A told picture is a slice without a single residual: it says which pictures it
shows, how they are weighted and where they have moved, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compositor.h264.coded import CodedPicture
from compositor.h264.parameter_sets import Pps
from compositor.h264.references import Reference
from compositor.h264.slice_data import Strip
from compositor.h264.slice_header import Weight


@dataclass(frozen=True)
class Format:
    """What all pictures of a stream have in common."""

    width: int
    """Luma samples, even."""
    height: int
    """Luma samples, even."""
    fps: int
    """Pictures per second, constant."""
    level: int
    """Lowest level_idc (10 times the level) to signal; raised where Table A-1 asks for more."""
    reorder: int = 1
    """Pictures by which decoding may run ahead of output: max_num_reorder_frames."""
    max_references: int = 4
    """Reference pictures that a decoder keeps: max_num_ref_frames."""


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
    decoder no longer holds.
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
        raise NotImplementedError

    @property
    def avcc(self) -> bytes:
        """AVCDecoderConfigurationRecord of ISO/IEC 14496-15, with the SPS and all PPS."""
        raise NotImplementedError

    @property
    def level(self) -> int:
        """level_idc that is signalled."""
        raise NotImplementedError

    def intra(
        self, picture: CodedPicture, output: int, *, idr: bool
    ) -> tuple[AccessUnit, Reference]:
        """A still that x264 coded as I slices, with its slice data byte for byte.

        The same picture may be given again, as when an IDR picture stands inside a hold.
        """
        raise NotImplementedError

    def hold(self, of: Reference, output: int) -> AccessUnit:
        """`of` once more: all P_Skip, no reference picture."""
        raise NotImplementedError

    def blend(self, a: Reference, b: Reference, weight_b: int, output: int) -> AccessUnit:
        """((128 - weight_b) a + weight_b b + 64) >> 7 in every sample, `weight_b` in 1..127.

        All B_Skip with explicit weights (clause 8.4.2.3.2, logWD 6); `a` before
        and `b` after this picture in output order.
        """
        raise NotImplementedError

    def scale(self, of: Reference, luma: Weight, chroma: Weight, output: int) -> AccessUnit:
        """((weight of + 64) >> 7) + offset, clipped to 0..255: weights and offsets in -128..127."""
        raise NotImplementedError

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
        raise NotImplementedError

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
            strips: One per column of 8 luma samples, 2 * macroblock columns; mv_x in -8192..8191.
            output: Number of the picture in output order.
            keep: Whether this becomes a reference picture itself.

        Returns:
            The access unit, and its handle if it is kept.
        """
        raise NotImplementedError

    def segment(
        self, pictures: Iterable[CodedPicture], first_output: int
    ) -> Iterator[AccessUnit]:
        """Closed groups of pictures that x264 coded (no B-pyramid), in decoding order.

        The first is an IDR picture with number `first_output`; the numbers of
        the others follow from their picture order counts, without a gap.
        `pictures` is read lazily. What refers to earlier pictures is gone after it.

        Raises:
            BitstreamError: `pictures` are not such groups.
        """
        raise NotImplementedError
