"""A client in another language: Node with grpc-js, the protos loaded from the folder."""

import asyncio
import json
import shutil
from pathlib import Path

import av
import pytest

from standalone import Standalone

EXAMPLE = Path(__file__).parents[2] / "examples" / "clients" / "node"

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")),
    reason="node and npm are not on this machine: the Node client was not tried",
)


async def run(*command: str | Path, cwd: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def client(tmp_path: Path) -> Path:
    """The example with its packages, in a folder of its own beside the protos."""
    folder = tmp_path / "examples" / "clients" / "node"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(EXAMPLE.parents[2] / "protos", tmp_path / "protos")
    code, _, err = await run("npm", "ci", "--no-audit", "--no-fund", cwd=folder)
    assert code == 0, err
    return folder


async def test_node_renders_a_draft_video_and_sees_a_clear_error(client: Path):
    async with Standalone() as stack:
        out = client / "fox.mp4"
        code, stdout, stderr = await run(
            "node", "render.js", stack.address, out, "draft", "a fox", "a hen", cwd=client
        )
        assert code == 0, stderr
        summary = json.loads(stdout)
        assert summary["frame_count"] == 48
        assert summary["backends"] == ["BACKEND_PLACEHOLDER"] * 2
        assert "SCENE_STATE_FINISHED" in stderr
        assert out.stat().st_size == int(summary["size_bytes"])
        with av.open(str(out)) as video:
            assert sum(1 for _ in video.decode(video=0)) == 48

        code, _, stderr = await run(
            "node", "render.js", stack.address, out, "draft", "a\x07fox", cwd=client
        )
        assert code == 1
        assert "INVALID_ARGUMENT" in stderr
        assert "scenes[0].prompt" in stderr
        assert not (client / "fox.mp4.part").exists()
