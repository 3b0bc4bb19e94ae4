"""Stored frames: their names, their manifests, and what is done about damage."""

import asyncio
import hashlib
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from gateway.jobs import frames as module
from gateway.jobs.frame_manifest import FrameManifest, UnreadableManifestError
from gateway.jobs.frames import (
    FramePlan,
    FrameStore,
    frame_key,
    own_folder,
    shared_folder,
)
from gateway.jobs.objects import Objects
from gateway.request import RenderWarning, Scene
from gateway.spool import SpooledFrame
from rpckit.errors import GatorError, Reason
from rpckit.frame import Frame, PixelFormat
from rpckit.provenance import Backend, PassedOver, Provenance
from rpckit.testing import other_tasks
from rpckit.video import Transition

PLAN = FramePlan(
    backend=Backend.DIFFUSERS,
    model="stabilityai/sdxl@4621",
    scheduler="EulerDiscreteScheduler",
    generation_version="diffusers 1",
    width=1344,
    height=768,
    num_inference_steps=25,
    guidance_scale=7.5,
    shareable=True,
)
SCENE = Scene(
    prompt="a lighthouse",
    negative_prompt="people",
    duration=Fraction(3),
    transition=Transition.FADE,
    transition_duration=Fraction(1, 2),
    seed=2**64 - 1,
    num_inference_steps=25,
    guidance_scale=7.5,
)
PROVENANCE = Provenance(
    backend=Backend.DIFFUSERS,
    model="stabilityai/sdxl@4621",
    seed=2**64 - 1,
    num_inference_steps=25,
    guidance_scale=7.5,
    width=640,
    height=1100,
    queue_time=Fraction(1, 3),
    generation_time=Fraction(123_456_789, 10**9),
    frame_sha256=b"\x01" * 32,
    passed_over=(PassedOver(Backend.EXTERNAL, "GENERATION_FAILED", "it \N{SKULL} broke"),),
)
WARNINGS = (RenderWarning("prompt", "the end", "", "the model reads 77 tokens"),)
FOLDER = shared_folder("ab" * 32)


# --- names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "owner", "plan", "scene", "inputs"),
    [
        ("e4044100be0f7456b35f884e90072f2d7ab5897e9d5023a294153b4ddaa310e7", "", PLAN, SCENE, ()),
        (
            "4ec57a3a855f74e0add1e94d63237a71b6bab3b5a7e9045180219e59be34e217",
            "alice",
            PLAN,
            replace(SCENE, prompt="日の出 🌅", negative_prompt="", seed=0),
            (),
        ),
        (
            "ac5b6a80200acbed162e5c35e07a0889c9144dfa23936a2501ed5c42191de7be",
            "",
            FramePlan(Backend.OPENAI, "gpt-image-2", "", "openai 1", 1536, 864, 0, 0.0, True),
            SCENE,
            (b"\x00" * 32, b"\xff" * 32),
        ),
    ],
)
def test_keys_stay_as_they_are(key, owner, plan, scene, inputs):
    """A change here forgets every stored frame: it needs a new version and a word in the log."""
    assert frame_key(owner, plan, scene, inputs) == key


def test_each_thing_that_tells_in_the_picture_gives_another_key():
    changes = [
        ("bob", PLAN, SCENE, ()),
        ("", PLAN, SCENE, (b"\x00" * 32,)),
        ("", PLAN, SCENE, (b"\x00" * 32, b"\x01" * 32)),
        ("", PLAN, replace(SCENE, prompt="a lighthous"), ()),
        ("", PLAN, replace(SCENE, prompt="a lighthousepeople", negative_prompt=""), ()),
        ("", PLAN, replace(SCENE, negative_prompt=""), ()),
        ("", PLAN, replace(SCENE, seed=1), ()),
        ("", replace(PLAN, backend=Backend.OPENAI), SCENE, ()),
        ("", replace(PLAN, guidance_scale=7.500001), SCENE, ()),
        ("", replace(PLAN, width=768, height=1344), SCENE, ()),
        ("", replace(PLAN, num_inference_steps=26), SCENE, ()),
        ("", replace(PLAN, model="stabilityai/sdxl@4622"), SCENE, ()),
        ("", replace(PLAN, scheduler="ddim"), SCENE, ()),
        ("", replace(PLAN, generation_version="diffusers 2"), SCENE, ()),
    ]
    keys = {frame_key(*change) for change in changes} | {frame_key("", PLAN, SCENE)}
    assert len(keys) == len(changes) + 1


def test_what_does_not_tell_in_the_picture_gives_the_same_key():
    other = replace(
        SCENE,
        duration=Fraction(9),
        transition=Transition.ZOOM,
        transition_duration=Fraction(0),
        # The plan says which of these are used.
        num_inference_steps=50,
        guidance_scale=2.0,
    )
    assert frame_key("", PLAN, other) == frame_key("", PLAN, SCENE)
    assert frame_key("", replace(PLAN, shareable=False), SCENE) == frame_key("", PLAN, SCENE)


