"""Renders with image models through all three services: a tiny model, OpenAI's stand-in."""

import asyncio
import hashlib
import io
import json
import shutil
import threading
from contextlib import aclosing, asynccontextmanager

import av
import numpy as np
import pytest
from PIL import Image

from frame_gen import servicer as frame_gen
from frame_gen.backends.diffusers import DiffusersBackend
from gator_client import (
    AsyncClient,
    Backend,
    RenderError,
    RenderResult,
    Scene,
    ScenePreview,
    SceneProgress,
    SceneState,
    VideoChunk,
)
from standalone import Standalone
from tests.support.openai_server import KEY, OpenAIServer, checked, refusal

ENTRY = {
    "name": "tiny",
    "repository": "makers/tiny-diffusion",
    "width": 128,
    "height": 64,
    "engine": "steps",
}
DRAFT = {"quality": "draft", "duration_per_frame": 0.2}
SCENES = [Scene("a cat", seed=2**63 + 5), Scene("the cat"), Scene("the cat")]
BLUE = (40, 90, 200)  # of the stand-in's pictures
UNSET = ("HF_TOKEN", "HF_HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL", "XDG_STATE_HOME")


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Nothing of this machine's; no model and no key until a test sets them."""
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("GATOR_FRAME_GEN_DIFFUSERS_ENABLED", "false")
    return monkeypatch.setenv


@pytest.fixture
def diffusers(environment, tiny_models):
    """Sets the tiny model up; with a folder, the model in that."""

    def use(folder=tiny_models):
        prefix = "GATOR_FRAME_GEN_DIFFUSERS_"
        environment(prefix + "ENABLED", "true")
        environment(prefix + "FOLDER", str(folder))
        environment(prefix + "CATALOG", json.dumps([ENTRY]))
        environment(prefix + "MODELS", "tiny")
        environment(prefix + "DEVICE", "cpu")
        environment(prefix + "PREVIEW_EVERY", "2")

    return use


@pytest.fixture
async def openai(environment):
    """The stand-in of OpenAI, set up with a key that it takes."""
    pytest.importorskip("openai")
    async with OpenAIServer() as server:
        environment("OPENAI_API_KEY", KEY)
        environment("OPENAI_BASE_URL", server.base_url)
        environment("GATOR_OPENAI_SIZE", "64x32")
        environment("GATOR_OPENAI_RETRY_DELAY", "0.01")
        yield server


@asynccontextmanager
async def client():
    """A client of the three services, with the settings of the environment."""
    async with Standalone() as stack, AsyncClient(stack.address) as opened:
        yield opened


async def rendered(opened, scenes=SCENES, **options):
    """All events of a render."""
    async with aclosing(opened.render(scenes, **DRAFT | options)) as events:
        return [event async for event in events]


async def result(opened, scenes=SCENES, **options) -> RenderResult:
    return (await rendered(opened, scenes, **options))[-1]


