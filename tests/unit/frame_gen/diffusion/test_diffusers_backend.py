"""The backend for models on this machine: choice, loading, events, failures."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref
from contextlib import aclosing

import numpy as np
import pytest
import torch

from frame_gen.backends.base import (
    BackendError,
    Generated,
    GenerationRequest,
    Preview,
    Progress,
    Queued,
)
from frame_gen.backends.diffusers import DiffusersBackend
from frame_gen.diffusion import host as hosting
from frame_gen.diffusion.catalog import Engine, ModelEntry
from frame_gen.diffusion.choosing import Chooser
from frame_gen.diffusion.device import find_device
from frame_gen.diffusion.download import Downloader
from frame_gen.diffusion.in_use import put_in_use
from frame_gen.diffusion.memory import OpenGate
from frame_gen.diffusion.settings import DiffusersSettings
from rpckit.errors import Reason
from rpckit.provenance import Backend as Kind
from tests.support.engine_jobs import TIMEOUT, psnr
from tests.support.model_folders import entry, hollow_model, save
from tests.support.model_hub import COMMIT, serve_models
from tests.support.tiny_transformers import pixart_pipeline


@pytest.fixture(scope="session")
def folders(tmp_path_factory, sd15, sdxl):
    root = tmp_path_factory.mktemp("models")
    pipelines = {"sd15": sd15, "sdxl": sdxl, "pixart": pixart_pipeline()}
    return {name: save(pipeline, root / name) for name, pipeline in pipelines.items()}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
async def backends():
    """Makes backends with settings for the CPU, and closes them."""
    made = []

    def make(*models, **more):
        values = {"device": "cpu", "retry_after": 60.0, **more}
        names = tuple(model.name for model in models)
        settings = DiffusersSettings(catalog=models, models=names, **values)
        made.append(DiffusersBackend(settings))
        return made[-1]

    yield make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hosting, "_CLOSE_SECONDS", TIMEOUT)
        for backend in made:
            await backend.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith("gator-")]


def request(prompt="a cat", **more):
    return GenerationRequest(prompt, **{"seed": 7, "num_inference_steps": 4, **more})


async def events_of(backend, asked):
    return [event async for event in backend.generate(asked)]


async def generated(backend, asked) -> Generated:
    last = (await events_of(backend, asked))[-1]
    assert isinstance(last, Generated)
    return last


def picture(made: Generated):
    header = made.frame.header
    flat = np.frombuffer(made.frame.data, np.uint8)
    return flat.reshape(header.height, header.width, 3)


def stock_picture(pipeline, asked, **more):
    result = pipeline(
        asked.prompt,
        negative_prompt=asked.negative_prompt,
        width=128,
        height=64,
        num_inference_steps=asked.num_inference_steps,
        guidance_scale=asked.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(asked.seed),
        output_type="np",
        **more,
    )
    return (result.images[0] * 255).round().astype(np.uint8)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
async def test_a_frame_is_the_models_picture_at_its_constant_size(
    backends, folders, family, sd15, sdxl
):
    backend = backends(entry(family, folders[family]))
    asked = request(negative_prompt="ugly", video_width=3840, video_height=2160)
    made = await generated(backend, asked)
    stock = {"sd15": sd15, "sdxl": sdxl}[family]
    assert (made.frame.header.width, made.frame.header.height) == (128, 64)
    assert psnr(picture(made), stock_picture(stock, asked)) > 50
    assert (made.num_inference_steps, made.guidance_scale) == (4, 7.5)
    assert made.model.startswith(f"{family}@sha256-")
    assert made.warnings == ()
    small = request(negative_prompt="ugly", video_width=854, video_height=480)
    assert (await generated(backend, small)).frame.header.sha256 == made.frame.header.sha256


async def test_a_transformer_is_called_as_a_whole_pipeline(backends, folders):
    backend = backends(entry("pixart", folders["pixart"], engine=Engine.PIPELINE))
    asked = request()
    made = await generated(backend, asked)
    options = {"use_resolution_binning": False, "clean_caption": False}
    assert psnr(picture(made), stock_picture(pixart_pipeline(), asked, **options)) > 50


async def test_events_tell_that_it_waits_how_far_it_is_and_show_it(backends, folders, hold_at):
    backend = backends(entry("sd15", folders["sd15"]), preview_every=2)
    # A preview is left out where the image is there before it.
    seen, events = hold_at(9), []
    async for event in backend.generate(request(num_inference_steps=9)):
        events.append(event)
        if isinstance(event, Preview):
            seen.set()
    assert isinstance(events[0], Queued)
    steps = [event for event in events if isinstance(event, Progress)]
    assert steps == sorted(steps, key=lambda p: p.step)
    assert steps[-1].step == steps[-1].steps == 9
    assert steps[-1].time_left is not None
    previews = [event for event in events if isinstance(event, Preview)]
    assert previews
    assert all(preview.jpeg.startswith(b"\xff\xd8") for preview in previews)
    assert [type(event) for event in events].index(Generated) == len(events) - 1


async def test_many_requests_at_a_time_share_one_model_and_get_their_own_frames(
    backends, folders, sd15
):
    backend = backends(entry("sd15", folders["sd15"]))
    asked = [request(f"picture {n}", seed=n, num_inference_steps=2 + n % 4) for n in range(16)]
    made = await asyncio.gather(*(generated(backend, one) for one in asked))
    for one, frame in zip(asked, made, strict=True):
        assert psnr(picture(frame), stock_picture(sd15, one)) > 50


async def test_what_the_model_does_not_take_is_told(backends, folders):
    model = entry("turbo", folders["sd15"], max_steps=3, guidance=1.0)
    made = await generated(backends(model), request("word " * 100, num_inference_steps=25))
    assert (made.num_inference_steps, made.guidance_scale) == (3, 1.0)
    told = {warning.field: warning for warning in made.warnings}
    assert (told["num_inference_steps"].asked, told["num_inference_steps"].applied) == ("25", "3")
    assert told["guidance_scale"].applied == "1"
    assert "75 tokens" in told["prompt"].reason
    assert "word" in told["prompt"].asked


async def test_closing_the_generator_ends_the_work_and_harms_no_other(backends, folders, hold_at):
    backend = backends(entry("sd15", folders["sd15"]))
    go = hold_at(1)
    async with aclosing(backend.generate(request(num_inference_steps=100))) as events:
        async for event in events:
            if isinstance(event, Progress):
                break
    go.set()
    await generated(backend, request())
    used = backend._host.in_use
    assert used.idle.is_set()
    assert used.engine.counts.steps == 1 + 4


async def test_cancelling_a_request_while_the_model_loads_leaves_the_load_to_others(
    backends, folders
):
    backend = backends(entry("sd15", folders["sd15"]))
    first = backend.generate(request())
    assert isinstance(await anext(first), Queued)
    waiting = asyncio.ensure_future(anext(first))
    second = asyncio.create_task(generated(backend, request()))
    waiting.cancel()
    await second
    assert waiting.cancelled()


async def test_closing_while_the_model_loads_leaves_nothing_behind(backends, folders, monkeypatch):
    backend = backends(entry("sd15", folders["sd15"]))
    events = backend.generate(request())
    assert isinstance(await anext(events), Queued)
    monkeypatch.setattr(hosting, "_CLOSE_SECONDS", TIMEOUT)
    await backend.close()
    with pytest.raises(BackendError, match="shutting down"):
        async for event in events:
            assert isinstance(event, Queued)
    assert backend._host.in_use is None


async def test_it_says_at_once_what_is_missing(backends, folders, monkeypatch, tmp_path):
    there = entry("sd15", folders["sd15"])
    assert backends(there).availability().available
    assert backends(there).availability().models == ("sd15",)

    nothing = backends(entry("gone", tmp_path / "gone"), entry("hub")).availability()
    assert (nothing.available, nothing.models) == (False, ())
    assert nothing.reason is Reason.NO_MODEL_AVAILABLE
    assert nothing.message.startswith("No image generation models available: none of gone, hub")
    for way_out in ("HF_TOKEN", "OPENAI_API_KEY", "GATOR_FRAME_GEN_DIFFUSERS_FOLDER"):
        assert way_out in nothing.message

    assert "switched off" in backends(there, enabled=False).availability().message

    monkeypatch.setattr(hosting, "no_accelerator", lambda: True)
    no_gpu = backends(there, device="auto").availability()
    assert not no_gpu.available
    assert "no GPU; set GATOR_FRAME_GEN_DIFFUSERS_DEVICE=cpu" in no_gpu.message
    assert "very slow" in no_gpu.message

    monkeypatch.setattr(hosting, "NEEDED_MODULES", ("torch", "no_such_module"))
    missing = backends(there).availability()
    assert "pip install 'gator-video[diffusers]'" in missing.message


async def test_without_a_model_and_a_network_the_next_backend_has_its_turn_in_a_moment(
    backends, monkeypatch
):
    waited = []
    sleep = time.sleep

    def noted(seconds):
        if threading.current_thread().name == "gator-model-loader":
            waited.append(seconds)
        sleep(seconds)

    # It would take long by waiting between tries.
    monkeypatch.setattr(time, "sleep", noted)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    backend = backends(entry("a"), entry("b"), download="always")
    assert backend.availability().available
    with pytest.raises(BackendError, match=r"a: the hub could not be reached.*b: the hub") as told:
        await events_of(backend, request())
    assert told.value.reason is Reason.NO_MODEL_AVAILABLE
    state = backend.availability()
    assert (state.available, state.message) == (False, told.value.message)
    with pytest.raises(BackendError):
        await events_of(backend, request())
    assert sum(waited) < 5


async def test_a_failure_is_forgotten_after_a_while(backends, folders, tmp_path):
    late = tmp_path / "late"
    broken = hollow_model(late)
    backend = backends(entry("late", late), retry_after=0.0)
    with pytest.raises(BackendError, match="late: its files could not be loaded"):
        await events_of(backend, request())
    for file in folders["sd15"].rglob("*"):
        if file.is_file():
            target = broken / file.relative_to(folders["sd15"])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    await generated(backend, request())


async def test_the_best_model_that_loads_is_used(backends, folders, tmp_path):
    backend = backends(
        entry("gone", tmp_path / "gone"),
        entry("broken", hollow_model(tmp_path / "broken")),
        entry("large", folders["sdxl"], weights=10**15),
        entry("sd15", folders["sd15"]),
    )
    made = await generated(backend, request())
    assert made.model.startswith("sd15@")
    assert backend.availability().models == ("sd15", "broken", "large")


async def test_memory_that_does_not_suffice_is_said_with_figures(backends, folders):
    backend = backends(entry("large", folders["sdxl"], weights=10**15))
    with pytest.raises(BackendError, match=r"large: it needs \d+\.\d GiB of memory and .* free"):
        await events_of(backend, request())


async def test_memory_that_runs_out_brings_a_smaller_model(backends, folders, monkeypatch, sd15):
    refused = threading.Event()

    def enter(self, phase, *, rows, pixels):
        if pixels > 64 * 64:
            refused.set()
            raise torch.OutOfMemoryError("refused")

    monkeypatch.setattr(OpenGate, "enter", enter)
    backend = backends(
        entry("sdxl", folders["sdxl"]), entry("sd15", folders["sd15"], width=64, height=64)
    )
    asked = [request(f"picture {n}", seed=n) for n in range(4)]
    made = await asyncio.gather(*(generated(backend, one) for one in asked))
    assert refused.is_set()
    assert all(one.model.startswith("sd15@") for one in made)
    assert (made[0].frame.header.width, made[0].frame.header.height) == (64, 64)
    assert backend.availability().models[0] == "sd15"


def test_a_model_that_is_given_up_leaves_nothing_on_the_device(folders):
    tiny = ModelEntry("sd15", 128, 64, folder=folders["sd15"], engine=Engine.STEPS)
    settings = DiffusersSettings(device="cpu", catalog=(tiny,), models=("sd15",))
    device = find_device("cpu")
    choice = Chooser(settings, Downloader(1.0, lambda: False)).examine(tiny, device)
    used = put_in_use(choice, device, settings)
    weights = weakref.ref(used.model.unet)
    gc.disable()
    try:
        used.retire(10)
    finally:
        gc.enable()
    assert weights() is None


async def test_a_frame_that_is_late_is_not_begun(backends, folders):
    backend = backends(entry("sd15", folders["sd15"]))
    with pytest.raises(BackendError) as told:
        await events_of(backend, request(deadline=time.monotonic() - 1))
    assert told.value.reason is Reason.DEADLINE_EXCEEDED


async def test_memory_that_runs_out_with_the_smallest_model_is_an_error(
    backends, folders, monkeypatch
):
    def enter(self, phase, *, rows, pixels):
        if pixels:
            raise torch.OutOfMemoryError("refused")

    monkeypatch.setattr(OpenGate, "enter", enter)
    backend = backends(entry("sd15", folders["sd15"]))
    with pytest.raises(BackendError, match=r"AI frame generation failed: .* memory") as told:
        await events_of(backend, request())
    assert told.value.reason is Reason.GENERATION_FAILED
    monkeypatch.undo()
    assert backend.availability().available


async def test_a_model_that_is_not_there_is_downloaded_at_the_first_frame(
    backends, folders, monkeypatch
):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with serve_models({"tiny/sd15": folders["sd15"]}) as hub:
        hub.token = "hf_right"
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        backend = backends(entry("gone"), entry("sd15"))
        made = await generated(backend, request())
        asked_for = len(hub.requests)
        assert made.model == f"tiny/sd15@{COMMIT}"
        await backend.close()
        again = await generated(backends(entry("sd15")), request())
        assert again.frame.header.sha256 == made.frame.header.sha256
        assert len(hub.requests) == asked_for


async def test_a_lost_device_is_said_until_the_service_is_started_again(
    backends, folders, monkeypatch
):
    backend = backends(entry("sd15", folders["sd15"]))
    await generated(backend, request())

    def enter(self, phase, *, rows, pixels):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(OpenGate, "enter", enter)
    with pytest.raises(BackendError, match="restart the service"):
        await events_of(backend, request())
    assert "restart the service" in backend.availability().message
    assert await backend.device() is None
    with pytest.raises(BackendError) as told:
        await events_of(backend, request())
    assert told.value.reason is Reason.NO_MODEL_AVAILABLE


async def test_the_device_is_told_with_its_memory(backends, folders):
    device = await backends(entry("sd15", folders["sd15"])).device()
    assert device is not None
    assert (device.type.value, device.total_memory > 0) == ("cpu", True)
    assert await backends(entry("sd15", folders["sd15"]), enabled=False).device() is None


def test_nothing_heavy_is_imported_before_a_model_is_wanted():
    program = """
