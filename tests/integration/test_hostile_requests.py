"""Requests that were made to harm: bombs of messages and metadata, and addresses in prompts."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gator.compositor.v1 import compositor_service_pb2 as compositor_pb
from gator.compositor.v1.compositor_service_pb2_grpc import CompositorServiceStub
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_pb
from gator.frame_gen.v1.frame_gen_service_pb2_grpc import FrameGenServiceStub
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.client import open_channel
from standalone import Standalone
from tests.support.processes import server_process

MIB = 1 << 20


@pytest.fixture
async def stack(tmp_path, monkeypatch):
    monkeypatch.setenv("GATOR_GATEWAY_STATE_DIR", str(tmp_path / "state"))
    async with Standalone() as running:
        yield running


def render(prompt, **values):
    return pb.RenderRequest(
        scenes=[pb.Scene(prompt=prompt)],
        quality=video_pb2.QUALITY_DRAFT,
        duration_per_frame=Duration(nanos=100_000_000),
        **values,
    )


def create(prompt):
    return pb.CreateRenderRequest(render=render(prompt))


async def code(call):
    """With which status a call or stream ends."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    return raised.value.code().name


async def test_a_message_over_4_mib_is_refused_by_each_service(stack):
    bomb = "x" * (5 * MIB)
    async with open_channel(stack.address) as channel:
        stub = RenderServiceStub(channel)
        assert await code(stub.CreateRender(create(bomb))) == "RESOURCE_EXHAUSTED"
        assert await code(stub.Render(render(bomb))) == "RESOURCE_EXHAUSTED"
        await stub.CreateRender(create("the channel still serves"))
    async with open_channel(stack.frame_gen_address) as channel:
        request = frame_pb.GenerateFrameRequest(prompt=bomb)
        assert await code(FrameGenServiceStub(channel).GenerateFrame(request)) == (
            "RESOURCE_EXHAUSTED"
        )
    async with open_channel(stack.compositor_address) as channel:
        call = CompositorServiceStub(channel).Compose()
        chunk = frame_pb2.FrameChunk(data=bytes(5 * MIB))
        await call.write(compositor_pb.ComposeRequest(chunk=chunk))
        assert await code(call) == "RESOURCE_EXHAUSTED"


def peak(pid):
    """The most memory that a process has held, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(pid)


async def test_a_message_that_unpacks_to_more_is_refused_without_being_unpacked():
    """256 MiB of one letter travel as 256 KiB."""
    request = frame_pb.GenerateFrameRequest(prompt="x" * (256 * MIB))
    variables = {
        "GATOR_FRAME_GEN_LISTEN": "127.0.0.1:0",
        "GATOR_FRAME_GEN_BACKENDS": "placeholder",
    }
    async with (
        server_process("frame_gen", **variables) as (process, address),
        open_channel(address) as channel,
    ):
        stub = FrameGenServiceStub(channel)
        await stub.GetCapabilities(frame_pb.GetCapabilitiesRequest())
        before = peak(process.pid)
        call = stub.GenerateFrame(request, compression=grpc.Compression.Gzip)
        assert await code(call) == "RESOURCE_EXHAUSTED"
        await stub.GetCapabilities(frame_pb.GetCapabilitiesRequest())
        assert peak(process.pid) - before < 32


async def test_metadata_without_end_is_refused(stack):
    async with open_channel(stack.address) as channel:
        stub = RenderServiceStub(channel)
        for metadata in ((("x-a", "a" * 100_000),), tuple((f"x-{i}", "a") for i in range(5_000))):
            call = stub.GetCapabilities(pb.GetCapabilitiesRequest(), metadata=metadata)
            assert await code(call) == "RESOURCE_EXHAUSTED"
        await stub.GetCapabilities(pb.GetCapabilitiesRequest())


async def test_an_address_in_a_prompt_is_a_prompt(stack):
    """Nothing that a caller writes is fetched: neither a page nor a file."""
    visits = []

    async def note(reader, writer):
        visits.append(await reader.read(100))
        writer.close()

    web = await asyncio.start_server(note, "127.0.0.1", 0)
    async with web, open_channel(stack.address) as channel:
        url = f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}/image.png"
        request = render(url, labels={"source": url, "image": "file:///etc/passwd"})
        request.scenes[0].negative_prompt = url
        kinds = [
            part.WhichOneof("event") async for part in RenderServiceStub(channel).Render(request)
        ]
        assert kinds[-1] == "result"
    assert visits == []


def test_no_field_of_the_api_is_made_for_an_address():
    """A new one must come here, and say what keeps it from being fetched."""
    names = [
        f"{message.full_name}.{field.name}"
        for module in (pb, frame_pb, compositor_pb)
        for message in module.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
    ]
    assert len(names) > 50
    assert [name for name in names if "url" in name or "uri" in name or "path" in name] == []
