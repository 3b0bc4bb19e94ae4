"""The commands for renders on a server: what they print, write and exit with."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from command import gator, listing
from google.rpc import code_pb2, error_details_pb2, status_pb2
from scripted_gateway import result
from scripted_renders import VIDEO, chunk, header, stored

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import video_pb2
from gator_client.cli.render_ids import shortened
from rpckit.errors import GatorError, Reason

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture
def on_server(gateway, monkeypatch):
    """Runs a command with the gateway in the environment."""
    monkeypatch.setenv("GATOR_SERVER", gateway.address)
    return gator


def succeeded(gateway, *prompts, **values):
    request = pb.RenderRequest(scenes=[pb.Scene() for _ in prompts])
    made = gateway.add(
        *prompts,
        state=pb.RENDER_STATE_SUCCEEDED,
        result=result(request, form=video_pb2.VIDEO_FORM_FASTSTART).result,
        attempts=1,
        **values,
    )
    made.progress.fraction = 1
    for name, later in (("start_time", 2), ("end_time", 65)):
        getattr(made, name).FromSeconds(made.create_time.seconds + later)
    return made


def failed(gateway, *prompts, advice_of="GENERATION_FAILED"):
    status = status_pb2.Status(code=code_pb2.INTERNAL, message="the GPU is on fire")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=advice_of))
    return gateway.add(*prompts, state=pb.RENDER_STATE_FAILED, error=status, attempts=5)


# --- render --detach -------------------------------------------------------------------------


def test_a_detached_render_prints_its_id_and_what_to_do_next(gateway, on_server):
    done = on_server(
        *("render", "a hill", "the sea", "-q", "draft", "--detach"),
        *("--label", "project=atlas", "--label", "n=a=b", "--priority", "batch"),
        *("--request-id", "mine"),
    )
    assert done.exit_code == 0, done.output
    (made,) = gateway.renders
    assert done.stdout == f"{made}\n"
    assert "queued" in done.stderr
    assert "2 scenes, 6.0 s, draft" in done.stderr
    for verb in ("watch", "download", "cancel"):
        assert f"  gator {verb} {made}\n" in done.stderr
    (sent,) = gateway.requests
    assert dict(sent.labels) == {"project": "atlas", "n": "a=b"}
    assert (sent.request_id, sent.priority) == ("mine", pb.PRIORITY_BATCH)
    assert listing() == []


def test_suggested_commands_name_the_server_where_it_must_be_named(gateway):
    done = gator("render", "a", "--detach", "--server", gateway.address)
    assert f"gator watch {next(iter(gateway.renders))} --server {gateway.address}" in done.stderr


def test_a_detached_render_for_a_script(gateway, on_server):
    quiet = on_server("render", "a", "--detach", "--quiet")
    assert (quiet.stdout, quiet.stderr) == (f"{next(iter(gateway.renders))}\n", "")
    said = json.loads(on_server("render", "b", "--detach", "--json").stdout)
    assert said["state"] == "queued"
    assert said["request"]["scenes"][0]["prompt"] == "b"
    assert said["create_time"] == "2026-01-02T03:04:02+00:00"
    assert said["render_id"] in gateway.renders


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["render", "a", "--detach"], "gator serve"),
        (["list"], "gator serve"),
        (["watch", "x"], "gator serve"),
        (["download", "x"], "--server HOST:PORT"),
        (["cancel"], "Missing argument"),
        (["render", "a", "--detach", "--server", "h", "-o", "f.mp4"], "gator download"),
        (["render", "a", "--detach", "--server", "h", "--preview", "p"], "gator download"),
        (["render", "a", "--server", "h", "--label", "x"], "--label key=value"),
        (["list", "--server", "h", "--label", "=x"], "--label key=value"),
        (["list", "--server", "h", "--limit", "0"], "--limit"),
        (["download", "x", "--server", "h", "-o", "-", "--json"], "standard output"),
        (["download", "x", "--server", "h", "-o", "."], "is a folder"),
    ],
)
def test_wrong_usage(args, words):
    done = gator(*args)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert listing() == []


# --- list and show ---------------------------------------------------------------------------


def test_renders_in_a_table(gateway, on_server):
    succeeded(gateway, "a quiet harbour", "b")
    running = gateway.add("the [bold]sea", state=pb.RENDER_STATE_RUNNING, labels={"k": "v"})
    running.progress.fraction = 0.45
    out = on_server("list").stdout
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["id", "state", "created", "scenes", "video", "labels", "first", "prompt"]
    assert rows[1][:3] == ["00000002", "running", "45%"]
    assert rows[1][-3:] == ["k=v", "the", "[bold]sea"]
    assert rows[2][:2] == ["00000001", "succeeded"]
    assert rows[2][-7:] == ["2", "6.0", "s,", "draft", "a", "quiet", "harbour"]


def test_a_table_fits_a_narrow_terminal(gateway, on_server, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    gateway.add("a very long prompt " * 20, labels={"project": "a long name"})
    out = on_server("list").stdout
    assert len(out.splitlines()) == 2
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "a very long" in out
    assert "labels" not in out


def test_only_some_renders(gateway, on_server):
    for number in range(5):
        gateway.add(f"p{number}", labels={"even": str(number % 2 == 0)})
    gateway.add("x", state=pb.RENDER_STATE_FAILED)
    said = json.loads(on_server("list", "--label", "even=True", "-n", "2", "--json").stdout)
    assert [r["request"]["scenes"][0]["prompt"] for r in said["renders"]] == ["p4", "p2"]
    assert said["more"]
    assert "-n 20 shows more" in on_server("list", "-n", "2").stdout
    said = json.loads(on_server("list", "--state", "FAILED", "--json").stdout)
    assert [r["state"] for r in said["renders"]] == ["failed"]
    assert not said["more"]
    wrong = on_server("list", "--state", "faled")
    assert wrong.exit_code == 2
    assert "did you mean failed?" in wrong.stderr


def test_no_renders(gateway, on_server):
    assert "--detach" in on_server("list").stdout
    assert on_server("list", "--state", "queued").stdout == "There is no such render.\n"
    assert json.loads(on_server("list", "--json").stdout) == {"renders": [], "more": False}


def test_ids_are_shown_as_short_as_they_differ():
    assert shortened([]) == {}
    assert shortened(["0123456789"]) == {"0123456789": "01234567"}
    assert shortened(["0123456789", "012345678a"]) == {i: i for i in ("0123456789", "012345678a")}
    assert set(shortened(["01234567ab-x", "01234567bb-x"]).values()) == {"01234567a", "01234567b"}


def test_a_render_is_shown(gateway, on_server):
    made = succeeded(gateway, "a hill", "the sea", labels={"k": "v"}, retry_of="r-0")
    out = on_server("show", "00000001").stdout
    assert out.startswith(f"Render {made.render_id}\n")
    for words in (
        "State     succeeded",
        "Video     6.0 s, draft, 854x480 at 24 fps, 16.4 kB",
        "waited 2.0 s, took 1 min 3 s",
        f"SHA-256   {made.result.sha256.hex()}",
        "Labels    k=v",
        "Retry of  r-0",
        f"Next: gator download {made.render_id}",
    ):
        assert words in out
    said = json.loads(on_server("show", made.render_id, "--json").stdout)
    assert said["result"]["sha256"] == made.result.sha256.hex()
    assert said["end_time"] == "2026-01-02T03:05:06+00:00"


def test_a_render_that_failed_is_shown_with_why(gateway, on_server):
    failed(gateway, "a hill")
    out = on_server("show", "00000001").stdout
    for words in ("Why       the GPU is on fire", "Attempts  5", "Next: gator retry 0000"):
        assert words in out


def test_a_beginning_of_an_id(gateway, on_server):
    one = gateway.add("a").render_id
    other = gateway.add("b").render_id
    wrong = on_server("show", "000")
    assert wrong.exit_code == 1
    assert f"000 begins the ids of 2 renders: {other}, {one}" in wrong.stderr
    assert "Write more of the id" in wrong.stderr
    assert f"Render {one}" in on_server("show", one[:8]).stdout
    missing = on_server("show", "7")
    assert missing.exit_code == 1
    assert "gator list" in missing.stderr


# --- cancel, delete, retry -------------------------------------------------------------------


def test_renders_are_cancelled(gateway, on_server):
    one, other = gateway.add("a").render_id, succeeded(gateway, "b").render_id
    done = on_server("cancel", one[:8], other)
    assert done.stdout.splitlines() == [
        f"Render {one} is cancelled.",
        f"Render {other} had succeeded already.",
    ]
    said = json.loads(on_server("cancel", one, "--json").stdout)
    assert [render["state"] for render in said["renders"]] == ["cancelled"]


def test_renders_are_deleted(gateway, on_server):
    one, other = succeeded(gateway, "a").render_id, gateway.add("b").render_id
    refused = on_server("delete", other)
    assert refused.exit_code == 1
    assert "is RUNNING" in refused.stderr
    assert on_server("delete", one[:8]).stdout == f"Render {one} is deleted.\n"
    assert list(gateway.renders) == [other]
    assert json.loads(on_server("delete", one, "--json").stdout)["error"]["reason"] == (
        "RENDER_NOT_FOUND"
    )


def test_a_render_is_retried(gateway, on_server):
    first = failed(gateway, "a").render_id

    async def watching(request, attempt):
        made = gateway.renders[request.render_id]
        yield pb.WatchRenderResponse(sequence=1, render=made)
        done = succeeded(gateway, "a")
        done.render_id = made.render_id
        yield pb.WatchRenderResponse(sequence=2, render=done)

    gateway.watching = watching
    done = on_server("retry", first[:8])
    assert done.exit_code == 0, done.output
    made = next(r for r in gateway.renders.values() if r.retry_of == first).render_id
    assert f"Render {made} is a retry of {first}." in done.stderr
    assert f"Next: gator download {made}" in done.stdout
    again = on_server("retry", first, "--detach")
    assert again.stdout.strip() in gateway.renders
    assert again.stdout.strip() != made
    said = json.loads(on_server("retry", first, "--detach", "--json").stdout)
    assert said["retry_of"] == first


# --- watch -----------------------------------------------------------------------------------


def test_a_render_is_watched_to_its_video(gateway, on_server):
    made = succeeded(gateway, "a hill", "the sea")
    done = on_server("watch", made.render_id)
    assert done.exit_code == 0, done.output
    assert f"Render {made.render_id}  6.0 s, 854x480 at 24 fps, 144 pictures" in done.stdout
    assert "in 1 min 3 s" in done.stdout
    assert "the sea" in done.stdout
    assert f"Next: gator download {made.render_id}" in done.stdout


def test_a_render_that_failed_says_why_and_what_to_do(gateway, on_server):
    made = failed(gateway, "a", advice_of="ENCODING_FAILED")
    done = on_server("watch", made.render_id)
    assert done.exit_code == 1
    assert "Error: the GPU is on fire" in done.stderr
    assert f"gator retry {made.render_id}" in done.stderr
    cancelled = gateway.add("b", state=pb.RENDER_STATE_CANCELLED)
    done = on_server("watch", cancelled.render_id)
    assert done.exit_code == 1
    assert "is cancelled" in done.stderr
    assert f"gator retry {cancelled.render_id}" in done.stderr


def test_a_watch_for_a_script_is_a_line_for_each_event(gateway, on_server):
    made = gateway.add("a")

    async def watching(request, attempt):
        yield pb.WatchRenderResponse(sequence=1, render=made)
        yield pb.WatchRenderResponse(sequence=2, progress=pb.RenderProgress(fraction=0.5))
        yield pb.WatchRenderResponse(sequence=3, scene=pb.SceneProgress(index=0, step=3))
        made.state = pb.RENDER_STATE_FAILED
        yield pb.WatchRenderResponse(sequence=4, render=made)

    gateway.watching = watching
    done = on_server("watch", made.render_id, "--json")
    assert done.exit_code == 1
    assert done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["render", "progress", "scene", "render"]
    assert lines[1]["fraction"] == 0.5
    assert lines[-1]["state"] == "failed"


def content(name):
    path = Path(name)
    return path.read_bytes() if path.exists() else b""


async def written(name):
    """Waits until the first bytes of a video are in the file."""
    while not content(name):  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.01)


PATIENT = """
from gator_client.cli import main, rendering
rendering._LOOK_BACK = 60.0
main()
"""


async def start(*args):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PATIENT, *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_ctrl_c_ends_the_watching_only(gateway, on_server):
    made = gateway.add("a")

    async def watching(request, attempt):
        yield pb.WatchRenderResponse(sequence=1, render=made)
        await asyncio.Event().wait()

    gateway.watching = watching
    process = await start("watch", made.render_id, "--json")
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130
    assert errors.decode() == (
        f"Stopped watching. The render goes on; come back to it with\n"
        f"  gator watch {made.render_id}\n"
    )
    assert gateway.cancelled == []


async def test_ctrl_c_when_the_render_was_faster(gateway, on_server):
    async def script(request):
        made = succeeded(gateway, "a", render_id="r-1")
        yield pb.RenderResponse(accepted=pb.RenderAccepted(render_id=made.render_id))
        yield pb.RenderResponse(video=video_pb2.VideoChunk(data=VIDEO))
        await asyncio.Event().wait()

    gateway.script = script
    process = await start("render", "a", "-o", "f.mp4")
    assert await asyncio.to_thread(gateway.started.wait, 100)
    while not any(path.stat().st_size for path in Path.cwd().iterdir()):  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130
    assert "had finished the render" in errors.decode()
    assert "gator download r-1" in errors.decode()
    assert listing() == []


# --- download --------------------------------------------------------------------------------


def test_a_video_is_downloaded(gateway, on_server):
    made = succeeded(gateway, "A quiet harbour!").render_id
    done = on_server("download", made[:8])
    assert done.exit_code == 0, done.output
    assert Path("a-quiet-harbour.mp4").read_bytes() == VIDEO
    assert done.stdout.startswith("a-quiet-harbour.mp4  16.4 kB, SHA-256 ")
    said = json.loads(on_server("download", made, "-o", "f.mp4", "--json").stdout)
    assert said["file"] == str(Path("f.mp4").absolute())
    assert (said["render_id"], said["size_bytes"], said["form"]) == (made, len(VIDEO), "faststart")
    assert on_server("download", made, "-o", "g.mp4", "--quiet").output == ""
    assert listing() == ["a-quiet-harbour.mp4", "f.mp4", "g.mp4"]


def test_a_file_that_exists_is_kept_without_force(gateway, on_server):
    made = succeeded(gateway, "a").render_id
    Path("f.mp4").write_bytes(b"old")
    refused = on_server("download", made, "-o", "f.mp4")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert gateway.downloads == []
    assert on_server("download", made, "-o", "f.mp4", "--force").exit_code == 0
    assert Path("f.mp4").read_bytes() == VIDEO


def test_no_video_says_what_to_do(gateway, on_server):
    made = failed(gateway, "a").render_id

    async def script(request, attempt):
        raise GatorError(Reason.WRONG_STATE, "it has FAILED; retry it to have one made")
        yield

    gateway.downloading = script
    done = on_server("download", made, "-o", "f.mp4")
    assert done.exit_code == 1
    assert "retry it" in done.stderr
    assert listing() == []


async def test_a_download_that_was_stopped_goes_on(gateway, on_server):
    made = succeeded(gateway, "a").render_id
    sent = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def script(request, attempt):
        yield header(made)
        yield chunk(VIDEO[:5000])
        loop.call_soon_threadsafe(sent.set)
        await asyncio.Event().wait()

    gateway.downloading = script
    process = await start("download", made, "-o", "f.mp4")
    await sent.wait()
    await written("f.mp4.part")
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130
    assert errors.decode() == (
        "Stopped. 5.0 kB are kept in f.mp4.part; the same command goes on from there.\n"
    )
    gateway.downloading = stored
    process = await start("download", made, "-o", "f.mp4")
    out, _ = await process.communicate()
    assert b"16.4 kB, 11.4 kB of it now" in out
    assert [request.offset for request in gateway.downloads] == [0, 5000]
    assert content("f.mp4") == VIDEO
    assert listing() == ["f.mp4"]


async def test_a_download_can_be_piped(gateway, on_server):
    process = await start("download", succeeded(gateway, "a").render_id, "-o", "-")
    out, errors = await process.communicate()
    assert (process.returncode, out) == (0, VIDEO)
    assert b"standard output" in errors
