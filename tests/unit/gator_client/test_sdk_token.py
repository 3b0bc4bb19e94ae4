"""Tokens of the SDK and the command: how they reach the server, and where they do not go."""

import asyncio
import json
from contextlib import aclosing

import pytest
import trustme
from anyio.from_thread import start_blocking_portal
from command import gator
from scripted_gateway import VIDEO, hang
from scripted_gateway import gateway as scripted_gateway

from gator_client import AsyncClient, Client, RenderAccepted, RenderError, Tls
from gator_client.cli.connection import Connection
from rpckit import reloaded
from rpckit.auth_settings import ClientFacingSettings
from tests.support.certificates import Party
from tests.support.tokens import token_file

ADA, BOB = "gator_" + "a" * 64, "gator_" + "b" * 64


class Asking(ClientFacingSettings):
    """A gateway on loopback that ends fast."""

    grace: float = 1.0


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(reloaded, "LOOK_EVERY", 0.0)
    return Asking(auth_tokens_file=token_file(tmp_path / "tokens.toml", ada=ADA))


@pytest.fixture
async def asking(settings):
    async with scripted_gateway(settings) as servicer:
        yield servicer


@pytest.fixture
def asking_in_a_thread(settings):
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(scripted_gateway(settings)) as servicer,
    ):
        yield servicer


async def test_every_kind_of_call_shows_the_token(asking, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{ADA}\n")
    for token in (ADA, file):
        async with AsyncClient(asking.address, token=token) as client:
            assert (await client.capabilities()).version == "1.2.3"
            parts = [part async for part in client.iter_video(["a hill"])]
            assert b"".join(parts) == VIDEO


def test_the_client_without_a_loop_shows_it_too(asking_in_a_thread):
    with Client(asking_in_a_thread.address, token=ADA) as client:
        assert client.capabilities().version == "1.2.3"


@pytest.mark.parametrize("token", [None, BOB])
async def test_a_call_that_is_refused_says_what_to_do(asking, token):
    async with AsyncClient(asking.address, token=token) as client:
        for call in (client.capabilities(), client.render_to_file(["a hill"], "film.mp4")):
            with pytest.raises(RenderError) as caught:
                await call
            assert (caught.value.code, caught.value.reason) == ("UNAUTHENTICATED",) * 2
            assert "token" in caught.value.advice
            assert BOB not in str(caught.value)


async def test_a_token_in_a_file_may_be_changed_while_the_client_is_open(
    asking, settings, tmp_path
):
    file = tmp_path / "token"
    file.write_text(ADA)
    async with AsyncClient(asking.address, token=file) as client:
        await client.capabilities()
        token_file(settings.auth_tokens_file, bob=BOB)
        with pytest.raises(RenderError, match="not known"):
            await client.capabilities()
        file.write_text(BOB)
        await client.capabilities()
        file.unlink()
        with pytest.raises(FileNotFoundError):
            await client.capabilities()


async def test_leaving_a_render_cancels_it_with_a_token_too(asking):
    asking.script = hang
    async with AsyncClient(asking.address, token=ADA) as client:
        async with aclosing(client.render(["a hill"])) as events:
            async for event in events:
                assert isinstance(event, RenderAccepted)
                break
        assert await asyncio.to_thread(asking.ended.wait, 60)


async def test_a_token_goes_by_tls_beyond_this_machine(tmp_path, settings):
    for target in ("gateway.example", "10.0.0.7:50051", "dns:///gateway.example:50051"):
        with pytest.raises(ValueError, match="clear text") as caught:
            AsyncClient(target, token=ADA)
        assert ADA not in str(caught.value)
        AsyncClient(target, token=ADA, tls=True)
        AsyncClient(target, token=ADA, token_in_clear=True)
    ca = trustme.CA()
    server = Party(tmp_path / "server")
    server.hold(ca.issue_cert("localhost"), ca)
    over_tls = Asking(
        listen="localhost:0",
        tls_cert_file=server.files.cert,
        tls_key_file=server.files.key,
        auth_tokens_file=settings.auth_tokens_file,
    )
    async with (
        scripted_gateway(over_tls) as gateway,
        AsyncClient(gateway.address, tls=Tls(server.files.ca), token=ADA) as client,
    ):
        await client.capabilities()


@pytest.mark.parametrize("token", ["", " ", "two words", "ümlaut", "line\nbreak", "a\x00b"])
def test_what_can_be_no_token_is_refused_and_not_shown(token):
    with pytest.raises(ValueError, match="one word of ASCII") as caught:
        AsyncClient("localhost", token=token)
    assert not token.strip() or token not in str(caught.value)


async def test_a_file_without_a_token_is_told_when_the_client_opens(tmp_path):
    file = tmp_path / "token"
    with pytest.raises(FileNotFoundError):
        async with AsyncClient("localhost", token=file):
            pass
    file.write_text("")
    with pytest.raises(ValueError, match=f"{file} must be one word"):
        async with AsyncClient("localhost", token=file):
            pass


@pytest.mark.parametrize("how", ["option", "file", "variable", "file in the variable"])
def test_the_command_shows_it(asking_in_a_thread, empty_folder, monkeypatch, how):
    file = empty_folder / "token"
    file.write_text(f"{ADA}\n")
    value = f"@{file}" if "file" in how else ADA
    given = [] if "variable" in how else ["--token", value]
    if "variable" in how:
        monkeypatch.setenv("GATOR_TOKEN", value)
    done = gator(
        "render", "a hill", "-o", "film.mp4", "--server", asking_in_a_thread.address, *given
    )
    assert done.exit_code == 0, done.output
    assert (empty_folder / "film.mp4").read_bytes() == VIDEO
    assert ADA not in done.output


def test_the_command_says_that_a_token_is_needed(asking_in_a_thread, empty_folder):
    done = gator("capabilities", "--server", asking_in_a_thread.address, "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)["error"]
    assert (said["code"], said["reason"]) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert said["metadata"]["problem"] == "missing"


@pytest.mark.parametrize(
    ("server", "token", "words"),
    [
        ("gateway.example", ADA, "clear text"),
        ("localhost", "two words", "one word"),
    ],
)
def test_the_command_refuses_a_token_that_cannot_be_used(empty_folder, server, token, words):
    done = gator("capabilities", "--server", server, "--token", token)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert token not in done.output


def test_the_command_tells_a_file_that_is_not_there(empty_folder):
    done = gator("capabilities", "--server", "localhost", "--token", "@none/token")
    assert done.exit_code == 2
    assert "none/token: No such file" in " ".join(done.stderr.split())


def test_a_token_in_the_environment_is_nothing_to_the_embedded_services():
    Connection(None, False, None, None, None, None, token="two words").client()
