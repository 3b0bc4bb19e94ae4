"""The topology of production: TLS for clients, mutual TLS on every hop, tokens, both proxies."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

from compositor.servicer import build as build_compositor
from compositor.settings import Settings as CompositorSettings
from frame_gen.servicer import build as build_frame_gen
from frame_gen.settings import Settings as FrameGenSettings
from gateway.servicer import build as build_gateway
from gateway.settings import Settings as GatewaySettings
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_gen_pb
from gator.frame_gen.v1.frame_gen_service_pb2_grpc import FrameGenServiceStub
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.client import open_channel
from rpckit.server import RunningServer
from rpckit.settings import ChannelSettings
from tests.support.envoy import Envoy, envoy
from tests.support.rest import ask
from tests.support.tokens import bearer, token_file

LOOPBACK = "127.0.0.1:0"
NAME = "gator.example.com"
"""The public name."""
PARTIES = ("gateway", "frame-gen", "compositor", "envoy-internal", "envoy-edge")
"""Names as components/tls/certificates.yaml has them."""
CA = trustme.CA()
PUBLIC_CA = trustme.CA()


def mount(folder: Path, issued: trustme.LeafCert, *authorities: trustme.CA) -> Path:
    """Puts a certificate where it was none, or another, as Kubernetes mounts a secret.

    `authorities` are trusted; unsaid it is `CA`.
    """
    folder.mkdir(exist_ok=True)
    version = folder / f"..{len(list(folder.iterdir()))}"
    version.mkdir()
    (version / "tls.crt").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (version / "tls.key").write_bytes(issued.private_key_pem.bytes())
    trusted = b"".join(authority.cert_pem.bytes() for authority in authorities or (CA,))
    (version / "ca.crt").write_bytes(trusted)
    # All files at once.
    (folder / "..next").symlink_to(version.name)
    (folder / "..next").rename(folder / "..data")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        if not (folder / name).exists():
            (folder / name).symlink_to(f"..data/{name}")
    return folder


def served(folder: Path, caller: str) -> dict[str, object]:
    """Settings of a server that takes calls of one caller only, as in components/tls."""
    return {
        "listen": LOOPBACK,
        "grace": 1,
        "max_connection_age": 1,  # proxies connect again and again
        "tls_cert_file": folder / "tls.crt",
        "tls_key_file": folder / "tls.key",
        "tls_client_ca_file": folder / "ca.crt",
        "tls_client_names": caller,
    }


def calling(folder: Path, **more: object) -> ChannelSettings:
    return ChannelSettings(
        tls_ca_file=folder / "ca.crt",
        tls_cert_file=folder / "tls.crt",
        tls_key_file=folder / "tls.key",
        **more,
    )


@dataclass
class Production:
    """What runs, and the certificates' folders."""

    edge: Envoy
    internal: Envoy
    folder: Path

    @property
    def address(self) -> str:
        return self.edge.addresses["clients"]

    def channel(self) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(PUBLIC_CA.cert_pem.bytes())
        options = [("grpc.ssl_target_name_override", NAME)]
        return grpc.aio.secure_channel(self.address, credentials, options)


@pytest.fixture
async def production(tmp_path: Path) -> AsyncIterator[Production]:
    at = {name: mount(tmp_path / name, CA.issue_cert(name)) for name in PARTIES}
    mount(tmp_path / "public", PUBLIC_CA.issue_cert(NAME, "127.0.0.1"), PUBLIC_CA)
    async with AsyncExitStack() as stack:
        frames = FrameGenSettings(
            backends="placeholder", **served(at["frame-gen"], "envoy-internal")
        )
        videos = CompositorSettings(**served(at["compositor"], "envoy-internal"))
        frame_gen = await stack.enter_async_context(RunningServer(build_frame_gen(frames), frames))
        compositor = await stack.enter_async_context(
            RunningServer(build_compositor(videos), videos)
        )
        internal = await stack.enter_async_context(
            envoy(
                "internal",
                {"frame_gen": [frame_gen.address], "compositor": [compositor.address]},
                variant="mtls",
                secrets=at["envoy-internal"],
            )
        )
        await internal.until_healthy("frame_gen", 1)
        await internal.until_healthy("compositor", 1)
        front = GatewaySettings(
            frame_gen_target=internal.addresses["services"],
            compositor_target=internal.addresses["services"],
            state_dir=tmp_path / "state",
            auth_tokens_file=token_file(tmp_path / "tokens.toml", ada="a" * 43, eve="e" * 43),
            **served(at["gateway"], "envoy-edge"),
        )
        calls = calling(at["gateway"], tls_server_name="envoy-internal")
        gateway = await stack.enter_async_context(RunningServer(build_gateway(front, calls), front))
        edge = await stack.enter_async_context(
            envoy(
                "edge",
                {"gateway": [gateway.address]},
                variant="mtls",
                secrets=at["envoy-edge"],
                public=tmp_path / "public",
            )
        )
        await edge.until_healthy("gateway", 1)
        yield Production(edge, internal, tmp_path)


