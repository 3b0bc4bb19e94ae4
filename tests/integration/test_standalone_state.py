"""Where the three services in one process keep renders: nowhere for long, unless told."""

import asyncio
from pathlib import Path

import pytest

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.client import open_channel
from standalone import ServerStartError, Standalone
from tests.support.gateways import created, downloaded, ended, request

REQUEST = request(1, 0.1, use_ai_generation=False)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def render_id_of(stack: Standalone) -> str:
    async with open_channel(stack.address) as channel:
        stub = RenderServiceStub(channel)
        render_id = (await created(stub, REQUEST)).render_id
        assert (await ended(stub, render_id)).state == pb.RENDER_STATE_SUCCEEDED
    return render_id


async def test_nothing_is_left_of_a_stack_that_was_told_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "temporary").mkdir()
    async with Standalone() as stack:
        await render_id_of(stack)
        assert "renders.sqlite3" in files(tmp_path / "temporary")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("told", ["by the caller", "by the environment"])
async def test_a_durable_stack_has_the_renders_of_the_one_before(told, tmp_path, monkeypatch):
    if told == "by the caller":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        durable = {"durable": True}
    else:
        monkeypatch.setenv("GATOR_GATEWAY_STATE_DIR", str(tmp_path / "gator"))
        durable = {}
    async with Standalone(**durable) as stack:
        render_id = await render_id_of(stack)
    async with Standalone(**durable) as stack, open_channel(stack.address) as channel:
        video = await downloaded(RenderServiceStub(channel), render_id)
    assert len(video.data) == video.trailer.size_bytes
    assert "renders.sqlite3" in files(tmp_path / "gator")


async def test_a_folder_that_cannot_be_used_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GATOR_GATEWAY_STATE_DIR", str(tmp_path / "file" / "gator"))
    before = asyncio.all_tasks()
    with pytest.raises(ServerStartError, match="GATOR_GATEWAY_STATE_DIR"):
        async with Standalone():
            pass
    assert asyncio.all_tasks() == before


async def test_stores_that_are_none_are_told(monkeypatch):
    monkeypatch.setenv("GATOR_GATEWAY_OBJECTS_URL", "ftp://nowhere")
    with pytest.raises(ServerStartError, match="ftp"):
        async with Standalone():
            pass
