"""What synthesized pictures show, sample by sample, of whole pictures (y, u, v)."""

import numpy as np


def crop(planes, width, height):
    y, u, v = planes
    return (
        y[:height, :width],
        u[: height // 2, : width // 2],
        v[: height // 2, : width // 2],
    )


def blend(a, b, weight_b):
    return tuple(
        ((p.astype(int) * (128 - weight_b) + q.astype(int) * weight_b + 64) >> 7).astype(np.uint8)
        for p, q in zip(a, b, strict=True)
    )


def scale(a, luma, chroma):
    return tuple(
        np.clip(((p.astype(int) * w.weight + 64) >> 7) + w.offset, 0, 255).astype(np.uint8)
        for p, w in zip(a, (luma, chroma, chroma), strict=True)
    )


def mosaic(a, b, shown):
    return tuple(
        np.where(np.kron(shown, np.ones((n, n), bool)), q, p)
        for p, q, n in zip(a, b, (8, 4, 4), strict=True)
    )


def pan(left, right, strips):
    """Vectors of whole chroma samples; beyond its edges a picture repeats them."""
    panned = []
    for p, q, n, unit in zip(left, right, (8, 4, 4), (4, 8, 8), strict=True):
        columns = []
        for number, strip in enumerate(strips):
            assert strip.mv_x % unit == 0
            at = np.arange(n * number, n * (number + 1)) + strip.mv_x // unit
            columns.append((q if strip.reference else p)[:, np.clip(at, 0, p.shape[1] - 1)])
        panned.append(np.concatenate(columns, axis=1))
    return tuple(panned)
