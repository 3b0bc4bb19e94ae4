"""AIModelManager as the users of the first Gator call it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gator_client import AIModelManager, RenderError
from gator_client.png import png
from tests.support.video import decoded


@pytest.fixture
def manager(tmp_path):
    return AIModelManager(output_dir=tmp_path)


async def test_initialize_models_finds_what_there_is(manager):
    assert not manager.models_loaded
    await manager.initialize_models()
    assert manager.models_loaded
    assert manager.gpu_type in ("cuda", "rocm", "mps", "cpu")
    assert [model["name"] for model in manager.available_models["video"]] == ["multi_frame"]
    for model in manager.available_models["image"]:
        assert model.keys() == {"name", "provider", "loaded", "message"}


async def test_a_video_of_several_scenes(manager, tmp_path):
    result = await manager.generate_video(
        prompt=["A serene mountain landscape at sunrise", "A bustling city skyline at night"],
        video_type="multi_frame",
        quality="draft",
        transition="crossfade",
        duration_per_frame=1.0,
        use_ai_generation=True,
        num_inference_steps=25,
        guidance_scale=7.5,
    )
    assert Path(result["file_path"]).parent == tmp_path
    assert (result["num_scenes"], result["duration"]) == (2, 2.0)
    assert (result["quality"], result["transition_type"]) == ("draft", "crossfade")
    assert sum(1 for _ in decoded(result["file_path"])) == 48


async def test_one_prompt_is_a_video_of_one_scene(manager):
    result = await manager.generate_video(
        "A hill", quality="draft", duration_per_frame=0.5, use_ai_generation=False
    )
    assert (result["num_scenes"], result["frame_count"]) == (1, 12)
    provenance = result["scenes"][0]["provenance"]
    assert (provenance["backend"], provenance["passed_over"]) == ("placeholder", ())


async def test_names_that_are_not_known_use_safe_defaults(manager, caplog):
    result = await manager.generate_video(
        ["a", "b"],
        video_type="hologram",
        quality="ultra",
        transition="star-wipe",
        duration_per_frame=0.1,
    )
    assert (result["quality"], result["transition_type"]) == ("high", "crossfade")
    assert "'hologram' is no video type" in caplog.text


async def test_the_output_folder_can_be_said_for_one_video(manager, tmp_path):
    result = await manager.generate_video(
        "A hill", quality="draft", duration_per_frame=0.1, output_dir=tmp_path / "other"
    )
    assert Path(result["file_path"]).parent == tmp_path / "other"


async def test_a_manager_passes_its_own_images_on(tmp_path):
    class Mine(AIModelManager):
        def __init__(self):
            super().__init__(output_dir=tmp_path)
            self.prompts = []

        async def generate_image(self, prompt, **_):
            self.prompts.append(prompt)
            return {"image_data": png(np.zeros((90, 160, 3), np.uint8))}

    manager = Mine()
    result = await manager.generate_video(["a", "b"], quality="draft", duration_per_frame=0.1)
    assert sorted(manager.prompts) == ["a", "b"]
    backends = [scene["provenance"]["backend"] for scene in result["scenes"]]
    assert backends == ["external", "external"]


async def test_an_image_needs_a_model(manager):
    await manager.initialize_models()
    if any(model["loaded"] for model in manager.available_models["image"]):
        pytest.skip("this machine has an image model")
    with pytest.raises(RenderError, match="No image generation models available") as caught:
        await manager.generate_image("a hill", width=64, height=64)
    assert caught.value.reason == "NO_MODEL_AVAILABLE"


def test_png_files():
    rgb = np.random.default_rng(1).integers(0, 256, (7, 5, 3), np.uint8)
    with Image.open(io.BytesIO(png(rgb)), formats=["PNG"]) as image:
        assert np.array_equal(np.asarray(image), rgb)


async def test_a_manager_that_is_kept_open_starts_the_services_once(tmp_path):
    async with AIModelManager(tmp_path) as manager:
        await manager.initialize_models()
        async with manager.services() as first, manager.services() as second:
            assert first is second
        options = {"quality": "draft", "duration_per_frame": 0.2, "use_ai_generation": True}
        made = [await manager.generate_video("a hill", **options) for _ in range(2)]
        async with manager.services() as third:
            assert third is first
    assert made[0]["file_path"] != made[1]["file_path"]
    async with manager.services() as later:
        assert later is not first
