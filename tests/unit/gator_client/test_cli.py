"""The command against a scripted gateway: what it prints, writes and exits with."""

import array
import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from command import gator, listing
from scripted_gateway import (
    NO_MODEL,
    VIDEO,
    accepted,
    hang,
    result,
    video,
)

from gator.type.v1 import frame_pb2, video_pb2
from gator_client.cli.destination import default_path
from gator_client.cli.wording import scene_numbers, seconds, size

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_renders_to_a_file_and_says_what_was_made(gateway):
    done = gator("render", "a hill", "the [bold]sea", "--server", gateway.address, "-o", "f.mp4")
    assert done.exit_code == 0, done.output
    assert Path("f.mp4").read_bytes() == VIDEO
    out = done.stdout
    assert "f.mp4  6.0 s, 854x480 at 24 fps, 144 pictures, 16.4 kB" in out
    assert "the [bold]sea" in out
    assert "placeholder, 0.1 s" in out
    assert f"Note: diffusers passed over for scenes 1-2: {NO_MODEL}" in out
    assert listing() == ["f.mp4"]


async def two_models(request):
    yield accepted(request)
    yield video(VIDEO)
    made = result(request)
    for scene, width in zip(made.result.scenes, (1344, 1344, 704), strict=True):
        scene.provenance.CopyFrom(
            frame_pb2.Provenance(
                backend=frame_pb2.BACKEND_DIFFUSERS,
                model=f"a-maker/a-model-with-quite-a-name@{'0123456789' * 4}",
                num_inference_steps=25,
                guidance_scale=7.5,
                width=width,
                height=width * 4 // 7,
            )
        )
    yield made


