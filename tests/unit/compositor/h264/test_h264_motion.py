"""Predicted motion against the standard's own steps, and against values worked out by hand."""

import pytest
from h264_slice_reader import median_prediction
from hypothesis import given
from hypothesis import strategies as st

from compositor.h264.motion import (
    STILL,
    Motion,
    Neighbours,
    Vector,
    predicted,
    predicted_left_half,
    predicted_right_half,
    skipped,
)

components = st.integers(-3, 3) | st.integers(-8192, 8191)
vectors = st.builds(Vector, components, components)
# What lacks and what rests are special to P_Skip.
motions = st.sampled_from([None, Motion(0, STILL), Motion(1, STILL)]) | st.builds(
    Motion, st.integers(0, 1), vectors
)
neighbourhoods = st.builds(Neighbours, motions, motions, motions)

# Vectors whose medians are told apart from each of them.
A, B, C = Vector(1, 30), Vector(2, 10), Vector(3, 20)


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ((0, 0, 0), Vector(2, 20)),
        ((1, 1, 1), Vector(2, 20)),
        ((0, 0, 1), Vector(2, 20)),
        ((0, 1, 1), A),
        ((1, 0, 1), B),
        ((1, 1, 0), C),
        ((None, None, None), STILL),
        ((0, None, None), A),
        ((1, None, None), A),
        ((None, 0, None), B),
        ((None, 1, None), STILL),
        ((None, 0, 0), Vector(2, 10)),
        ((None, 1, 1), Vector(2, 10)),
        ((None, 1, 0), C),
        ((1, 0, None), B),
        ((0, 0, None), Vector(1, 10)),
    ],
)
def test_the_vector_of_reference_0_is_predicted(references, expected):
    assert predicted(0, neighbours_of(references)) == expected


def neighbours_of(references):
    return Neighbours(
        *(
            None if reference is None else Motion(reference, vector)
            for reference, vector in zip(references, (A, B, C), strict=True)
        )
    )


@given(st.integers(0, 1), neighbourhoods)
def test_prediction_follows_the_steps_of_the_standard(reference, neighbours):
    assert predicted(reference, neighbours) == median_prediction(reference, *neighbours)


@given(st.integers(0, 1), neighbourhoods)
def test_halves_look_to_their_own_side_first(reference, neighbours):
    left, _, corner = neighbours
    for half, side in ((predicted_left_half, left), (predicted_right_half, corner)):
        if side is not None and side.reference == reference:
            assert half(reference, neighbours) == side.vector
        else:
            assert half(reference, neighbours) == predicted(reference, neighbours)


@given(neighbourhoods)
def test_skipped_macroblocks_rest_at_the_edge_and_beside_what_rests(neighbours):
    left, above, _ = neighbours
    if None in {left, above} or Motion(0, STILL) in {left, above}:
        assert skipped(neighbours) == Motion(0, STILL)
    else:
        assert skipped(neighbours) == Motion(0, predicted(0, neighbours))


@pytest.mark.parametrize("resting", ["left", "above"])
def test_a_neighbour_that_rests_stops_a_skipped_macroblock(resting):
    moving = Motion(0, Vector(8, 4))
    neighbours = Neighbours(moving, moving, moving)._replace(**{resting: Motion(0, STILL)})
    assert predicted(0, neighbours) == Vector(8, 4)
    assert skipped(neighbours) == Motion(0, STILL)


def test_what_rests_in_the_other_reference_stops_no_skipped_macroblock():
    resting = Motion(1, STILL)
    neighbours = Neighbours(resting, Motion(0, Vector(8, 0)), resting)
    assert skipped(neighbours) == Motion(0, Vector(8, 0))
