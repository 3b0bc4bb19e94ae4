"""A prompt and a token go through everything a server can do, and into none of its output."""

import asyncio
import os
import signal
import sqlite3
import sys
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import frame_pb2, video_pb2
from rpckit.client import open_channel
from tests.support.databases import LOCKED
from tests.support.openai_server import KEY, OpenAIServer, refusal
from tests.support.processes import ROOT
from tests.support.tokens import bearer, token_file

PROMPT = "zebrafish-quilt-7391"
SECRETS = (PROMPT, "otter-lantern-5527", "kestrel-0417", KEY)
TOKEN = "gator_otter-lantern-5527_0123456789abcdef"
UNKNOWN = "gator_kestrel-0417_0123456789abcdef"


@asynccontextmanager
async def serving(folder, **environment):
    """`gator serve` at its most talkative; its address, and all that it has said at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gator_client.cli", "serve", "--listen", "localhost:0"),
        cwd=ROOT,
        env={
            **os.environ,
            "GATOR_LOG_LEVEL": "debug",
            "GATOR_GATEWAY_AUTH_TOKENS_FILE": str(token_file(folder / "tokens.toml", ada=TOKEN)),
            "GATOR_GATEWAY_STATE_DIR": str(folder / "state"),
            "GATOR_FRAME_GEN_BACKENDS": "placeholder",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, address = [], asyncio.get_running_loop().create_future()

    async def listen():
        async for line in process.stdout:
            said.append(line.decode())
            if "Gator Video listens on" in said[-1]:
                address.set_result(said[-1].split()[4].rstrip("."))

    listening = asyncio.create_task(listen())
    try:
        await asyncio.wait([address, listening], return_when=asyncio.FIRST_COMPLETED)
        assert address.done(), "".join(said)
        yield address.result(), said
        process.send_signal(signal.SIGTERM)
        await listening
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        await listening


def request(prompt=PROMPT, **values):
    scene = pb.Scene(prompt=prompt, negative_prompt=f"no {PROMPT}")
    defaults = {
        "quality": video_pb2.QUALITY_DRAFT,
        "duration_per_frame": Duration(nanos=100_000_000),
    }
    return pb.RenderRequest(scenes=[scene], **{**defaults, **values})


async def outcome(call):
    """The code with which a stream ends."""
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def create(stub, asked):
    try:
        await stub.CreateRender(pb.CreateRenderRequest(render=asked), metadata=bearer(TOKEN))
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


@pytest.mark.parametrize("style", ["json", "console"])
async def test_neither_prompts_nor_tokens_are_in_the_output_of_a_server(tmp_path, style):
    async with (
        serving(tmp_path, GATOR_LOG_FORMAT=style) as (address, said),
        open_channel(address) as channel,
    ):
        stub = RenderServiceStub(channel)

        async def render(asked, token=TOKEN):
            return await outcome(stub.Render(asked, metadata=bearer(token)))

        assert await render(request()) == "OK"
        assert await render(request(), token=UNKNOWN) == "UNAUTHENTICATED"
        assert await render(request(), token=f"{TOKEN} {UNKNOWN}") == "UNAUTHENTICATED"
        assert await render(request(f"{PROMPT}\x00")) == "INVALID_ARGUMENT"
        assert await render(request(PROMPT * 300)) == "INVALID_ARGUMENT"
        assert await render(request(f"\u202e{PROMPT}", strict=True)) == "INVALID_ARGUMENT"
        assert await render(request(request_id=f"\x07{PROMPT}")) == "INVALID_ARGUMENT"
        assert await render(request(PROMPT * 300_000)) == "RESOURCE_EXHAUSTED"
        failing = request(fallback_policy=frame_pb2.FALLBACK_POLICY_FAIL)
        assert await render(failing) == "FAILED_PRECONDITION"
        left = stub.Render(request(), metadata=bearer(TOKEN))
        await left.read()
        left.cancel()
        assert await create(stub, request()) == "OK"
        file = tmp_path / "state" / "renders.sqlite3"
        # A fault of the service, with a statement and its parameters in the exception.
        with sqlite3.connect(file, timeout=LOCKED) as database:
            database.execute("ALTER TABLE renders RENAME TO gone")
        assert await create(stub, request(request_id="r-2")) in {"INTERNAL", "UNAVAILABLE"}
        with sqlite3.connect(file, timeout=LOCKED) as database:
            database.execute("ALTER TABLE gone RENAME TO renders")
    output = "".join(said)
    assert '"call ended"' in output or "call ended" in output  # it did talk at length
    assert "Traceback" in output or '"exception"' in output
    assert [secret for secret in SECRETS if secret in output] == []


async def test_nor_when_images_are_bought(tmp_path):
    pytest.importorskip("openai")
    async with OpenAIServer() as server:
        server.script.append(refusal(400, "moderation_blocked", f"bad: {PROMPT}"))
        variables = {
            "GATOR_LOG_FORMAT": "json",
            "GATOR_FRAME_GEN_BACKENDS": "openai,placeholder",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_LOG": "debug",
            "GATOR_OPENAI_PURCHASES_URL": (tmp_path / "bought").as_uri(),
        }
        async with (
            serving(tmp_path, **variables) as (address, said),
            open_channel(address) as channel,
        ):
            stub = RenderServiceStub(channel)
            for _ in range(2):  # one is refused, one is bought
                assert await outcome(stub.Render(request(), metadata=bearer(TOKEN))) == "OK"
    assert len(server.requests) == 2
    output = "".join(said)
    assert [secret for secret in SECRETS if secret in output] == []
