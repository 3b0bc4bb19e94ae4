"""The clients of examples/clients, each in its own language, against a real gateway.

Those whose language is not on the machine are skipped, and the report says what they lack.
"""

import asyncio
import functools
import hashlib
import http.server
import json
import re
import shutil
import signal
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import av
import pytest
import trustme

from gateway.jobs import objects
from standalone import Standalone
from tests.support.certificates import Party
from tests.support.client_examples import (
    EXAMPLES_BY_NAME,
    Outcome,
    built,
    render,
    run,
    started,
)
from tests.support.cutting_link import cutting
from tests.support.envoy import Envoy, envoy
from tests.support.rest import ask
from tests.support.tokens import token_file

GRPC = [name for name in EXAMPLES_BY_NAME if name not in ("rest", "grpc-web")]
DURABLE = [name for name in GRPC if name != "node-stream"]
TOKEN = "gator_" + "5c" * 32
STORY = ("a fox", "a hen")
PICTURES = 48
"""Of two scenes of a second, as a draft."""

# The first run compiles, and keeps what it made in build/clients.
pytestmark = pytest.mark.timeout(600)


def have(name: str) -> None:
    """Skips a test whose client cannot be built and run here."""
    if missing := EXAMPLES_BY_NAME[name].missing:
        pytest.skip(f"the {name} client was not tried: this machine has no {missing}")


@pytest.fixture
def placeholders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATOR_FRAME_GEN_BACKENDS", "placeholder")
    monkeypatch.setenv("GATOR_GATEWAY_STATE_DIR", str(tmp_path / "state"))


@dataclass(frozen=True)
class Secured:
    """A gateway that speaks TLS and asks for a token."""

    address: str
    ca_file: str


@pytest.fixture
async def secured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placeholders: None
) -> AsyncIterator[Secured]:
    authority = trustme.CA()
    server = Party(tmp_path / "server").hold(authority.issue_cert("localhost"), authority)
    monkeypatch.setenv("GATOR_GATEWAY_TLS_CERT_FILE", str(server.cert))
    monkeypatch.setenv("GATOR_GATEWAY_TLS_KEY_FILE", str(server.key))
    tokens = token_file(tmp_path / "tokens.toml", team=TOKEN)
    monkeypatch.setenv("GATOR_GATEWAY_AUTH_TOKENS_FILE", str(tokens))
    async with Standalone(listen="localhost:0", durable=True) as stack:
        port = stack.address.rpartition(":")[2]
        yield Secured(f"localhost:{port}", str(server.ca))


@pytest.fixture
async def edge(placeholders: None) -> AsyncIterator[Envoy]:
    """A gateway behind the proxy of deploy/envoy/plaintext/edge.yaml."""
    async with (
        Standalone(durable=True) as stack,
        envoy("edge", {"gateway": [stack.address]}) as proxy,
    ):
        await proxy.until_healthy("gateway", 1)
        yield proxy


def check(outcome: Outcome, out: Path) -> None:
    """The client made a video, whole, and said so."""
    assert outcome.code == 0, outcome
    told = re.search(r": (\d+) pictures, (\d+) bytes, sha256 ([0-9a-f]{64})\n", outcome.stdout)
    assert told, outcome
    assert int(told[1]) == PICTURES
    assert int(told[2]) == out.stat().st_size
    assert told[3] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert pictures(out) == PICTURES
    assert not out.with_name(f"{out.name}.part").exists()


def pictures(video: Path) -> int:
    with av.open(str(video)) as file:
        return sum(1 for _ in file.decode(video=0))


def says(outcome: Outcome, *words: str) -> bool:
    """Whether a client failed with these words, however its language writes a status."""
    told = re.sub(r"[^a-z0-9\[\].]", "", outcome.stderr.lower())
    return outcome.code not in (0, None) and all(word in told for word in words)


