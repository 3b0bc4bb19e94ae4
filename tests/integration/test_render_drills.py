"""A few random deaths; `make drills` goes on for minutes."""

import random

import pytest

from tests.drills.deaths import Deaths


@pytest.mark.timeout(900)
async def test_whatever_dies_at_whatever_moment_every_render_ends_well(database, tmp_path, capsys):
    kind = "sqlite" if database.file else "postgresql"
    tally = await Deaths(database, tmp_path, random.Random(kind)).run(0, faults=4)
    with capsys.disabled():
        print(f"\n{kind}: {tally}")
    assert tally.wrong == []
