"""The real Envoy in front of the real gateway: gRPC, grpc-web and REST."""

import asyncio
import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import av
import grpc
import pytest

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import (
    RenderServiceServicer,
    RenderServiceStub,
    add_RenderServiceServicer_to_server,
)
from gator.type.v1 import video_pb2
from gator_client import Client
from rpckit.client import open_channel
from rpckit.server import RunningServer
from rpckit.testing import LoopbackSettings, scripted
from standalone import Standalone
from tests.support import grpc_web
from tests.support.envoy import Envoy, envoy
from tests.support.rest import ask

SERVICE = "/gator.gateway.v1.RenderService"
PAGE = "http://localhost:3000"
STORY = {
    "scenes": [{"prompt": "a fox"}, {"prompt": "a hen"}],
    "quality": "QUALITY_DRAFT",
    "duration_per_frame": "0.5s",
    "use_ai_generation": False,
}
PICTURES = 24
"""Pictures of that story."""


@pytest.fixture
async def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Envoy]:
    """A gateway behind the proxy of deploy/envoy/plaintext/edge.yaml.

    What an address has used of its limit does not come back within a test, however slow it is.
    """
    monkeypatch.setenv("GATOR_GATEWAY_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("GATOR_FRAME_GEN_BACKENDS", "placeholder")
    async with (
        Standalone() as stack,
        envoy("edge", {"gateway": [stack.address]}, refill_interval=3600) as proxy,
    ):
        await proxy.until_healthy("gateway", 1)
        yield proxy


def pictures(video: bytes) -> int:
    with av.open(io.BytesIO(video)) as file:
        return sum(1 for _ in file.decode(video=0))


async def test_rest_creates_watches_downloads_lists_and_deletes(edge: Envoy):
    address = edge.addresses["clients"]

    created = await ask(address, "POST", "/v1/renders", {**STORY, "labels": {"for": "rest"}})
    assert created.status == 200, created.body
    assert created.document["render"]["state"] == "RENDER_STATE_QUEUED"
    render_id = created.document["render"]["render_id"]

    # A stream is one JSON document a line.
    watched = await ask(address, "GET", f"/v1/renders/{render_id}:watch")
    sequences = [int(line["sequence"]) for line in watched.lines]
    assert sequences == sorted(sequences)
    last = watched.lines[-1]["render"]
    assert last["state"] == "RENDER_STATE_SUCCEEDED"
    assert last["result"]["frame_count"] == PICTURES

    video = await ask(address, "GET", f"/v1/renders/{render_id}/video")
    assert video.headers["content-type"] == "video/mp4"
    assert len(video.body) == int(last["result"]["size_bytes"])
    assert pictures(video.body) == PICTURES

    listed = await ask(address, "GET", "/v1/renders?states=RENDER_STATE_SUCCEEDED&page_size=5")
    assert [render["render_id"] for render in listed.document["renders"]] == [render_id]

    again = await ask(address, "POST", f"/v1/renders/{render_id}:retry", {"request_id": "again"})
    assert again.document["render"]["retry_of"] == render_id
    retried = again.document["render"]["render_id"]
    cancelled = await ask(address, "POST", f"/v1/renders/{retried}:cancel", {})
    assert cancelled.document["render"]["state"] in (
        "RENDER_STATE_CANCELLED",
        "RENDER_STATE_SUCCEEDED",  # it was faster
    )

    assert (await ask(address, "DELETE", f"/v1/renders/{render_id}")).status == 200
    gone = await ask(address, "GET", f"/v1/renders/{render_id}")
    assert gone.status == 404
    assert gone.document["details"][0]["reason"] == "RENDER_NOT_FOUND"

    able = await ask(address, "GET", "/v1/capabilities")
    assert {"quality": "QUALITY_DRAFT"}.items() <= able.document["presets"][0].items()


async def test_rest_errors_name_the_fields(edge: Envoy):
    address = edge.addresses["clients"]

    empty = await ask(address, "POST", "/v1/renders", {"scenes": []})
    assert empty.status == 400
    info, fields = empty.document["details"]
    assert info["@type"].endswith("google.rpc.ErrorInfo")
    assert [violation["field"] for violation in fields["field_violations"]] == ["scenes"]

    assert (await ask(address, "POST", "/v1/renders", {"scenes": "none"})).status == 400
    assert (await ask(address, "GET", "/v1/renders?colour=red")).status == 400
    assert (await ask(address, "GET", "/v1/films")).status == 404


async def test_grpc_web_creates_watches_and_downloads(edge: Envoy):
    address = edge.addresses["clients"]
    request = pb.CreateRenderRequest(
        render=pb.RenderRequest(
            scenes=[pb.Scene(prompt="a fox")],
            quality=video_pb2.QUALITY_DRAFT,
            use_ai_generation=False,
        )
    )

    created = await grpc_web.call(address, f"{SERVICE}/CreateRender", request, origin=PAGE)
    assert created.status == grpc.StatusCode.OK.value[0]
    assert created.headers["access-control-allow-origin"] == PAGE
    (answer,) = created.messages(pb.CreateRenderResponse)
    render_id = answer.render.render_id

    watched = await grpc_web.call(
        address, f"{SERVICE}/WatchRender", pb.WatchRenderRequest(render_id=render_id)
    )
    assert watched.status == 0
    last = watched.messages(pb.WatchRenderResponse)[-1].render
    assert last.state == pb.RENDER_STATE_SUCCEEDED

    download = await grpc_web.call(
        address, f"{SERVICE}/DownloadVideo", pb.DownloadVideoRequest(render_id=render_id)
    )
    parts = download.messages(pb.DownloadVideoResponse)
    video = b"".join(part.chunk.data for part in parts)
    assert parts[-1].trailer.sha256 == hashlib.sha256(video).digest()
    assert pictures(video) == 72

    refused = await grpc_web.call(address, f"{SERVICE}/CreateRender", pb.CreateRenderRequest())
    assert refused.status == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "scenes" in refused.message


async def test_grpc_passes_and_only_to_the_gateway(edge: Envoy, tmp_path: Path):
    address = edge.addresses["clients"]
    out = tmp_path / "film.mp4"

    def render() -> None:
        with Client(address) as client:
            client.render_to_file(["a fox"], out, quality="draft", use_ai_generation=False)

    await asyncio.to_thread(render)
    assert pictures(out.read_bytes()) == 72

    async with open_channel(address) as channel:
        for method in (
            "/gator.frame_gen.v1.FrameGenService/GenerateFrame",
            "/gator.compositor.v1.CompositorService/Compose",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method)(b"", timeout=300)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, method


async def test_a_web_page_may_call_from_a_known_origin_only(edge: Envoy):
    address = edge.addresses["clients"]
    for path in ("/v1/renders", f"{SERVICE}/CreateRender"):
        asks = {
            "access_control_request_method": "POST",
            "access_control_request_headers": "content-type,x-grpc-web,authorization",
        }
        known = await ask(address, "OPTIONS", path, origin=PAGE, **asks)
        assert known.status == 200
        assert known.headers["access-control-allow-origin"] == PAGE
        allowed = known.headers["access-control-allow-headers"].split(",")
        assert {"authorization", "content-type", "x-grpc-web"} <= set(allowed)
        strange = await ask(address, "OPTIONS", path, origin="https://elsewhere.example", **asks)
        assert "access-control-allow-origin" not in strange.headers


async def test_new_renders_of_an_address_are_limited_and_reading_is_not(edge: Envoy):
    async with open_channel(edge.addresses["clients"]) as channel:
        stub = RenderServiceStub(channel)

        async def refused() -> grpc.StatusCode:
            try:
                await stub.CreateRender(pb.CreateRenderRequest(), timeout=300)
            except grpc.aio.AioRpcError as error:
                return error.code()
            raise AssertionError("a render without scenes was taken")

        codes = await asyncio.gather(*(refused() for _ in range(300)))
        assert Counter(codes) == {
            grpc.StatusCode.INVALID_ARGUMENT: 60,
            grpc.StatusCode.RESOURCE_EXHAUSTED: 240,
        }
        listing = (stub.ListRenders(pb.ListRendersRequest(), timeout=300) for _ in range(150))
        assert len(await asyncio.gather(*listing)) == 150


class Noting(RenderServiceServicer):
    """Notes the metadata of calls."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str | bytes]] = []

    async def GetCapabilities(self, request, context):
        self.metadata.append(dict(context.invocation_metadata()))
        return pb.GetCapabilitiesResponse()


async def test_callers_choose_no_trace_and_no_name_in_logs():
    gateway = Noting()
    service = scripted(
        lambda server: add_RenderServiceServicer_to_server(gateway, server), SERVICE[1:]
    )
    theirs = {
        "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01",
        "tracestate": "theirs=1",
        "baggage": "theirs=1",
        "gator-render-id": "another",
    }
    async with (
        RunningServer(service, LoopbackSettings()) as server,
        envoy("edge", {"gateway": [server.address]}) as proxy,
    ):
        await proxy.until_healthy("gateway", 1)
        address = proxy.addresses["clients"]
        async with open_channel(address) as channel:
            metadata = (*theirs.items(), ("authorization", "Bearer kept"))
            asked = pb.GetCapabilitiesRequest()
            await RenderServiceStub(channel).GetCapabilities(asked, metadata=metadata)
        kept = {"authorization": "Bearer kept"}
        rest = {name.replace("-", "_"): value for name, value in (theirs | kept).items()}
        assert (await ask(address, "GET", "/v1/capabilities", **rest)).status == 200
    assert len(gateway.metadata) == 2
    for metadata in gateway.metadata:
        assert metadata["authorization"] == "Bearer kept"
        assert not theirs.keys() & metadata.keys()


async def test_only_metrics_and_readiness_of_the_proxy_are_shown(edge: Envoy):
    observed = edge.addresses["observed"]
    assert (await ask(observed, "GET", "/ready")).body == b"LIVE\n"
    metrics = (await ask(observed, "GET", "/metrics")).body.decode()
    assert 'envoy_cluster_membership_healthy{envoy_cluster_name="gateway"} 1' in metrics
    for path in ("/config_dump", "/quitquitquit", "/stats/prometheus", "/"):
        assert (await ask(observed, "POST", path)).status == 404
