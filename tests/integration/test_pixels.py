"""The pictures of a video against an independent reference in RGB, on natural stills."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from compositor import planes, transitions
from compositor.servicer import build
from compositor.settings import Settings
from rpckit.testing import connected
from rpckit.video import PRESETS, Quality, Transition
from tests.support import reference
from tests.support.composing import compose
from tests.support.natural import still
from tests.support.reference import Scene
from tests.support.video import decoded

SIZES = [pytest.param(q, id=q.name.lower()) for q in (Quality.DRAFT, Quality.HIGH)]
TRANSITIONS = [pytest.param(t, id=t.name.lower()) for t in Transition]
PROGRESS = [Fraction(1, 16), Fraction(1, 3), Fraction(1, 2), Fraction(10, 13), Fraction(29, 31)]

LEVELS = 2
"""By how much a composed sample may be off, before the encoder."""
TRANSITION_PSNR = {Quality.DRAFT: 36, Quality.HIGH: 38}
HOLD_PSNR = {Quality.DRAFT: 38, Quality.HIGH: 40}
"""Least luma PSNR of any picture after the encoder, dB."""


@cache
def natural(index: int, quality: Quality) -> np.ndarray:
    return still(index, PRESETS[quality].width, PRESETS[quality].height)


@cache
def natural_float(index: int, quality: Quality) -> np.ndarray:
    return natural(index, quality).astype(np.float32)


@cache
def natural_planes(index: int, quality: Quality) -> planes.Planes:
    return planes.to_i420(natural(index, quality))


@cache
def natural_chroma(index: int, quality: Quality) -> tuple[np.ndarray, np.ndarray]:
    return reference.chroma(natural_float(index, quality))


@pytest.fixture(autouse=True, scope="module")
def _forget():
    yield
    for cached in (natural, natural_float, natural_planes, natural_chroma):
        cached.cache_clear()


def off(samples: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference in levels."""
    return float(np.abs(samples - wanted).max())


@pytest.mark.parametrize("quality", SIZES)
@pytest.mark.parametrize("index", [0, 3, 5])
def test_a_still_is_converted_as_bt709_says(quality, index):
    made = natural_planes(index, quality)
    u, v = natural_chroma(index, quality)

    assert off(made.y, reference.luma(natural_float(index, quality))) <= LEVELS
    assert off(made.u, 128 + u) <= LEVELS
    assert off(made.v, 128 + v) <= LEVELS


@pytest.mark.parametrize("quality", SIZES)
@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("p", PROGRESS, ids=str)
def test_composed_planes_match_the_reference(quality, transition, p):
    index = 2
    a, b = natural_planes(index, quality), natural_planes(index + 1, quality)
    made = planes.Planes.empty(a.width, a.height)
    transitions.compose(transition, a, b, p, index, made)

    rgb = reference.transition(
        transition.name,
        natural_float(index, quality),
        natural_float(index + 1, quality),
        p,
        index=index,
    )
    assert off(made.y, reference.luma(rgb)) <= LEVELS
    for plane, of_a, of_b in zip(
        (made.u, made.v),
        natural_chroma(index, quality),
        natural_chroma(index + 1, quality),
        strict=True,
    ):
        wanted = reference.transition(transition.name, of_a, of_b, p, index=index, scale=2)
        assert off(plane, 128 + wanted) <= LEVELS


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("quality", SIZES)
async def test_decoded_pictures_match_the_reference(quality, engine, tmp_path):
    """One video with all six transitions, a second a scene: more change than most videos have."""
    scenes = [Scene(Fraction(1), transition.name) for transition in Transition]
    scenes.append(Scene(Fraction(1)))
    async with connected(build(Settings(engine=engine))) as channel:
        video = await compose(channel, quality, scenes, lambda i: natural(i, quality))
    path = tmp_path / "video.mp4"
    path.write_bytes(video.data)

    shown = reference.timeline(scenes, PRESETS[quality].fps)
    middle_of_hold = _middles(shown)
    worst: dict[str, float] = {}
    count = 0
    for number, (picture, luma) in enumerate(zip(shown, decoded(path), strict=True)):
        count += 1
        a = natural_float(picture.scene, quality)
        if picture.p is not None:
            name = scenes[picture.scene].transition
            b = natural_float(picture.scene + 1, quality)
            wanted = reference.transition(name, a, b, picture.p, index=picture.scene)
        elif number in middle_of_hold:
            name, wanted = "HOLD", a
        else:
            continue
        found = reference.psnr(luma, reference.luma(wanted))
        worst[name] = min(worst.get(name, found), found)

    assert count == len(shown)
    print({name: round(value, 2) for name, value in worst.items()})
    hold = worst.pop("HOLD")
    assert set(worst) == {transition.name for transition in Transition}
    assert min(worst.values()) >= TRANSITION_PSNR[quality], worst
    assert hold >= HOLD_PSNR[quality], hold


def _middles(shown: list[reference.Shown]) -> set[int]:
    held: dict[int, list[int]] = {}
    for number, picture in enumerate(shown):
        if picture.p is None:
            held.setdefault(picture.scene, []).append(number)
    return {numbers[len(numbers) // 2] for numbers in held.values()}
