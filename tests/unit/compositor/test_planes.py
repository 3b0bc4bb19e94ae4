"""Fitting and the one conversion to YUV 4:2:0."""

import cv2
import numpy as np
import pytest
from compositor_reference import chroma, luma, natural

from compositor.planes import Planes, fit_cover, still, to_i420
from rpckit.frame import Frame, PixelFormat

RNG = np.random.default_rng(7)
EXTREMES = RNG.choice(np.array([0, 1, 128, 254, 255], np.uint8), (96, 130, 3))
PURE = np.array(
    [[c] * 16 for c in ([0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255])] * 2,
    np.uint8,
)


@pytest.mark.parametrize(
    "rgb",
    [EXTREMES, PURE, natural(0, 854, 480), natural(1, 160, 90), EXTREMES[:2, :2]],
    ids=["noise", "pure colours", "photograph", "small photograph", "2x2"],
)
def test_conversion_is_within_two_levels_of_the_formula(rgb):
    planes = to_i420(rgb)
    u, v = chroma(rgb)
    assert np.abs(planes.y - luma(rgb)).max() <= 1
    assert np.abs(planes.u - u).max() <= 2
    assert np.abs(planes.v - v).max() <= 2


def test_grey_has_no_colour_and_limited_range():
    ramp = np.repeat(np.arange(256, dtype=np.uint8), 6).reshape(2, 256, 3).transpose(0, 1, 2)
    planes = to_i420(np.ascontiguousarray(ramp))
    assert planes.y.min() == 16
    assert planes.y.max() == 235
    assert (planes.chroma == 128).all()


def test_chroma_stands_on_even_columns():
    # A red line one column wide, on an even column: its chroma sample is symmetric about it.
    rgb = np.full((8, 32, 3), 128, np.uint8)
    rgb[:, 16] = [255, 0, 0]
    row = to_i420(rgb).v[0].astype(int) - 128
    assert row[8] == row.max() > 0
    assert (row[:8] == 0).all()
    assert (row[9:] == 0).all()
    rgb[:, 16] = 128
    rgb[:, 17] = [255, 0, 0]
    row = to_i420(rgb).v[0].astype(int) - 128
    assert row[8] == row[9] > 0


def test_finest_colour_stripes_do_not_alias():
    rgb = np.zeros((8, 64, 3), np.uint8)
    rgb[:, 0::2] = [255, 0, 0]
    rgb[:, 1::2] = [0, 0, 255]
    mean = to_i420(np.full((8, 64, 3), [127.5, 0, 127.5]).round().astype(np.uint8))
    planes = to_i420(rgb)
    assert np.abs(planes.u[:, 1:].astype(int) - mean.u[0, 0]).max() <= 2
    assert np.abs(planes.v[:, 1:].astype(int) - mean.v[0, 0]).max() <= 2


def test_planes_are_views_of_one_buffer():
    planes = Planes.empty(854, 480)
    planes.i420[:] = 0
    planes.y[0, 0], planes.u[0, 0], planes.v[239, 426] = 1, 2, 3
    flat = planes.i420.reshape(-1)
    assert (flat[0], flat[854 * 480], flat[-1]) == (1, 2, 3)
    assert planes.chroma.shape == (240, 854)


@pytest.mark.parametrize("shape", [(10, 8), (9, 7)])
def test_a_buffer_of_odd_sides_is_refused(shape):
    with pytest.raises(ValueError, match="even sides"):
        Planes(np.zeros(shape, np.uint8))


def test_cover_takes_the_centre_of_a_wide_picture():
    rgb = np.zeros((90, 320, 3), np.uint8)
    rgb[:, 80:240] = 200
    fitted = fit_cover(rgb, 160, 90)
    assert fitted.shape == (90, 160, 3)
    assert (fitted == 200).all()


def test_cover_takes_the_centre_of_a_tall_picture():
    rgb = np.zeros((270, 160, 3), np.uint8)
    rgb[90:180] = 200
    assert (fit_cover(rgb, 160, 90) == 200).all()


@pytest.mark.parametrize(
    ("size", "method"), [((448, 256), cv2.INTER_LANCZOS4), ((2048, 1152), cv2.INTER_AREA)]
)
def test_growing_is_lanczos_and_shrinking_is_area(size, method):
    rgb = natural(1, *size)
    width, height = 854, 480
    top = (size[1] - round(size[0] * 480 / 854)) // 2
    part = rgb[top : top + round(size[0] * 480 / 854)]
    expected = cv2.resize(part, (width, height), interpolation=method)
    assert np.array_equal(fit_cover(rgb, width, height), expected)


def test_a_picture_that_fits_is_not_resampled():
    rgb = natural(2, 854, 480)
    assert fit_cover(rgb, 854, 480).base is not None
    assert np.array_equal(fit_cover(rgb, 854, 480), rgb)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_tiny_and_thin_pictures_are_fitted(size):
    width, height = size
    frame = Frame.of(width, height, bytes([90, 120, 200]) * (width * height))
    planes = still(frame, 854, 480)
    assert np.abs(planes.y - luma([90, 120, 200])).max() <= 1


def test_an_rgb_frame_is_fitted_and_converted():
    rgb = natural(0, 640, 480)
    planes = still(Frame.of(640, 480, rgb.tobytes()), 854, 480)
    assert np.array_equal(planes.i420, to_i420(fit_cover(rgb, 854, 480)).i420)


def test_an_i420_frame_of_the_right_size_is_used_as_it_is():
    data = to_i420(natural(1, 854, 480)).i420.tobytes()
    planes = still(Frame.of(854, 480, data, PixelFormat.I420), 854, 480)
    assert planes.i420.tobytes() == data


@pytest.mark.parametrize("size", [(1280, 720), (426, 240), (640, 480), (2, 2)])
def test_an_i420_frame_of_another_size_is_fitted_plane_by_plane(size):
    data = to_i420(natural(1, *size)).i420.tobytes()
    planes = still(Frame.of(*size, data, PixelFormat.I420), 854, 480)
    assert (planes.width, planes.height) == (854, 480)
    if min(size) > 2:
        expected = to_i420(fit_cover(natural(1, *size), 854, 480))
        for plane in "yuv":
            # A crop on even rows may stand off by one: look at what is larger than that.
            seen, wanted = (
                cv2.GaussianBlur(getattr(p, plane).astype(float), (0, 0), 4)
                for p in (planes, expected)
            )
            assert np.abs(seen - wanted).mean() < 2
