"""`gator render --preview`: which files it writes, replaces and leaves, and what it says."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from command import gator
from scripted_gateway import JPEG, VIDEO, accepted, preview, result, succeed, video

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture
def render(gateway):
    """Runs `gator render` for three scenes, with --preview previews."""
    gateway.script = with_previews

    def run(*more):
        args = ("render", "a", "b", "c", "--server", gateway.address, "-o", "f.mp4")
        return gator(*args, "--preview", "previews", *more)

    return run


def files():
    """Every file below the current folder, with what it holds."""
    found = (path for path in Path.cwd().rglob("*") if path.is_file())
    return {str(path.relative_to(Path.cwd())): path.read_bytes() for path in found}


async def with_previews(request):
    yield accepted(request)
    yield preview(0, 5)
    yield preview(2, 10, JPEG * 2)
    yield video(VIDEO)
    yield preview(2, 100)
    yield result(request)


MADE = {
    "f.mp4": VIDEO,
    "previews/scene-001-step-005.jpg": JPEG,
    "previews/scene-003-step-010.jpg": JPEG * 2,
    "previews/scene-003-step-100.jpg": JPEG,
}


def test_each_preview_is_a_file(render):
    done = render()
    assert done.exit_code == 0, done.output
    assert files() == MADE
    assert "Note: 3 previews are in previews" in done.stdout


def test_previews_are_part_of_the_json(render):
    done = render("--json")
    said = json.loads(done.stdout)
    assert done.stderr == ""
    names = [name for name in MADE if name.endswith(".jpg")]
    assert said["previews"] == [str(Path(name).absolute()) for name in names]


async def test_previews_are_written_while_the_video_goes_to_a_pipe(gateway):
    gateway.script = with_previews
    process = await start(gateway, "a", "b", "c", "-o", "-", stdout=asyncio.subprocess.PIPE)
    out, errors = await process.communicate()
    assert out == VIDEO
    assert b"Note: 3 previews are in previews" in errors
    assert files() == {name: data for name, data in MADE.items() if name != "f.mp4"}


async def start(gateway, *more, **pipes):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gator_client.cli", "render", "--server", gateway.address),
        *("--preview", "previews", *more),
        stderr=asyncio.subprocess.PIPE,
        **pipes,
    )


def test_a_render_without_previews_says_so_and_leaves_no_folder(render, gateway):
    gateway.script = succeed
    done = render()
    assert done.exit_code == 0, done.output
    assert "Note: no preview came; placeholders have none" in done.stdout
    assert not Path("previews").exists()
    assert json.loads(render("--json", "-f").stdout)["previews"] == []


def test_previews_of_an_earlier_render_are_not_replaced_unasked(render, gateway):
    older = Path("previews/scene-003-step-010.jpg")
    older.parent.mkdir()
    older.write_bytes(b"old")
    refused = render()
    assert refused.exit_code == 2
    assert "previews holds previews already, such as scene-003-step-010.jpg" in refused.stderr
    assert "--force" in refused.stderr
    assert gateway.requests == []
    assert files() == {str(older): b"old"}
    assert render("--force").exit_code == 0
    assert files() == MADE


def test_other_files_in_the_folder_do_no_harm(render):
    Path("previews").mkdir()
    Path("previews/notes.txt").write_text("mine")
    assert render().exit_code == 0
    assert files() == {**MADE, "previews/notes.txt": b"mine"}


async def again(request):
    """A scene that is started again comes to the same step again."""
    yield accepted(request)
    yield preview(0, 5, JPEG * 3)
    yield preview(0, 5)
    yield video(VIDEO)
    yield result(request)


def test_a_scene_that_is_started_again_replaces_its_own_previews(render, gateway):
    gateway.script = again
    done = render()
    assert "Note: 1 preview is in previews" in done.stdout
    assert done.stderr == ""
    assert files() == {"f.mp4": VIDEO, "previews/scene-001-step-005.jpg": JPEG}


async def beside_another(request):
    """Another program writes a file into the folder meanwhile."""
    yield accepted(request)
    await asyncio.to_thread(Path("previews/scene-003-step-010.jpg").write_bytes, b"theirs")
    async for message in with_previews(request):
        if not message.HasField("accepted"):
            yield message


def test_a_preview_that_cannot_be_written_costs_the_render_nothing(render, gateway):
    gateway.script = beside_another
    done = render()
    assert done.exit_code == 0, done.output
    assert files() == {
        "f.mp4": VIDEO,
        "previews/scene-001-step-005.jpg": JPEG,
        "previews/scene-003-step-010.jpg": b"theirs",
    }
    assert "Warning: preview: previews/scene-003-step-010.jpg: another program" in done.stderr
    assert "the previews after it were not written" in done.stderr
    assert "Note: 1 preview is in previews" in done.stdout


@pytest.mark.parametrize(
    ("folder", "status", "words"),
    [("file", 2, "file is a file; name a folder"), ("none/previews", 1, "there is no folder")],
)
def test_a_folder_that_cannot_be_is_refused_before_the_work(render, gateway, folder, status, words):
    Path("file").write_bytes(b"mine")
    done = render("--preview", folder)
    assert done.exit_code == status
    assert words in " ".join(done.stderr.replace("\u2502", " ").split())
    assert gateway.requests == []
    assert files() == {"file": b"mine"}


@pytest.mark.parametrize("count", [0, 1])
async def test_what_is_left_after_ctrl_c_is_said(gateway, tmp_path, count):
    async def script(request):
        yield accepted(request)
        for _ in range(count):
            yield preview(0, 5)
        yield video(VIDEO)
        await asyncio.Event().wait()

    gateway.script = script
    process = await start(gateway, "a", "-o", "f.mp4")
    while not any(p.suffix == ".part" and p.stat().st_size for p in tmp_path.iterdir()):  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130
    if count:
        said = b"Render r-1 is cancelled. No video was written; 1 preview is in previews.\n"
        assert errors == said
        assert files() == {"previews/scene-001-step-005.jpg": JPEG}
    else:
        assert errors == b"Render r-1 is cancelled. Nothing was written.\n"
        assert list(tmp_path.iterdir()) == []
