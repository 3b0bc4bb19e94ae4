"""Downloads: where they go on, when they begin anew, and what they leave."""

import asyncio
import hashlib
import io
import json

import pytest
from scripted_renders import VIDEO, BrokenConnectionError, chunk, header, stored, trailer

from gator_client import (
    AsyncClient,
    ConnectionLost,
    DownloadProgress,
    RenderError,
    VideoForm,
    downloading,
)
from rpckit.errors import GatorError, Reason


@pytest.fixture
def render_id(gateway):
    return gateway.add("a hill").render_id


@pytest.fixture
def path(tmp_path):
    return tmp_path / "film.mp4"


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def broken_at(size, then=stored):
    """A download whose first call breaks after `size` bytes."""

    async def script(request, attempt):
        sent = request.offset
        async for message in (stored if attempt == 1 else then)(request, attempt):
            if attempt == 1 and message.HasField("chunk"):
                if sent >= size:
                    raise BrokenConnectionError
                sent += len(message.chunk.data)
            yield message

    return script


def left_behind(path, render_id, data=VIDEO[:5000], form="faststart"):
    """What a download that broke off leaves."""
    path.with_name("film.mp4.part").write_bytes(data)
    note = {"render_id": render_id, "content_tag": f"{render_id}.1.{form}"}
    path.with_name("film.mp4.part.json").write_text(json.dumps(note))


def asked(gateway):
    """Where each call began, and of what content."""
    return [(request.offset, request.content_tag) for request in gateway.downloads]


async def download(gateway, render_id, to, **more):
    async with AsyncClient(gateway.address) as client:
        return await client.download(render_id, to, **more)


async def test_a_video_becomes_a_file(gateway, render_id, path, tmp_path):
    events = []
    video = await download(gateway, render_id, path, on_event=events.append)
    assert path.read_bytes() == VIDEO
    assert names(tmp_path) == ["film.mp4"]
    assert (video.size_bytes, video.resumed_at) == (len(VIDEO), 0)
    assert video.sha256 == hashlib.sha256(VIDEO).hexdigest()
    assert video.form is VideoForm.FASTSTART
    received = [event.received for event in events]
    assert received == sorted(received)
    assert events[-1] == DownloadProgress(len(VIDEO), len(VIDEO), 0)


async def test_it_goes_on_where_its_connection_broke(gateway, render_id, path):
    gateway.downloading = broken_at(5000)
    events = []
    video = await download(gateway, render_id, path, on_event=events.append)
    assert path.read_bytes() == VIDEO
    assert asked(gateway) == [(0, ""), (5000, f"{render_id}.1.faststart")]
    assert sum(isinstance(event, ConnectionLost) for event in events) == 1
    assert video.resumed_at == 0


async def test_the_next_one_goes_on_where_it_was_left(gateway, render_id, path, tmp_path):
    reached = asyncio.Event()

    async def hanging(request, attempt):
        yield header(render_id)
        yield chunk(VIDEO[:5000])
        await asyncio.Event().wait()

    def on_event(event):
        if event.received:
            reached.set()

    gateway.downloading = hanging
    task = asyncio.create_task(download(gateway, render_id, path, on_event=on_event))
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert names(tmp_path) == ["film.mp4.part", "film.mp4.part.json"]
    assert (tmp_path / "film.mp4.part").read_bytes() == VIDEO[:5000]
    gateway.downloading = stored
    video = await download(gateway, render_id, path)
    assert path.read_bytes() == VIDEO
    assert asked(gateway)[1:] == [(5000, f"{render_id}.1.faststart")]
    assert video.resumed_at == 5000
    assert names(tmp_path) == ["film.mp4"]


async def test_a_reader_that_was_too_slow_goes_on(gateway, render_id):
    async def script(request, attempt):
        async for message in stored(request, attempt):
            yield message
            if attempt == 1 and message.HasField("chunk"):
                raise GatorError(Reason.DEADLINE_EXCEEDED, "the client left a message unread")

    gateway.downloading = script
    memory = io.BytesIO()
    await download(gateway, render_id, memory)
    assert memory.getvalue() == VIDEO
    assert [offset for offset, _ in asked(gateway)] == [0, 1000]


