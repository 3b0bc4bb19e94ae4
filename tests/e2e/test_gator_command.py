"""The gator command as a user runs it: processes, files, signals, the real services."""

import asyncio
import hashlib
import json
import signal

import pytest

from tests.support.commands import address_of, gator, names, start
from tests.support.video import decoded, described


async def test_prompts_in_a_video_out(tmp_path):
    status, out, errors = await gator(
        *("render", "a quiet harbour", "a market", "--quality", "draft", "-d", "1.5"),
        *("-o", "film.mp4", "--json"),
        cwd=tmp_path,
    )
    assert (status, errors) == (0, "")
    said = json.loads(out)
    film = tmp_path / "film.mp4"
    data = film.read_bytes()
    assert said["file"] == str(film)
    assert (said["file_size"], said["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert described(film).duration == said["duration"] == 3
    assert sum(1 for _ in decoded(film)) == said["frame_count"] == 72
    assert said["scenes"][0]["provenance"]["passed_over"]
    assert names(tmp_path) == ["film.mp4"]


async def test_a_storyboard_with_settings_for_each_scene(tmp_path):
    (tmp_path / "story.yaml").write_text(
        "quality: draft\n"
        "transition: wipe\n"
        "use_ai_generation: false\n"
        "scenes:\n"
        "  - {prompt: one, duration: 0.5}\n"
        "  - {prompt: two, duration: 1, transition: zoom, seed: 42}\n"
        "  - {prompt: three, duration: 0.25}\n"
    )
    status, out, errors = await gator("render", "--scenes", "story.yaml", "--json", cwd=tmp_path)
    assert (status, errors) == (0, "")
    scenes = json.loads(out)["scenes"]
    assert [scene["start_time"] for scene in scenes] == [0, 0.5, 1.5]
    assert [scene["transition"] for scene in scenes] == ["wipe", "zoom", None]
    assert scenes[1]["provenance"]["seed"] == 42
    assert scenes[1]["provenance"]["passed_over"] == []
    assert sum(1 for _ in decoded(tmp_path / "story.mp4")) == 42


async def test_what_was_changed_is_told(tmp_path):
    args = ("render", "one", "-q", "draft", "-d", "0.1", "--guidance", "99", "-o", "f.mp4")
    status, out, errors = await gator(*args, cwd=tmp_path)
    assert status == 0
    assert "placeholder" in out
    assert "No image generation models available" in out
    assert "Warning: guidance_scale" in errors
    status, _, errors = await gator(*args, "--strict", "--force", cwd=tmp_path)
    assert status == 2
    assert "guidance_scale" in errors


async def test_a_render_that_may_not_fall_back_fails_and_says_what_to_do(tmp_path):
    status, _, errors = await gator(
        *("render", "one", "-q", "draft", "--fallback", "fail", "-o", "f.mp4"), cwd=tmp_path
    )
    assert status == 1
    assert "No image generation models available" in errors
    assert names(tmp_path) == []


async def test_a_blank_prompt_is_refused(tmp_path):
    status, _, errors = await gator("render", "one", "  ", "-o", "f.mp4", cwd=tmp_path)
    assert status == 2
    assert "scenes[1].prompt" in errors
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_leaves_nothing(tmp_path, number):
    process = await start(
        *("render", "one", "two", "-q", "premium", "-d", "300", "-o", "f.mp4"), cwd=tmp_path
    )
    while not any(path.suffix == ".part" and path.stat().st_size for path in tmp_path.iterdir()):
        assert process.returncode is None
        await asyncio.sleep(0.05)
    process.send_signal(number)
    out, errors = await process.communicate()
    assert process.returncode == 128 + number
    assert (out, errors) == (b"", b"Cancelled. Nothing was written.\n")
    assert names(tmp_path) == []


async def test_serve_and_render_on_it(tmp_path):
    server = await start("serve", "--listen", "127.0.0.1:0", cwd=tmp_path)
    try:
        address = await address_of(server)
        status, out, _ = await gator("capabilities", "--json", cwd=tmp_path, GATOR_SERVER=address)
        assert status == 0
        assert list(json.loads(out)["presets"]) == ["draft", "standard", "high", "premium"]
        status, out, errors = await gator(
            *("render", "one", "-q", "draft", "-d", "0.5", "-o", "f.mp4", "--server", address),
            cwd=tmp_path,
        )
        assert (status, errors) == (0, "")
        assert sum(1 for _ in decoded(tmp_path / "f.mp4")) == 12
        second = await start("serve", "--listen", address, cwd=tmp_path)
        _, errors = await second.communicate()
        assert second.returncode == 1
        assert f"cannot listen on {address}" in errors.decode()
        assert b"Traceback" not in errors
    finally:
        server.send_signal(signal.SIGTERM)
        await server.communicate()
    assert server.returncode == 0


async def test_a_server_under_nohup_outlives_its_terminal(tmp_path):
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does for its child
    try:
        server = await start("serve", "--listen", "127.0.0.1:0", cwd=tmp_path)
    finally:
        signal.signal(signal.SIGHUP, ignored)
    try:
        address = await address_of(server)
        server.send_signal(signal.SIGHUP)
        status, _, _ = await gator("capabilities", "--json", cwd=tmp_path, GATOR_SERVER=address)
        assert status == 0
    finally:
        server.send_signal(signal.SIGTERM)
        await server.communicate()


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(tmp_path):
    status, _, errors = await gator(
        "capabilities", "--json", cwd=tmp_path, http_proxy="http://127.0.0.1:1", no_proxy=""
    )
    assert (status, errors) == (0, "")


async def listening(process):
    """The address that a service's log tells."""
    while (event := json.loads(await process.stderr.readline()))["event"] != "listening":
        pass
    return event["address"]


async def test_the_three_services_one_by_one(tmp_path):
    processes = []

    async def serve(name, **environment):
        process = await start("serve", name, "--listen", "127.0.0.1:0", cwd=tmp_path, **environment)
        processes.append(process)
        return await listening(process)

    try:
        frame_gen, compositor = await asyncio.gather(serve("frame-gen"), serve("compositor"))
        gateway = await serve(
            "gateway",
            GATOR_GATEWAY_FRAME_GEN_TARGET=frame_gen,
            GATOR_GATEWAY_COMPOSITOR_TARGET=compositor,
        )
        status, _, errors = await gator(
            *("render", "one", "two", "-q", "draft", "-d", "0.5", "-o", "f.mp4"),
            *("--server", gateway),
            cwd=tmp_path,
        )
        assert (status, errors) == (0, "")
        assert sum(1 for _ in decoded(tmp_path / "f.mp4")) == 24
        again = await start("serve", "compositor", "--listen", compositor, cwd=tmp_path)
        _, errors = await again.communicate()
        assert again.returncode == 1
        assert b"Traceback" not in errors
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0]
