"""What would make a frame: told without making it, by the backend that would."""

import importlib.util
from dataclasses import replace

import grpc
import pytest

from frame_gen.backends.base import Availability, BackendError, GenerationRequest, Plan
from frame_gen.backends.external import ExternalBackend
from frame_gen.backends.fallback import Done, FallbackChain
from frame_gen.backends.openai import GENERATION_VERSION, OpenAIBackend
from frame_gen.backends.openai_images.settings import OpenAISettings
from frame_gen.backends.placeholder import PlaceholderBackend
from frame_gen.servicer import build
from frame_gen.settings import Settings
from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from gator.type.v1 import frame_pb2
from rpckit.errors import GatorError, Reason
from rpckit.provenance import Backend as Kind
from rpckit.status import from_rpc_error
from rpckit.testing import connected
from tests.support.backends import ScriptedBackend

REQUEST = GenerationRequest("a lighthouse", seed=7, video_width=96, video_height=54)
AWAY = Availability(available=False, message="no key; set one")
PLANNED = Plan(Kind.DIFFUSERS, 128, 64, "1", model="sdxl@abc", shareable=True)

needs_openai = pytest.mark.skipif(
    importlib.util.find_spec("openai") is None, reason="the extra openai is not installed"
)


def diffusers(planned, **more):
    backend = ScriptedBackend(Kind.DIFFUSERS, **more)
    backend.planned = planned
    return backend


@pytest.fixture
async def placeholder():
    backend = PlaceholderBackend(1)
    yield backend
    await backend.close()


def chain(*backends):
    return FallbackChain(backends, 3600.0)


async def test_the_first_backend_that_can_answers(placeholder):
    away = ScriptedBackend(Kind.OPENAI, state=AWAY)
    backend = diffusers(PLANNED)
    assert await chain(away, backend, placeholder).plan(REQUEST) == PLANNED
    assert backend.asked == []


@pytest.mark.parametrize(
    "error", [BackendError(Reason.NO_MODEL_AVAILABLE, "it does not fit"), RuntimeError("a bug")]
)
async def test_a_backend_that_cannot_say_is_passed_over(placeholder, error):
    plan = await chain(diffusers(error), placeholder).plan(REQUEST)
    assert (plan.backend, plan.shareable) == (Kind.PLACEHOLDER, False)


async def test_a_placeholder_is_planned_as_it_is_drawn_and_never_shared(placeholder):
    backends = chain(diffusers(PLANNED), placeholder)
    drawn = replace(REQUEST, use_ai_generation=False)
    plan = await backends.plan(drawn)
    done = [event async for event in backends.generate(drawn)][-1]
    assert isinstance(done, Done)
    made = done.provenance
    assert (plan.backend, plan.width, plan.height) == (made.backend, made.width, made.height)
    assert (plan.model, plan.num_inference_steps, plan.guidance_scale) == ("", 0, 0.0)
    assert not plan.shareable


async def test_where_nothing_could_make_it_the_error_is_that_of_making_it(placeholder):
    backends = chain(ScriptedBackend(Kind.OPENAI, state=AWAY), placeholder)
    asked = replace(REQUEST, may_fall_back=False)
    with pytest.raises(GatorError) as planning:
        await backends.plan(asked)
    with pytest.raises(GatorError) as making:
        [event async for event in backends.generate(asked)]
    assert planning.value.reason is making.value.reason is Reason.NO_MODEL_AVAILABLE
    assert planning.value.message == making.value.message


async def test_images_of_another_program_are_not_shared():
    async def images(_):
        raise AssertionError("nothing is made")

    plan = await ExternalBackend(images).plan(REQUEST)
    assert (plan.backend, plan.model, plan.shareable) == (Kind.EXTERNAL, "external", False)


@needs_openai
async def test_an_image_by_openai_is_planned_as_it_would_be_bought(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-test")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    plan = await OpenAIBackend(OpenAISettings(quality="low")).plan(REQUEST)
    assert plan == Plan(
        Kind.OPENAI,
        1536,
        864,
        f"{GENERATION_VERSION} quality=low",
        model="gpt-image-2",
        shareable=True,
    )
    # Steps and guidance are not asked of it: changing them buys nothing again.
    changed = replace(REQUEST, num_inference_steps=50, guidance_scale=2.0)
    assert await OpenAIBackend(OpenAISettings(quality="low")).plan(changed) == plan
    other = OpenAISettings(base_url="http://127.0.0.1:9/v1")
    assert (await OpenAIBackend(other).plan(REQUEST)).generation_version.endswith(" at=127.0.0.1")


@needs_openai
async def test_without_a_key_openai_is_not_planned(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(BackendError) as caught:
        await OpenAIBackend(OpenAISettings()).plan(REQUEST)
    assert caught.value.reason is Reason.NO_MODEL_AVAILABLE


def message(**changes):
    fields = {
        "prompt": "a lighthouse",
        "num_inference_steps": 25,
        "guidance_scale": 7.5,
        "video_width": 96,
        "video_height": 54,
        "scene_count": 3,
        **changes,
    }
    return pb.PlanFrameRequest(frame=pb.GenerateFrameRequest(**fields))


async def test_a_plan_over_grpc():
    service = build(Settings(listen="127.0.0.1:0", backends=("placeholder",)))
    async with connected(service) as channel:
        stub = stubs.FrameGenServiceStub(channel)
        plan = await stub.PlanFrame(message(use_ai_generation=False))
        assert (plan.backend, plan.width, plan.height) == (frame_pb2.BACKEND_PLACEHOLDER, 96, 54)
        assert plan.generation_version
        assert not plan.shareable
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.PlanFrame(message(prompt=" ", guidance_scale=0.5))
    error = from_rpc_error(refused.value, "frame_gen")
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [v.field for v in error.violations] == ["frame.prompt", "frame.guidance_scale"]