import sys
from frame_gen.backends.diffusers import DiffusersBackend
state = DiffusersBackend().availability()
assert not state.available, state
heavy = {"torch", "diffusers", "transformers", "huggingface_hub"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_it_is_the_diffusers_backend(backends, folders):
    assert backends(entry("sd15", folders["sd15"])).kind is Kind.DIFFUSERS


async def test_a_plan_is_told_from_files_and_is_that_of_the_frame(backends, folders):
    backend = backends(entry("sd15", folders["sd15"], max_steps=3, guidance=1.5))
    before = await backend.plan(request())
    assert backend._host.in_use is None
    made = await generated(backend, request())
    assert before == await backend.plan(request())
    assert (before.model, before.width, before.height) == (made.model, 128, 64)
    assert (before.num_inference_steps, before.guidance_scale) == (3, 1.5)
    assert (made.num_inference_steps, made.guidance_scale) == (3, 1.5)
    assert before.scheduler == type(backend._host.in_use.model.scheduler).__name__
    assert before.shareable


async def test_a_plan_changes_with_what_tells_in_the_picture(backends, folders):
    plain = await backends(entry("sd15", folders["sd15"])).plan(request())
    other = await backends(entry("sd15", folders["sd15"], scheduler="ddim")).plan(request())
    assert (other.scheduler, other.model) == ("ddim", plain.model)
    unchecked = await backends(entry("sd15", folders["sd15"]), safety_checker=False).plan(request())
    assert unchecked.generation_version != plain.generation_version
    assert (await backends(entry("sdxl", folders["sdxl"])).plan(request())).model != plain.model


async def test_a_plan_names_the_model_that_would_be_downloaded(backends, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    model = entry("far", revision=COMMIT)
    plan = await backends(model, download="always").plan(request())
    assert (plan.model, plan.scheduler) == (f"tiny/far@{COMMIT}", "")
    with pytest.raises(BackendError) as caught:
        await backends(model, download="never").plan(request())
    assert caught.value.reason is Reason.NO_MODEL_AVAILABLE
