"""Each transition against a simple reference, before any encoder."""

from fractions import Fraction

import numpy as np
import pytest
from compositor_reference import chroma, luma, natural, transition

from compositor.planes import Planes, to_i420
from compositor.transitions import compose, noise
from rpckit.video import PRESETS, Quality, Transition

# Every preset's width; the heights of the wide ones are cut to keep the test quick.
SIZES = [(854, 480), (1280, 720), (1920, 88), (3840, 44)]
PROGRESS = [Fraction(1, 16), Fraction(1, 3), Fraction(1, 2), Fraction(11, 16), Fraction(15, 16)]


def composed(kind, a, b, p, index=0):
    out = Planes.empty(a.width, a.height)
    out.i420[:] = 77
    compose(kind, a, b, p, index, out)
    return out


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("kind", Transition, ids=lambda k: k.name)
def test_planes_match_the_rgb_reference_within_two_levels(kind, size):
    a, b = natural(0, *size), natural(1, *size)
    planes_a, planes_b = to_i420(a), to_i420(b)
    chroma_a, chroma_b = chroma(a), chroma(b)
    for p in PROGRESS:
        out = composed(kind, planes_a, planes_b, p, index=3)
        expected = luma(transition(kind, a, b, p, index=3))
        assert np.abs(out.y - expected).max() <= 2
        for plane, ca, cb in zip((out.u, out.v), chroma_a, chroma_b, strict=True):
            expected = transition(kind, ca, cb, p, index=3, scale=2, black=128.0)
            assert np.abs(plane - expected).max() <= 2


def flat(y, u, v, width=854, height=480):
    planes = Planes.empty(width, height)
    planes.y[:], planes.u[:], planes.v[:] = y, u, v
    return planes


def test_fade_passes_through_black():
    out = composed(Transition.FADE, flat(200, 90, 160), flat(50, 20, 30), Fraction(1, 2))
    assert (out.y == 16).all()
    assert (out.chroma == 128).all()


@pytest.mark.parametrize("width", sorted({PRESETS[q].width for q in Quality}))
def test_wipe_and_slide_keep_to_the_grid_at_every_progress(width):
    # Every column its own value, so that it can be seen where a sample came from.
    columns = np.arange(width)
    a, b = flat(0, 0, 0, width, 16), flat(0, 0, 0, width, 16)
    a.y[:] = columns % 120
    b.y[:] = 130 + columns % 120
    n = 97
    for k in range(n):
        p = Fraction(k + 1, n + 1)
        wiped = composed(Transition.WIPE, a, b, p).y[0]
        shows_b = wiped >= 130
        c = int(shows_b.sum())
        assert c == width or c % 8 == 0
        assert shows_b[:c].all()
        assert abs(c - float(p) * width) <= 4
        slid = composed(Transition.SLIDE, a, b, p).y[0]
        seam = int((slid < 130).sum())
        assert seam == width or seam % 8 == 0
        assert (slid[:seam] < 130).all()
        # B keeps its own width: what the seam hides is at most 7 columns of it.
        hidden = int(slid[seam]) - 130 if seam < width else 0
        assert hidden <= (0 if width > 2048 else 7)


def test_slide_repeats_the_last_column_up_to_the_seam():
    width = 854
    a, b = flat(0, 0, 0, width, 16), flat(255, 255, 255, width, 16)
    a.y[:] = np.arange(width) % 200
    # s = 2 * round(427/2 * p) = 214 at p = 1/4: B's edge at 640, which is on the grid.
    out = composed(Transition.SLIDE, a, b, Fraction(1, 4)).y[0]
    assert (out[:640] == a.y[0, 214:]).all()
    assert (out[640:] == 255).all()
    # s = 428 at p = 1/2: the edge at 426, the seam at 432.
    out = composed(Transition.SLIDE, a, b, Fraction(1, 2)).y[0]
    assert (out[:426] == a.y[0, 428:]).all()
    assert (out[426:432] == a.y[0, -1]).all()
    assert (out[432:] == 255).all()


def test_dissolve_shows_whole_cells_and_only_grows():
    a, b = flat(20, 20, 20), flat(200, 200, 200)
    before = np.zeros((480, 854), bool)
    for k in range(15):
        out = composed(Transition.DISSOLVE, a, b, Fraction(k + 1, 16), index=5)
        shows_b = out.y == 200
        assert (shows_b >= before).all()
        cells = shows_b[:, :848].reshape(60, 8, 106, 8)
        assert (cells == cells[:, :1, :, :1]).all()
        assert ((out.u == 200) == shows_b[::2, ::2]).all()
        assert ((out.v == 200) == shows_b[::2, ::2]).all()
        assert abs(shows_b.mean() - (k + 1) / 16) < 0.02
        before = shows_b


def test_dissolve_noise_is_fixed_by_the_index():
    assert noise(0, 2, 2).tolist() == FIRST_NOISE
    assert not np.array_equal(noise(1, 60, 107), noise(2, 60, 107))


# Changing these would change every dissolve that was ever made.
FIRST_NOISE = [[2735729615, 1158725112], [175979945, 70985654]]