@pytest.mark.parametrize("name", GRPC)
async def test_it_renders_over_tls_with_a_token_and_shows_errors(
    name: str, tmp_path: Path, secured: Secured
):
    have(name)
    await built(name)
    out, none, strange = (tmp_path / f"{kind}.mp4" for kind in ("film", "none", "strange"))
    with_token = {"GATOR_CA_FILE": secured.ca_file, "GATOR_TOKEN": TOKEN}

    rendered, refused, stopped = await asyncio.gather(
        render(name, secured.address, out, *STORY, **with_token),
        render(name, secured.address, none, "a\x07fox", **with_token),
        render(name, secured.address, strange, *STORY, GATOR_CA_FILE=secured.ca_file),
    )

    check(rendered, out)
    assert says(refused, "scenes[0].prompt"), refused
    assert says(stopped, "token"), stopped
    assert not none.exists()
    assert not strange.exists()


@pytest.mark.parametrize("name", DURABLE)
async def test_it_goes_on_after_its_connection_broke_twice(
    name: str, tmp_path: Path, placeholders: None, monkeypatch: pytest.MonkeyPatch
):
    have(name)
    await built(name)
    monkeypatch.setattr(objects, "PIECE", 4096)
    out = tmp_path / "film.mp4"
    # First while it creates or watches, then in the middle of the video.
    async with (
        Standalone(durable=True) as stack,
        cutting(stack.address, 800, 20_000) as link,
    ):
        check(await render(name, link.address, out, *STORY), out)
    assert link.cuts_left == 0


async def test_rest_renders_shows_errors_and_cancels(tmp_path: Path, edge: Envoy):
    have("rest")
    address = edge.addresses["clients"]
    url = f"http://{address}"
    out, none = tmp_path / "film.mp4", tmp_path / "none.mp4"
    rendered, refused, in_clear = await asyncio.gather(
        render("rest", url, out, *STORY),
        render("rest", url, none, "a\x07fox"),
        render("rest", url, none, "a fox", GATOR_TOKEN=TOKEN),
    )
    check(rendered, out)
    assert says(refused, "scenes[0].prompt"), refused
    assert says(in_clear, "httpsonly"), in_clear

    # Ctrl-C
    command = [*EXAMPLES_BY_NAME["rest"].command, url, str(none), "premium", *["a hill"] * 30]
    process = await started(command, await built("rest"))
    while (line := await process.stderr.readline()) != b"RENDER_STATE_RUNNING\n":
        assert line, "it ended before its render ran"
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130, err
    newest = (await ask(address, "GET", "/v1/renders")).document["renders"][0]
    watched = await ask(address, "GET", f"/v1/renders/{newest['render_id']}:watch")
    assert watched.lines[-1]["render"]["state"] == "RENDER_STATE_CANCELLED", err
    assert not none.exists()


async def test_a_web_page_renders_and_plays(tmp_path: Path, edge: Envoy):
    have("grpc-web")
    folder = await built("grpc-web")
    out = tmp_path / "film.mp4"
    command = EXAMPLES_BY_NAME["grpc-web"].command
    chromium = shutil.which("chromium")
    with page_server(folder / "dist") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            page = f"http://localhost:{server.server_port}/"
            at = f"{page}?server=http://{edge.addresses['clients']}"
            shown, refused = await asyncio.gather(
                run([*command, at, chromium, str(out), *STORY], folder),
                run([*command, at, chromium, str(out), "a\x07fox"], folder),
            )
        finally:
            server.shutdown()
            thread.join()
    assert shown.code == 0, shown
    page = json.loads(shown.stdout)
    assert page["told"] == f"{PICTURES} pictures, {out.stat().st_size} bytes"
    assert page["progress"] == 1
    assert page["shown"] == {"duration": 2, "videoWidth": 854, "videoHeight": 480}
    assert pictures(out) == PICTURES
    assert "scenes[0].prompt" in json.loads(refused.stdout)["told"], refused


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *message: object) -> None:
        pass


def page_server(folder: Path) -> http.server.ThreadingHTTPServer:
    """A server of files on a free port of loopback."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