def test_folders_tell_what_may_be_shared():
    assert shared_folder("abcd") == "frames/ab/abcd"
    assert own_folder("id", 3, 12) == "renders/id/scenes/3/12"


@pytest.mark.parametrize(
    "change",
    [
        {"backend": Backend.PLACEHOLDER},
        {"model": "sd15@1"},
        {"num_inference_steps": 4},
        {"guidance_scale": 0.0},
    ],
)
def test_a_frame_made_in_another_way_than_planned_is_told(change):
    assert PLAN.made(PROVENANCE)
    assert not PLAN.made(replace(PROVENANCE, **change))


# --- manifests -------------------------------------------------------------------------


def manifest(**changes):
    header = Frame.of(640, 1100, bytes(640 * 1100 * 3)).header
    now = datetime(2026, 11, 22, 14, 0, 1, 5, UTC)
    return replace(FrameManifest(header, PROVENANCE, WARNINGS, now), **changes)


def test_a_manifest_is_read_as_it_was_written():
    i420 = Frame.of(4, 2, bytes(12), PixelFormat.I420).header
    for written in (manifest(), manifest(header=i420, warnings=())):
        assert FrameManifest.of_json(written.to_json()) == written
    names = set(json.loads(manifest().to_json())["provenance"])
    assert names == {field.name for field in fields(Provenance)} - {"original_backend"}


def test_a_manifest_of_another_version_is_not_read():
    assert FrameManifest.of_json(b'{"version": 2, "new": true}') is None


def test_what_is_no_manifest_is_refused_whatever_it_is():
    whole = manifest().to_json()
    cuts = [whole[:n] for n in range(0, len(whole), 7)]
    for content in [b"", b"\xff", b"[]", b"null", b"7", b'{"version": 1}', *cuts]:
        with pytest.raises(UnreadableManifestError):
            FrameManifest.of_json(content)
    for damage in [b'"I420x"', b'"width": "a"', b'"2026-13"']:
        read = json.loads(whole)
        text = damage.decode()
        if "I420x" in text:
            read["frame"]["pixel_format"] = "I420x"
        elif "width" in text:
            read["frame"]["sha256"] = "zz"
        else:
            read["used"] = "2026-13-01"
        with pytest.raises(UnreadableManifestError):
            FrameManifest.of_json(json.dumps(read).encode())


# --- the store -------------------------------------------------------------------------


@pytest.fixture(params=["folder", "memory"])
def objects(request, tmp_path):
    url = (tmp_path / "objects").as_uri() if request.param == "folder" else "memory:///"
    return Objects.open(url)


@pytest.fixture
def store(objects, tmp_path):
    return FrameStore(objects, spool_dir=tmp_path)


async def spooled(colour=7, width=640, height=1100):
    """A frame of 2 MiB and some bytes."""
    frame = Frame.of(width, height, bytes([colour]) * (width * height * 3))
    spool = SpooledFrame(frame.header, None)
    for chunk in frame.chunks():
        await spool.write(chunk)
    spool.finish()
    return spool


async def put(store, folder=FOLDER, colour=7):
    frame = await spooled(colour)
    await store.put(folder, frame, PROVENANCE, WARNINGS)
    frame.close()
    return frame.header


async def bytes_of(frame):
    return b"".join([chunk async for chunk in frame.chunks()])


async def keys(objects):
    return sorted([i.key async for batch in objects.listing("frames") for i in batch])


def raw(header):
    return f"{FOLDER}/{header.sha256.hex()}.raw"


async def test_a_frame_is_read_as_it_was_stored(store, objects):
    assert await store.get(FOLDER) is None
    header = await put(store)
    stored = await store.get(FOLDER)
    assert stored.frame.header == header
    assert await bytes_of(stored.frame) == bytes([7]) * header.size
    stored.frame.close()
    assert (stored.provenance, stored.warnings) == (PROVENANCE, WARNINGS)
    assert stored.reused == replace(
        PROVENANCE,
        backend=Backend.CACHE,
        original_backend=Backend.DIFFUSERS,
        queue_time=Fraction(0),
        generation_time=Fraction(0),
    )
    assert await keys(objects) == [raw(header), f"{FOLDER}/manifest"]


async def damaged(objects, header, damage):
    whole = await objects.get(raw(header))
    match damage:
        case "a bit":
            await objects.put(raw(header), whole[:-1] + bytes([whole[-1] ^ 1]))
        case "shorter":
            await objects.put(raw(header), whole[:-1])
        case "shorter by a piece":
            await objects.put(raw(header), whole[: 2 << 20])
        case "longer":
            await objects.put(raw(header), whole + b"\x07")
        case "empty":
            await objects.put(raw(header), b"")
        case "missing":
            await objects.delete(raw(header))
        case "manifest":
            await objects.put(f"{FOLDER}/manifest", b'{"version": 1, ')


