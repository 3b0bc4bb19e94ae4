"""A process that is told to end while it starts: it never ends by the signal."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support import signalled_server
from tests.support.processes import ROOT


async def started(module: str, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        env={**os.environ, "GATOR_LOG_FORMAT": "json", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.parametrize("point", signalled_server.STARTING)
async def test_a_signal_in_the_start_ends_a_server_as_a_later_one_does(point):
    process = await started(signalled_server.__name__, point)
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    assert said.decode().rstrip().splitlines()[-2] == signalled_server.CLOSED


def catches_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


async def told_to_end_at_once(service: str, folder: Path) -> None:
    process = await started(
        service,
        GATOR_GATEWAY_STATE_DIR=str(folder),
        **{f"GATOR_{service.upper()}_LISTEN": "127.0.0.1:0"},
    )
    while not catches_sigterm(process.pid):
        assert process.returncode is None
        await asyncio.sleep(0)
    process.terminate()
    said, _ = await process.communicate()
    assert process.returncode == 0, said


async def test_services_heed_signals_before_they_are_loaded(tmp_path):
    services = ("gateway", "frame_gen", "compositor")
    await asyncio.gather(*(told_to_end_at_once(service, tmp_path) for service in services))


async def test_a_second_signal_ends_a_server_at_once():
    process = await started(signalled_server.__name__, "asked", signalled_server.DRAINING)
    said, _ = await process.communicate()
    assert process.returncode == -signal.SIGTERM, said
    assert signalled_server.CLOSED not in said.decode()
