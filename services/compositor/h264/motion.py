"""Motion vectors as a decoder predicts them in P slices: ITU-T H.264 clause 8.4.1.

Only list 0 is used. A neighbour that has no motion, because it lies outside the
slice or is not yet decoded, is None; what is said here holds for intra
neighbours too, of which pictures that are synthesized have none.
"""

from __future__ import annotations

from typing import NamedTuple


class Vector(NamedTuple):
    """A motion vector in quarter luma samples; positive shows what lies right of or below it."""

    x: int
    y: int


STILL = Vector(0, 0)


class Motion(NamedTuple):
    """What a block shows: the reference index and the vector."""

    reference: int
    vector: Vector


class Neighbours(NamedTuple):
    """Motion of the neighbouring partitions A, B and C: clause 8.4.1.3.2."""

    left: Motion | None
    """A."""
    above: Motion | None
    """B."""
    corner: Motion | None
    """C, above and right; where that is not available, D, above and left."""


def skipped(neighbours: Neighbours) -> Motion:
    """What a P_Skip macroblock with these neighbours shows: clause 8.4.1.1."""
    still = Motion(0, STILL)
    if neighbours.left in {None, still} or neighbours.above in {None, still}:
        return still
    return Motion(0, predicted(0, neighbours))


def predicted(reference: int, neighbours: Neighbours) -> Vector:
    """The vector predicted for a partition that shows `reference`: clause 8.4.1.3.1.

    It holds for 16x16 and 8x8 partitions, and for 8x16 ones which the directed
    prediction below does not take.
    """
    left, above, corner = neighbours
    if left is not None and above is None and corner is None:
        return left.vector
    same = [n.vector for n in neighbours if n is not None and n.reference == reference]
    if len(same) == 1:
        return same[0]
    vectors = [STILL if n is None else n.vector for n in neighbours]
    return Vector(_median(*(v.x for v in vectors)), _median(*(v.y for v in vectors)))


def predicted_left_half(reference: int, neighbours: Neighbours) -> Vector:
    """As `predicted`, for the left partition of an 8x16 macroblock: clause 8.4.1.3."""
    return _directed(reference, neighbours.left, neighbours)


def predicted_right_half(reference: int, neighbours: Neighbours) -> Vector:
    """As `predicted`, for the right partition of an 8x16 macroblock: clause 8.4.1.3."""
    return _directed(reference, neighbours.corner, neighbours)


def _directed(reference: int, towards: Motion | None, neighbours: Neighbours) -> Vector:
    if towards is not None and towards.reference == reference:
        return towards.vector
    return predicted(reference, neighbours)


def _median(a: int, b: int, c: int) -> int:
    return a + b + c - min(a, b, c) - max(a, b, c)
