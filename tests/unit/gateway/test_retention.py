"""Which objects may go, by rows and listings."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.jobs.objects import ObjectInfo
from gateway.jobs.retention import (
    Keeping,
    RenderView,
    UselessFrames,
    render_of,
    useless_frames,
    useless_outputs,
    without_held,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
KEEPING = Keeping(frame_ttl=30 * DAY, live=10 * MINUTE, grace=HOUR)
ID = "0b5f6d1e-0000-4000-8000-000000000001"
EVERYTHING = [
    f"outputs/{ID}/1.mp4",
    f"outputs/{ID}/1.live/000000000000",
    f"outputs/{ID}/1.live/end",
    f"outputs/{ID}/2.mp4",
    f"outputs/{ID}/2.live/000000262144",
    f"outputs/{ID}/2.live/end",
    f"renders/{ID}/scenes/0/1/manifest",
    f"renders/{ID}/scenes/12/2/{'ab' * 32}.raw",
]
FIRST = EVERYTHING[:3]
"""Of the attempt with epoch 1."""
VIDEO = EVERYTHING[3]
LIVE = EVERYTHING[4:6]
OWN_FRAMES = EVERYTHING[6:]


def infos(keys, age=DAY):
    return [ObjectInfo(key, 1, NOW - age) for key in keys]


def gone(view, keys=EVERYTHING, now=NOW):
    renders = {} if view is None else {ID: view}
    return useless_outputs(infos(keys), renders, now, KEEPING)


def ended(ago, epoch=2, **more):
    return RenderView(epoch, NOW - ago, **more)


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_render_that_has_not_ended_keeps_what_its_newest_attempt_makes(epoch):
    """And every frame of its own: those of earlier attempts may be in use."""
    over = FIRST if epoch == 2 else [*FIRST, VIDEO, *LIVE]
    assert gone(RenderView(epoch)) == over


def test_a_render_that_has_just_ended_keeps_its_video_and_its_live_form():
    view = ended(KEEPING.live - MINUTE, video_key=VIDEO)
    assert gone(view) == [*FIRST, *OWN_FRAMES]
    # Its epoch is still that of the attempt that made the video.
    older = ended(KEEPING.live - MINUTE, epoch=1, video_key=EVERYTHING[0])
    assert gone(older, FIRST) == []


def test_some_minutes_after_its_end_only_the_video_is_left():
    view = ended(KEEPING.live, video_key=VIDEO)
    assert gone(view) == [key for key in EVERYTHING if key != VIDEO]


def test_what_was_uploaded_and_never_published_goes():
    """A render that failed, or was cancelled, which gives it another epoch."""
    assert VIDEO in gone(ended(MINUTE))
    assert {VIDEO, *LIVE} <= set(gone(ended(MINUTE, epoch=3)))


def test_a_video_expires_once_its_downloads_have_had_time_to_end():
    view = ended(40 * DAY, video_key=VIDEO, expire_time=NOW)
    for now, expected in [
        (NOW - DAY, []),
        (NOW, []),
        (NOW + KEEPING.grace - MINUTE, []),
        (NOW + KEEPING.grace, [VIDEO]),
    ]:
        assert gone(view, [VIDEO], now) == expected
    assert gone(ended(4000 * DAY, video_key=VIDEO), [VIDEO]) == []


def test_nothing_is_left_of_a_render_that_was_deleted():
    assert gone(None) == EVERYTHING


@pytest.mark.parametrize(
    "key",
    [
        "outputs/notes.txt",
        f"outputs/{ID}/cover.jpg",
        f"outputs/{ID}/x.mp4",
        f"outputs/{ID}/1.mp4/more",
        f"outputs/{ID}/1.live",
        f"renders/{ID}/README",
        "frames/ab/abcd/manifest",
        "purchases/1/intent",
    ],
)
def test_what_is_not_ours_stays(key):
    assert render_of(key) == ""
    assert gone(None, [key]) == []
    assert gone(ended(DAY), [key]) == []


def test_ids_are_read_from_keys():
    assert {render_of(key) for key in EVERYTHING} == {ID}


# --- shared frames ---------------------------------------------------------------------

FOLDER = "frames/ab/abcd"


def frames(*objects):
    """What may go of objects, each a folder, a name and an age."""
    listed = [ObjectInfo(f"{folder}/{name}", 1, NOW - age) for folder, name, age in objects]
    return useless_frames(listed, NOW, KEEPING)


def test_a_frame_goes_when_its_last_use_is_long_ago():
    young = (FOLDER, "manifest", 30 * DAY - MINUTE)
    old = (FOLDER, "manifest", 30 * DAY)
    raw = (FOLDER, "1.raw", 99 * DAY)
    assert frames(raw, young) == UselessFrames({}, {})
    expected = {FOLDER: [f"{FOLDER}/manifest", f"{FOLDER}/1.raw"]}
    assert frames(raw, old) == UselessFrames(expected, {})


def test_frames_are_kept_for_ever_where_the_settings_say_so():
    old = [ObjectInfo(f"{FOLDER}/manifest", 1, NOW - 9999 * DAY)]
    kept = useless_frames(old, NOW, Keeping(frame_ttl=None))
    assert kept == UselessFrames({}, {})


def test_bytes_without_a_manifest_go_once_nobody_can_be_writing_it():
    assert frames((FOLDER, "1.raw", HOUR - MINUTE)) == UselessFrames({}, {})
    assert frames((FOLDER, "1.raw", HOUR)).unused == {FOLDER: [f"{FOLDER}/1.raw"]}
    # Another has begun to make it again.
    assert frames((FOLDER, "1.raw", DAY), (FOLDER, "2.raw", MINUTE)) == UselessFrames({}, {})


def test_bytes_beside_those_of_the_manifest_are_doubtful():
    two = [(FOLDER, "manifest", DAY), (FOLDER, "1.raw", DAY), (FOLDER, "2.raw", DAY)]
    assert frames(*two).doubtful == {FOLDER: [f"{FOLDER}/1.raw", f"{FOLDER}/2.raw"]}
    young = [*two, (FOLDER, "3.raw", MINUTE)]
    assert frames(*young).doubtful == frames(*two).doubtful
    assert frames(*two[:2]) == UselessFrames({}, {})


def test_folders_are_judged_by_themselves():
    found = frames(
        ("frames/ab/1", "manifest", DAY),
        ("frames/ab/2", "manifest", 99 * DAY),
        ("frames/ab/1", "1.raw", 99 * DAY),
        ("frames/ab/2", "2.raw", 99 * DAY),
    )
    assert list(found.unused) == ["frames/ab/2"]


def test_what_is_held_stays():
    keys = ["outputs/a/1.mp4", "outputs/a/2.live/end", "outputs/a/3.mp4"]
    assert without_held(keys, {"outputs/a/1.mp4", "outputs/a/2.live"}) == keys[2:]
