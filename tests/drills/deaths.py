"""Random deaths: whatever is killed whenever, each render ends with the right video.

Two gateways, a frame generation service and a compositor run as processes of their own. In
each round some renders are asked for, by clients of three kinds, and within seconds most of the
processes are killed (SIGKILL) and started again, or halted for longer than a lease holds
(SIGSTOP). When a round is over, every video is checked, and what all of them left behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gator.gateway.v1 import render_service_pb2 as pb
from gator_client import AsyncClient, RenderError
from tests.support.databases import Database
from tests.support.fleet import COMPOSITOR, FRAME_GEN, GATEWAYS, Fleet
from tests.support.gateways import created, downloaded, got, pictures, request
from tests.support.hasty_gateway import LEASE
from tests.support.leftovers import swept
from tests.support.noting_frame_gen import noted
from tests.support.object_stores import S3Server

T = TypeVar("T")

OBJECTS = "object store"
RENDERS = 4
"""Of a round, at a time."""
HALTED = 0.3
"""Part of the gateways that are not killed but halted for longer than their leases hold."""
WITHIN = 2.5
"""Seconds from the start of a round within which faults come."""
SCENES = 5
SECONDS = 0.5
"""Of a scene."""
PICTURES = round(SCENES * SECONDS * 24)
LOOK = 0.1
"""Seconds between two looks at which scenes are finished."""
FINISHED = "select render_id, position from scenes where frame <> ''"


@dataclass
class Tally:
    """What happened, and what should not have."""

    rounds: int = 0
    renders: int = 0
    attempts: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """Attempts that did not die with their gateway."""
    deaths: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    begun: int = 0
    """Frames that were begun to be made."""
    again: int = 0
    """Those among them whose scene was finished before."""
    slowest: float = 0.0
    """Seconds of the render that took longest."""
    swept: int = 0
    """Objects that the last sweep deleted."""
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        deaths, clients, ended = map(counted, (self.deaths, self.clients, self.ended))
        lost = self.begun - self.renders * SCENES
        return (
            f"{self.rounds} rounds in {self.seconds:.0f} s: {deaths}; {self.renders} renders "
            f"({clients}) in {self.attempts} attempts ({ended}), the slowest {self.slowest:.1f} s; "
            f"{self.begun} frames begun, {lost} lost in the making, {self.again} of finished "
            f"scenes made again; {self.swept} objects swept at the end; {len(self.wrong)} wrong"
        )


def counted(things: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(things.items()))


class Deaths:
    """Rounds over one fleet."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        rng: random.Random,
        object_store: S3Server | None = None,
    ) -> None:
        """Objects are in a folder, or in an S3 store that dies too."""
        self._database = database
        self._object_store = object_store
        self._folder = folder
        self._rng = rng
        self._first_seen: dict[tuple[str, int], float] = {}
        """When a scene had been finished, by time.monotonic()."""
        self.tally = Tally()

    async def run(self, seconds: float, faults: int | None = None) -> Tally:
        """Rounds for so many seconds, one at least, of so many faults each; 2 to 4 if unset."""
        began = time.monotonic()
        tally = self.tally
        stored: dict[str, str] = {}
        if self._object_store is not None:
            stored["GATOR_GATEWAY_OBJECTS_URL"] = self._object_store.url("drill")
        async with Fleet.started(self._folder, self._database.url, **stored) as fleet:
            while not tally.rounds or time.monotonic() < began + seconds:
                await self._round(fleet, faults or self._rng.randint(2, 4))
                tally.rounds += 1
            self._count_frames(fleet)
            for member in fleet.members.values():
                tally.ended.update(member.ended)
            for name, member in reversed(fleet.members.items()):
                # What still ran would keep it from ending.
                if (status := await member.end()) != 0:
                    tally.wrong.append(f"{name} ended with {status}")
            tally.wrong += fleet.complaints
        left = await swept(self._database, self._folder / "state", *stored.values())
        tally.swept = left.swept
        tally.wrong += left.strays
        tally.seconds = time.monotonic() - began
        return tally

    async def _round(self, fleet: Fleet, count: int) -> None:
        rng, number = self._rng, self.tally.rounds
        faults = [
            (victim, rng.uniform(0, WITHIN), rng.random() < HALTED)
            for victim in rng.sample([*GATEWAYS, FRAME_GEN, COMPOSITOR], count)
        ]
        if self._object_store is not None:
            faults.append((OBJECTS, rng.uniform(0, WITHIN), rng.random() < HALTED))
        kinds = [self._detached, self._followed, self._attached]
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look())
            work = [
                group.create_task(
                    self._told(rng.choice(kinds)(fleet, f"{number}-{i}", rng.randrange(2)))
                )
                for i in range(RENDERS)
            ]
            striking = [group.create_task(self._strike(fleet, *fault)) for fault in faults]
            await asyncio.wait([*work, *striking])
            looking.cancel()
        try:
            await fleet.until_idle()
        except TimeoutError:
            working = {name: await one.working() for name, one in fleet.members.items()}
            self.tally.wrong.append(f"round {number}: something runs on: {working}")

    # --- faults ---------------------------------------------------------------------------

    async def _strike(self, fleet: Fleet, name: str, after: float, halted: bool) -> None:
        await asyncio.sleep(after)
        if name == OBJECTS:
            await self._strike_objects(halted)
            return
        member = fleet.members[name]
        if halted and name in GATEWAYS:
            self.tally.deaths["gateway halted"] += 1
            await member.halt(LEASE + 1)
        else:
            self.tally.deaths[f"{name.split(maxsplit=1)[0]} killed"] += 1
            await member.kill()

    async def _strike_objects(self, halted: bool) -> None:
        server = self._object_store
        if halted:
            self.tally.deaths["object store halted"] += 1
            server.halt()
            try:
                await asyncio.sleep(LEASE + 1)
            finally:
                server.resume()
        else:
            self.tally.deaths["object store killed"] += 1
            server.kill()
            await asyncio.to_thread(server.start)

    async def _told(self, client: Coroutine[Any, Any, None]) -> None:
        """A client whose failure is told at the end."""
        try:
            await client
        except Exception as error:  # noqa: BLE001 - the drill goes on, and tells
            self.tally.wrong.append(f"a client failed: {type(error).__name__}: {error}")

    # --- clients --------------------------------------------------------------------------

    async def _detached(self, fleet: Fleet, name: str, place: int) -> None:
        """A render that is created, watched and downloaded, at any gateway that is there."""
        began = time.monotonic()
        # Sent again with the same request_id when nobody knows what became of it.
        render = await fleet.call(lambda stub: created(stub, asked_for(name)), place)
        ended = await fleet.ended(render.render_id, place)
        video = await fleet.call(lambda stub: downloaded(stub, render.render_id), place)
        await self._check("detached", began, ended, video.data)

    async def _followed(self, fleet: Fleet, name: str, place: int) -> None:
        """A render that the SDK downloads while it is made; a connection that breaks is resumed."""
        began = time.monotonic()
        render = await fleet.call(lambda stub: created(stub, asked_for(name)), place)
        path = self._folder / f"{name}.mp4"
        async with AsyncClient(fleet.members[GATEWAYS[place]].address) as client:
            await patiently(lambda: client.download(render.render_id, path))
        ended = await fleet.ended(render.render_id, place)
        await self._check("followed", began, ended, path.read_bytes(), whole=False)

    async def _attached(self, fleet: Fleet, name: str, place: int) -> None:
        """The SDK's Render, which comes back to its render when the gateway dies."""
        began = time.monotonic()
        path = self._folder / f"{name}.mp4"
        asked = asked_for(name)
        async with AsyncClient(fleet.members[GATEWAYS[place]].address) as client:
            result = await patiently(
                lambda: client.render_to_file(
                    [scene.prompt for scene in asked.scenes],
                    path,
                    quality="draft",
                    duration_per_frame=SECONDS,
                    request_id=name,
                )
            )
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != result.sha256:
            self.tally.wrong.append(f"{name}: the file is not what its result says")
        ended = await fleet.call(lambda stub: got(stub, result.render_id), place)
        await self._check("attached", began, ended, data, whole=False)

    async def _check(
        self, kind: str, began: float, render: pb.Render, data: bytes, *, whole: bool = True
    ) -> None:
        """`whole`: the video is the stored form, and not the one that is sent while it is made."""
        tally = self.tally
        tally.clients[kind] += 1
        tally.renders += 1
        tally.attempts += render.attempts
        tally.slowest = max(tally.slowest, time.monotonic() - began)
        wrong = []
        if render.state != pb.RENDER_STATE_SUCCEEDED:
            wrong.append(f"is {pb.RenderState.Name(render.state)}: {render.error.message}")
        if whole and hashlib.sha256(data).digest() != render.result.sha256:
            wrong.append("has another video than its row says")
        counts = {await asyncio.to_thread(pictures, data), render.result.frame_count}
        if counts != {PICTURES}:
            wrong.append(f"has {counts} pictures, not {PICTURES}")
        tally.wrong += [f"{render.render_id} ({kind}) {what}" for what in wrong]

    # --- frames ---------------------------------------------------------------------------

    async def _look(self) -> None:
        """Notes which scenes are finished, again and again."""
        while True:
            for render_id, position in await self._database.sql(FINISHED):
                self._first_seen.setdefault((render_id, position), time.monotonic())
            await asyncio.sleep(LOOK)

    def _count_frames(self, fleet: Fleet) -> None:
        begun = [note for note in noted(fleet.notes) if not note.made]
        never = float("inf")
        again = [
            note
            for note in begun
            if note.at > self._first_seen.get((note.render_id, note.scene), never)
        ]
        self.tally.begun = len(begun)
        self.tally.again = len(again)
        self.tally.wrong += [
            f"scene {note.scene} of {note.render_id} was made again" for note in again
        ]


def asked_for(name: str) -> pb.RenderRequest:
    """Scenes that no other render has."""
    asked = request(SCENES, SECONDS, request_id=name)
    for scene in asked.scenes:
        scene.prompt += f" of {name}"
    return asked


async def patiently(do: Callable[[], Awaitable[T]]) -> T:
    """What the SDK returns, asked again when it could not reach its gateway in the first place."""
    while True:
        try:
            return await do()
        except RenderError as error:
            if error.code != "UNAVAILABLE":
                raise
            await asyncio.sleep(LOOK)
