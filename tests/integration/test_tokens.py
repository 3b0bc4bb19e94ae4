"""Tokens over gRPC: each fault's status on unary calls and streams, and whose renders one sees."""

import uuid
from datetime import timedelta

import grpc
import pytest
import trustme
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import video_pb2
from rpckit import reloaded
from rpckit.auth_settings import ClientFacingSettings
from rpckit.client import open_channel
from rpckit.server import ServerStartError
from rpckit.settings import ChannelSettings
from rpckit.testing import running
from standalone import Standalone
from tests.support.certificates import SERVER, Party, with_uri
from tests.support.echo import Echo, echo_service, stream, unary
from tests.support.tokens import AUDIENCE, ISSUER, Issuer, bearer, entry, serving_keys, token_file

CALLS = pytest.mark.parametrize("call", [unary, stream])
ADA, BOB = "gator_" + "a" * 64, "gator_" + "b" * 64


class Asking(ClientFacingSettings):
    """A server on loopback that ends fast."""

    grace: float = 1.0


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch):
    monkeypatch.setattr(reloaded, "LOOK_EVERY", 0.0)


@pytest.fixture
def tokens(tmp_path):
    return token_file(tmp_path / "tokens.toml", ada=ADA, bob=BOB)


@pytest.fixture
def issuer():
    return Issuer()


@pytest.fixture
async def channel(tokens, issuer):
    """To a server that takes tokens of both kinds."""
    with serving_keys(issuer.key_set()) as keys:
        settings = Asking(
            auth_tokens_file=tokens,
            auth_jwks_url=keys.url,
            auth_issuer=ISSUER,
            auth_audience=AUDIENCE,
            auth_scope_claim="scope",
        )
        async with (
            running(echo_service(Echo()), settings) as server,
            open_channel(server.address) as opened,
        ):
            yield opened


