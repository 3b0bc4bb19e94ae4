"""A device that fails every call: who is told to restart the process, and who goes on without."""

import asyncio
import json
import sys
from contextlib import aclosing
from dataclasses import replace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from frame_gen.backends.base import Availability, GenerationRequest
from frame_gen.backends.fallback import FallbackChain, availability_of
from frame_gen.diffusion import host as hosting
from frame_gen.diffusion import loading
from frame_gen.diffusion.device import Device, NoDevice
from frame_gen.diffusion.memory import OpenGate
from frame_gen.service import FrameGenService
from frame_gen.servicer import _BACKENDS, build
from frame_gen.settings import Settings
from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from gator.type.v1 import frame_pb2
from rpckit.errors import GatorError
from rpckit.health import LIVENESS
from rpckit.provenance import Backend as Kind
from rpckit.server import RunningServer
from rpckit.testing import running
from tests.support.manifests import overlay
from tests.support.model_folders import save
from tests.support.openai_server import KEY, OpenAIServer, held


class Breakable:
    """What the models run on, which can be made to fail."""

    def __init__(self, monkeypatch):
        self._patch = monkeypatch

    def fails(self, *_, **__):
        raise RuntimeError("CUDA error: unspecified launch failure")

    def is_lost(self):
        """From now on each piece of work on it fails."""
        self._patch.setattr(OpenGate, "enter", self.fails)

    def is_reset(self):
        self._patch.undo()


@pytest.fixture
def device():
    with pytest.MonkeyPatch.context() as patch:
        yield Breakable(patch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sd15):
    return save(sd15, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def environment(folder, tmp_path, monkeypatch):
    entry = {"name": "tiny", "width": 128, "height": 64, "engine": "steps", "licence": "none"}
    catalog = json.dumps([entry | {"folder": str(folder)}])
    for name, value in {"CATALOG": catalog, "MODELS": "tiny", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"GATOR_FRAME_GEN_DIFFUSERS_{name}", value)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("GATOR_OPENAI_PURCHASES_URL", (tmp_path / "openai").as_uri())


def settings(backends="diffusers,placeholder", **more):
    return Settings(listen="127.0.0.1:0", health_listen="127.0.0.1:0", backends=backends, **more)


def request(**more):
    values = {"prompt": "a lighthouse", "num_inference_steps": 2, "guidance_scale": 5.0}
    values |= {"use_ai_generation": True, "video_width": 128, "video_height": 64, "scene_count": 1}
    return pb.GenerateFrameRequest(**values | more)


async def provenance(server, **more):
    """Of a frame that is made."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = stubs.FrameGenServiceStub(channel).GenerateFrame(request(**more))
        return [message async for message in call][-1].done.provenance


async def told(server, status):
    """Waits until liveness says so."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.health_port}") as channel:
        asked = health_pb2.HealthCheckRequest(service=LIVENESS)
        async for said in health_pb2_grpc.HealthStub(channel).Watch(asked):
            if said.status == status:
                return


async def probed(server, probe):
    """What a probe of the manifests finds, and its exit status, by the images' own command."""
    (container,) = overlay("production").pod("frame-gen").containers
    name = container.spec[probe]["grpc"]["service"]
    command = ("-m", "rpckit.probe", f"127.0.0.1:{server.health_port}", name)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if said.startswith(b"DEADLINE_EXCEEDED"):  # a busy machine: it is asked again, as by Kubernetes
        return await probed(server, probe)
    return said.decode().strip(), process.returncode


def gone():
    return REGISTRY.get_sample_value("gator_device_gone")


