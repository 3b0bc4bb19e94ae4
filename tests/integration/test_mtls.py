"""TLS on a hop: who gets in with which certificate, and certificates that change under load."""

import asyncio
import hashlib
import ssl
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
import trustme
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from compositor.servicer import build as build_compositor
from compositor.settings import Settings as CompositorSettings
from frame_gen.servicer import build as build_frame_gen
from frame_gen.settings import Settings as FrameGenSettings
from gateway.servicer import build as build_gateway
from gateway.settings import Settings as GatewaySettings
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import video_pb2
from rpckit import reloaded
from rpckit.client import open_channel
from rpckit.errors import Reason
from rpckit.server import ServerStartError
from rpckit.settings import ChannelSettings, SettingsError
from rpckit.status import DETAILS_KEY, from_status, status_pb2
from rpckit.testing import LoopbackSettings, running
from standalone import Standalone
from tests.support.certificates import SERVER, Party, expired, with_uri
from tests.support.echo import Echo, echo_service, stream, unary

CALLS = pytest.mark.parametrize("call", [unary, stream])
CA = trustme.CA()
OTHER_CA = trustme.CA()


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch):
    monkeypatch.setattr(reloaded, "LOOK_EVERY", 0.0)


@pytest.fixture
def server(tmp_path):
    party = Party(tmp_path / "server")
    party.hold(CA.issue_cert(SERVER), CA)
    return party


@pytest.fixture
def client(tmp_path):
    party = Party(tmp_path / "client")
    party.hold(CA.issue_cert("gateway.gator"), CA)
    return party


@asynccontextmanager
async def connected(server_settings, client_settings, servicer=None):
    async with (
        running(echo_service(servicer or Echo()), server_settings) as running_server,
        open_channel(running_server.address, client_settings) as channel,
    ):
        yield channel


async def refused(call, channel, **options):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(channel, timeout=300, **options)
    return raised.value


def reason(error):
    details = dict(error.trailing_metadata())[DETAILS_KEY]
    return from_status(status_pb2.Status.FromString(details)).reason


@CALLS
async def test_both_sides_show_certificates_that_the_other_trusts(server, client, call):
    async with connected(server.files.server(), client.files.client()) as channel:
        assert await call(channel) == ""


@CALLS
async def test_a_client_whose_ca_is_not_trusted_is_not_heard(server, client, call):
    client.hold(OTHER_CA.issue_cert("gateway.gator"), CA)
    async with connected(server.files.server(), client.files.client()) as channel:
        assert (await refused(call, channel)).code() is grpc.StatusCode.UNAVAILABLE


@CALLS
async def test_a_client_without_a_certificate_is_not_heard(server, client, call):
    anonymous = ChannelSettings(tls_ca_file=client.files.ca)
    async with connected(server.files.server(), anonymous) as channel:
        assert (await refused(call, channel)).code() is grpc.StatusCode.UNAVAILABLE


@CALLS
async def test_a_client_whose_certificate_has_expired_is_not_heard(server, client, call):
    client.hold(expired(CA, "gateway.gator"), CA)
    async with connected(server.files.server(), client.files.client()) as channel:
        assert (await refused(call, channel)).code() is grpc.StatusCode.UNAVAILABLE


@CALLS
async def test_a_client_in_plaintext_is_not_heard(server, call):
    async with connected(server.files.server(), None) as channel:
        assert (await refused(call, channel)).code() is grpc.StatusCode.UNAVAILABLE


@CALLS
@pytest.mark.parametrize("fault", ["other ca", "other name", "expired"])
async def test_a_server_that_cannot_prove_its_name_is_not_called(server, client, call, fault):
    issued = {
        "other ca": OTHER_CA.issue_cert(SERVER),
        "other name": CA.issue_cert("compositor.gator"),
        "expired": expired(CA, SERVER),
    }
    server.hold(issued[fault], CA)
    servicer = Echo()
    async with connected(server.files.server(), client.files.client(), servicer) as channel:
        error = await refused(call, channel)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert servicer.certificates == set()


async def test_a_server_may_be_known_by_another_name_than_its_address(server, client):
    server.hold(CA.issue_cert("compositor.gator"), CA)
    calls = client.files.client(tls_server_name="compositor.gator")
    async with connected(server.files.server(), calls) as channel:
        await unary(channel)


@CALLS
@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("gateway.gator", True),
        ("spiffe://gator/gateway", True),
        ("other.gator", False),
        ("spiffe://gator/other", False),
    ],
)
async def test_only_clients_of_the_expected_names_are_let_in(server, client, call, name, taken):
    client.hold(with_uri(CA, name) if "://" in name else CA.issue_cert(name), CA)
    settings = server.files.server(tls_client_names="gateway.gator, spiffe://gator/gateway")
    async with connected(settings, client.files.client()) as channel:
        if taken:
            await call(channel)
        else:
            error = await refused(call, channel)
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            assert reason(error) is Reason.PERMISSION_DENIED