def test_models_are_named_in_full_and_leave_room_for_the_prompts(gateway, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    gateway.script = two_models
    out = gator("render", "hill", "sea", "sun", "--server", gateway.address, "-o", "f.mp4").stdout
    assert ["1", "0.0", "s", "3.0", "s", "slide", "diffusers,", "0.0", "s", "hill"] in [
        line.split() for line in out.splitlines()
    ]
    model = f"Model: a-maker/a-model-with-quite-a-name@{'0123456789' * 4}, 25 steps, guidance 7.5"
    assert f"{model}, images of 1344x768 (for scenes 1-2)" in out
    assert f"{model}, images of 704x402 (for scene 3)" in out


def test_options_reach_the_server(gateway):
    done = gator(
        *("render", "a hill", "the sea", "--server", gateway.address, "-o", "f.mp4"),
        *("-q", "draft", "-t", "wipe", "-d", "2.37", "--transition-duration", "0"),
        *("--steps", "30", "--guidance", "9", "--seed", "41", "--negative-prompt", "fog"),
        *("--placeholder", "--fallback", "fail", "--strict", "--codec", "HEVC"),
    )
    assert done.exit_code == 0, done.output
    sent = gateway.requests[0]
    assert sent.quality == video_pb2.QUALITY_DRAFT
    assert sent.transition == video_pb2.TRANSITION_WIPE
    assert sent.duration_per_frame.ToNanoseconds() == 2_370_000_000
    assert sent.transition_duration.ToNanoseconds() == 0
    assert sent.HasField("transition_duration")
    assert (sent.num_inference_steps, sent.guidance_scale) == (30, 9)
    assert [scene.seed for scene in sent.scenes] == [41, 42]
    assert sent.negative_prompt == "fog"
    assert sent.HasField("use_ai_generation")
    assert not sent.use_ai_generation
    assert sent.fallback_policy == frame_pb2.FALLBACK_POLICY_FAIL
    assert sent.codec == video_pb2.CODEC_HEVC
    assert sent.strict


def test_a_storyboard_and_what_goes_before_it(gateway):
    Path("My Story.yaml").write_text(
        "quality: premium\ntransition: zoom\ncodec: av1\nscenes:\n  - a\n  - {prompt: b, seed: 5}\n"
    )
    done = gator(
        *("render", "--scenes", "My Story.yaml", "--server", gateway.address),
        *("-q", "draft", "--seed", "9"),
    )
    assert done.exit_code == 0, done.output
    sent = gateway.requests[0]
    assert sent.quality == video_pb2.QUALITY_DRAFT
    assert sent.transition == video_pb2.TRANSITION_ZOOM
    assert sent.codec == video_pb2.CODEC_AV1
    assert [scene.seed for scene in sent.scenes] == [9, 5]
    assert listing() == ["My Story.yaml", "my-story.mp4"]


def test_json_is_the_only_thing_on_stdout(gateway):
    done = gator(
        *("render", "a hill", "--server", gateway.address, "-o", "f.mp4", "--json"),
        *("--guidance", "99"),
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert done.stderr == ""
    assert said["file"] == str(Path("f.mp4").absolute())
    assert said["file_size"] == len(VIDEO)
    assert said["resolution"] == "854x480"
    assert said["quality"] == "draft"
    assert (said["duration"], said["frame_count"], said["num_scenes"]) == (3.0, 72, 1)
    assert said["scenes"][0]["provenance"]["backend"] == "placeholder"
    assert said["scenes"][0]["provenance"]["passed_over"][0]["message"] == NO_MODEL
    assert said["warnings"] == [
        {
            "field": "guidance_scale",
            "asked": "99",
            "applied": "20",
            "reason": "it must be from 1 to 20",
        }
    ]


def test_quiet_prints_only_warnings(gateway):
    args = ("render", "a hill", "--server", gateway.address, "-o", "f.mp4", "--quiet", "-f")
    assert gator(*args).output == ""
    done = gator(*args, "--guidance", "99")
    assert done.stdout == ""
    assert "Warning: guidance_scale: 99 was asked for, 20 is used: it must" in done.stderr


def test_a_file_that_exists_is_kept_without_force(gateway):
    Path("f.mp4").write_bytes(b"old")
    args = ("render", "a hill", "--server", gateway.address, "-o", "f.mp4")
    refused = gator(*args)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert Path("f.mp4").read_bytes() == b"old"
    assert gateway.requests == []
    assert gator(*args, "--force").exit_code == 0
    assert Path("f.mp4").read_bytes() == VIDEO


def test_the_name_comes_from_the_prompt_and_is_free(gateway):
    for _ in range(2):
        assert gator("render", "A quiet harbour!", "--server", gateway.address).exit_code == 0
    assert listing() == ["a-quiet-harbour-2.mp4", "a-quiet-harbour.mp4"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (
            "A serene mountain landscape at sunrise, with fog",
            "a-serene-mountain-landscape-at-sunrise.mp4",
        ),
        ("日の出の山", "日の出の山.mp4"),
        ("../../etc/passwd", "etc-passwd.mp4"),
        ("!!!", "video.mp4"),
        ("x" * 4000, "x" * 40 + ".mp4"),
    ],
)
def test_default_names(name, path):
    assert str(default_path(name)) == path


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["render"], "nothing to render"),
        (["render", "a", "--scenes", "story.yaml"], "not both"),
        (["render", "a", "-q", "hihg"], "'high'"),
        (["render", "a", "-o", "."], "is a folder"),
        (["render", "a", "-o", "-", "--json"], "standard output"),
        (["render", "a", "--tls"], "--server"),
        (["render", "a", "--server", "h", "--timeout", "0"], "more than 0"),
        (["render", "a", "--server", "h:99999"], "99999 is no port"),
        (["render", "--scenes", "none.yaml"], "none.yaml"),
        (["render", "a", "--server", "127.0.0.1:1", "--seed", "-1"], "scenes[0].seed"),
    ],
)
def test_wrong_usage(args, words):
    Path("story.yaml").write_text("scenes: [a]")
    done = gator(*args)
    assert done.exit_code == 2
    assert words in done.stderr
    assert listing() == ["story.yaml"]


def test_a_bad_storyboard_is_told_by_line():
    Path("story.yaml").write_text("scenes:\n  - prompt: a\n    duraton: 3\n")
    done = gator("render", "--scenes", "story.yaml")
    assert done.exit_code == 2
    assert "story.yaml:3: scenes[0].duraton" in done.stderr
    assert "did you mean duration?" in done.stderr
    said = json.loads(gator("render", "--scenes", "story.yaml", "--json").stdout)["error"]
    assert (said["code"], said["reason"]) == ("INVALID_ARGUMENT", "INVALID_STORYBOARD")
    assert said["violations"][0]["field"] == "scenes[0].duraton"


