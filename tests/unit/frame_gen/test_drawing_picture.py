"""How a placeholder looks: stable, different by scene, readable, inside its margins."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from frame_gen.drawing.card import draw_card, plan_card
from frame_gen.drawing.gradient import draw_gradient, field, palette

PROMPT = "A serene mountain landscape at sunrise"
LONG = ("The camera glides over a terraced valley where mist pools. " * 70)[:4000]


def draw(prompt=PROMPT, index=0, count=5, width=427, height=240):
    return draw_card(plan_card(prompt, width, height), prompt, index, count)


def luminance(srgb):
    """Relative luminance of WCAG 2.2 of values 0 to 1, shape (..., 3)."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    ("width", "height"),
    [(854, 480), (1920, 1080), (480, 854), (853, 479), (64, 64), (16, 16), (17, 8192), (8192, 16)],
)
def test_a_picture_has_exactly_the_size_asked_for(width, height):
    for prompt in (PROMPT, LONG, "עברית", "😀"):
        picture = draw(prompt, width=width, height=height)
        assert picture.shape == (height, width, 3)
        assert picture.dtype == np.uint8


def test_the_same_scene_gives_the_same_bytes_in_another_process():
    script = (
        "import hashlib, sys; from frame_gen.drawing.card import draw_card, plan_card;"
        "p = sys.argv[1];"
        "print(hashlib.sha256(draw_card(plan_card(p, 427, 240), p, 1, 5)).hexdigest())"
    )
    prompt = "Sunrise 日の出 شروق 😀"
    here = hashlib.sha256(draw(prompt, 1)).hexdigest()
    run = subprocess.run(
        [sys.executable, "-c", script, prompt], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == here


def test_threads_that_draw_at_a_time_do_not_disturb_each_other():
    prompts = [PROMPT, "日の出の山", "منظر جبلي", "सूर्योदय", "😀🏔️", LONG] * 4
    alone = [draw(prompt, 1) for prompt in prompts[:6]] * 4
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda prompt: draw(prompt, 1), prompts))
    for one, other in zip(alone, together, strict=True):
        assert (one == other).all()


def test_neighbouring_scenes_differ_clearly_in_colour():
    means = [draw_gradient(palette(f"prompt {i}", i), 64, 36).mean((0, 1)) for i in range(40)]
    for one, other in pairwise(means):
        assert np.abs(one - other).max() > 12


def test_a_prompt_and_its_place_decide_the_colours():
    assert palette("a", 0) == palette("a", 0)
    assert palette("a", 0) != palette("b", 0)
    assert palette("a", 0) != palette("a", 1)


def test_the_gradient_follows_its_field_within_a_level_and_without_bias():
    width, height = 640, 360
    colours = palette(PROMPT, 3)
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    error = draw_gradient(colours, width, height) - field(colours, x, y, width / height) * 255
    assert np.abs(error).max() < 1.2
    assert np.abs(error.mean((0, 1))).max() < 0.05
    # Dither: averaged over its 8x8 cells the picture is finer than its levels, so no bands show.
    cells = error.reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3))
    assert np.abs(cells).max() < 0.2


def test_type_has_a_contrast_of_at_least_4_5_everywhere():
    steps = np.linspace(0, 1, 33)
    for number in range(300):
        colours = palette(f"prompt {number}", number)
        ground = luminance(field(colours, steps, steps, 16 / 9)).max()
        ink = luminance(np.array(colours.ink.rgb()) / 255)
        assert (ink + 0.05) / (ground + 0.05) >= 4.5


@pytest.mark.parametrize(
    "prompt",
    [PROMPT, LONG, "W" * 4000, "منظر جبلي هادئ\n" * 9, "Z\u0337\u0310\u0346" * 200, "😀" * 99],
)
def test_nothing_is_painted_outside_the_margins(prompt):
    width, height = 854, 480
    card = plan_card(prompt, width, height)
    painted = draw_card(card, prompt, 0, 5) != draw_gradient(palette(prompt, 0), width, height)
    rows, columns = np.nonzero(painted.any(2))
    margin = card.region.left
    assert margin > 0.08 * height
    assert rows.min() >= margin
    assert rows.max() < height - margin
    assert columns.min() >= margin
    assert columns.max() < width - margin


def test_the_prompt_and_the_number_of_the_scene_are_painted():
    card = plan_card(PROMPT, 854, 480)
    region = card.region
    plain = draw_gradient(palette(PROMPT, 1), 854, 480)
    picture = draw_card(card, PROMPT, 1, 5)
    ink = np.array(palette(PROMPT, 1).ink.rgb())
    rows = slice(region.top, region.top + region.height)
    of_prompt = (picture[rows] == ink).all(2)
    assert of_prompt.mean() > 0.02
    above = (picture[: region.top] != plain[: region.top]).any(2)
    assert above.sum() > 100
    other_number = draw_card(card, PROMPT, 1, 6)
    assert (other_number[: region.top] != picture[: region.top]).any()
    assert (other_number[rows] == picture[rows]).all()


def test_the_bar_at_the_foot_shows_the_place_of_the_scene():
    first, last = draw(index=0, count=3), draw(index=2, count=3)
    line = 240 - 21 - 1
    brightness = [picture[line, 21:-21].astype(int).sum(1) for picture in (first, last)]
    assert brightness[0][:100].min() > brightness[0][-100:].max()
    assert brightness[1][-100:].min() > brightness[1][:100].max()


def test_a_right_to_left_prompt_stands_at_the_right():
    ground = draw_gradient(palette("שלום", 0), 854, 480)
    painted = (draw("שלום", width=854, height=480) != ground).any(2)
    columns = np.nonzero(painted[: 480 - 60].any(0))[0]
    assert columns.min() > 854 / 2


def test_emoji_keep_their_colours():
    picture = draw("😀", width=854, height=480).astype(int)
    yellow = (picture[..., 0] > 220) & (picture[..., 1] > 170) & (picture[..., 2] < 110)
    assert yellow.sum() > 200


def test_a_drawing_stops_when_nobody_waits_for_it():
    class EnoughError(Exception):
        pass

    calls = 0

    def checkpoint():
        nonlocal calls
        calls += 1
        if calls == 5:
            raise EnoughError

    with pytest.raises(EnoughError):
        draw_card(plan_card(LONG, 1920, 1080), LONG, 0, 1, checkpoint)
    assert calls == 5