async def test_a_common_name_counts_only_without_other_names(server, client):
    settings = server.files.server(tls_client_names="gateway.gator")
    client.hold(CA.issue_cert("other.gator", common_name="gateway.gator"), CA)
    async with connected(settings, client.files.client()) as channel:
        assert (await refused(unary, channel)).code() is grpc.StatusCode.PERMISSION_DENIED
    client.hold(CA.issue_cert(common_name="gateway.gator"), CA)
    async with connected(settings, client.files.client()) as channel:
        await unary(channel)


async def test_probes_in_plaintext_reach_the_health_and_nothing_else(server):
    settings = server.files.server(health_listen="127.0.0.1:0")
    async with (
        running(echo_service(Echo()), settings) as running_server,
        grpc.aio.insecure_channel(f"127.0.0.1:{running_server.health_port}") as probe,
    ):
        health = health_pb2_grpc.HealthStub(probe).Watch(health_pb2.HealthCheckRequest())
        async for state in health:
            if state.status == health_pb2.HealthCheckResponse.SERVING:
                break
        health.cancel()
        for call in (unary, stream):
            assert (await refused(call, probe)).code() is grpc.StatusCode.UNIMPLEMENTED


class Load:
    """Calls that never stop coming; the first that fails is what `running` raises."""

    def __init__(self, channel):
        self._channel = channel
        self.done = 0
        self._one_done = asyncio.Condition()
        self._more = True

    async def _call(self, call):
        while self._more:
            await call(self._channel)
            async with self._one_done:
                self.done += 1
                self._one_done.notify_all()

    async def some(self, count=20):
        """Returns when `count` more calls are done."""
        enough = self.done + count
        async with self._one_done:
            await self._one_done.wait_for(lambda: self.done >= enough)

    @asynccontextmanager
    async def running(self):
        async with asyncio.timeout(500), asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(self._call(unary))
                tasks.create_task(self._call(stream))
            yield self
            self._more = False


async def shown(address):
    """The fingerprint of the certificate that a server shows to who connects now."""
    host, _, port = address.rpartition(":")
    pem = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def fingerprint(issued):
    pem = issued.cert_chain_pems[0].bytes().decode()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


async def test_certificates_and_their_ca_change_under_load_and_no_call_is_lost(server, client):
    servicer = Echo()
    old_client = CA.issue_cert("gateway.gator", common_name="old")
    new_client = OTHER_CA.issue_cert("gateway.gator", common_name="new")
    new_server = OTHER_CA.issue_cert(SERVER)
    client.hold(old_client, CA)
    async with AsyncExitStack() as stack:
        running_server = await stack.enter_async_context(
            running(echo_service(servicer), server.files.server())
        )
        channel = await stack.enter_async_context(
            open_channel(running_server.address, client.files.client())
        )
        held = asyncio.create_task(stream(channel, "hold"))
        load = await stack.enter_async_context(Load(channel).running())
        await load.some()
        assert servicer.certificates == {"old"}
        server.trust(CA, OTHER_CA)
        client.trust(CA, OTHER_CA)
        await load.some()
        server.hold(new_server, CA, OTHER_CA)
        while await shown(running_server.address) != fingerprint(new_server):
            await load.some(1)
        client.hold(new_client, CA, OTHER_CA)
        while "new" not in servicer.certificates:
            await load.some(1)
        server.trust(OTHER_CA)
        client.trust(OTHER_CA)
        await load.some(50)
        # Connections that the old authority vouched for have gone, but for the held stream.
        servicer.certificates.clear()
        await load.some(200)
        assert servicer.certificates == {"new"}
        assert not held.done()
        assert len(channel._retired) == 1  # it still carries the held stream
        servicer.hold.set()
        assert await held == ""
        assert not channel._retired


async def test_connections_that_grow_old_lose_no_call(server, client):
    servicer = Echo()
    settings = server.files.server(max_connection_age=0.2)
    async with connected(settings, client.files.client(), servicer) as channel:
        held = asyncio.create_task(stream(channel, "hold"))
        async with Load(channel).running() as load:
            while len(servicer.peers) < 5:
                await load.some(1)
        servicer.hold.set()
        assert await held == ""


async def test_certificate_and_key_that_do_not_match_change_nothing(server, client):
    before = CA.issue_cert(SERVER)
    server.hold(before, CA)
    after = CA.issue_cert(SERVER)
    with capture_logs() as logs:
        async with running(echo_service(Echo()), server.files.server()) as running_server:
            server.files.cert.write_bytes(after.cert_chain_pems[0].bytes())
            assert await shown(running_server.address) == fingerprint(before)
            server.files.key.write_bytes(b"-----BEGIN")
            assert await shown(running_server.address) == fingerprint(before)
            server.hold(after, CA)
            assert await shown(running_server.address) == fingerprint(after)
    complaints = [entry for entry in logs if entry["event"] == "changed files cannot be used"]
    assert complaints
    assert all(str(server.files.cert) in entry["why"] for entry in complaints)
    assert not any("PRIVATE" in str(entry) for entry in logs)