def test_capabilities_as_tables(gateway):
    done = gator("capabilities", "--server", gateway.address)
    assert done.exit_code == 0, done.output
    for words in ("draft", "854x480", "1.5 Mbit/s", "fade, slide", NO_MODEL, "500 scenes"):
        assert words in done.stdout
    assert "h264 (x264 fast), av1 (av1_nvenc, on a device)" in done.stdout


def test_capabilities_as_json(gateway):
    done = gator("capabilities", "--server", gateway.address, "--json")
    said = json.loads(done.stdout)
    assert said["presets"]["draft"]["width"] == 854
    assert said["transitions"] == ["fade", "slide"]
    assert said["codecs"][1] == {"codec": "av1", "encoder": "av1_nvenc", "hardware": True}
    assert said["backends"][1] == {
        "backend": "placeholder",
        "available": True,
        "models": [],
        "message": "",
    }


def test_version():
    assert gator("--version").stdout.startswith("gator ")


def test_help_does_not_load_grpc():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from gator_client.cli.app import app\n"
        "assert CliRunner().invoke(app, ['render', '--help']).exit_code == 0\n"
        "slow = {'grpc', 'google.protobuf', 'yaml', 'numpy', 'standalone'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_a_signal_cancels_and_leaves_no_file(gateway, tmp_path, number, status):
    gateway.script = hang
    process = await start("render", "a", "--server", gateway.address, "-o", "f.mp4")
    assert await asyncio.to_thread(gateway.started.wait, 100)
    await part_file(tmp_path)
    process.send_signal(number)
    _, errors = await process.communicate()
    assert process.returncode == status
    assert errors.decode() == "Render r-1 is cancelled. Nothing was written.\n"
    assert gateway.cancelled == ["r-1"]
    assert await asyncio.to_thread(gateway.ended.wait, 100)
    assert list(tmp_path.iterdir()) == []


async def test_a_video_can_be_piped(gateway):
    process = await start("render", "a", "--server", gateway.address, "-o", "-")
    out, errors = await process.communicate()
    assert process.returncode == 0
    assert out == VIDEO
    assert b"standard output" in errors


async def forever(request):
    yield accepted(request)
    while True:
        yield video(VIDEO)


async def test_a_reader_that_goes_away_ends_the_render(gateway):
    gateway.script = forever
    process = await start("render", "a", "--server", gateway.address, "-o", "-")
    await process.stdout.readexactly(len(VIDEO))
    process.stdout._transport.close()
    assert await process.wait() == 1
    assert await process.stderr.read() == b""
    assert await asyncio.to_thread(gateway.ended.wait, 100)


async def test_ctrl_c_works_though_nobody_reads(gateway):
    gateway.script = forever
    read, write = os.pipe()
    process = await start("render", "a", "--server", gateway.address, "-o", "-", stdout=write)
    os.close(write)
    os.set_blocking(read, False)
    full = 16 * 4096  # what a pipe holds
    while await asyncio.to_thread(held, read) < full:
        assert process.returncode is None
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    os.close(read)
    assert process.returncode == 130, errors


def held(descriptor):
    """How many bytes wait in a pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


async def start(*args, stdout=asyncio.subprocess.PIPE):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gator_client.cli",
        *args,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def part_file(folder):
    """Waits until the first bytes of a video are in the hidden file."""
    while not any(path.stat().st_size for path in folder.iterdir()):  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.01)


def test_words():
    assert [seconds(v) for v in (0.04, 59.94, 65, 3720)] == [
        "0.0 s",
        "59.9 s",
        "1 min 5 s",
        "1 h 2 min",
    ]
    assert [size(v) for v in (830, 12_400, 3_100_000, 5 * 10**9)] == [
        "830 bytes",
        "12.4 kB",
        "3.1 MB",
        "5.0 GB",
    ]
    assert scene_numbers([1]) == "scene 2"
    assert scene_numbers([0, 1, 2, 6]) == "scenes 1-3, 7"


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "standalone", None)
    done = gator("render", "a", "-o", "f.mp4")
    assert done.exit_code == 1
    assert "pip install 'gator-video[standalone]'" in done.stderr
    assert listing() == []
