"""Stills as intra pictures: within their budget, always decodable, the same every time."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import av
import numpy as np
import pytest
from compositor_reference import natural
from compositor_video import nal_units

from compositor.encoder.stills import IntraCoder, predicted
from compositor.planes import Planes, to_i420
from rpckit.video import PRESETS, Preset, Quality

SMALL = Preset(width=160, height=96, fps=24, bitrate=1_500_000, h264_level=30, use_case="tests")
ANY = 1 << 40
SPS, PPS, SEI, IDR = 7, 8, 6, 5


def photograph(preset, index=0):
    return to_i420(natural(index, preset.width, preset.height))


def noise(preset, seed=1):
    shape = (preset.height * 3 // 2, preset.width)
    return Planes(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def chequered(preset):
    rows, columns = np.indices((preset.height * 3 // 2, preset.width))
    return Planes(((rows + columns) % 2 * 255).astype(np.uint8))


def flat(preset, level):
    return Planes(np.full((preset.height * 3 // 2, preset.width), level, np.uint8))


def decoded(coded):
    """The one picture of an access unit, as I420."""
    codec = av.CodecContext.create("h264", "r")
    codec.options = {"err_detect": "explode"}
    (picture,) = codec.decode(av.Packet(coded)) + codec.decode(None)
    return picture.to_ndarray()


def units(coded, kind):
    return [unit for unit in nal_units(coded) if unit[0] & 31 == kind]


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("quality", [Quality.DRAFT, Quality.HIGH], ids=lambda q: q.name)
def test_a_still_is_one_intra_picture_of_good_quality(quality):
    preset = PRESETS[quality]
    planes = photograph(preset)
    coded = IntraCoder(preset).code(planes, ANY)
    kinds = [unit[0] & 31 for unit in nal_units(coded)]
    assert [kind for kind in kinds if kind != SEI] == [SPS, PPS, IDR]
    assert psnr(decoded(coded), planes.i420) > 44


PICTURES = {
    "photograph": photograph,
    "noise": noise,
    "chequered": chequered,
    "black": lambda preset: flat(preset, 0),
    "white": lambda preset: flat(preset, 255),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("budget", [ANY, 40_000, 15_000, 0])
def test_a_still_of_any_content_and_budget_is_decodable(name, budget):
    planes = PICTURES[name](SMALL)
    coded = IntraCoder(SMALL).code(planes, budget)
    assert decoded(coded).shape == planes.i420.shape
    # What is not too large at the coarsest of all stays within the budget.
    if budget >= 40_000 or (budget == 15_000 and name not in ("noise", "chequered")):
        assert 8 * len(coded) <= budget


@pytest.mark.parametrize("size", [(16, 16), (2, 2), (18, 34), (854, 6), (4, 480), (334, 226)])
def test_a_still_of_any_size_is_decodable(size):
    preset = replace(SMALL, width=size[0], height=size[1])
    planes = noise(preset)
    assert psnr(decoded(IntraCoder(preset).code(planes, ANY)), planes.i420) > 36


def test_a_smaller_budget_costs_quality_and_no_more():
    planes = photograph(SMALL)
    coder = IntraCoder(SMALL)
    whole = coder.code(planes, ANY)
    sizes, qualities = [], []
    for part in (1.0, 0.7, 0.5, 0.3, 0.2):
        budget = int(8 * len(whole) * part)
        coded = coder.code(planes, budget)
        assert 8 * len(coded) <= budget
        assert 8 * len(coded) > budget / 2.5  # coarser than needed, but not by much
        sizes.append(len(coded))
        qualities.append(psnr(decoded(coded), planes.i420))
    assert all(a > b for a, b in pairwise(sizes))
    assert all(a > b for a, b in pairwise(qualities))


@pytest.mark.parametrize("x264_preset", ["ultrafast", "superfast", "medium", "slower"])
def test_parameter_sets_are_known_before_the_first_still(x264_preset):
    coder = IntraCoder(SMALL, x264_preset=x264_preset)
    known = coder.parameter_sets()
    for planes, budget in ((photograph(SMALL), ANY), (noise(SMALL), ANY), (noise(SMALL), 1)):
        coded = coder.code(planes, budget)
        assert units(coded, SPS) == units(known, SPS)
        assert units(coded, PPS) == units(known, PPS)


def test_the_quantiser_does_not_show_in_the_parameter_sets():
    sets = {
        tuple(units(IntraCoder(SMALL, crf=crf).parameter_sets(), PPS)) for crf in (10, 18, 30, 40)
    }
    assert len(sets) == 1


def test_a_still_becomes_the_same_bytes_in_any_order_and_thread():
    stills = [photograph(SMALL, index) for index in range(6)]
    coder = IntraCoder(SMALL)
    alone = [IntraCoder(SMALL).code(still, 60_000) for still in stills]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(coder.code, stills[::-1], [60_000] * 6))
    assert together[::-1] == alone


def test_a_quantiser_is_predicted_from_the_size():
    # Bits halve with each doubling of the step size, 6 steps; half a step is for safety.
    assert predicted(1000, [(18, 2000)]) == 18 + 7
    assert predicted(1000, [(18, 1001)]) == 18 + 1
    # They fell by half in 12 steps.
    assert predicted(1000, [(18, 4000), (30, 2000)]) == 30 + 13
    assert predicted(0, [(18, 2000)]) > 51
