"""From a folder to a model that makes the same images as diffusers' own pipeline."""

import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from frame_gen.diffusion.catalog import Dtype, Engine
from frame_gen.diffusion.engine import StepEngine
from frame_gen.diffusion.hub import Located, locate
from frame_gen.diffusion.loaded_pipeline import LoadedPipeline
from frame_gen.diffusion.loading import load
from frame_gen.diffusion.models import Family, LoadedModel
from tests.support.engine_jobs import Recorder, job, psnr, stock_image
from tests.support.model_folders import entry, hollow_model, save
from tests.support.tiny_models import sd15_pipeline
from tests.support.tiny_transformers import pixart_pipeline

CPU = torch.device("cpu")


def loaded(model, *, safety_checker=True, dtype=Dtype.FLOAT32):
    located = locate(model)
    assert located is not None
    return load(model, located, CPU, dtype, safety_checker=safety_checker)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_model_from_a_folder_makes_diffusers_images(family, request, tmp_path):
    stock = request.getfixturevalue(family)
    model = loaded(entry("x", save(stock, tmp_path / "x")))
    assert isinstance(model, LoadedModel)
    assert (model.family.value, model.width, model.height) == (family, 128, 64)
    assert model.revision.startswith("sha256-")
    asked = job(model, "a cat", width=128)
    engine = StepEngine("cpu")
    recorder = Recorder()
    engine.submit(asked, recorder)
    picture = recorder.image().picture
    engine.close()
    assert psnr(picture, stock_image(stock, asked)) > 50


def test_the_entry_says_the_scheduler_and_the_number_format(sd15, tmp_path):
    folder = save(sd15, tmp_path / "x")
    model = loaded(entry("x", folder, scheduler="dpm++"), dtype=Dtype.BFLOAT16)
    assert model.scheduler_name == "DPMSolverMultistepScheduler"
    assert model.unet.dtype is torch.bfloat16
    with pytest.raises(ValueError, match="there is no scheduler 'best'"):
        loaded(entry("x", folder, scheduler="best"))


@pytest.mark.filterwarnings("ignore:.*torchvision.*")
def test_the_safety_checker_that_comes_with_a_model_judges_its_pictures(tmp_path):
    pipeline = sd15_pipeline()
    config = CLIPConfig(
        projection_dim=8,
        vision_config={
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 224,
            "patch_size": 112,
        },
        text_config={"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1},
    )
    torch.manual_seed(0)
    checker = StableDiffusionSafetyChecker(config)
    # Nothing is further from a concept than 2: a threshold of -2 flags everything, 2 nothing.
    checker.special_care_embeds_weights.data.fill_(2)
    checker.concept_embeds_weights.data.fill_(-2)
    pipeline.register_modules(safety_checker=checker, feature_extractor=CLIPImageProcessor())
    folder = save(pipeline, tmp_path / "x")
    picture = torch.full((64, 128, 3), 128, dtype=torch.uint8).numpy()

    strict = loaded(entry("x", folder))
    assert strict.safety_check is not None
    assert strict.safety_check(picture)
    assert picture.all()

    assert loaded(entry("x", folder), safety_checker=False).safety_check is None


def test_a_transformer_becomes_a_whole_pipeline(tmp_path):
    folder = save(pixart_pipeline(), tmp_path / "x")
    model = loaded(entry("x", folder, engine=Engine.PIPELINE, multiple=16))
    assert isinstance(model, LoadedPipeline)
    assert (model.width, model.height, model.size_multiple) == (128, 64, 16)
    assert model.dtype is torch.float32


def test_what_cannot_be_stepped_becomes_a_whole_pipeline(tmp_path):
    model = loaded(entry("x", save(pixart_pipeline(), tmp_path / "x"), engine=Engine.STEPS))
    assert isinstance(model, LoadedPipeline)


def test_files_that_mean_nothing_do_not_load(tmp_path):
    folder = hollow_model(tmp_path / "x")
    with pytest.raises(Exception, match=r"."):
        load(entry("x", folder), Located(folder, "r"), CPU, Dtype.FLOAT32, safety_checker=True)


def test_tiles_are_small_enough_to_save_memory(tmp_path):
    pipeline = sd15_pipeline()
    pipeline.vae.register_to_config(sample_size=1024)
    vae = loaded(entry("x", save(pipeline, tmp_path / "x"))).vae
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size) == (512, 64)


def test_families_are_told_apart(sd15, sdxl, tmp_path):
    assert loaded(entry("a", save(sd15, tmp_path / "a"))).family is Family.SD15
    assert loaded(entry("b", save(sdxl, tmp_path / "b"))).family is Family.SDXL