async def test_a_render_of_its_owner_over_tls_on_every_hop(production: Production):
    request = pb.RenderRequest(
        scenes=[pb.Scene(prompt="a fox")], quality="QUALITY_DRAFT", use_ai_generation=False
    )
    async with production.channel() as channel:
        stub = RenderServiceStub(channel)
        call = stub.Render(request, metadata=bearer("a" * 43), timeout=300)
        result = [message async for message in call][-1].result
        assert result.frame_count == 72
        render_id = result.render_id

        for metadata, code in (
            ((), grpc.StatusCode.UNAUTHENTICATED),
            (bearer("guessed"), grpc.StatusCode.UNAUTHENTICATED),
            (bearer("e" * 43), grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetRender(
                    pb.GetRenderRequest(render_id=render_id), metadata=metadata, timeout=300
                )
            assert caught.value.code() is code

    # The same over REST.
    tls = ssl.create_default_context(cadata=PUBLIC_CA.cert_pem.bytes().decode())
    path = f"/v1/renders/{render_id}"
    shown = await ask(production.address, "GET", path, tls=tls, authorization=f"Bearer {'a' * 43}")
    assert shown.document["render"]["state"] == "RENDER_STATE_SUCCEEDED"
    assert (await ask(production.address, "GET", path, tls=tls)).status == 401

    await strangers_are_not_heard(production)
    await a_renewed_certificate_is_shown(production)


async def strangers_are_not_heard(production: Production, authority: trustme.CA = CA) -> None:
    """Behind the edge nobody is heard but who should call, and who `authority` vouches for."""
    address = production.internal.addresses["services"]
    stranger = trustme.CA()
    for name, issuer in (
        ("compositor", authority),
        ("envoy-edge", authority),
        ("somebody", authority),
        ("gateway", stranger),
    ):
        folder = mount(production.folder / f"as-{name}", issuer.issue_cert(name), authority)
        async with open_channel(
            address, calling(folder, tls_server_name="envoy-internal")
        ) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await FrameGenServiceStub(channel).GetCapabilities(
                    frame_gen_pb.GetCapabilitiesRequest(), timeout=300
                )
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, name


async def a_renewed_certificate_is_shown(production: Production) -> None:
    """New connections see it, and no call is dropped for it."""

    async def shown() -> int:
        tls = ssl.create_default_context(cadata=PUBLIC_CA.cert_pem.bytes().decode())
        host, _, port = production.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=tls)
        try:
            return writer.get_extra_info("peercert")["serialNumber"]
        finally:
            writer.close()
            await writer.wait_closed()

    before = await shown()
    async with production.channel() as channel:
        stub = RenderServiceStub(channel)
        render = pb.RenderRequest(
            scenes=[pb.Scene(prompt="a hen")], quality="QUALITY_DRAFT", use_ai_generation=False
        )
        call = stub.Render(render, metadata=bearer("a" * 43), timeout=300)
        messages = [await call.read()]
        mount(production.folder / "public", PUBLIC_CA.issue_cert(NAME, "127.0.0.1"), PUBLIC_CA)
        while await shown() == before:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
        while (message := await call.read()) is not grpc.aio.EOF:
            messages.append(message)
        assert messages[-1].HasField("result")


async def test_the_authority_itself_is_replaced_under_load(production: Production):
    another = trustme.CA()
    enough = asyncio.Event()
    results = []

    async def keep_rendering(name: str) -> None:
        # Plain calls: nothing would come back after one that failed.
        async with production.channel() as channel:
            stub = RenderServiceStub(channel)
            while not enough.is_set():
                render = pb.RenderRequest(
                    scenes=[pb.Scene(prompt=f"{name}, {len(results)}")],
                    quality="QUALITY_DRAFT",
                    use_ai_generation=False,
                )
                call = stub.Render(render, metadata=bearer("a" * 43), timeout=300)
                results.append([message async for message in call][-1].result)

    async with asyncio.TaskGroup() as load:
        for name in ("a fox", "a hen"):
            load.create_task(keep_rendering(name))
        # In the order in which nobody ever shows what another does not trust yet.
        for issuer, trusted in (
            (CA, (CA, another)),
            (another, (CA, another)),
            (another, (another,)),
        ):
            await renewed(production, issuer, trusted)
        enough.set()
    assert {result.frame_count for result in results} == {72}
    for proxy, cluster in hops(production):
        assert await proxy.statistic(f"cluster.{cluster}.ssl.connection_error") == 0
    await strangers_are_not_heard(production, another)


def hops(production: Production) -> list[tuple[Envoy, str]]:
    return [
        (production.edge, "gateway"),
        (production.internal, "frame_gen"),
        (production.internal, "compositor"),
    ]


async def renewed(
    production: Production, issuer: trustme.CA, trusted: tuple[trustme.CA, ...]
) -> None:
    """Gives everybody new files, and waits until the proxies have connected with them."""
    updates = [
        (proxy, f"cluster.{cluster}.client_ssl_socket_factory.ssl_context_update_by_sds")
        for proxy, cluster in hops(production)
    ]
    before = [await proxy.statistic(name) for proxy, name in updates]
    for party in PARTIES:
        mount(production.folder / party, issuer.issue_cert(party), *trusted)
    for (proxy, name), count in zip(updates, before, strict=True):
        await proxy.until_more(name, count)
    for proxy, cluster in hops(production):
        made = f"cluster.{cluster}.upstream_cx_total"
        await proxy.until_more(made, await proxy.statistic(made))
