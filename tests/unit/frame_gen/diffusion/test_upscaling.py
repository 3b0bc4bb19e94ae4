"""Images that a configured upscaler enlarges, and that are kept where it cannot."""

import asyncio
import queue
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from frame_gen.backends.base import Generated, GenerationRequest
from frame_gen.backends.diffusers import DiffusersBackend
from frame_gen.diffusion.catalog import Catalog, Engine, ModelEntry
from frame_gen.diffusion.choosing import Chooser
from frame_gen.diffusion.device import find_device
from frame_gen.diffusion.download import Downloader
from frame_gen.diffusion.settings import DiffusersSettings
from frame_gen.diffusion.upscaling import (
    _MARGIN,
    NotUpscaled,
    NoUpscaler,
    Plan,
    plan,
    start,
)
from tests.support.engine_jobs import TIMEOUT, Turnstile
from tests.support.model_folders import entry, hollow_model, save
from tests.support.tiny_transformers import pixart_pipeline
from tests.support.tiny_upscalers import latent_upscaler, x4_upscaler


@pytest.fixture(scope="session")
def folders(tmp_path_factory, sd15):
    root = tmp_path_factory.mktemp("upscaled")
    pipelines = {
        "sd15": sd15,
        "pixart": pixart_pipeline(),
        "x2": latent_upscaler(),
        "x4": x4_upscaler(),
    }
    return {name: save(pipeline, root / name) for name, pipeline in pipelines.items()}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
async def backends():
    """Makes backends for the CPU with a model and an upscaler, and closes them."""
    made = []

    def make(model, *others, upscaler=""):
        settings = DiffusersSettings(
            device="cpu", catalog=(model, *others), models=(model.name,), upscaler=upscaler
        )
        made.append(DiffusersBackend(settings))
        return made[-1]

    yield make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frame_gen.diffusion.host._CLOSE_SECONDS", 100.0)
        for backend in made:
            await backend.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith("gator-")]


def upscaler(folder, name="up", **more) -> ModelEntry:
    values = {"engine": Engine.UPSCALER, "max_steps": 2, "guidance": 0.0, **more}
    return ModelEntry(name, folder=folder, **values)


def request(**more):
    return GenerationRequest("a cat", **{"seed": 7, "num_inference_steps": 2, **more})


async def generated(backend, asked=None) -> Generated:
    last = [event async for event in backend.generate(asked or request())][-1]
    assert isinstance(last, Generated)
    return last


def size(made: Generated) -> tuple[int, int]:
    return made.frame.header.width, made.frame.header.height


@pytest.mark.parametrize(
    ("model", "engine", "name", "scale", "guidance"),
    [
        ("sd15", Engine.STEPS, "x2", 2, 0.0),
        ("sd15", Engine.STEPS, "x4", 4, 3.0),
        ("pixart", Engine.PIPELINE, "x2", 2, 3.0),
    ],
)
async def test_an_image_is_enlarged_the_same_for_the_same_seed(
    backends, folders, model, engine, name, scale, guidance
):
    larger = upscaler(folders[name], scale=scale, guidance=guidance)
    backend = backends(entry(model, folders[model], engine=engine), larger, upscaler="up")
    planned = await backend.plan(request())
    made = await generated(backend)
    assert size(made) == (128 * scale, 64 * scale)
    assert (planned.width, planned.height, planned.model) == (*size(made), made.model)
    assert await backend.plan(request()) == planned
    assert made.warnings == ()
    model_name, upscaler_name = made.model.split(" + ")
    assert model_name.startswith(f"{model}@sha256-")
    assert upscaler_name.startswith(f"{name}@sha256-")
    assert (await generated(backend)).frame.data == made.frame.data
    assert (await generated(backend, request(seed=8))).frame.data != made.frame.data


async def test_unless_one_is_configured_nothing_is_loaded(backends, folders):
    backend = backends(entry("sd15", folders["sd15"]), upscaler(folders["x2"]))
    made = await generated(backend)
    assert (size(made), " + " in made.model) == ((128, 64), False)
    assert backend._host.in_use.upscaler is None
    assert "gator-upscaler" not in " ".join(thread.name for thread in threading.enumerate())


async def kept(backend, why, asked=None) -> None:
    """Checks that the image is handed on as it was made, and why is said."""
    made = await generated(backend, asked)
    assert size(made) == (128, 64)
    assert " + " not in made.model
    (warning,) = made.warnings
    assert (warning.field, warning.asked, warning.applied) == ("upscaler", "up", "")
    assert why in warning.reason


async def test_an_upscaler_that_is_missing_or_broken_costs_no_image(backends, folders, tmp_path):
    model = entry("sd15", folders["sd15"])
    for folder, why in [
        (tmp_path / "gone", "holds no whole model"),
        (hollow_model(tmp_path / "hollow"), "could not be loaded"),
        (folders["sd15"], "could not be loaded"),
    ]:
        await kept(backends(model, upscaler(folder), upscaler="up"), why)
    hub = upscaler(None, repository="tiny/up")
    await kept(backends(model, hub, upscaler="up"), "may not be downloaded")


