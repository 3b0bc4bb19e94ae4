"""The examples run as they stand and make what they say."""

import asyncio
import sys
from pathlib import Path

import pytest

from gator_client import load_storyboard
from tests.support.video import decoded

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("quickstart", [72, 84]),
        ("demo_ai_video_generation", [108] * 3),
        ("demo_video_features", [72] * 6 + [90]),
        ("renders_that_outlive_you", [108, 108]),
    ],
)
async def test_an_example(tmp_path, name, pictures):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / f"{name}.py",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    paths = sorted((tmp_path / "out").iterdir())
    assert sorted(sum(1 for _ in decoded(path)) for path in paths) == pictures
    assert all(path.name in out.decode() for path in paths) or name == "demo_video_features"


def test_the_storyboard():
    board = load_storyboard(EXAMPLES / "story.yaml")
    assert len(board.scenes) == 4
    assert board.options["quality"] == "standard"
