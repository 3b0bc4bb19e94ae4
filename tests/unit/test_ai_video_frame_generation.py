"""Frames from image sources that the caller brings, and what becomes of their failures."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from gator_client import AIModelManager, TransitionType, VideoProcessingService, VideoQuality
from tests.support.video import decoded

ORANGE = (240, 140, 20)
"""R, G, B."""


class Painter:
    """An image source of the caller's own: one colour."""

    def __init__(self, failing=()):
        self.calls = []
        self._failing = failing

    async def generate_image(self, prompt, width, height, num_inference_steps, guidance_scale):
        self.calls.append((prompt, width, height, num_inference_steps, guidance_scale))
        if prompt in self._failing:
            raise RuntimeError("AI generation failed")
        file = io.BytesIO()
        Image.new("RGB", (width, height), ORANGE).save(file, "PNG")
        return {"image_data": file.getvalue(), "format": "PNG", "model": "painter"}


class Answering:
    """An image source with one answer."""

    def __init__(self, answer):
        self._answer = answer

    async def generate_image(self, **_):
        return self._answer


@pytest.fixture
def service(tmp_path):
    return VideoProcessingService(output_dir=tmp_path)


@pytest.mark.parametrize(
    ("quality", "size"),
    [
        (VideoQuality.DRAFT, (854, 480)),
        (VideoQuality.STANDARD, (1280, 720)),
        (VideoQuality.HIGH, (1920, 1080)),
    ],
)
async def test_the_source_is_asked_for_the_size_of_the_preset(service, quality, size):
    painter = Painter()
    frame = await service._generate_single_frame("a hill", quality, ai_model_manager=painter)
    assert painter.calls == [("a hill", *size, 20, 7.5)]
    assert (frame.shape, frame.dtype) == ((size[1], size[0], 3), np.uint8)
    assert np.all(frame == ORANGE[::-1])


async def test_images_of_another_shape_fill_the_frame(service):
    file = io.BytesIO()
    Image.new("RGB", (100, 300), ORANGE).save(file, "JPEG", quality=95)
    frame = await service._generate_single_frame(
        "a hill", VideoQuality.DRAFT, ai_model_manager=Answering({"image_data": file.getvalue()})
    )
    assert frame.shape == (480, 854, 3)
    assert np.abs(frame.astype(int) - ORANGE[::-1]).max() <= 3


async def test_parameters_reach_the_source(service):
    painter = Painter()
    await service._generate_single_frame(
        "a hill",
        VideoQuality.DRAFT,
        ai_model_manager=painter,
        num_inference_steps=33,
        guidance_scale=9.5,
    )
    assert painter.calls[0][3:] == (33, 9.5)


async def test_placeholders_do_not_ask_the_source(service):
    painter = Painter()
    frame = await service._generate_single_frame(
        "a hill", VideoQuality.DRAFT, use_ai_generation=False, ai_model_manager=painter
    )
    assert painter.calls == []
    assert frame.shape == (480, 854, 3)
    assert frame.std() > 1


@pytest.mark.parametrize(
    "source",
    [
        Painter(failing=["a hill"]),
        Answering({"error": "no image"}),
        Answering(None),
        Answering({"image_data": b"no picture"}),
        Answering({"image_data": None}),
    ],
    ids=["raises", "no image_data", "nothing", "no picture", "None"],
)
async def test_a_source_that_fails_gives_way_to_a_placeholder(service, source):
    made = await service._generate_single_frame(
        "a hill", VideoQuality.DRAFT, ai_model_manager=source
    )
    placeholder = await service._generate_single_frame(
        "a hill", VideoQuality.DRAFT, use_ai_generation=False
    )
    assert np.array_equal(made, placeholder)


async def test_a_video_shows_the_images_and_says_where_each_came_from(service):
    painter = Painter(failing=["Scene 2"])
    result = await service.generate_frame_by_frame_video(
        prompts=["Scene 1", "Scene 2"],
        duration_per_frame=1.0,
        quality=VideoQuality.DRAFT,
        transition=TransitionType.FADE,
        ai_model_manager=painter,
    )
    assert sorted(call[0] for call in painter.calls) == ["Scene 1", "Scene 2"]
    assert {call[3] for call in painter.calls} == {20}
    first, second = result["scenes"]
    assert first["provenance"]["backend"] == "external"
    assert second["provenance"]["backend"] == "placeholder"
    passed = second["provenance"]["passed_over"][0]
    assert (passed["backend"], passed["reason"]) == ("external", "GENERATION_FAILED")
    assert "AI frame generation failed" in passed["message"]
    luma = next(decoded(result["file_path"]))
    # BT.709, limited range.
    red, green, blue = (value / 255 for value in ORANGE)
    expected = 16 + 219 * (0.2126 * red + 0.7152 * green + 0.0722 * blue)
    assert np.abs(luma.astype(float) - expected).max() <= 3


async def test_cancelling_cancels_the_source(service):
    begun, ended = asyncio.Event(), asyncio.Event()

    class Slow:
        async def generate_image(self, **_):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    task = asyncio.create_task(
        service.generate_frame_by_frame_video(
            ["Scene 1"], quality=VideoQuality.DRAFT, ai_model_manager=Slow()
        )
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert list(service.output_dir.iterdir()) == []


async def test_a_manager_with_its_own_images_is_asked(service):
    class Mine(AIModelManager):
        async def generate_image(self, **request):
            return await painter.generate_image(**request)

    painter = Painter()
    await service._generate_single_frame("a hill", VideoQuality.DRAFT, ai_model_manager=Mine())
    assert len(painter.calls) == 1


async def test_the_manager_itself_stands_for_the_services_own_backends(service):
    made = await service._generate_single_frame(
        "a hill", VideoQuality.DRAFT, ai_model_manager=AIModelManager()
    )
    without = await service._generate_single_frame("a hill", VideoQuality.DRAFT)
    assert np.array_equal(made, without)
