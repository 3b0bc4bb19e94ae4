"""Renders that outlive the command, the connection and the server, as a user meets them."""

import asyncio
import hashlib
import json
import signal

import pytest

from tests.support.commands import PATIENT, gator, names, serving, start
from tests.support.ports import ReservedPort
from tests.support.relay import Relay
from tests.support.video import decoded

SLOW = ("one", "two", "-q", "draft", "-d", "2", "-t", "zoom", "--codec", "hevc")
"""What a server takes a while to encode."""
SLOW_PICTURES = 96


@pytest.fixture
def server_environment(tmp_path):
    """A server that keeps its renders in a folder of the test, and does not wait when it ends."""
    return {
        "GATOR_GATEWAY_STATE_DIR": str(tmp_path / "state"),
        "GATOR_GATEWAY_GRACE": "0.1",
        "GATOR_GATEWAY_DRAIN_DELAY": "0",
    }


@pytest.fixture
def folder(tmp_path):
    """Where the commands are given."""
    path = tmp_path / "here"
    path.mkdir()
    return path


@pytest.fixture
def address():
    """Where one server after another may listen."""
    with ReservedPort() as port:
        yield port.address


async def written(folder, pattern):
    """Waits until the first bytes of a video are in such a file."""
    while not any(path.stat().st_size for path in folder.glob(pattern)):  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.02)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_render_outlives_its_clients_and_its_server(folder, server_environment, address):
    async def command(*args):
        return await gator(*args, cwd=folder, GATOR_SERVER=address)

    async with serving(folder, address, **server_environment):
        status, out, errors = await command("render", *SLOW, "--detach", "--label", "film=one")
        assert status == 0
        assert "gator watch" in errors
        render_id = out.strip()
        watching = await start("watch", render_id, "--json", cwd=folder, GATOR_SERVER=address)
        while json.loads(await watching.stdout.readline()).get("frames_encoded", 0) == 0:
            assert watching.returncode is None
        watching.kill()
        await watching.communicate()
        status, out, _ = await command("list", "--label", "film=one", "--json")
        assert [render["render_id"] for render in json.loads(out)["renders"]] == [render_id]
    async with serving(folder, address, **server_environment):
        status, out, errors = await command("watch", render_id[:8])
        assert (status, errors) == (0, "")
        assert f"gator download {render_id}" in out
        status, out, errors = await command("download", render_id[:8])
        assert (status, errors) == (0, "")
        status, out, _ = await command("show", render_id, "--json")
        render = json.loads(out)
        film = folder / "one.mp4"
        assert (render["state"], render["result"]["sha256"]) == ("succeeded", sha256(film))
        assert sum(1 for _ in decoded(film)) == SLOW_PICTURES
        status, _, _ = await command("delete", render_id)
        assert status == 0
    assert names(folder) == ["one.mp4"]


async def test_a_render_goes_on_when_its_server_is_restarted(folder, server_environment, address):
    async with serving(folder, address, **server_environment):
        args = ("render", *SLOW, "-o", "film.mp4", "--json", "--server", address)
        command = await start(*args, cwd=folder, program=PATIENT)
        await written(folder, ".film.mp4.*.part")
    async with serving(folder, address, PATIENT, **server_environment):
        out, errors = await command.communicate()
    assert (command.returncode, errors) == (0, b"")
    film = folder / "film.mp4"
    said = json.loads(out)
    assert (said["sha256"], said["file_size"]) == (sha256(film), film.stat().st_size)
    assert sum(1 for _ in decoded(film)) == SLOW_PICTURES
    assert names(folder) == ["film.mp4"]


async def test_a_download_goes_on_where_it_was_interrupted(folder, server_environment):
    large = ("a", "b", "c", "d", "e", "f", "g", "h", "-q", "premium", "-d", "0.1")
    async with serving(folder, **server_environment) as address:
        _, out, _ = await gator("render", *large, "--detach", cwd=folder, GATOR_SERVER=address)
        render_id = out.strip()
        status, out, _ = await gator("watch", render_id, "--json", cwd=folder, GATOR_SERVER=address)
        assert status == 0
        result = json.loads(out.splitlines()[-1])["result"]
        async with Relay(int(address.rpartition(":")[2])) as relay:
            relay.allow(result["size_bytes"] * 7 // 8)
            args = ("download", render_id, "-o", "film.mp4", "--server", relay.address)
            command = await start(*args, cwd=folder)
            await relay.held.wait()
            await written(folder, "film.mp4.part")
            command.send_signal(signal.SIGINT)
            _, errors = await command.communicate()
            assert command.returncode == 130
            assert b"kept in film.mp4.part" in errors
            assert 0 < (folder / "film.mp4.part").stat().st_size < result["size_bytes"]
            relay.cut()
            status, out, errors = await gator(*args, cwd=folder)
    assert (status, errors) == (0, "")
    assert "of it now" in out
    assert sha256(folder / "film.mp4") == result["sha256"]
    assert sum(1 for _ in decoded(folder / "film.mp4")) == result["frame_count"] == 48
    assert names(folder) == ["film.mp4"]


async def test_what_was_cancelled_can_be_retried(folder, server_environment):
    async def command(*args):
        return await gator(*args, cwd=folder, GATOR_SERVER=address)

    async with serving(folder, **server_environment) as address:
        _, out, _ = await command("render", *SLOW, "-d", "60", "--detach", "--quiet")
        render_id = out.strip()
        status, out, _ = await command("cancel", render_id)
        assert (status, out) == (0, f"Render {render_id} is cancelled.\n")
        status, out, _ = await command("retry", render_id, "--detach", "--json")
        again = json.loads(out)
        assert (status, again["retry_of"]) == (0, render_id)
        status, out, _ = await command("list", "--state", "queued", "--state", "running", "--json")
        assert [r["render_id"] for r in json.loads(out)["renders"]] == [again["render_id"]]


async def test_ctrl_c_cancels_the_render_on_the_server(folder, server_environment):
    async with serving(folder, **server_environment) as address:
        command = await start(
            *("render", *SLOW, "-d", "60", "-o", "film.mp4", "--server", address), cwd=folder
        )
        await written(folder, ".film.mp4.*.part")
        command.send_signal(signal.SIGINT)
        _, errors = await command.communicate()
        assert command.returncode == 130
        _, out, _ = await gator("list", "--json", cwd=folder, GATOR_SERVER=address)
    (render,) = json.loads(out)["renders"]
    assert render["state"] == "cancelled"
    said = f"Render {render['render_id']} is cancelled. Nothing was written.\n"
    assert errors.decode() == said
    assert names(folder) == []
