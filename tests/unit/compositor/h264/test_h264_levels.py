"""Levels: the presets', and what raises them."""

from fractions import Fraction
from itertools import pairwise

import pytest

from compositor.h264.levels import LEVELS, lowest_level

PRESETS = [(54, 30, 24, 30), (80, 45, 30, 31), (120, 68, 30, 40), (240, 135, 60, 52)]


@pytest.mark.parametrize(("columns", "rows", "fps", "idc"), PRESETS)
def test_presets_have_the_lowest_level_that_allows_them(columns, rows, fps, idc):
    assert lowest_level(columns, rows, fps, 4).idc == idc
    assert lowest_level(columns, rows, fps, 4, minimum=idc).idc == idc


def test_more_references_faster_pictures_and_longer_rows_raise_the_level():
    assert lowest_level(120, 68, 30, 5).idc == 50
    assert lowest_level(120, 68, 60, 4).idc == 42
    assert lowest_level(120, 68, Fraction(30_001, 1000), 4).idc == 40
    assert lowest_level(120, 68, Fraction(31), 4).idc == 42
    # 29 macroblocks are more than the square root of 8 x 99.
    assert lowest_level(28, 1, 1, 1).idc == 10
    assert lowest_level(29, 1, 1, 1).idc == 11


def test_the_minimum_is_kept():
    assert lowest_level(1, 1, 30, 4, minimum=30).idc == 30


def test_what_no_level_allows_is_refused():
    with pytest.raises(ValueError, match="no level"):
        lowest_level(480, 270, 173, 4)
    with pytest.raises(ValueError, match="no level"):
        lowest_level(1, 1, 30, 17)


def test_limits_grow_with_the_level():
    assert [level.idc for level in LEVELS] == sorted(level.idc for level in LEVELS)
    for lower, higher in pairwise(LEVELS):
        for limit in ("max_mbps", "max_fs", "max_dpb_mbs", "max_br", "max_cpb", "max_vmv_r"):
            assert getattr(lower, limit) <= getattr(higher, limit)


def test_bounds_of_rate_and_picture_in_the_high_profile():
    level = lowest_level(120, 68, 30, 4)
    assert (level.bitrate, level.buffer) == (25_000_000, 31_250_000)
    assert level.frames(120, 68) == 4
    assert level.picture_bytes(Fraction(1, 30)) == 384 * 245_760 // 30 // 4
    assert level.first_picture_bytes(120, 68) == 384 * 8160 // 4
    assert level.first_picture_bytes(1, 1) == 384 * (245_760 // 172) // 4
