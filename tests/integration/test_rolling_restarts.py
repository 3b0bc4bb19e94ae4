"""Every replica is replaced while renders come in: none fails, and nothing is made twice.

In a hurry by default. GATOR_ROLLING_ROUNDS=1 rolls the services out one after the other, with the
delays and graces of deploy/k8s and the health checks of deploy/envoy (three minutes); more rounds
do so as often.
"""

import asyncio
import hashlib
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gator_client import AsyncClient
from gator_client.durable import Render, RenderState
from gator_client.result import ConnectionLost
from tests.support.counting_frame_gen import made_frames
from tests.support.gateways import pictures
from tests.support.rolling import DEPLOYED, SCENES_AT_A_TIME, SERVICES, SHORT, Deployment

ROUNDS = int(os.environ.get("GATOR_ROLLING_ROUNDS", "0"))
DURABLE, ATTACHED = 2, 2
"""Clients of each kind, each with one render at a time."""
SCENES = 3
SECONDS = 0.5
"""Of a scene."""
OPTIONS = {"quality": "draft", "duration_per_frame": SECONDS, "use_ai_generation": False}
PICTURES = round(SCENES * SECONDS * 24)


@dataclass
class Load:
    """Clients that render on and on, until they are told that it is enough."""

    address: str
    folder: Path
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    renders: list[Render] = field(default_factory=list)
    """As they ended."""
    lost: Counter[str] = field(default_factory=Counter)
    """Connections that broke, by what went over them."""

    async def durable(self, name: str) -> None:
        """Creates renders, watches each, and downloads it while it is made."""
        async with AsyncClient(self.address) as client:
            for number in self._until_enough():
                render = await client.create(_scenes(f"{name}.{number}"), **OPTIONS)
                file = self.folder / f"{name}.mp4"
                ended, _ = await asyncio.gather(
                    self._watched(client, render.render_id),
                    client.download(render.render_id, file, on_event=self._downloading),
                )
                assert pictures(file.read_bytes()) == PICTURES
                self.renders.append(ended)

    async def attached(self, name: str) -> None:
        """Has videos made and sent in one call each."""
        async with AsyncClient(self.address) as client:
            for number in self._until_enough():
                file = self.folder / f"{name}.mp4"
                result = await client.render_to_file(
                    _scenes(f"{name}.{number}"), file, on_event=self._attached, **OPTIONS
                )
                video = file.read_bytes()
                assert hashlib.sha256(video).hexdigest() == result.sha256
                assert pictures(video) == PICTURES
                self.renders.append(await client.get(result.render_id))

    async def _watched(self, client: AsyncClient, render_id: str) -> Render:
        async for event in client.watch(render_id):
            if isinstance(event, ConnectionLost):
                self.lost["watches"] += 1
        assert isinstance(event, Render)
        return event

    def _downloading(self, event: object) -> None:
        self.lost["downloads"] += isinstance(event, ConnectionLost)

    def _attached(self, event: object) -> None:
        self.lost["attached renders"] += isinstance(event, ConnectionLost)

    def _until_enough(self):
        number = 0
        while not self.enough.is_set():
            yield number
            number += 1


def _scenes(name: str) -> list[str]:
    return [f"scene {i} of film {name}" for i in range(SCENES)]


async def rolled_out(deployment: Deployment) -> None:
    """All services, at the same time as `kubectl apply` has it, or one after the other."""
    if not ROUNDS:
        await asyncio.gather(*map(deployment.roll, SERVICES))
    for _ in range(ROUNDS):
        for service in SERVICES:
            await deployment.roll(service)


@pytest.mark.timeout(900 + 600 * ROUNDS)
async def test_every_replica_is_replaced_under_load(postgresql_database, tmp_path, capsys):
    begun = time.monotonic()
    pace = DEPLOYED if ROUNDS else SHORT
    async with Deployment.started(tmp_path, postgresql_database.url, pace) as deployment:
        load = Load(deployment.address, tmp_path)
        async with asyncio.TaskGroup() as clients:
            for number in range(DURABLE):
                clients.create_task(load.durable(f"durable {number}"))
            for number in range(ATTACHED):
                clients.create_task(load.attached(f"attached {number}"))
            await rolled_out(deployment)
            load.enough.set()
        await deployment.end()
    assert {render.state for render in load.renders} == {RenderState.SUCCEEDED}
    again = made_again(load.renders, deployment.notes)
    with capsys.disabled():
        print(f"\n{told(load, deployment, again)}; {time.monotonic() - begun:.0f} s")


def made_again(renders: list[Render], notes: Path) -> int:
    """Frames that were made twice: at most those in the making when a render was handed back."""
    made = Counter(made_frames(notes))
    for render in renders:
        frames = [made.pop((render.render_id, scene)) for scene in range(SCENES)]
        assert sum(frames) - SCENES <= SCENES_AT_A_TIME * (render.attempts - 1)
    assert not made
    return len(made_frames(notes)) - SCENES * len(renders)


def told(load: Load, deployment: Deployment, again: int) -> str:
    drains = ", ".join(f"{s} {max(t):.1f} s" for s, t in deployment.drains.items())
    lost = ", ".join(f"{count} {what}" for what, count in load.lost.items() if count)
    attempts = Counter(render.attempts for render in load.renders)
    tries = ", ".join(f"{count} in {n}" for n, count in sorted(attempts.items()))
    return (
        f"{len(load.renders)} renders ({tries} attempts), all succeeded; {again} frames made "
        f"again; came back: {lost or 'none'}; longest drains: {drains}"
    )
