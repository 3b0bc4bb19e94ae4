"""The clients against a scripted gateway: events, files, failures."""

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import aclosing

import pytest
import trustme
from scripted_gateway import (
    VIDEO,
    accepted,
    finished,
    hang,
    never_answer,
    result,
    video,
)
from scripted_gateway import gateway as scripted_gateway

from gator_client import (
    AsyncClient,
    Backend,
    Client,
    Codec,
    CodecCapability,
    InvalidRequestError,
    Quality,
    RenderAccepted,
    RenderError,
    RenderProgress,
    RenderResult,
    Scene,
    SceneProgress,
    SceneState,
    Tls,
    Transition,
    VideoChunk,
)
from gator_client.output import OutputFile
from gator_client.target import full_target
from rpckit.errors import FieldViolation, GatorError, Reason, invalid
from rpckit.testing import LoopbackSettings


async def started(gateway):
    assert await asyncio.to_thread(gateway.started.wait, 100)


async def ended(gateway):
    assert await asyncio.to_thread(gateway.ended.wait, 100)


async def test_yields_what_happens_and_the_result_last(gateway):
    async with AsyncClient(gateway.address) as client:
        events = [event async for event in client.render(["a", "b"], quality="draft")]
    assert [type(event) for event in events] == [
        RenderAccepted,
        *[SceneProgress] * 4,
        VideoChunk,
        RenderProgress,
        VideoChunk,
        RenderResult,
    ]
    assert events[0].preset.resolution == "854x480"
    assert (events[1].state, events[1].step, events[1].time_left) == (SceneState.GENERATING, 3, 4)
    assert events[2].provenance.backend is Backend.PLACEHOLDER
    last = events[-1]
    assert (last.quality, last.transition, last.duration) == (Quality.DRAFT, Transition.SLIDE, 6.0)
    assert last.scenes[0].transition is Transition.SLIDE
    assert last.scenes[1].transition is None
    assert last.scenes[0].provenance.passed_over[0].backend is Backend.DIFFUSERS


async def test_a_file_appears_when_it_is_whole(gateway, tmp_path):
    path = tmp_path / "film.mp4"
    listings = []

    async def look(event):
        if isinstance(event, VideoChunk | RenderResult):
            listings.append([entry.name for entry in tmp_path.iterdir()])

    async with AsyncClient(gateway.address) as client:
        done = await client.render_to_file("a hill", path, on_event=look)
    assert path.read_bytes() == VIDEO
    assert done.size_bytes == len(VIDEO)
    assert all(name.endswith(".part") for names in listings[:-1] for name in names)
    assert listings[-1] == ["film.mp4"]


async def test_the_bytes_can_be_had_as_they_come(gateway):
    events = []
    async with AsyncClient(gateway.address) as client:
        chunks = [c async for c in client.iter_video("a hill", on_event=events.append)]
    assert b"".join(chunks) == VIDEO
    assert isinstance(events[-1], RenderResult)


async def corrupt(request):
    yield accepted(request)
    yield video(VIDEO[:-1] + b"!")
    yield result(request)


async def short(request):
    yield accepted(request)
    yield video(VIDEO[:-1])
    yield result(request)


async def without_result(request):
    yield accepted(request)
    yield video(VIDEO)


async def fail_in_the_middle(request):
    yield accepted(request)
    yield video(VIDEO[:1000])
    raise GatorError(
        Reason.DOWNSTREAM_UNAVAILABLE, "the compositor broke off", metadata={"downstream": "c"}
    )


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        (corrupt, "DATA_LOSS", "VIDEO_CORRUPT"),
        (short, "DATA_LOSS", "VIDEO_INCOMPLETE"),
        (without_result, "DATA_LOSS", "VIDEO_INCOMPLETE"),
        (fail_in_the_middle, "UNAVAILABLE", "DOWNSTREAM_UNAVAILABLE"),
    ],
)
async def test_a_broken_video_leaves_the_old_file(gateway, tmp_path, script, code, reason):
    gateway.script = script
    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError) as caught:
            await client.render_to_file("a hill", path)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert caught.value.advice
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