async def test_a_device_that_is_lost_at_work_fails_liveness_until_a_restart(device, monkeypatch):
    asked, bought, draining = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def in_a_while(request, connection):
        asked.set()
        await held(bought)(request, connection)

    async with OpenAIServer() as openai:
        openai.script.append(in_a_while)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", openai.base_url)
        monkeypatch.setenv("GATOR_OPENAI_SIZE", "64x32")
        monkeypatch.setenv("GATOR_OPENAI_TIMEOUT", "3000")
        told_to = settings("diffusers,openai,placeholder", grace=3000, frame_timeout=3000)
        server = RunningServer(replace(build(told_to), drain=draining.set), told_to)
        await server.__aenter__()
        assert (await provenance(server)).backend == frame_pb2.BACKEND_DIFFUSERS
        assert await probed(server, "livenessProbe") == ("SERVING", 0)

        device.is_lost()
        making = asyncio.create_task(provenance(server, seed=2))
        await asked.wait()
        await told(server, health_pb2.HealthCheckResponse.NOT_SERVING)
        assert await probed(server, "livenessProbe") == ("NOT_SERVING", 1)
        # Nobody may be there to restart it: it takes calls all the same.
        assert await probed(server, "readinessProbe") == ("SERVING", 0)
        placeholder = await provenance(server, use_ai_generation=False)
        assert placeholder.backend == frame_pb2.BACKEND_PLACEHOLDER

        # Kubernetes does: the frame that another backend makes is waited for.
        leaving = asyncio.create_task(server.__aexit__(None, None, None))
        await draining.wait()
        bought.set()
        made = await making
        await leaving
    assert made.backend == frame_pb2.BACKEND_OPENAI
    assert [over.backend for over in made.passed_over] == [frame_pb2.BACKEND_DIFFUSERS]

    device.is_reset()
    async with running(build(told_to), told_to) as again:
        assert (await provenance(again)).backend == frame_pb2.BACKEND_DIFFUSERS
        assert await probed(again, "livenessProbe") == ("SERVING", 0)


@pytest.fixture
async def begun():
    """Makes services that are closed again."""
    made = []

    def begin(backends):
        chain = [_BACKENDS[name](settings()) for name in backends.split(",")]
        made.append(FrameGenService(FallbackChain(chain, 3000), 8))
        return made[-1]

    yield begin
    for service in made:
        await service.close()
    assert gone() == 0


async def kind(service):
    """Of the backend that makes a frame; None if none does."""
    asked = GenerationRequest("a cat", num_inference_steps=2, video_width=64, video_height=64)
    try:
        async with aclosing(service.generate(asked, None)) as events:
            return [event async for event in events][-1].provenance.backend
    except GatorError:
        return None


@pytest.mark.parametrize(
    ("backends", "instead", "restart"),
    [("diffusers,placeholder", Kind.PLACEHOLDER, ""), ("diffusers", None, "no other backend")],
)
async def test_a_device_that_never_worked_is_restarted_for_only_where_nothing_else_makes_frames(
    begun, device, backends, instead, restart
):
    service = begun(backends)
    assert service.needs_restart() == ""
    device.is_lost()
    for _ in range(2):
        assert await kind(service) is instead
        assert restart in (why := service.needs_restart())
        assert bool(why) == bool(restart)
    assert gone() == 1


async def test_a_device_that_was_lost_at_work_is_restarted_for_whatever_else_makes_frames(
    begun, device
):
    service = begun("placeholder,diffusers")
    service.chain.backends[0].availability = lambda: Availability(available=False)
    assert await kind(service) is Kind.DIFFUSERS
    assert (service.needs_restart(), gone()) == ("", 0)
    device.is_lost()
    assert await kind(service) is None
    del service.chain.backends[0].availability
    assert service.needs_restart() == "the device that makes images is lost"


def while_it_is_looked_for(patch, fails):
    patch.setattr(hosting, "find_device", fails)


def while_a_model_is_moved_to_it(patch, fails):
    patch.setattr(loading, "load", fails)


def while_a_model_is_warmed_up(patch, fails):
    patch.setattr(Device, "is_gpu", True)
    patch.setattr(OpenGate, "enter", fails)


@pytest.mark.parametrize(
    "when", [while_it_is_looked_for, while_a_model_is_moved_to_it, while_a_model_is_warmed_up]
)
async def test_a_device_that_is_lost_before_the_first_image_is_known_to_be(
    begun, device, monkeypatch, when
):
    service = begun("diffusers")
    when(monkeypatch, device.fails)
    assert await kind(service) is None
    assert "no other backend" in service.needs_restart()
    message = availability_of(service.chain.backends[0]).message
    assert "the device does not answer any more; restart the service" in message


async def test_a_device_that_is_not_there_is_no_reason_to_restart(begun, monkeypatch):
    def find(wanted):
        raise NoDevice("torch sees no cuda device")

    monkeypatch.setattr(hosting, "find_device", find)
    service = begun("diffusers")
    assert await kind(service) is None
    assert service.needs_restart() == ""
    # The settings name it, so somebody should look.
    assert gone() == 1