async def test_all_of_it_was_there(gateway, render_id, path, tmp_path):
    left_behind(path, render_id, VIDEO)
    video = await download(gateway, render_id, path)
    assert video.resumed_at == video.size_bytes == len(VIDEO)
    assert names(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("form", ["fragmented", "faststart"])
async def test_it_begins_anew_where_its_content_is_gone(gateway, render_id, path, form):
    left_behind(path, render_id, b"other" * 100, form)
    video = await download(gateway, render_id, path)
    assert path.read_bytes() == VIDEO
    assert asked(gateway) == [(500, f"{render_id}.1.{form}"), (0, "")]
    assert video.resumed_at == 0


async def test_it_begins_anew_where_the_content_changes_under_it(gateway, render_id, path):
    async def script(request, attempt):
        if attempt == 1:
            yield header(render_id, form="fragmented")
            yield chunk(VIDEO[::-1][:5000])
            raise GatorError(Reason.CONTENT_CHANGED, "the attempt was given up")
        async for message in stored(request, attempt):
            yield message

    gateway.downloading = script
    await download(gateway, render_id, path)
    assert path.read_bytes() == VIDEO


async def test_more_than_there_is(gateway, render_id, path):
    left_behind(path, render_id, VIDEO + b"more")
    await download(gateway, render_id, path)
    assert path.read_bytes() == VIDEO


async def test_damage_on_the_disk_is_noticed(gateway, render_id, path):
    left_behind(path, render_id, b"!" + VIDEO[1:5000])
    video = await download(gateway, render_id, path)
    assert path.read_bytes() == VIDEO
    assert [offset for offset, _ in asked(gateway)] == [5000, 0]
    assert video.resumed_at == 0


async def test_damage_on_the_way_is_an_error(gateway, render_id, path, tmp_path):
    async def script(request, attempt):
        yield header(render_id)
        yield chunk(b"!" + VIDEO[1:])
        yield trailer()

    gateway.downloading = script
    with pytest.raises(RenderError) as caught:
        await download(gateway, render_id, path)
    assert caught.value.reason == "VIDEO_CORRUPT"
    assert "film.mp4" not in names(tmp_path)
    gateway.downloading = stored
    await download(gateway, render_id, path)
    assert path.read_bytes() == VIDEO


async def test_a_part_of_another_render_is_not_gone_on_with(gateway, render_id, path, tmp_path):
    other = gateway.add("another").render_id
    left_behind(path, other)
    await download(gateway, render_id, path)
    assert path.read_bytes() == VIDEO
    assert asked(gateway) == [(0, "")]
    assert names(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("note", [None, "", "[]", "{"])
async def test_a_file_that_is_not_ours_is_kept(gateway, render_id, path, tmp_path, note):
    part = tmp_path / "film.mp4.part"
    part.write_bytes(b"of a browser")
    if note is not None:
        (tmp_path / "film.mp4.part.json").write_text(note)
    with pytest.raises(FileExistsError, match="move it out of the way"):
        await download(gateway, render_id, path)
    assert part.read_bytes() == b"of a browser"
    assert gateway.downloads == []


async def test_two_downloads_do_not_mix(gateway, render_id, path):
    begun, go_on = asyncio.Event(), asyncio.Event()

    def on_event(event):
        begun.set()
        return go_on.wait()

    first = asyncio.create_task(download(gateway, render_id, path, on_event=on_event))
    await begun.wait()
    with pytest.raises(FileExistsError, match="another download"):
        await download(gateway, render_id, path)
    go_on.set()
    await first
    assert path.read_bytes() == VIDEO


async def test_a_file_is_kept_where_it_may_not_be_replaced(gateway, render_id, path, tmp_path):
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        await download(gateway, render_id, path, overwrite=False)
    assert gateway.downloads == []
    assert names(tmp_path) == ["film.mp4"]
    await download(gateway, render_id, path)
    assert path.read_bytes() == VIDEO


async def test_a_file_that_came_meanwhile_is_kept_too(gateway, render_id, path):
    with pytest.raises(FileExistsError, match="exists already"):
        await download(
            gateway,
            render_id,
            path,
            overwrite=False,
            on_event=lambda _: path.write_bytes(b"another's") and None,
        )
    assert path.read_bytes() == b"another's"


async def test_a_missing_folder_is_known_before_the_call(gateway, render_id, tmp_path):
    with pytest.raises(FileNotFoundError, match="film"):
        await download(gateway, render_id, tmp_path / "none" / "film.mp4")
    assert gateway.downloads == []


async def no_video(request, attempt):
    raise GatorError(Reason.WRONG_STATE, "the render has FAILED; retry it")
    yield


async def test_a_render_without_a_video_leaves_nothing(gateway, render_id, path, tmp_path):
    gateway.downloading = no_video
    with pytest.raises(RenderError, match="retry it"):
        await download(gateway, render_id, path)
    assert names(tmp_path) == []
    with pytest.raises(RenderError) as caught:
        await download(gateway, "none", path)
    assert caught.value.reason == "RENDER_NOT_FOUND"
    assert names(tmp_path) == []


async def test_a_video_whose_render_failed_half_way_leaves_nothing(
    gateway, render_id, path, tmp_path
):
    async def script(request, attempt):
        if attempt == 1:
            yield header(render_id, form="fragmented")
            yield chunk(VIDEO[:5000])
            raise GatorError(Reason.CONTENT_CHANGED, "the attempt was given up")
        async for message in no_video(request, attempt):
            yield message

    gateway.downloading = script
    with pytest.raises(RenderError, match="retry it"):
        await download(gateway, render_id, path)
    assert names(tmp_path) == []


async def test_a_content_that_changes_for_ever_is_given_up(gateway, render_id, path):
    async def script(request, attempt):
        yield header(render_id, epoch=attempt)
        raise GatorError(Reason.CONTENT_CHANGED, "the attempt was given up")

    gateway.downloading = script
    with pytest.raises(RenderError) as caught:
        await download(gateway, render_id, path)
    assert caught.value.reason == "VIDEO_INCOMPLETE"
    assert len(gateway.downloads) == downloading.MOST_BEGINNINGS


async def test_a_stream_that_ends_early_is_an_error(gateway, render_id, path):
    async def script(request, attempt):
        yield header(render_id)
        yield chunk(VIDEO)

    gateway.downloading = script
    with pytest.raises(RenderError) as caught:
        await download(gateway, render_id, path)
    assert caught.value.reason == "VIDEO_INCOMPLETE"


async def test_bytes_may_be_written_to_what_is_no_file(gateway, render_id):
    gateway.downloading = broken_at(5000)
    memory = io.BytesIO()
    video = await download(gateway, render_id, memory)
    assert memory.getvalue() == VIDEO
    assert video.size_bytes == len(VIDEO)


async def test_what_was_written_to_what_is_no_file_cannot_begin_anew(gateway, render_id):
    async def gone(request, attempt):
        raise GatorError(Reason.CONTENT_CHANGED, "this content is not there any more")
        yield

    gateway.downloading = broken_at(5000, then=gone)
    memory = io.BytesIO()
    with pytest.raises(RenderError) as caught:
        await download(gateway, render_id, memory)
    assert caught.value.reason == "VIDEO_RESTARTED"
    assert memory.getvalue() == VIDEO[:5000]


async def test_a_server_that_stays_away(gateway, render_id, path, tmp_path, clock):
    clock.between = downloading.PATIENCE

    async def away(request, attempt):
        raise BrokenConnectionError
        yield

    gateway.downloading = broken_at(5000, then=away)
    with pytest.raises(RenderError) as caught:
        await download(gateway, render_id, path)
    assert caught.value.reason == "UNREACHABLE"
    assert (tmp_path / "film.mp4.part").read_bytes() == VIDEO[:5000]
    gateway.downloading = stored
    assert (await download(gateway, render_id, path)).resumed_at == 5000


async def test_a_link_stays_a_link(gateway, render_id, path, tmp_path):
    (tmp_path / "deep").mkdir()
    path.symlink_to(tmp_path / "deep" / "real.mp4")
    await download(gateway, render_id, path)
    assert path.is_symlink()
    assert (tmp_path / "deep" / "real.mp4").read_bytes() == VIDEO