async def test_cancelling_ends_the_call_and_leaves_no_file(gateway, tmp_path):
    gateway.script = hang
    async with AsyncClient(gateway.address) as client:
        task = asyncio.create_task(client.render_to_file("a hill", tmp_path / "film.mp4"))
        await started(gateway)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended(gateway)
    assert list(tmp_path.iterdir()) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("gator-output")]


async def test_leaving_the_iterator_cancels_the_call(gateway):
    gateway.script = hang
    async with AsyncClient(gateway.address) as client:
        async with aclosing(client.render("a hill")) as events:
            await anext(events)
        await ended(gateway)


async def test_closing_the_client_cancels_the_call(gateway):
    gateway.script = hang
    async with AsyncClient(gateway.address) as client:
        events = client.render("a hill")
        await anext(events)
    await ended(gateway)
    await events.aclose()


async def test_what_a_callback_raises_ends_the_render(gateway, tmp_path):
    gateway.script = hang

    def refuse(event):
        raise ZeroDivisionError

    async with AsyncClient(gateway.address) as client:
        with pytest.raises(ZeroDivisionError):
            await client.render_to_file("a hill", tmp_path / "film.mp4", on_event=refuse)
        await ended(gateway)
    assert list(tmp_path.iterdir()) == []


async def test_a_missing_folder_is_known_before_the_call(gateway, tmp_path):
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(FileNotFoundError):
            await client.render_to_file("a hill", tmp_path / "none" / "film.mp4")
    assert gateway.requests == []


async def test_a_file_is_kept_where_it_may_not_be_replaced(gateway, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(FileExistsError):
            await client.render_to_file("a hill", path, overwrite=False)
    assert gateway.requests == []
    assert path.read_bytes() == b"old"


async def test_a_file_that_came_meanwhile_is_kept_too(gateway, tmp_path):
    path = tmp_path / "film.mp4"

    def on_event(event):
        path.write_bytes(b"another's")

    async with AsyncClient(gateway.address) as client:
        with pytest.raises(FileExistsError, match="exists already"):
            await client.render_to_file("a hill", path, overwrite=False, on_event=on_event)
    assert path.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_new_file_is_written_where_none_may_be_replaced(gateway, tmp_path):
    path = tmp_path / "film.mp4"
    async with AsyncClient(gateway.address) as client:
        await client.render_to_file("a hill", path, overwrite=False)
    assert path.read_bytes() == VIDEO
    assert list(tmp_path.iterdir()) == [path]


async def test_cancelling_while_the_disk_is_busy_leaves_no_file(gateway, tmp_path, monkeypatch):
    syncing, outputs = threading.Event(), []
    commit = OutputFile._commit

    def kept(output):
        outputs.append(output)
        commit(output)

    def fsync(descriptor):
        syncing.set()
        while not outputs[0]._left:
            time.sleep(0.01)

    monkeypatch.setattr(OutputFile, "_commit", kept)
    monkeypatch.setattr(os, "fsync", fsync)
    async with AsyncClient(gateway.address) as client:
        call = asyncio.create_task(client.render_to_file("a hill", tmp_path / "film.mp4"))
        assert await asyncio.to_thread(syncing.wait, 100)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert list(tmp_path.iterdir()) == []


async def test_a_link_stays_a_link(gateway, tmp_path):
    (tmp_path / "deep").mkdir()
    link = tmp_path / "film.mp4"
    link.symlink_to(tmp_path / "deep" / "real.mp4")
    async with AsyncClient(gateway.address) as client:
        await client.render_to_file("a hill", link)
    assert link.is_symlink()
    assert (tmp_path / "deep" / "real.mp4").read_bytes() == VIDEO


async def test_no_server_says_how_to_start_one():
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(RenderError) as caught:
            await client.capabilities()
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "UNREACHABLE")
    assert "127.0.0.1:1" in caught.value.message
    assert "gator serve" in caught.value.advice


