"""Stills by x264, each one intra picture of its own, within a number of bits."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log2

from compositor.encoder.failures import failures
from compositor.encoder.frames import frame
from compositor.encoder.x264 import COMMON, x264
from compositor.planes import Planes
from rpckit.video import Preset

MAX_CRF = 51
"""Where x264's scale ends."""
COARSEST_QP = 60
"""Beyond 51, the standard's last, x264 also drops coefficients; far beyond, nearly all of them."""
_MAX_TRIES = 4
_BITS_HALVE_IN = 6.0
"""Steps of the quantiser parameter in which its step size doubles: ITU-T H.264, 8.5.9."""

_PARAMETERS = (
    *COMMON,
    # The same PPS whatever the quantiser, so that any of these pictures may
    # stand in one stream.
    "stitchable=1",
    "keyint=1",
    "bframes=0",
    "slices=1",
    "annexb=1",
    "repeat-headers=1",
    # One picture, coded where it is asked for: there is nothing to look ahead to.
    "scenecut=0",
    "rc-lookahead=0",
    "sync-lookahead=0",
    "mbtree=0",
)


class IntraCoder:
    """Codes stills of one size. Its methods may be called from several threads at once.

    Each still has an x264 of its own: to open one is 1 ms, and x264 would let
    the quantiser of a picture depend on those before it. So the same still
    always becomes the same bytes. They raise GatorError(ENCODING_FAILED) if
    x264 fails.
    """

    def __init__(self, preset: Preset, *, x264_preset: str = "superfast", crf: float = 18) -> None:
        """An x264's first picture has, before adaptive quantisation, a QP of `crf` - 3."""
        self._preset = preset
        self._x264_preset = x264_preset
        self._crf = crf

    def parameter_sets(self) -> bytes:
        """x264's SPS and PPS in Annex B, those of every picture of this coder."""
        with failures():
            codec = x264(
                self._preset,
                self._x264_preset,
                {"crf": f"{self._crf:g}"},
                _PARAMETERS,
                threads=1,
                global_header=True,
            )
            return codec.extradata or b""

    def code(self, planes: Planes, budget_bits: int) -> bytes:
        """`planes` as one IDR picture of one slice (CABAC, 8x8 transform), in Annex B.

        An access unit with its SPS and PPS. Where it is larger than
        `budget_bits` it is coded again, more coarsely, a few times at most; what
        is too large at the coarsest is returned as it is.
        """
        tries: list[tuple[float, int]] = []
        for quantiser in self._quantisers(budget_bits, tries):
            coded = self._coded(planes, quantiser)
            tries.append((quantiser, 8 * len(coded)))
            if 8 * len(coded) <= budget_bits:
                break
        return coded

    def _quantisers(self, budget: int, tries: list[tuple[float, int]]) -> Iterator[float]:
        yield self._crf
        while len(tries) < _MAX_TRIES and tries[-1][0] < MAX_CRF:
            yield min(predicted(budget, tries), MAX_CRF)
        yield COARSEST_QP

    def _coded(self, planes: Planes, quantiser: float) -> bytes:
        parameters = [*_PARAMETERS]
        if quantiser > MAX_CRF:
            options = {"qp": f"{quantiser:g}"}
            parameters.append("ipratio=1")  # or I pictures are coded more finely than asked
        else:
            options = {"crf": f"{quantiser:g}"}
        with failures():
            codec = x264(
                self._preset, self._x264_preset, options, parameters, threads=1, global_header=False
            )
            picture = frame(planes, 0, codec.time_base)
            return b"".join(bytes(p) for p in [*codec.encode(picture), *codec.encode(None)])


def predicted(budget: int, tries: list[tuple[float, int]]) -> float:
    """The quantiser at which a picture should fit into `budget` bits, a little on the safe side.

    `tries` are quantisers and the bits that they gave, all too many. Bits fall
    exponentially: with the step size at first, then as they did between the
    last two tries.
    """
    quantiser, bits = tries[-1]
    halve_in = _BITS_HALVE_IN
    if len(tries) > 1:
        before, more_bits = tries[-2]
        halve_in = max(halve_in, (quantiser - before) / max(log2(more_bits / bits), 0.01))
    return quantiser + max(1, ceil(halve_in * log2(bits / max(budget, 1)) + 0.5))