async def test_a_new_certificate_that_servers_refuse_leaves_the_connection_that_stands(
    server, client
):
    servicer = Echo()
    client.hold(CA.issue_cert("gateway.gator", common_name="good"), CA)
    async with connected(server.files.server(), client.files.client(), servicer) as channel:
        await unary(channel)
        client.hold(OTHER_CA.issue_cert("gateway.gator", common_name="bad"), CA)
        for call in (unary, stream) * 5:
            await call(channel)
        client.hold(CA.issue_cert("gateway.gator", common_name="better"), CA)
        while "better" not in servicer.certificates:
            await unary(channel)
    assert servicer.certificates == {"good", "better"}


async def test_a_server_does_not_start_with_files_that_are_no_pair(server, client):
    server.files.key.write_bytes(client.files.key.read_bytes())
    with pytest.raises(ServerStartError, match=r"tls.crt.*are not a certificate and its key"):
        async with running(echo_service(Echo()), server.files.server()):
            pass
    server.files.key.unlink()
    with pytest.raises(ServerStartError, match=r"tls.key cannot be read: No such file"):
        async with running(echo_service(Echo()), server.files.server()):
            pass


async def test_a_channel_is_not_opened_with_files_that_cannot_be_used(client):
    client.files.ca.write_text("no certificate")
    with pytest.raises(SettingsError, match=r"ca.crt has no certificates"):
        open_channel("127.0.0.1:1", client.files.client())


@asynccontextmanager
async def deployed(folder, issue):
    """The three services, each its own certificate, and a client's channel to the gateway.

    `issue` makes the certificate that the gateway shows to the services below.
    """
    parties = {}
    certificates = {name: CA.issue_cert(SERVER) for name in ("frame_gen", "compositor", "gateway")}
    certificates |= {"calls": issue("gateway.gator"), "client": CA.issue_cert("ada.example")}
    for name, certificate in certificates.items():
        parties[name] = Party(folder / name)
        parties[name].hold(certificate, CA)
    files = {name: party.files for name, party in parties.items()}
    inner = {"listen": f"{SERVER}:0", "grace": 1, "tls_client_names": "gateway.gator"}
    async with AsyncExitStack() as stack:

        async def start(build, settings, *more):
            service = build(settings, *more)
            return (await stack.enter_async_context(running(service, settings))).address

        frames = files["frame_gen"].server(FrameGenSettings, backends="placeholder", **inner)
        videos = files["compositor"].server(CompositorSettings, **inner)
        front = files["gateway"].server(
            GatewaySettings,
            listen=f"{SERVER}:0",
            grace=1,
            auth_certificate_owner=True,
            frame_gen_target=await start(build_frame_gen, frames),
            compositor_target=await start(build_compositor, videos),
            state_dir=folder / "state",
            scene_attempts=1,
        )
        address = await start(build_gateway, front, files["calls"].client())
        yield await stack.enter_async_context(open_channel(address, files["client"].client()))


REQUEST = pb.RenderRequest(
    scenes=[pb.Scene(prompt="a fox"), pb.Scene(prompt="a hen")],
    quality=video_pb2.QUALITY_DRAFT,
    use_ai_generation=False,
    duration_per_frame=Duration(nanos=200_000_000),
)


async def test_a_render_goes_by_mutual_tls_on_every_hop(tmp_path):
    async with deployed(tmp_path, CA.issue_cert) as channel:
        stub = RenderServiceStub(channel)
        parts = [part.WhichOneof("event") async for part in stub.Render(REQUEST)]
        assert parts[-1] == "result"
        (render,) = (await stub.ListRenders(pb.ListRendersRequest())).renders
        assert render.state == pb.RENDER_STATE_SUCCEEDED


async def test_a_gateway_that_is_refused_below_does_not_blame_its_caller(tmp_path):
    """The certificate is good, and is not the gateway's."""
    async with deployed(tmp_path, lambda _: CA.issue_cert("other.gator")) as channel:
        error = await refused_unary(
            RenderServiceStub(channel).GetCapabilities(pb.GetCapabilitiesRequest())
        )
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(error) is Reason.DOWNSTREAM_UNAVAILABLE
    assert "refuses this service" in error.details()


async def refused_unary(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def test_reflection_is_off_but_for_a_server_on_loopback(tmp_path, monkeypatch):
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc  # noqa: PLC0415

    async def names(channel):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = [a async for a in stub.ServerReflectionInfo(iter([request]))]
        return {service.name for service in answer.list_services_response.service}

    async with connected(LoopbackSettings(), None) as channel:
        error = await refused_unary(names(channel))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    async with connected(LoopbackSettings(reflection=True), None) as channel:
        assert "gator.frame_gen.v1.FrameGenService" in await names(channel)
    monkeypatch.setenv("GATOR_GATEWAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GATOR_GATEWAY_INSECURE", "true")
    monkeypatch.setenv("GATOR_GATEWAY_GRACE", "1")
    for listen, answers in (("localhost:0", True), ("0.0.0.0:0", False)):
        async with Standalone(listen=listen) as stack, open_channel(stack.address) as channel:
            if answers:
                assert "gator.gateway.v1.RenderService" in await names(channel)
            else:
                error = await refused_unary(names(channel))
                assert error.code() is grpc.StatusCode.UNIMPLEMENTED