@pytest.mark.parametrize(
    "damage",
    ["a bit", "shorter", "shorter by a piece", "longer", "empty", "missing", "manifest"],
)
async def test_a_damaged_frame_is_deleted_and_can_be_made_again(store, objects, damage):
    header = await put(store)
    await damaged(objects, header, damage)
    assert await store.get(FOLDER) is None
    assert await keys(objects) == []
    await put(store)
    stored = await store.get(FOLDER)
    assert await bytes_of(stored.frame) == bytes([7]) * header.size
    stored.frame.close()


async def test_a_manifest_of_a_newer_version_is_left_alone(store, objects):
    newer = b'{"version": 2}'
    await objects.put(f"{FOLDER}/manifest", newer)
    assert await store.get(FOLDER) is None
    await put(store)
    assert await store.get(FOLDER) is None
    assert await objects.get(f"{FOLDER}/manifest") == newer
    assert await keys(objects) == [f"{FOLDER}/manifest"]


async def test_of_two_that_make_the_same_frame_the_first_stays(store, objects):
    first = await put(store, colour=1)
    await put(store, colour=2)
    await put(store, colour=1)
    stored = await store.get(FOLDER)
    assert stored.frame.header == first
    stored.frame.close()
    assert await keys(objects) == [raw(first), f"{FOLDER}/manifest"]


async def test_many_that_make_the_same_frame_at_once_do_not_mix(store, objects):
    await asyncio.gather(*(put(store, colour=n % 3) for n in range(12)))
    stored = await store.get(FOLDER)
    whole = await bytes_of(stored.frame)
    assert whole in {bytes([n]) * len(whole) for n in range(3)}
    stored.frame.close()
    # All wrote and one named its own: the others' are gone, but for one that was
    # written again while it was deleted, which is for the sweeper.
    assert f"{FOLDER}/manifest" in await keys(objects)


async def test_a_frame_is_stored_while_another_reads_it(store):
    frame = await spooled()
    reading = frame.chunks()
    first = await anext(reading)
    await store.put(FOLDER, frame, PROVENANCE)
    rest = [chunk async for chunk in reading]
    assert b"".join([first, *rest]) == bytes([7]) * frame.header.size
    frame.close()
    stored = await store.get(FOLDER)
    assert hashlib.sha256(await bytes_of(stored.frame)).digest() == frame.header.sha256
    stored.frame.close()


async def test_a_put_that_is_cancelled_is_not_read(store, objects):
    frame = await spooled()
    blocked = asyncio.Event()

    async def create(*_):
        blocked.set()
        await asyncio.Event().wait()

    objects.create = create
    putting = asyncio.create_task(store.put(FOLDER, frame, PROVENANCE))
    await blocked.wait()
    putting.cancel()
    await asyncio.wait([putting])
    del objects.create
    frame.close()
    assert await store.get(FOLDER) is None
    assert not other_tasks()
    await put(store)
    stored = await store.get(FOLDER)
    stored.frame.close()


async def test_a_frame_that_is_used_gets_younger(objects, monkeypatch):
    store = FrameStore(objects, ttl=timedelta(days=8))
    now = datetime(2026, 1, 1, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return now.astimezone(tz)

    async def used(folder):
        return json.loads(await objects.get(f"{folder}/manifest"))["used"]

    async def get(folder):
        (await store.get(folder)).frame.close()

    monkeypatch.setattr(module, "datetime", Clock)
    own = own_folder("id", 0, 1)
    await put(store)
    await put(store, own)
    made = now.isoformat()
    now += timedelta(days=1)
    await get(FOLDER)
    assert await used(FOLDER) == made
    now += timedelta(days=1)
    await get(FOLDER)
    await get(own)
    assert await used(FOLDER) == now.isoformat()
    assert await used(own) == made
    stored = await store.get(FOLDER)
    assert (stored.provenance, stored.warnings) == (PROVENANCE, WARNINGS)
    stored.frame.close()


async def test_a_full_spool_is_told_and_the_stored_frame_kept(objects, store, monkeypatch):
    header = await put(store)

    class Full(SpooledFrame):
        async def write(self, chunk):
            raise GatorError(Reason.STORAGE_FULL, "the gateway's disk is full", retry_after=30)

    monkeypatch.setattr(module, "SpooledFrame", Full)
    with pytest.raises(GatorError) as caught:
        await store.get(FOLDER)
    assert caught.value.reason is Reason.STORAGE_FULL
    assert await keys(objects) == [raw(header), f"{FOLDER}/manifest"]
