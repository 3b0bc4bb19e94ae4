"""Random deaths: whatever is killed whenever, each render ends with the right video.

One round by default; GATOR_DRILL_ROUNDS and GATOR_DRILL_SEED ask for more and others.
"""

import asyncio
import hashlib
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from gateway.jobs.objects import Objects
from gateway.jobs.retention import Keeping
from gateway.jobs.store import Store
from gateway.jobs.sweeper import Sweeper
from gateway.jobs.videos import Videos
from gator.gateway.v1 import render_service_pb2 as pb
from tests.support.fleet import COMPOSITOR, FRAME_GEN, GATEWAYS, Fleet
from tests.support.gateways import created, downloaded, pictures, request
from tests.support.hasty_gateway import LEASE
from tests.support.noting_frame_gen import made_frames

ROUNDS = int(os.environ.get("GATOR_DRILL_ROUNDS", "1"))
SEED = int(os.environ.get("GATOR_DRILL_SEED", "1"))
RENDERS = 4
"""Of a round, at a time."""
FAULTS = 3
"""Of a round, each of another process."""
HALTED = 0.3
"""Part of the gateways that are not killed but halted for longer than their leases hold."""
WITHIN = 2.5
"""Seconds from the start of a round within which they come."""
SCENES = 5
SECONDS = 0.5
"""Of a scene."""
FINISHED = "select render_id, position from scenes where frame <> ''"


@dataclass
class Tally:
    """What happened."""

    deaths: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    renders: int = 0
    finished: list[tuple[float, set[tuple[str, int]]]] = field(default_factory=list)
    """Scenes whose frames were stored at a time, by time.monotonic()."""


class Drill:
    def __init__(self, fleet: Fleet, database, rng: random.Random) -> None:
        self._fleet = fleet
        self._database = database
        self._rng = rng
        self.tally = Tally()

    async def round(self, number: int) -> list[pb.Render]:
        """Renders that are made while things die."""
        victims = self._rng.sample([*GATEWAYS, FRAME_GEN, COMPOSITOR], FAULTS)
        faults = [
            (victim, self._rng.uniform(0, WITHIN), self._rng.random() < HALTED)
            for victim in victims
        ]
        places = [self._rng.randrange(2) for _ in range(RENDERS)]
        async with asyncio.TaskGroup() as group:
            work = [
                group.create_task(self._render(f"{number}-{i}", place))
                for i, place in enumerate(places)
            ]
            for fault in faults:
                group.create_task(self._strike(*fault))
        return [task.result() for task in work]

    async def _render(self, name: str, place: int) -> pb.Render:
        asked = request(SCENES, SECONDS, request_id=name)
        for scene in asked.scenes:
            scene.prompt += f" of {name}"
        # Sent again with the same request_id when nobody knows what became of it.
        render = await self._fleet.call(lambda stub: created(stub, asked), place)
        return await self._fleet.ended(render.render_id, place)

    async def _strike(self, name: str, after: float, halted: bool) -> None:
        member = self._fleet.members[name]
        await asyncio.sleep(after)
        self.tally.finished.append((time.monotonic(), await self._finished()))
        if halted and name in GATEWAYS:
            self.tally.deaths["gateway halted"] += 1
            await member.halt(LEASE + 1)
        else:
            self.tally.deaths[f"{name.split(maxsplit=1)[0]} killed"] += 1
            await member.kill()

    async def _finished(self) -> set[tuple[str, int]]:
        return {(row[0], row[1]) for row in await self._database.sql(FINISHED)}

    async def check(self, render: pb.Render) -> None:
        assert render.state == pb.RENDER_STATE_SUCCEEDED, render
        video = await self._fleet.call(lambda stub: downloaded(stub, render.render_id))
        assert hashlib.sha256(video.data).digest() == render.result.sha256
        frames = round(SCENES * SECONDS * 24)
        assert pictures(video.data) == render.result.frame_count == frames
        self.tally.renders += 1
        self.tally.attempts += render.attempts

    def made_again(self) -> list[tuple[str, int]]:
        """Frames that were made after they had been stored."""
        made = made_frames(self._fleet.notes)
        return [
            (frame.render_id, frame.scene)
            for at, finished in self.tally.finished
            for frame in made
            if frame.at > at and (frame.render_id, frame.scene) in finished
        ]

    def told(self) -> str:
        tally = self.tally
        deaths = ", ".join(f"{count} x {what}" for what, count in sorted(tally.deaths.items()))
        needed, made = tally.renders * SCENES, len(made_frames(self._fleet.notes))
        return (
            f"{tally.renders} renders in {tally.attempts} attempts ({deaths}): all succeeded; "
            f"{made - needed} of {made} frames were lost in the making, "
            f"{len(self.made_again())} finished ones made again"
        )


async def left_behind(database, state, renders: list[pb.Render]) -> list[str]:
    """What is in the stores that no render needs, after a sweep that waits for nothing."""
    objects = Objects.open((state / "objects").as_uri())
    now = timedelta(0)
    async with Store.open(database.url) as store:
        await Sweeper(objects, Videos(objects), store, Keeping(live=now, grace=now)).sweep()
    keys = [o.key async for batch in objects.listing("") for o in batch]
    videos = {key for key in keys if key.startswith("outputs/")}
    frames = Counter(key.rpartition("/")[0] for key in keys if key not in videos)
    assert len(frames) == len(renders) * SCENES
    assert {folder.split("/")[0] for folder in frames} == {"frames"}
    rows = await database.sql("select count(*) from renders where lease_until is not null")
    assert [tuple(row) for row in rows] == [(0,)]
    needed = {f"outputs/{r.render_id}/{e}.mp4" for r, e in await epochs(database, renders)}
    strays = [folder for folder, count in frames.items() if count != 2]
    return [*sorted(videos ^ needed), *strays, *map(str, (state / "objects/.writing").iterdir())]


async def epochs(database, renders):
    rows = await database.sql("select id, video_epoch from renders")
    found = dict(tuple(row) for row in rows)
    return [(render, found[render.render_id]) for render in renders]


@pytest.mark.timeout(60 + 60 * ROUNDS)
async def test_random_deaths(database, tmp_path, capsys):
    begun = time.monotonic()
    async with Fleet.started(tmp_path, database.url) as fleet:
        drill = Drill(fleet, database, random.Random(SEED))
        renders = []
        for number in range(ROUNDS):
            made = await drill.round(number)
            for render in made:
                await drill.check(render)
            renders += made
        assert drill.made_again() == []
        told = drill.told()
        # What still ran would keep them from ending.
        ends = [await member.end(within=10) for member in reversed(fleet.members.values())]
    assert ends == [0] * len(ends)
    assert await left_behind(database, tmp_path / "state", renders) == []
    with capsys.disabled():
        print(f"\nseed {SEED}: {told}; {time.monotonic() - begun:.0f} s")
