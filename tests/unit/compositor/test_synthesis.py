"""Which transitions are synthesized, and how near their weights come to the formulas."""

from fractions import Fraction

import numpy as np
import pytest

from compositor.planes import BLACK_Y, NEUTRAL_C
from compositor.rate import Ceiling
from compositor.synthesis import (
    LONGEST,
    can_be_synthesized,
    crossfade_weight,
    fade_weights,
    slide_pivot,
)
from compositor.timeline import Slot
from compositor.transitions import slide_shift
from rpckit.video import PRESETS, Preset, Quality, Transition

PREMIUM = PRESETS[Quality.PREMIUM]
HIGH = PRESETS[Quality.HIGH]
STEPS = sorted({Fraction(k + 1, n + 1) for n in (*range(1, 40), 254, LONGEST) for k in range(n)})
SAMPLES = np.arange(256)


def ceiling(preset: Preset) -> Ceiling:
    return Ceiling(preset.bitrate * 1.5, preset.bitrate * 2, 1e9)


def synthesized(transition: Transition, frames: int, preset: Preset = HIGH) -> bool:
    return can_be_synthesized(Slot(0, frames + 1, transition, frames), preset, ceiling(preset))


def rounded(values: np.ndarray) -> np.ndarray:
    return np.floor(values + 0.5)


@pytest.mark.parametrize("transition", [Transition.CROSSFADE, Transition.FADE])
def test_weights_of_7_bits_reach_to_255_pictures(transition):
    assert synthesized(transition, 255)
    assert not synthesized(transition, 256)


def test_a_zoom_is_coded_and_a_wipe_synthesized():
    assert not synthesized(Transition.ZOOM, 1)
    assert synthesized(Transition.WIPE, 600)


def test_a_dissolve_is_synthesized_under_the_ceiling():
    assert synthesized(Transition.DISSOLVE, 15)
    assert synthesized(Transition.DISSOLVE, 300)
    assert synthesized(Transition.DISSOLVE, 30, PREMIUM)
    assert not synthesized(Transition.DISSOLVE, 600, PREMIUM)


@pytest.mark.parametrize("frames", [1, 3, 15, 16, 17, 30, 60, 600])
def test_a_wide_slide_has_a_picture_to_refer_to_half_way(frames):
    assert synthesized(Transition.SLIDE, frames, PREMIUM)
    shifts = [slide_shift(Fraction(k + 1, frames + 1), 3840) for k in range(frames)]
    pivot = slide_pivot(shifts, 3840)
    assert pivot is not None
    assert 3840 - 2048 < shifts[pivot] < 2048


@pytest.mark.parametrize("frames", [2, 4, 14])
def test_a_wide_slide_without_a_picture_near_its_middle_is_coded(frames):
    assert not synthesized(Transition.SLIDE, frames, PREMIUM)
    assert synthesized(Transition.SLIDE, frames, HIGH)


def test_a_crossfade_is_within_2_levels():
    a, b = np.meshgrid(SAMPLES, SAMPLES)
    for p in STEPS:
        weight = crossfade_weight(p)
        assert 1 <= weight <= 127
        shown = ((128 - weight) * a + weight * b + 64) >> 7
        wanted = rounded(float(1 - p) * a + float(p) * b)
        assert np.abs(shown - wanted).max() <= 2, p


def test_a_fade_is_within_2_levels():
    for p in STEPS:
        gain = abs(float(1 - 2 * p))
        for weight, black, low, high in zip(
            fade_weights(p), (BLACK_Y, NEUTRAL_C), (16, 16), (235, 240), strict=True
        ):
            assert -128 <= weight.weight <= 127
            assert -128 <= weight.offset <= 127
            samples = SAMPLES[low : high + 1]
            shown = ((weight.weight * samples + 64) >> 7) + weight.offset
            wanted = rounded(gain * samples + black * (1 - gain))
            assert np.abs(shown - wanted).max() <= 2, p
