"""What is left of a deadline for the next hop."""

import pytest

from rpckit.client import hop_timeout


@pytest.mark.parametrize(
    ("remaining", "left"), [(None, None), (10.0, 9.5), (2.0, 1.8), (0.0, 0.0), (-1.0, 0.0)]
)
def test_a_hop_keeps_back_its_reserve_and_at_most_a_tenth(remaining, left):
    assert hop_timeout(remaining, reserve=0.5) == left
