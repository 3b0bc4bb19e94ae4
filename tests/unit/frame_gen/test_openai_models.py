from __future__ import annotations

from dataclasses import replace

import pytest

from frame_gen.backends.openai_images.models import Size, size_for, takes_any_size
from frame_gen.backends.openai_images.order import Order

PRESETS = [(854, 480), (1280, 720), (1920, 1080), (3840, 2160)]
ORDER = Order("r-1", 0, "a lighthouse", "people", "gpt-image-2", Size(64, 32), "low")


@pytest.mark.parametrize("model", ["gpt-image-2", "gpt-image-2-2026-04-21", "gpt-image-2.6-flare"])
@pytest.mark.parametrize("video", PRESETS)
def test_one_size_for_every_preset(model: str, video: tuple[int, int]) -> None:
    assert size_for(model, *video) == Size(1536, 864)


@pytest.mark.parametrize("model", ["gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest"])
@pytest.mark.parametrize(
    ("video", "size"),
    [
        ((1920, 1080), Size(1536, 1024)),
        ((854, 480), Size(1536, 1024)),
        ((1080, 1920), Size(1024, 1536)),
        ((1000, 1000), Size(1024, 1024)),
    ],
)
def test_the_nearest_of_the_fixed_sizes(model: str, video: tuple[int, int], size: Size) -> None:
    assert size_for(model, *video) == size


@pytest.mark.parametrize(
    "video", [(1080, 1920), (1000, 1000), (2560, 1080), (8192, 16), (16, 8192), (3000, 1000)]
)
def test_any_aspect_gives_a_size_that_the_model_takes(video: tuple[int, int]) -> None:
    size = size_for("gpt-image-2", *video)
    assert size.width % 16 == size.height % 16 == 0
    assert 1 / 3 <= size.width / size.height <= 3
    assert 0.9 < size.width * size.height / (1536 * 864) < 1.1
    aspect = min(max(video[0] / video[1], 1 / 3), 3)
    assert size.width / size.height == pytest.approx(aspect, rel=0.03)


def test_which_models_take_any_size() -> None:
    assert takes_any_size("gpt-image-12")
    assert not takes_any_size("gpt-image-1.5")
    assert not takes_any_size("gpt-image-20x")
    assert not takes_any_size("something-else")


@pytest.mark.parametrize("text", ["", "64", "64x", "x64", "0x64", "-64x64", "64x64 ", "1e3x64"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        Size.parse(text)


def test_every_part_of_an_order_makes_it_another_purchase() -> None:
    changes = [
        {"render_id": "r-2"},
        {"scene_index": 1},
        {"prompt": "a lighthouse "},
        {"negative_prompt": ""},
        {"model": "gpt-image-1.5"},
        {"size": Size(32, 64)},
        {"quality": "high"},
    ]
    keys = {replace(ORDER, **change).key for change in changes}
    assert len(keys | {ORDER.key}) == 1 + len(changes)
    assert replace(ORDER).key == ORDER.key
    # A change of the key would buy again what is bought; it has to be meant.
    assert ORDER.key == "61ba02dee4d2a1f1c8e21d7f10237ed95d450f6ee0102d6d9eb96b37e465b42e"


def test_a_negative_prompt_is_told_in_words() -> None:
    assert ORDER.text == "a lighthouse\n\nDo not show: people"
    assert replace(ORDER, negative_prompt=" ").text == "a lighthouse"