async def test_memory_that_runs_out_in_the_upscaler_costs_no_image(backends, folders, monkeypatch):
    backend = backends(entry("sd15", folders["sd15"]), upscaler(folders["x2"]), upscaler="up")
    assert size(await generated(backend)) == (256, 128)
    pipeline = backend._host.in_use.upscaler._loaded.pipeline
    calls = []

    def refuse(*_, **__):
        calls.append(pipeline.vae.use_tiling)
        raise torch.OutOfMemoryError("refused")

    monkeypatch.setattr(pipeline.vae, "decode", refuse)
    await kept(backend, "too little memory")
    assert calls == [False, True]
    monkeypatch.undo()
    assert size(await generated(backend)) == (256, 128)


async def test_a_frame_that_is_nearly_late_is_not_enlarged(backends, folders, monkeypatch):
    slow = upscaler(folders["x2"], max_steps=100_000)
    backend = backends(entry("sd15", folders["sd15"]), slow, upscaler="up")
    monkeypatch.setattr("frame_gen.diffusion.upscaling.STEPS", 100_000)
    # Loading may take as long as it likes: when the upscaler looks, a second is left.
    deadline = time.monotonic() + 1000
    clock = SimpleNamespace(monotonic=lambda: deadline - _MARGIN - 1)
    monkeypatch.setattr("frame_gen.diffusion.upscaling.time", clock)
    await kept(backend, "no time left", request(deadline=deadline))


@pytest.fixture
def choose(folders):
    """Chooses the tiny model with an upscaler, on a CPU with so much memory free."""
    model = entry("sd15", folders["sd15"])
    settings = DiffusersSettings(
        device="cpu", catalog=(model,), models=("sd15",), memory_fraction=1.0
    )
    chooser = Chooser(settings, Downloader(1.0, lambda: False))
    device = find_device("cpu")

    def choose(larger: ModelEntry, free: int = 0):
        limited = replace(device, free_memory=free or device.free_memory)
        return plan(larger, chooser.examine(model, limited), chooser, limited)

    return choose


def test_the_model_goes_first_where_both_do_not_fit(choose, folders):
    choice, planned = choose(upscaler(folders["x2"]))
    assert isinstance(planned, Plan)
    weights = latent_upscaler()
    parts = (weights.unet, weights.vae, weights.text_encoder)
    held = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
    assert held < planned.needed < 10**10
    room = choice.footprint.needed
    both, planned = choose(upscaler(folders["x2"]), room + planned.needed)
    assert isinstance(planned, Plan)
    assert both.footprint.rows == choice.footprint.rows
    alone, left_out = choose(upscaler(folders["x2"]), room)
    assert isinstance(left_out, NoUpscaler)
    assert "which sd15 does not leave" in left_out.why
    assert alone.footprint == choice.footprint


@pytest.fixture
def held(choose, folders, monkeypatch):
    """An upscaler with no end of steps, each held until let on; and what tells that one began."""
    monkeypatch.setattr("frame_gen.diffusion.upscaling.STEPS", 100_000)
    _, planned = choose(upscaler(folders["x2"], max_steps=None))
    larger, turnstile, stepping = start(planned, find_device("cpu")), Turnstile(), queue.Queue()
    scheduler = larger._loaded.pipeline.scheduler
    step = scheduler.step

    def hold(*args, **more):
        stepping.put(None)
        turnstile()
        return step(*args, **more)

    scheduler.step = hold
    yield larger, turnstile, stepping
    turnstile.open()
    larger.close()


async def test_cancelling_ends_the_work_at_its_next_step(held):
    larger, turnstile, stepping = held
    picture = np.full((64, 128, 3), 99, np.uint8)
    work = larger.upscale(picture, prompt="a cat", seed=1, deadline=None)
    task = asyncio.create_task(work)
    await asyncio.to_thread(stepping.get, timeout=TIMEOUT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    turnstile.open()
    # The thread is free once the step in hand has ended.
    await asyncio.to_thread(larger._pool.submit(lambda: None).result, TIMEOUT)
    assert stepping.empty()


async def test_closing_ends_the_work_at_its_next_step(held, monkeypatch):
    larger, turnstile, stepping = held
    picture = np.full((64, 128, 3), 99, np.uint8)
    work = larger.upscale(picture, prompt="a cat", seed=1, deadline=None)
    task = asyncio.create_task(work)
    await asyncio.to_thread(stepping.get, timeout=TIMEOUT)
    turnstile.open_when_called(monkeypatch, larger._pool, "shutdown")
    await asyncio.to_thread(larger.close)
    with pytest.raises(NotUpscaled, match="given up"):
        await task
    assert stepping.empty()
    with pytest.raises(NotUpscaled, match="given up"):
        await larger.upscale(picture, prompt="a cat", seed=1, deadline=None)


def test_settings_name_an_upscaler_where_one_belongs():
    assert DiffusersSettings().upscaler_entry() is None
    named = DiffusersSettings(upscaler="sd-x2").upscaler_entry()
    assert named == Catalog().upscaler("sd-x2")
    with pytest.raises(ValidationError, match="no upscaler 'sdxl' in the catalog; it has sd-x2"):
        DiffusersSettings(upscaler="sdxl")
    with pytest.raises(ValidationError, match="no model 'sd-x2' in the catalog; it has sdxl"):
        DiffusersSettings(models="sd-x2")
    with pytest.raises(ValueError, match="scale is 0"):
        upscaler(None, repository="a/b", scale=0)
