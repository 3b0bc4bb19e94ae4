"""The command when something is wrong: what it says, leaves and exits with."""

import json
from pathlib import Path

import pytest
from command import gator, listing
from scripted_gateway import VIDEO, accepted, video

from rpckit.errors import FieldViolation, GatorError, Reason, invalid

pytestmark = pytest.mark.usefixtures("empty_folder")


async def bad_request(request):
    raise invalid(
        FieldViolation("scenes[0].prompt", "is blank; write what it shows"),
        FieldViolation("scenes[1].prompt", "is too long"),
    )
    yield


def test_a_refused_request(gateway):
    gateway.script = bad_request
    args = ("render", " ", "b", "--server", gateway.address, "-o", "f.mp4")
    done = gator(*args)
    assert done.exit_code == 2
    assert "2 values cannot be used" in done.stderr
    assert "scenes[0].prompt: is blank; write what it shows" in done.stderr
    said = json.loads(gator(*args, "--json").stdout)["error"]
    assert said["reason"] == "INVALID_ARGUMENT"
    assert [v["field"] for v in said["violations"]] == ["scenes[0].prompt", "scenes[1].prompt"]
    assert listing() == []


async def break_off(request):
    yield accepted(request)
    yield video(VIDEO[:1000])
    raise GatorError(Reason.STORAGE_FULL, "the server's disk is full")


def test_a_render_that_fails_leaves_no_file(gateway):
    gateway.script = break_off
    done = gator("render", "a", "--server", gateway.address, "-o", "f.mp4")
    assert done.exit_code == 1
    assert "Error: the server's disk is full" in done.stderr
    assert "What to do: " in done.stderr
    assert listing() == []


async def every_attempt_fails(request):
    yield accepted(request)
    raise GatorError(
        Reason.GENERATION_FAILED,
        "scenes[0]: AI frame generation failed. DIFFUSERS: no GPU. Get one; OPENAI: rejected, or "
        "ask for placeholders with use_ai_generation = false",
        metadata={"backends": "DIFFUSERS,OPENAI"},
    )


def test_each_attempt_has_a_line_and_speaks_of_the_commands_options(gateway):
    gateway.script = every_attempt_fails
    done = gator("render", "a", "--server", gateway.address, "-o", "f.mp4", "--fallback", "fail")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "Error: scenes[0]: AI frame generation failed",
        "  diffusers: no GPU. Get one",
        "  openai: rejected, or ask for placeholders with --placeholder",
    ]


async def cancelled_by_another(request):
    yield accepted(request)
    raise GatorError(Reason.CANCELLED, "the render was cancelled")


def test_a_render_that_another_cancelled_says_what_to_do(gateway):
    gateway.script = cancelled_by_another
    done = gator("render", "a", "--server", gateway.address, "-o", "f.mp4", "--request-id", "mine")
    assert done.exit_code == 1
    assert "Error: the render was cancelled" in done.stderr
    assert "gator retry" in done.stderr
    assert listing() == []


def test_no_server_says_how_to_start_one():
    done = gator("render", "a", "--server", "127.0.0.1:1", "-o", "f.mp4")
    assert done.exit_code == 1
    assert "no connection to the server at 127.0.0.1:1" in done.stderr
    assert "gator serve" in done.stderr
    assert listing() == []


def test_a_missing_folder(gateway):
    done = gator("render", "a", "--server", gateway.address, "-o", "none/f.mp4")
    assert done.exit_code == 1
    assert f"there is no folder {Path.cwd() / 'none'}" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DEVICE", "gpu", "GATOR_FRAME_GEN_DIFFUSERS_DEVICE: Input should be 'auto', 'cuda'"),
        ("MODELS", "sd9", "there is no model 'sd9' in the catalog; it has sdxl"),
        ("CATALOG", "[{]", "GATOR_FRAME_GEN_DIFFUSERS_CATALOG: Input should be JSON: Expecting"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(monkeypatch, variable, value, words):
    monkeypatch.setenv(f"GATOR_FRAME_GEN_DIFFUSERS_{variable}", value)
    done = gator("render", "a", "-o", "f.mp4")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: the environment cannot be used: GATOR_FRAME_GEN_DIFF")
    assert words in done.stderr
    assert listing() == []