async def test_tls_to_a_plain_server_says_so(gateway):
    async with AsyncClient(gateway.address, tls=True) as client:
        with pytest.raises(RenderError) as caught:
            await client.capabilities()
    assert caught.value.reason == "UNREACHABLE"
    assert "TLS" in caught.value.advice


async def bad_fields(request):
    raise invalid(
        FieldViolation("scenes[0].prompt", "is blank"), FieldViolation("quality", "is odd")
    )
    yield


async def test_every_bad_field_is_named(gateway):
    gateway.script = bad_fields
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(InvalidRequestError) as caught:
            [event async for event in client.render(" ")]
    assert [v.field for v in caught.value.violations] == ["scenes[0].prompt", "quality"]
    assert isinstance(caught.value, ValueError)


async def overloaded(request):
    raise GatorError(Reason.OVERLOADED, "too many renders", retry_after=2.5)
    yield


async def test_an_overloaded_server_says_when_to_try_again(gateway):
    gateway.script = overloaded
    async with AsyncClient(gateway.address) as client:
        with pytest.raises(RenderError) as caught:
            [event async for event in client.render("a hill")]
    assert caught.value.reason == "OVERLOADED"
    assert caught.value.retry_after == 2.5
    assert "2.5 s" in caught.value.advice
    assert caught.value.metadata["service"] == "scripted"


async def test_a_deadline_that_passes(gateway):
    gateway.script = never_answer
    async with AsyncClient(gateway.address, timeout=0.2) as client:
        with pytest.raises(RenderError) as caught:
            [event async for event in client.render("a hill")]
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert caught.value.advice


async def unknown_values(request):
    yield accepted(request)
    message = finished(0)
    message.scene.state = 99
    message.scene.provenance.backend = 99
    yield message
    yield type(message)()  # an event that this client does not know
    yield video(VIDEO)
    yield result(request, quality=99, transition=99)


async def test_a_newer_server_is_understood_as_far_as_it_goes(gateway):
    gateway.script = unknown_values
    async with AsyncClient(gateway.address) as client:
        events = [event async for event in client.render("a hill")]
    assert [type(event) for event in events] == [
        RenderAccepted,
        SceneProgress,
        VideoChunk,
        RenderResult,
    ]
    assert events[1].state is SceneState.UNKNOWN
    assert events[1].provenance.backend is Backend.UNKNOWN
    assert (events[-1].quality, events[-1].transition) == (None, None)


async def test_what_the_client_replaced_stands_in_the_result(gateway):
    async with AsyncClient(gateway.address) as client:
        scenes = [Scene("a", duration=float("nan"))]
        events = [e async for e in client.render(scenes, duration_per_frame=float("inf"))]
    fields = [(w.field, w.asked) for w in events[-1].warnings]
    assert fields == [("duration_per_frame", "inf"), ("scenes[0].duration", "nan")]
    assert events[0].warnings == events[-1].warnings
    assert not gateway.requests[0].HasField("duration_per_frame")


async def test_several_renders_at_once(gateway, tmp_path):
    async with AsyncClient(gateway.address) as client:
        paths = [tmp_path / f"{number}.mp4" for number in range(8)]
        await asyncio.gather(*(client.render_to_file("a hill", path) for path in paths))
    assert all(path.read_bytes() == VIDEO for path in paths)


async def test_capabilities(gateway):
    async with AsyncClient(gateway.address) as client:
        found = await client.capabilities()
    assert found.presets[Quality.DRAFT].bitrate_kbps == 1500
    assert found.transitions == (Transition.FADE, Transition.SLIDE)
    assert [(b.backend, b.available) for b in found.backends] == [
        (Backend.DIFFUSERS, False),
        (Backend.PLACEHOLDER, True),
    ]
    assert found.limits.max_scene_duration == 600
    assert found.codecs == (
        CodecCapability(Codec.H264, "x264 fast", hardware=False),
        CodecCapability(Codec.AV1, "av1_nvenc", hardware=True),
    )


