"""VideoProcessingService as the users of the first Gator call it."""

import asyncio
import hashlib
import math
import threading
from pathlib import Path

import numpy as np
import pytest

from gator_client import TransitionType, VideoProcessingService, VideoQuality
from tests.support.video import decoded, described

KEYS = {
    "file_path",
    "file_size",
    "duration",
    "resolution",
    "fps",
    "format",
    "quality",
    "num_scenes",
    "transition_type",
    "frames_generated",
}


@pytest.fixture
def service(tmp_path):
    return VideoProcessingService(output_dir=str(tmp_path / "videos"))


def test_the_output_folder_is_made(service, tmp_path):
    assert service.output_dir == tmp_path / "videos"
    assert service.output_dir.is_dir()


def test_names():
    assert [quality.value for quality in VideoQuality] == ["draft", "standard", "high", "premium"]
    assert VideoQuality("high") is VideoQuality.HIGH
    assert TransitionType("crossfade") is TransitionType.CROSSFADE


def test_supported_names(service):
    assert service.get_supported_qualities() == ["draft", "standard", "high", "premium"]
    assert service.get_supported_transitions() == [
        "fade",
        "crossfade",
        "wipe",
        "slide",
        "zoom",
        "dissolve",
    ]


def test_quality_settings(service):
    assert service.quality_settings == {
        VideoQuality.DRAFT: {"resolution": (854, 480), "fps": 24, "bitrate": "1500k"},
        VideoQuality.STANDARD: {"resolution": (1280, 720), "fps": 30, "bitrate": "3000k"},
        VideoQuality.HIGH: {"resolution": (1920, 1080), "fps": 30, "bitrate": "6000k"},
        VideoQuality.PREMIUM: {"resolution": (3840, 2160), "fps": 60, "bitrate": "15000k"},
    }


@pytest.mark.parametrize("transition", list(TransitionType))
async def test_a_video_with_each_transition(service, transition):
    result = await service.generate_frame_by_frame_video(
        prompts=["Scene 1", "Scene 2", "Scene 3"],
        duration_per_frame=0.75,
        quality=VideoQuality.DRAFT,
        transition=transition,
    )
    assert result.keys() >= KEYS
    path = Path(result["file_path"])
    assert path.parent == service.output_dir
    assert (result["file_size"], result["sha256"]) == size_and_sha256(path)
    assert result["duration"] == 2.25
    assert result["resolution"] == "854x480"
    assert (result["fps"], result["format"]) == (24, "MP4")
    assert (result["quality"], result["transition_type"]) == ("draft", transition.value)
    assert (result["num_scenes"], result["frames_generated"]) == (3, 3)
    video = described(path)
    assert (video.width, video.height, video.fps) == (854, 480, 24)
    assert sum(1 for _ in decoded(path)) == 54


async def test_the_default_is_high_with_crossfades_of_three_seconds(service):
    result = await service.generate_frame_by_frame_video(["Scene 1"])
    assert (result["quality"], result["transition_type"]) == ("high", "crossfade")
    assert (result["duration"], result["resolution"]) == (3.0, "1920x1080")


async def test_file_names_are_unique(service):
    results = await asyncio.gather(*(short(service) for _ in range(3)))
    paths = {result["file_path"] for result in results}
    assert {str(path) for path in service.output_dir.iterdir()} == paths
    assert len(paths) == 3


@pytest.mark.parametrize("prompts", [[], ["  "]])
async def test_nothing_to_show_is_an_error(service, prompts):
    with pytest.raises(ValueError, match=r"scenes|prompt"):
        await service.generate_frame_by_frame_video(prompts, quality=VideoQuality.DRAFT)
    assert list(service.output_dir.iterdir()) == []


async def test_invalid_parameters_use_safe_defaults(service):
    result = await service.generate_frame_by_frame_video(
        ["Scene 1"],
        quality="draft",
        transition="star-wipe",
        duration_per_frame=-1,
        num_inference_steps=0,
        guidance_scale=math.nan,
        style="noir",
    )
    assert result["transition_type"] == "crossfade"
    assert result["frame_count"] == 1
    fields = {warning["field"] for warning in result["warnings"]}
    assert fields == {"duration_per_frame", "num_inference_steps", "guidance_scale"}
    unknown = await service.generate_frame_by_frame_video(
        ["Scene 1"], quality="ultra", duration_per_frame=0.1
    )
    assert unknown["quality"] == "high"


@pytest.mark.parametrize("is_async", [False, True])
async def test_progress_grows_to_one(service, is_async):
    seen = []

    async def later(fraction):
        seen.append(fraction)

    await short(service, progress_callback=later if is_async else seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert seen[-1] == 1.0


async def test_what_the_progress_callback_raises_ends_the_render(service):
    with pytest.raises(ZeroDivisionError):
        await short(service, progress_callback=lambda fraction: 1 / 0)
    assert list(service.output_dir.iterdir()) == []


async def test_cancelling_leaves_nothing(service):
    before = {thread.name for thread in threading.enumerate()}
    begun = asyncio.Event()
    task = asyncio.create_task(
        service.generate_frame_by_frame_video(
            ["Scene 1", "Scene 2"],
            quality=VideoQuality.PREMIUM,
            duration_per_frame=60,
            progress_callback=lambda fraction: begun.set(),
        )
    )
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    assert begun.is_set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(service.output_dir.iterdir()) == []
    left = {thread.name for thread in threading.enumerate()} - before
    assert not {name for name in left if "gator" in name or "encod" in name}


def test_it_works_in_one_event_loop_after_another(service):
    for _ in range(2):
        assert asyncio.run(short(service))["num_scenes"] == 1


async def test_a_single_frame(service):
    frame = await service._generate_single_frame(
        prompt="Test scene", quality=VideoQuality.STANDARD, frame_index=0
    )
    assert isinstance(frame, np.ndarray)
    assert (frame.shape, frame.dtype) == ((720, 1280, 3), np.uint8)
    assert frame.flags.c_contiguous


async def short(service, **options):
    return await service.generate_frame_by_frame_video(
        ["Scene 1"], duration_per_frame=0.5, quality=VideoQuality.DRAFT, **options
    )


def size_and_sha256(path):
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()