def first_picture(events):
    video = b"".join(event.data for event in events if isinstance(event, VideoChunk))
    with av.open(io.BytesIO(video)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


class Pace:
    """Where the engine asks for memory before a step: counts, slows and holds the steps."""

    def __init__(self):
        self.steps = 0
        self._changed = threading.Condition()
        self._held = False
        self._free = False

    def enter(self, phase, *, rows, pixels):
        from frame_gen.diffusion.memory import Phase  # noqa: PLC0415 - needs torch

        if phase is Phase.DENOISE:
            with self._changed:
                # Slow enough for a reader to see what goes on between the steps.
                self._changed.wait_for(lambda: self._free, timeout=0.3)
                self._changed.wait_for(lambda: not self._held, timeout=500)
                self.steps += 1

    def hold(self):
        with self._changed:
            self._held = True

    def release(self):
        with self._changed:
            self._held, self._free = False, True
            self._changed.notify_all()


@pytest.fixture
def pace(tiny_models, monkeypatch):
    from frame_gen.diffusion.memory import OpenGate  # noqa: PLC0415 - needs torch

    pace = Pace()
    monkeypatch.setattr(OpenGate, "enter", pace.enter)
    return pace


async def test_a_draft_is_made_by_the_model_and_watched_step_by_step(diffusers, pace):
    diffusers()
    async with client() as opened:
        previews, steps, seen = {}, {}, set()
        async with aclosing(
            opened.render(SCENES, num_inference_steps=40, guidance_scale=5, **DRAFT)
        ) as events:
            async for event in events:
                if isinstance(event, ScenePreview):
                    previews.setdefault(event.index, event)
                elif isinstance(event, SceneProgress) and event.steps:
                    steps.setdefault(event.index, []).append(event)
                seen = {index for index, told in steps.items() if told[-1].time_left}
                if len(previews) == len(seen) == 3:
                    pace.release()
            made = event
        again = await result(opened, num_inference_steps=40, guidance_scale=5)

    assert isinstance(made, RenderResult)
    provenances = [scene.provenance for scene in made.scenes]
    for provenance in provenances:
        assert provenance.backend is Backend.DIFFUSERS
        name, _, revision = provenance.model.partition("@")
        assert name == "makers/tiny-diffusion"
        assert revision.startswith("sha256-")
        assert (provenance.num_inference_steps, provenance.guidance_scale) == (40, 5)
        assert (provenance.width, provenance.height) == (128, 64)
        assert provenance.passed_over == ()
        assert provenance.generation_time > 0
    assert provenances[0].seed == 2**63 + 5
    # The same prompt twice is two pictures, each the same every time.
    shas = [provenance.frame_sha256 for provenance in provenances]
    assert len(set(shas)) == 3
    assert [scene.provenance.frame_sha256 for scene in again.scenes] == shas
    assert [scene.provenance.seed for scene in again.scenes] == [p.seed for p in provenances]

    for index in range(3):
        told = [event.step for event in steps[index]]
        assert told == sorted(told)
        assert {event.state for event in steps[index]} == {SceneState.GENERATING}
        assert {event.steps for event in steps[index]} == {40}
        assert previews[index].step % 2 == 0
        with Image.open(io.BytesIO(previews[index].jpeg), formats=["JPEG"]) as picture:
            assert picture.size == (16, 8)  # a pixel for each latent
            picture.load()


async def test_a_client_that_leaves_ends_the_denoising_within_two_steps(
    diffusers, pace, monkeypatch
):
    diffusers()
    backend = DiffusersBackend()
    monkeypatch.setitem(frame_gen._BACKENDS, "diffusers", lambda _: backend)
    async with client() as opened:
        started = set()
        async with aclosing(opened.render(SCENES, num_inference_steps=100, **DRAFT)) as events:
            async for event in events:
                if isinstance(event, SceneProgress) and event.step:
                    started.add(event.index)
                if len(started) == 3:
                    pace.hold()
                    break
        used = backend._host.in_use
        assert await asyncio.to_thread(used.idle.wait, 300)
        before = pace.steps
        pace.release()
        for _ in range(2):  # calls run before a step, so a whole turn lies between two of them
            await asyncio.wrap_future(used.engine.call(lambda: None))
        assert pace.steps - before <= 2
        assert used.engine._items == {}
        made = await result(opened, SCENES[:1], num_inference_steps=2)
    assert made.scenes[0].provenance.backend is Backend.DIFFUSERS


async def test_capabilities_name_the_model_and_its_device(diffusers):
    diffusers()
    async with client() as opened:
        found = await opened.capabilities()
    model, bought, drawn = found.backends
    assert (model.backend, model.available, model.models) == (Backend.DIFFUSERS, True, ("tiny",))
    assert (bought.backend, bought.available) == (Backend.OPENAI, False)
    assert "OPENAI_API_KEY" in bought.message
    assert (drawn.backend, drawn.available) == (Backend.PLACEHOLDER, True)
    assert found.device.type == "cpu"
    assert found.device.total_memory_bytes > found.device.free_memory_bytes > 0


async def test_images_are_bought_once_each_and_are_what_the_video_shows(openai):
    async with client() as opened:
        events = await rendered(opened, ["a", "b", "c"])
    pixels = hashlib.sha256(bytes(BLUE) * (64 * 32)).hexdigest()
    for scene in events[-1].scenes:
        provenance = scene.provenance
        assert (provenance.backend, provenance.model) == (Backend.OPENAI, "gpt-image-2")
        assert (provenance.width, provenance.height) == (64, 32)
        assert provenance.frame_sha256 == pixels
        (over,) = provenance.passed_over
        assert (over.backend, over.reason) == (Backend.DIFFUSERS, "NO_MODEL_AVAILABLE")
        assert "switched off" in over.message
    assert sorted(request.body["prompt"] for request in openai.requests) == ["a", "b", "c"]
    picture = first_picture(events)
    assert picture.shape == (480, 854, 3)
    assert np.abs(picture.mean(axis=(0, 1)) - BLUE).max() < 4


async def reject_some(request, connection):
    """What OpenAI's moderation does to a prompt."""
    rejected = request.body["prompt"] == "a rejected one"
    reply = refusal(400, "moderation_blocked") if rejected else checked
    await reply(request, connection)


async def test_a_scene_that_moderation_rejects_is_a_placeholder_and_no_other_is(openai):
    openai.script.extend([reject_some] * 3)
    async with client() as opened:
        made = await result(opened, ["a", "a rejected one", "c"])
    backends = [scene.provenance.backend for scene in made.scenes]
    assert backends == [Backend.OPENAI, Backend.PLACEHOLDER, Backend.OPENAI]
    over = made.scenes[1].provenance.passed_over[-1]
    assert (over.backend, over.reason) == (Backend.OPENAI, "CONTENT_REJECTED")
    assert over.message.startswith("AI frame generation failed")
    assert len(openai.requests) == 3


async def test_a_render_that_may_not_fall_back_names_every_attempt(openai):
    openai.script.extend([reject_some] * 2)
    async with client() as opened:
        with pytest.raises(RenderError) as raised:
            await rendered(opened, ["a", "a rejected one"], fallback_policy="fail")
    error = raised.value
    assert error.reason == "GENERATION_FAILED"
    assert error.message.startswith("scenes[1]: AI frame generation failed")
    assert "DIFFUSERS: No image generation models available: models on this" in error.message
    assert "OPENAI: AI frame generation failed" in error.message
    assert error.metadata["backends"] == "DIFFUSERS,OPENAI"
    assert error.metadata["service"] == "frame_gen"


@pytest.mark.parametrize("key", [KEY, "sk-proj-of-somebody-else"])
async def test_a_broken_model_gives_way_to_openai_and_that_to_a_placeholder(
    diffusers, openai, environment, tiny_models, tmp_path, key
):
    shutil.copytree(tiny_models, tmp_path / "models")
    weights = tmp_path / "models" / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    diffusers(tmp_path / "models")
    environment("OPENAI_API_KEY", key)
    async with client() as opened:
        made = await result(opened, ["a", "b"])
        state = {item.backend: item for item in (await opened.capabilities()).backends}
    assert not state[Backend.DIFFUSERS].available
    for scene in made.scenes:
        model, *rest = scene.provenance.passed_over
        assert (model.backend, model.reason) == (Backend.DIFFUSERS, "NO_MODEL_AVAILABLE")
        assert "tiny: " in model.message
        assert "safetensors is cut off" in model.message
        assert model.message == state[Backend.DIFFUSERS].message
        if key == KEY:
            assert scene.provenance.backend is Backend.OPENAI
            assert rest == []
        else:
            assert scene.provenance.backend is Backend.PLACEHOLDER
            (bought,) = rest
            assert (bought.backend, bought.reason) == (Backend.OPENAI, "NO_MODEL_AVAILABLE")
            assert "OPENAI_API_KEY" in bought.message
            assert key not in bought.message
    assert state[Backend.OPENAI].available == (key == KEY)