async def refused(awaitable):
    """The code of a call that fails, and what its ErrorInfo says."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await awaitable
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(raised.value)
    assert status.details[0].Unpack(info)
    assert info.domain == "gator.video"
    told = {"reason": info.reason, **info.metadata}
    failure = error_details_pb2.QuotaFailure()
    if any(detail.Unpack(failure) for detail in status.details):
        told["used up by"] = failure.violations[0].subject
    return raised.value.code().name, told


@CALLS
async def test_a_token_of_the_file_and_a_jwt_tell_the_owner(channel, issuer, call):
    assert await call(channel, metadata=bearer(ADA)) == "ada"
    jwt = issuer.token("carol", scope="gator.read gator.write")
    assert await call(channel, metadata=bearer(jwt)) == "carol"
    assert await call(channel, metadata=(("authorization", f"bearer  {BOB}"),)) == "bob"


FAULTS = {
    "missing": ((), "missing"),
    "empty": ((("authorization", ""),), "malformed"),
    "no token": ((("authorization", "Bearer "),), "malformed"),
    "another scheme": ((("authorization", f"Basic {ADA}"),), "malformed"),
    "two of them": (bearer(ADA) + bearer(BOB), "malformed"),
    "unknown": (bearer("gator_" + "c" * 64), "unknown"),
    "of another header": ((("x-authorization", f"Bearer {ADA}"),), "missing"),
}


@CALLS
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_call_without_a_good_token_is_unauthenticated(channel, call, fault):
    metadata, problem = FAULTS[fault]
    code, told = await refused(call(channel, metadata=metadata))
    assert (code, told["reason"]) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert told["problem"] == problem


@CALLS
@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"exp": timedelta(seconds=-60)}, "expired"),
        ({"aud": "another"}, "audience"),
        ({"iss": "https://another.example"}, "issuer"),
        ({"nbf": timedelta(hours=1)}, "not_yet_valid"),
    ],
)
async def test_a_jwt_with_a_wrong_claim_is_unauthenticated(channel, issuer, call, claims, problem):
    jwt = issuer.token(**claims)
    code, told = await refused(call(channel, metadata=bearer(jwt)))
    assert (code, told["problem"]) == ("UNAUTHENTICATED", problem)


@CALLS
async def test_a_jwt_that_is_not_signed_is_unauthenticated(channel, issuer, call):
    _, claims, _ = issuer.token().split(".")
    jwt = f"eyJhbGciOiJub25lIn0.{claims}."  # {"alg":"none"}
    code, told = await refused(call(channel, metadata=bearer(jwt)))
    assert (code, told["problem"]) == ("UNAUTHENTICATED", "algorithm")


@CALLS
async def test_a_jwt_of_another_issuers_key_is_unauthenticated(channel, call):
    code, told = await refused(call(channel, metadata=bearer(Issuer().token())))
    assert (code, told["problem"]) == ("UNAUTHENTICATED", "invalid")


async def test_a_token_with_too_little_scope_is_denied(channel, issuer, tokens):
    tokens.write_text(entry(ADA, "ada", "ada", scopes='["gator.read"]'))
    jwt = issuer.token("carol", scope="gator.read")
    for token in (ADA, jwt):
        await unary(channel, metadata=bearer(token))  # GetCapabilities looks only
        code, told = await refused(stream(channel, metadata=bearer(token)))
        assert (code, told["scope"]) == ("PERMISSION_DENIED", "gator.write")
    code, told = await refused(unary(channel, metadata=bearer(issuer.token("carol"))))
    assert (code, told["scope"]) == ("PERMISSION_DENIED", "gator.read")


@CALLS
async def test_a_token_that_is_withdrawn_is_refused_from_the_next_call_on(channel, tokens, call):
    await call(channel, metadata=bearer(ADA))
    token_file(tokens, bob=BOB)
    code, _ = await refused(call(channel, metadata=bearer(ADA)))
    assert code == "UNAUTHENTICATED"
    await call(channel, metadata=bearer(BOB))


@CALLS
async def test_while_keys_cannot_be_had_the_caller_is_to_come_back(tokens, issuer, call):
    settings = Asking(
        auth_tokens_file=tokens,
        auth_jwks_url="http://127.0.0.1:1/keys",
        auth_issuer=ISSUER,
        auth_audience=AUDIENCE,
    )
    async with (
        running(echo_service(Echo()), settings) as server,
        open_channel(server.address) as channel,
    ):
        code, told = await refused(call(channel, metadata=bearer(issuer.token())))
        assert (code, told["downstream"]) == ("UNAVAILABLE", "jwks")
        assert await call(channel, metadata=bearer(ADA)) == "ada"


async def test_health_asks_for_no_token(channel):
    health = health_pb2_grpc.HealthStub(channel)
    await health.Check(health_pb2.HealthCheckRequest())


async def test_a_server_does_not_start_with_a_token_file_that_cannot_be_used(tmp_path):
    settings = Asking(auth_tokens_file=tmp_path / "none.toml")
    with pytest.raises(ServerStartError, match=r"none\.toml cannot be read"):
        async with running(echo_service(Echo()), settings):
            pass


@CALLS
async def test_a_client_may_be_known_by_its_certificate(tmp_path, tokens, call):
    ca = trustme.CA()
    server, client = Party(tmp_path / "server"), Party(tmp_path / "client")
    server.hold(ca.issue_cert(SERVER), ca)
    settings = server.files.server(Asking, auth_certificate_owner=True, auth_tokens_file=tokens)
    certificates = {
        "team-a.example": ca.issue_cert("team-a.example"),
        "spiffe://example/team-b": with_uri(ca, "spiffe://example/team-b"),
        "team-c": ca.issue_cert(common_name="team-c"),
    }
    async with running(echo_service(Echo()), settings) as running_server:
        for owner, certificate in certificates.items():
            files = client.hold(certificate, ca)
            async with open_channel(running_server.address, files.client()) as channel:
                assert await call(channel) == owner
                assert await call(channel, metadata=bearer(ADA)) == "ada"
                code, _ = await refused(call(channel, metadata=bearer("x")))
                assert code == "UNAUTHENTICATED"


# --- the gateway: whose renders -------------------------------------------------------------------


@pytest.fixture
async def gateway(tokens, tmp_path, monkeypatch):
    """Stubs of two clients of one gateway, and of one without a token."""
    monkeypatch.setenv("GATOR_GATEWAY_AUTH_TOKENS_FILE", str(tokens))
    monkeypatch.setenv("GATOR_GATEWAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GATOR_GATEWAY_MAX_RENDERS_PER_OWNER", "1")
    monkeypatch.setenv("GATOR_GATEWAY_MAX_STREAMS_PER_OWNER", "2")
    monkeypatch.setenv("GATOR_GATEWAY_GRACE", "1")
    async with (
        # The same free port of loopback on which nobody is asked where no address is named.
        Standalone(listen="127.0.0.1:0") as stack,
        open_channel(stack.address, ChannelSettings()) as opened,
    ):
        yield RenderServiceStub(opened)


def render(prompt="a fox"):
    return pb.RenderRequest(
        scenes=[pb.Scene(prompt=prompt)],
        quality=video_pb2.QUALITY_DRAFT,
        use_ai_generation=False,
        duration_per_frame=Duration(nanos=100_000_000),
    )


async def finished(stub, owner):
    """The id of a render that is done."""
    created = await stub.CreateRender(
        pb.CreateRenderRequest(render=render()), metadata=bearer(owner)
    )
    render_id = created.render.render_id
    watch = stub.WatchRender(pb.WatchRenderRequest(render_id=render_id), metadata=bearer(owner))
    async for _ in watch:
        pass
    return render_id


async def drained(call):
    return [message async for message in call]


async def test_another_owners_render_is_not_there(gateway):
    render_id = await finished(gateway, ADA)
    asked = {
        "GetRender": pb.GetRenderRequest(render_id=render_id),
        "WatchRender": pb.WatchRenderRequest(render_id=render_id),
        "CancelRender": pb.CancelRenderRequest(render_id=render_id),
        "RetryRender": pb.RetryRenderRequest(render_id=render_id),
        "DeleteRender": pb.DeleteRenderRequest(render_id=render_id),
        "DownloadVideo": pb.DownloadVideoRequest(render_id=render_id),
        "GetVideoFile": pb.GetVideoFileRequest(render_id=render_id),
    }
    streams = {"WatchRender", "DownloadVideo", "GetVideoFile"}
    for method, request in asked.items():
        call = getattr(gateway, method)(request, metadata=bearer(BOB))
        code, told = await refused(drained(call) if method in streams else call)
        assert (method, code, told["reason"]) == (method, "NOT_FOUND", "RENDER_NOT_FOUND")
        # As if it had never been: nothing tells a stranger which ids exist.
        request.render_id = other = str(uuid.uuid4())
        call = getattr(gateway, method)(request, metadata=bearer(BOB))
        _, told_of_none = await refused(drained(call) if method in streams else call)
        assert {**told, "render_id": other} == told_of_none
    listed = await gateway.ListRenders(pb.ListRendersRequest(), metadata=bearer(BOB))
    assert not listed.renders
    listed = await gateway.ListRenders(pb.ListRendersRequest(), metadata=bearer(ADA))
    assert [r.render_id for r in listed.renders] == [render_id]
    video = await drained(
        gateway.DownloadVideo(pb.DownloadVideoRequest(render_id=render_id), metadata=bearer(ADA))
    )
    assert video


async def test_one_request_id_of_two_owners_makes_two_renders(gateway):
    request_id = str(uuid.uuid4())
    made = set()
    for owner in (ADA, BOB, ADA):
        request = render()
        request.request_id = request_id
        call = gateway.CreateRender(pb.CreateRenderRequest(render=request), metadata=bearer(owner))
        made.add((owner, (await call).render.render_id))
    assert len(made) == 2
    assert len({render_id for _, render_id in made}) == 2


async def created_long(stub, owner):
    """A render that holds its place."""
    long = render()
    long.duration_per_frame.FromSeconds(600)
    long.quality = video_pb2.QUALITY_PREMIUM
    return await stub.CreateRender(pb.CreateRenderRequest(render=long), metadata=bearer(owner))


async def test_one_owners_quota_is_not_anothers(gateway):
    """Each may have one render that waits or runs."""
    held = await created_long(gateway, ADA)
    second = gateway.CreateRender(pb.CreateRenderRequest(render=render()), metadata=bearer(ADA))
    code, told = await refused(second)
    assert (code, told["reason"]) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    await finished(gateway, BOB)
    await gateway.CancelRender(
        pb.CancelRenderRequest(render_id=held.render.render_id), metadata=bearer(ADA)
    )
    await finished(gateway, ADA)


async def test_one_owners_streams_are_bounded(gateway):
    """Each may have two; they keep memory of the gateway for as long as they last."""
    render_id = (await created_long(gateway, ADA)).render.render_id
    watch = pb.WatchRenderRequest(render_id=render_id)
    watches = [gateway.WatchRender(watch, metadata=bearer(ADA)) for _ in range(2)]
    for open_one in watches:
        await open_one.read()
    for method, request in (
        ("WatchRender", watch),
        ("DownloadVideo", pb.DownloadVideoRequest(render_id=render_id)),
        ("GetVideoFile", pb.GetVideoFileRequest(render_id=render_id)),
        ("Render", render()),
    ):
        call = getattr(gateway, method)(request, metadata=bearer(ADA))
        code, told = await refused(drained(call))
        assert (method, code, told["quota"]) == (method, "RESOURCE_EXHAUSTED", "streams_per_owner")
        assert told["used up by"] == "owner:ada"
    await finished(gateway, BOB)
    await gateway.CancelRender(pb.CancelRenderRequest(render_id=render_id), metadata=bearer(ADA))
    for open_one in watches:  # they end with their render
        while await open_one.read() is not grpc.aio.EOF:
            pass
    await finished(gateway, ADA)


async def test_each_method_of_the_gateway_asks_for_a_token(gateway):
    """Methods that come later as well: the list is the API's own."""
    service = pb.DESCRIPTOR.services_by_name["RenderService"]
    assert len(service.methods) >= 10
    for method in service.methods:
        call = getattr(gateway, method.name)(method.input_type._concrete_class())
        code, told = await refused(drained(call) if method.server_streaming else call)
        assert (method.name, code, told["problem"]) == (method.name, "UNAUTHENTICATED", "missing")


async def test_the_embedded_gateway_asks_nobody(tokens, tmp_path, monkeypatch):
    monkeypatch.setenv("GATOR_GATEWAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GATOR_GATEWAY_AUTH_TOKENS_FILE", str(tokens))
    async with Standalone() as stack, open_channel(stack.address) as channel:
        await RenderServiceStub(channel).GetCapabilities(pb.GetCapabilitiesRequest())