async def test_a_client_that_is_not_open_says_so():
    with pytest.raises(RuntimeError, match="async with"):
        await AsyncClient("127.0.0.1:1").capabilities()
    with pytest.raises(RuntimeError, match="with Client"):
        Client("127.0.0.1:1").capabilities()


def test_the_sync_client_renders_to_a_file(gateway, tmp_path):
    events = []
    with Client(gateway.address) as client:
        done = client.render_to_file("a hill", tmp_path / "a.mp4", on_event=events.append)
        assert client.capabilities().version == "1.2.3"
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert events[-1] == done


def test_the_sync_client_iterates(gateway):
    with Client(gateway.address) as client:
        assert b"".join(client.iter_video("a hill")) == VIDEO
        assert isinstance(list(client.render(["a", "b"]))[-1], RenderResult)
        with pytest.raises(InvalidRequestError):
            client.render("a", quality="ultra")


def test_leaving_the_sync_iterator_cancels_the_call(gateway):
    gateway.script = hang
    with Client(gateway.address) as client:
        for _ in client.render("a hill"):
            break
        assert gateway.ended.wait(100)


def test_an_error_in_the_sync_client_ends_the_call(gateway, tmp_path):
    gateway.script = hang
    with Client(gateway.address) as client:
        with pytest.raises(ZeroDivisionError):
            client.render_to_file("a", tmp_path / "a.mp4", on_event=lambda _: 1 / 0)
        assert gateway.ended.wait(100)
    assert list(tmp_path.iterdir()) == []


def test_no_thread_is_left_by_the_sync_client(gateway):
    before = set(threading.enumerate())
    with Client(gateway.address) as client:
        client.capabilities()
        names = {t.name for t in set(threading.enumerate()) - before}
        assert "gator-client" in names
    assert "gator-client" not in {t.name for t in threading.enumerate()}


async def test_tls_with_a_certificate_on_both_sides(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("localhost", "client"):
        certificate = authority.issue_cert(name)
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    settings = LoopbackSettings(
        listen="localhost:0",
        tls_cert_file=tmp_path / "localhost.pem",
        tls_key_file=tmp_path / "localhost.key",
        tls_client_ca_file=tmp_path / "ca.pem",
    )
    ca = tmp_path / "ca.pem"
    async with scripted_gateway(settings) as gateway:
        tls = Tls(ca, tmp_path / "client.pem", tmp_path / "client.key")
        async with AsyncClient(gateway.address, tls=tls) as client:
            assert (await client.capabilities()).version == "1.2.3"
        for refused in (True, Tls(ca), False):
            async with AsyncClient(gateway.address, tls=refused) as client:
                with pytest.raises(RenderError) as caught:
                    await client.capabilities()
                assert caught.value.reason == "UNREACHABLE"


INTERRUPTED = """
import sys
from gator_client import Client
with Client(sys.argv[1]) as client:
    try:
        client.render_to_file("a hill", sys.argv[2])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


async def test_ctrl_c_in_the_sync_client_leaves_no_file(gateway, tmp_path):
    gateway.script = hang
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INTERRUPTED, gateway.address, tmp_path / "film.mp4"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await started(gateway)
    process.send_signal(signal.SIGINT)
    out, errors = await process.communicate()
    assert (process.returncode, out, errors) == (0, b"interrupted\n", b"")
    await ended(gateway)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "full"),
    [
        ("localhost", "localhost:50051"),
        ("host:80", "host:80"),
        ("[::1]", "[::1]:50051"),
        ("[::1]:80", "[::1]:80"),
        ("dns:///host:80", "dns:///host:80"),
        ("unix:/run/gator", "unix:/run/gator"),
    ],
)
def test_the_port_may_be_left_out(target, full):
    assert full_target(target) == full
