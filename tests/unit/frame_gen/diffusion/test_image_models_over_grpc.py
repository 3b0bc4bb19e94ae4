"""The frame generation service with a tiny image model, over gRPC."""

import hashlib
import json

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from frame_gen.servicer import build
from frame_gen.settings import Settings
from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc as stubs
from gator.type.v1 import frame_pb2
from rpckit.server import RunningServer
from tests.support.model_folders import save


@pytest.fixture
async def client(tmp_path, sd15, monkeypatch):
    entry = {"name": "tiny", "width": 128, "height": 64, "engine": "steps", "licence": "none"}
    entry["folder"] = str(save(sd15, tmp_path / "tiny"))
    prefix = "GATOR_FRAME_GEN_DIFFUSERS_"
    values = {"CATALOG": json.dumps([entry]), "MODELS": "tiny", "DEVICE": "cpu"}
    for name, value in values.items():
        monkeypatch.setenv(prefix + name, value)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = Settings(listen="127.0.0.1:0")
    async with (
        RunningServer(build(settings), settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield stubs.FrameGenServiceStub(channel)


def request(**more):
    values = {
        "prompt": "a lighthouse",
        "seed": 2**63 + 1,
        "num_inference_steps": 6,
        "guidance_scale": 7.5,
        "use_ai_generation": True,
        "video_width": 1920,
        "video_height": 1080,
        "scene_count": 1,
        **more,
    }
    return pb.GenerateFrameRequest(**values)


async def test_a_frame_comes_with_its_events_and_its_provenance(client, hold_at):
    # A preview is left out where the image is there before it.
    seen, messages = hold_at(6), []
    async for message in client.GenerateFrame(request()):
        messages.append(message)
        if message.WhichOneof("event") == "preview":
            seen.set()
    kinds = [message.WhichOneof("event") for message in messages]
    assert kinds[0] == "queued"
    assert "preview" in kinds
    assert kinds[-3:] == ["header", "chunk", "done"]
    steps = [m.progress.step for m in messages if m.WhichOneof("event") == "progress"]
    assert steps == sorted(steps)
    assert steps[-1] == 6

    header, chunk, done = (getattr(m, k) for m, k in zip(messages[-3:], kinds[-3:], strict=True))
    assert (header.width, header.height, header.size_bytes) == (128, 64, 128 * 64 * 3)
    assert hashlib.sha256(chunk.data).digest() == header.sha256
    provenance = done.provenance
    assert provenance.backend == frame_pb2.BACKEND_DIFFUSERS
    assert provenance.model.startswith("tiny@sha256-")
    assert (provenance.seed, provenance.num_inference_steps) == (2**63 + 1, 6)
    assert (provenance.width, provenance.height) == (128, 64)
    assert not provenance.passed_over

    again = [message async for message in client.GenerateFrame(request(video_width=640))]
    assert again[-3].header.sha256 == header.sha256


async def test_capabilities_name_the_model_and_the_device(client):
    answer = MessageToDict(await client.GetCapabilities(pb.GetCapabilitiesRequest()))
    diffusers = answer["backends"][0]
    assert diffusers == {"backend": "BACKEND_DIFFUSERS", "available": True, "models": ["tiny"]}
    assert answer["device"]["type"] == "cpu"
    assert int(answer["device"]["totalMemoryBytes"]) > 0
    assert int(answer["device"]["freeMemoryBytes"]) > 0


async def test_a_cancelled_call_ends_the_work(client):
    call = client.GenerateFrame(request(num_inference_steps=100))
    async for message in call:
        if message.WhichOneof("event") == "progress":
            break
    call.cancel()
    done = [message async for message in client.GenerateFrame(request())][-1].done
    assert done.provenance.backend == frame_pb2.BACKEND_DIFFUSERS
