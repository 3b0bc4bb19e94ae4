"""Where the frame of a scene is stored: by what would make it, and by what made it."""

from dataclasses import replace
from fractions import Fraction

import pytest

from gateway.events import FrameDone
from gateway.jobs.frames import FramePlan, FrameStore, frame_key, own_folder, shared_folder
from gateway.jobs.objects import Objects
from gateway.jobs.records import Lease
from gateway.jobs.scenes import Scenes
from gateway.pipeline import MadeScene
from gateway.request import FallbackPolicy, Render, Scene
from gateway.spool import SpooledFrame
from rpckit.errors import GatorError, Reason
from rpckit.frame import Frame
from rpckit.provenance import Backend, Provenance
from rpckit.video import Quality, Transition

FRAME = Frame.of(4, 2, bytes(24))
MADE = Provenance(
    Backend.DIFFUSERS,
    "sd15@c0ffee",
    7,
    25,
    7.5,
    4,
    2,
    Fraction(0),
    Fraction(1),
    FRAME.header.sha256,
)
LOADED = FramePlan(Backend.DIFFUSERS, "sd15@c0ffee", "ddim", "1", 4, 2, 25, 7.5, shareable=True)
EXPECTED = replace(LOADED, model="sd15@main", scheduler="")
"""By files alone, before the model is downloaded."""
SCENE = Scene("a lighthouse", "", Fraction(3), Transition.FADE, Fraction(1), 7, 25, 7.5)
RENDER = Render((SCENE,), Quality.DRAFT, Transition.FADE, True, FallbackPolicy.PLACEHOLDER)
OWN = own_folder("id", 0, 1)


def shared(plan):
    return shared_folder(frame_key("alice", plan, SCENE))


class Maker:
    """Makes one frame; answers with plans, the last one again and again."""

    def __init__(self, *plans, made=MADE):
        self.plans = list(plans)
        self.made = made

    async def plan(self, render, index):
        plan = self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]
        if isinstance(plan, Exception):
            raise plan
        return plan

    async def generate(self, render, index):
        yield FRAME.header
        yield bytes(FRAME.data)
        yield FrameDone(self.made, ())


class Journal:
    def __init__(self):
        self.folders = []

    async def finish_scene(self, index, made, folder):
        self.folders.append(folder)


@pytest.fixture
def frames():
    return FrameStore(Objects.open("memory:///"))


async def made(frames, maker):
    """Where the frame of the scene is stored, after it was looked for and made."""
    journal = Journal()
    scenes = Scenes("alice", Lease("id", 1), (), maker, frames, journal, lambda: None)
    assert await scenes.find(RENDER, 0) is None
    *_, done = [event async for event in scenes.generate(RENDER, 0)]
    spooled = SpooledFrame(FRAME.header, None)
    await spooled.write(bytes(FRAME.data))
    await scenes.keep(0, MadeScene(spooled, done.provenance, ()))
    spooled.close()
    (folder,) = journal.folders
    stored = await frames.get(folder)
    assert stored.provenance == maker.made
    stored.frame.close()
    return folder


async def test_a_frame_made_as_planned_is_shared(frames):
    assert await made(frames, Maker(LOADED)) == shared(LOADED)


async def test_a_frame_of_a_model_that_was_not_known_before_is_shared_under_it(frames):
    assert await made(frames, Maker(EXPECTED, LOADED)) == shared(LOADED)


@pytest.mark.parametrize(
    "again", [EXPECTED, None, GatorError(Reason.DOWNSTREAM_UNAVAILABLE, "away")]
)
async def test_a_frame_that_no_plan_explains_serves_its_render_alone(frames, again):
    assert await made(frames, Maker(EXPECTED, again)) == OWN


async def test_a_placeholder_is_never_shared(frames):
    drawn = replace(MADE, backend=Backend.PLACEHOLDER, model="", num_inference_steps=0)
    plan = FramePlan(Backend.PLACEHOLDER, "", "", "1", 4, 2, 0, 7.5, shareable=False)
    assert await made(frames, Maker(LOADED, plan, made=drawn)) == OWN
    assert await made(frames, Maker(plan, made=drawn)) == OWN
